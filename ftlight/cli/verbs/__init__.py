"""The table of verbs: the command line, its help, its checks of names and the README read it.

A new verb is one file here, which is imported only when the verb runs, and one line of the table.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from ftlight.utils.errors import shortened


class Argument(NamedTuple):
    """What may stand on the command line of a verb.

    Attributes:
        spelling: how help writes it: ``FILE``; ``--out F``; ``--probabilities``, a flag.
        help: one sentence.
        default: what holds without it, if that is a plain value.
        key: the option it is short for, such as ``trainer.run``; empty for one of the verb itself.
        bounds: the least and the most that it may be, if it is a whole number.
    """

    spelling: str
    help: str
    default: str = ""
    key: str = ""
    bounds: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Its name without dashes, such as ``out``; empty for a word that stands alone."""
        match = re.search(r"--([\w.]+)", self.spelling)
        return match[1] if match else ""

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.spelling == f"--{self.name}"

    def fault(self, value: str) -> str:
        """What is wrong with a value that is to be a whole number; empty if nothing is.

        >>> Argument("--jobs K", "", bounds=(1, 1000)).fault("100000")
        'expected a whole number from 1 to 1,000, got 100000'
        """
        if self.bounds is None:
            return ""
        least, most = self.bounds
        digits = value.isascii() and value.isdigit() and len(value) <= len(str(most))
        if digits and least <= int(value) <= most:
            return ""
        return f"expected a whole number from {least:,} to {most:,}, got {shortened(value)}"


class Verb(NamedTuple):
    """A verb of the command line.

    Attributes:
        takes: what follows it, such as ``RUN FILE`` or ``-c X.yaml``.
        does: one sentence.
        example: what may follow ``python -m ftlight``.
        arguments: what may stand on its command line, in the order of its help.
        model: whether it works on one model. Its file then has ``run(words, cli)``: names, values
            and files are checked before it is imported, and trainer, model and data are made before
            it is called. The file of any other has ``run(words)``, which returns what to print.
        starts: whether it starts trainings in processes of their own. Its file then has
            ``run(words)``, which checks the config, and returns the status and what to print.
        only_data: whether neither trainer nor model is made without ``--full``: the file then has
            ``run(words, data)``.
    """

    takes: str
    does: str
    example: str
    arguments: Sequence[Argument]
    model: bool = True
    only_data: bool = False
    starts: bool = False

    @property
    def takes_run(self) -> bool:
        """Whether it can use a run."""
        return "RUN" in self.takes

    @property
    def takes_config(self) -> bool:
        """Whether it can begin from a config alone."""
        return "-c X.yaml" in self.takes

    @property
    def takes_file(self) -> bool:
        """Whether it reads a data file named on the command line."""
        return "FILE" in self.takes

    def argument(self, name: str) -> Argument | None:
        """Returns the argument of a name without dashes, if there is one."""
        return next((a for a in self.arguments if name and a.name == name), None)


CONFIG = Argument(
    "-c, --config X.yaml",
    "Config file. Several are merged in order: later ones win, key by key.",
)
RUN = Argument("RUN", "Folder of the run, such as runs/NAME/latest.")
CHECKPOINT = Argument("--ckpt_path best|last|FILE", "Checkpoint to use.", "best")
SEED = Argument(
    "--seed N",
    "Seed of new weights, dropout, data order and sampling, from 0 to 4,294,967,295.",
    "0",
    "seed_everything",
)
TRUST = Argument(
    "--trust",
    "Import the classes that a run names though it was not made here, or was changed or moved "
    "since: its code is run.",
)
WISE = Argument(
    "--wise SHARE|auto",
    "Average the fine-tuned weights with the pre-trained ones (WiSE-FT). SHARE is that of the "
    "fine-tuned weights, from 0 to 1; auto takes the best on the validation data.",
)
VERBS = {
    "init": Verb(
        "FILE",
        "Prints a YAML for a data file, or copies an example such as quickstart.",
        "init tickets.csv > tickets.yaml",
        [
            Argument("FILE", "Data file or folder; or the name of an example, such as quickstart."),
            Argument("--label COLUMN", "Column of the label. Default: found by name and values."),
            Argument("--task T", "Task to write the YAML for. Default: found from the data."),
        ],
        model=False,
    ),
    "check": Verb(
        "-c X.yaml | RUN [FILE]",
        "Audits data before training: leaks, repeats, labels, shortcuts, personal data.",
        "check -c tickets.yaml",
        [
            CONFIG,
            RUN,
            Argument(
                "FILE",
                "New data, without labels: what in them is unlike all that the run was trained on.",
            ),
            Argument(
                "--full",
                "Also run the model once over all rows: wrong labels, strangers, drift, twins.",
            ),
            Argument(
                "--out F.jsonl", "File to write: each finding as JSON, with the lines of its rows."
            ),
            TRUST,
        ],
        only_data=True,
    ),
    "auto": Verb(
        "FILE",
        "Makes the best model that a time limit allows, from a data file or folder alone.",
        "auto tickets.csv --budget 10m",
        [
            Argument("FILE", "Data file or folder."),
            Argument("--label COLUMN", "Column of the label. Default: found by name and values."),
            Argument("--task T", "Task. Default: found from the data."),
            Argument("--budget T", "Time for all of it, with the test: 90s, 10m or 2h.", "10m"),
            Argument(
                '--goal "METRIC >= X"',
                "Stop as soon as this metric of the validation data is reached, such as "
                '"accuracy >= 0.9".',
            ),
            Argument(
                "--backbones A,B",
                "Pre-trained models to choose from: hub ids or folders. Default: small ones for "
                "the task that are on this machine, else one from the hub.",
            ),
            Argument(
                "--run DIR",
                "Folder of all that is made; the same command goes on there. Default: "
                "runs/auto-NAME.",
            ),
            SEED,
            Argument(
                "--data.encoding E",
                "Encoding of FILE. Every training gets this and any other option of fit, such as "
                "--data.text COLUMN or --trainer.max_epochs 3.",
            ),
        ],
        starts=True,
    ),
    "fit": Verb(
        "-c X.yaml",
        "Trains a model, then tests its best checkpoint once.",
        "fit -c tickets.yaml --trainer.max_epochs 3",
        [
            CONFIG,
            Argument(
                "--run DIR",
                "Folder of the run, which must not exist unless it is resumed. "
                "Default: runs/NAME/TIME.",
                key="trainer.run",
            ),
            Argument(
                "--name N", "Name of the run. Default: that of the config file.", key="trainer.name"
            ),
            SEED,
            Argument(
                "--seeds N",
                "Train N runs that differ only in seed, in RUN/seed-0, RUN/seed-1, …, and compare "
                "them; the same command with the same --run DIR goes on.",
                bounds=(2, 1000),
            ),
            Argument(
                "--folds N",
                "Cross-validation for small data: train on all rows but a fold of N in turn, in "
                "RUN/fold-0, RUN/fold-1, …, score each row by the model that never saw it, then "
                "train on all rows, in RUN/all; the same command with the same --run DIR goes on.",
                bounds=(2, 1000),
            ),
            Argument(
                "--wandb PROJECT",
                "Log to this W&B project too; WANDB_MODE=offline keeps the log on this machine.",
                key="trainer.wandb",
            ),
            Argument(
                "--budget T",
                "Time that the run may take with its test, such as 90s, 10m or 2h: the steps that "
                "fit are planned, and the rate falls to its end.",
                key="trainer.max_time",
            ),
            Argument("--test true|false", "Test the best checkpoint.", "true", "trainer.test"),
            Argument(
                "--resume RUN|auto",
                "Resume RUN in place from its latest intact checkpoint; options and configs given "
                "here win over its own. auto resumes the run of --run DIR, or starts it if it does "
                "not exist, as a job that is queued again needs.",
            ),
            Argument(
                "--from RUN",
                "Start from the weights of another run, the head's rows by the names of labels; "
                "new labels get new rows. Without -c, that run's config is used.",
            ),
            Argument(
                "--keep FILE",
                "Rows of what the weights of --from RUN, or an untuned language model, could do: "
                "scored before and after, so that what is forgotten shows.",
            ),
            Argument(
                "--ckpt_path FILE",
                "Start a new run from a checkpoint with its optimizer and progress, such as "
                "OTHER_RUN/checkpoints/last.ckpt.",
            ),
            TRUST,
        ],
    ),
    "validate": Verb(
        "RUN | -c X.yaml",
        "Measures a run on validation data; with -c, a model before training.",
        "validate runs/tickets/latest",
        [
            RUN,
            CONFIG,
            CHECKPOINT,
            SEED,
            Argument("--data.validation F", "Other validation data."),
            TRUST,
        ],
    ),
    "test": Verb(
        "RUN",
        "Measures a run on test data.",
        "test runs/tickets/latest --data.test new.csv",
        [RUN, CHECKPOINT, SEED, Argument("--data.test F", "Other test data."), WISE, TRUST],
    ),
    "predict": Verb(
        "RUN FILE",
        "Predicts the rows of a file, lines of standard input or one text.",
        "predict runs/tickets/latest new.csv --probabilities",
        [
            RUN,
            Argument(
                "FILE",
                "Data as in training, without labels: a table with the input columns, documents "
                "or images and folders of them, …; "
                "or - for one text per line of standard input.",
            ),
            Argument('--text "…"', "One text, in place of FILE."),
            Argument(
                "--data.encoding E",
                "Encoding of FILE. Default: that of training. So for other options of reading: "
                "--data.header [text, n] if FILE has no header, --data.text COLUMN (and the like) "
                "if its columns have other names, --data.quotes.",
            ),
            Argument(
                "--out F",
                "File to write: a spreadsheet if it ends in .xlsx, JSON lines if in .jsonl, else "
                "CSV. Of entities: .csv or .xlsx (a row each), .conll, .jsonl (for doccano) or "
                ".json (for Label Studio). Default: RUN/predictions/FILE, or "
                "./RUN-results/predictions/FILE if RUN cannot be written.",
            ),
            Argument("--probabilities", "Add the probability of every label."),
            Argument(
                "--safe_csv",
                "Put an apostrophe before texts in CSV that a spreadsheet would run as a formula.",
            ),
            Argument(
                "--at_least P",
                "Answer only rows so sure that a share P of the answers is right, such as 0.98, by "
                "the validation rows; the others are unsure.",
            ),
            Argument(
                "--coverage P",
                "Add to each row the set of labels, or the range of numbers, that holds the truth "
                "in a share P of rows.",
            ),
            CHECKPOINT,
            SEED,
            Argument(
                "--trainer.precision bf16-true",
                "Predict in bfloat16: faster on devices that compute in it, with rounded scores.",
            ),
            TRUST,
        ],
    ),
    "tune": Verb(
        "-c X.yaml",
        "Tries other settings of a config, each in a run of its own, and keeps the best.",
        "tune -c tickets.yaml --budget 20m",
        [
            CONFIG,
            Argument(
                "--sweep S.yaml",
                "What varies, in the sweep format of W&B: any options by their dotted names. "
                "Default: the few that matter most for the task.",
            ),
            Argument(
                "--trials N",
                "Settings to try; the first is the config as it is. Default: as many as the "
                "budget allows, without one 20.",
                bounds=(1, 100_000),
            ),
            Argument(
                "--budget T",
                "Time that all may take, such as 20m or 2h, with the trainings on more seeds and "
                "the test.",
            ),
            Argument(
                "--seeds N",
                "Seeds on which the best three are trained; the best mean wins. 1 for none but "
                "the config's.",
                "3",
                bounds=(1, 1000),
            ),
            Argument(
                "--jobs K",
                "Trials at once on this machine. The same command with the same --run DIR on "
                "other machines, or in a job array, shares the trials.",
                "1",
                bounds=(1, 1000),
            ),
            Argument(
                "--prune true|false",
                "Stop trials that are not among the best third at a third of their steps, or at "
                "two thirds; none before 3 epochs.",
                "true",
            ),
            Argument("--keep best|all", "Whose checkpoints stay: the best run's, or all.", "best"),
            Argument(
                "--run DIR",
                "Folder of the trials; the same command goes on where it was stopped. Default: "
                "runs/NAME-tune/TIME.",
            ),
            SEED,
        ],
        starts=True,
    ),
    "compare": Verb(
        "RUN RUN…",
        "Compares runs on the same test rows; those that differ only in seed are put together.",
        "compare runs/tickets/latest runs/other/latest",
        [
            RUN,
            Argument(
                "RUN…",
                "Others, compared with the first; a folder of fit --seeds holds several.",
            ),
            Argument("--out F.json", "File to write all figures to."),
        ],
        model=False,
    ),
    "baselines": Verb(
        "RUN | -c X.yaml",
        "Measures cheap models beside a run, or before any training: does fine-tuning pay?",
        "baselines runs/tickets/latest --rows 100,1000,all",
        [
            RUN,
            CONFIG,
            Argument(
                "--rows 100,1000,all",
                "Numbers of training rows to measure each model with, drawn with one of each class "
                "first; the larger draws hold the smaller ones.",
                "all",
            ),
            Argument(
                "--scratch",
                "Also train the run's model from random weights, at its own steps, in "
                "RUN/baselines; the same command goes on where it was stopped.",
            ),
            Argument(
                "--backbones A,B",
                "Pre-trained models whose frozen vectors are probed: hub ids or folders; none for "
                "models of words alone. Default: that of the run or config.",
            ),
            Argument(
                "--out F.json",
                "File to write all figures to. Default: RUN/baselines.json; with -c none.",
            ),
            TRUST,
        ],
    ),
    "explain": Verb(
        "RUN [FILE]",
        "Explains answers: the words or parts of an image that decide, and how far to trust that.",
        'explain runs/tickets/latest --text "my card has not arrived"',
        [
            RUN,
            Argument(
                "FILE",
                "Rows to explain, as predict takes them. Without one: validation rows, half of "
                "them wrong if there are so many, and what decides across them.",
            ),
            Argument('--text "…"', "One text, in place of FILE."),
            Argument(
                "--method occlusion|ig",
                "How words are weighed: by what the answer loses without each, or by integrated "
                "gradients.",
                "occlusion",
            ),
            Argument("--rows N", "Most rows to explain.", "50", bounds=(1, 1_000_000)),
            Argument(
                "--neighbours N",
                "Also show so many rows of train that are most like each row.",
                "0",
                bounds=(0, 1000),
            ),
            Argument("--out F.html|F.json", "File to write all explanations to."),
            CHECKPOINT,
            SEED,
            TRUST,
        ],
    ),
    "report": Verb(
        "RUN RUN…",
        "Makes one HTML page that shows a run to others, or several side by side.",
        "report runs/tickets/latest",
        [
            RUN,
            Argument("RUN…", "Others, compared with the first on the same rows."),
            Argument(
                "--out F.html",
                "File to write. Default: RUN/report.html; of several runs ./report.html.",
            ),
            Argument(
                "--rows N",
                "Rows of the test to show: errors, the surest first, and doubtful ones; 0 shows "
                "no texts of your data.",
                "20",
                bounds=(0, 100_000),
            ),
            Argument("--follow", "Make the page again while the run trains, until it has ended."),
            TRUST,
        ],
        model=False,
    ),
    "export": Verb(
        "RUN",
        "Writes a run as a folder that stock libraries load with the same scores.",
        "export runs/tickets/latest --out my_model",
        [
            RUN,
            Argument(
                "--out DIR",
                "Folder to write. Default: RUN/export, or RUN/onnx of that format; in "
                "./RUN-results if RUN cannot be written.",
            ),
            Argument(
                "--format hf|onnx",
                "What loads it: transformers or sentence-transformers (hf); or onnxruntime (onnx), "
                "with a predict.py that needs neither torch nor ftlight.",
                "hf",
            ),
            Argument(
                "--int8",
                "Write weights in 8 bits; refused if fewer than 98 % of the validation rows keep "
                "their label. For onnx.",
            ),
            Argument(
                "--push OWNER/NAME",
                "Push the folder to this repo of the Hugging Face Hub, which is made if it is not "
                "there, private without --public; by the token in HF_TOKEN or of `hf auth login`. "
                "A folder that holds the same export already is pushed as it is, with its README.",
            ),
            Argument("--public", "Let anybody see what is pushed."),
            CHECKPOINT,
            WISE,
            TRUST,
        ],
    ),
    "serve": Verb(
        "RUN RUN…",
        "Answers over HTTP what predict answers: rows as JSON, several requests in one batch.",
        "serve runs/tickets/latest --port 8000",
        [
            RUN,
            Argument("RUN…", "Others, chosen by model in the body of a request."),
            Argument(
                "--host H",
                "Address to listen on; any but this machine's own needs a token.",
                "127.0.0.1",
            ),
            Argument(
                "--port N", "Port to listen on; 0 for any that is free.", "8000", bounds=(0, 65_535)
            ),
            Argument(
                "--workers N",
                "Processes on that port, each with all models.",
                "1",
                bounds=(1, 1000),
            ),
            Argument(
                "--token_file F",
                "File with the token that each request must bring (Authorization: Bearer TOKEN). "
                "Default: that of the variable FTLIGHT_TOKEN, if it is set.",
            ),
            Argument(
                "--max_body MB",
                "Longest body of a request; photos need more, such as 20.",
                "1",
                bounds=(1, 1000),
            ),
            CHECKPOINT,
            TRUST,
        ],
        model=False,
    ),
    "chat": Verb(
        "RUN",
        "Talks with a run of CausalLM in the terminal, or answers each line of standard input.",
        "chat runs/chat/latest --base",
        [
            RUN,
            Argument("--base", "Also show what the model said before it was trained."),
            Argument("--system T", "What the system says at the beginning of the chat."),
            Argument(
                "--temperature X",
                "Sampling temperature; 0 is greedy. Default: that of the run.",
            ),
            Argument("--top_p P", "Probability mass to sample from. Default: that of the run."),
            Argument(
                "--max_new_tokens N",
                "The most tokens of a reply, at most half the context. Default: that of the run.",
                bounds=(1, 1_000_000),
            ),
            Argument("--seed N", "Seed of what is drawn.", "0", bounds=(0, 4_294_967_295)),
            CHECKPOINT,
            TRUST,
        ],
        model=False,
    ),
}


def load(name: str) -> ModuleType:
    """Imports the file of a verb."""
    return importlib.import_module(f"{__name__}.{name}")


def markdown() -> str:
    """The table of verbs as the README shows it."""
    rows = ["| verb | options | does |", "|---|---|---|"]
    for name, verb in VERBS.items():
        options = [a.spelling for a in verb.arguments if a.name and a is not CONFIG]
        shown = ", ".join(f"`{option}`" for option in options).replace("|", r"\|")
        takes = verb.takes.replace(" | ", f"`, `{name} ")
        rows.append(f"| `{name} {takes}` | {shown} | {verb.does.rstrip('.')} |")
    return "\n".join(rows)
