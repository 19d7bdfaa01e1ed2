"""``VERB --help``: our options and a handful of the trainer's, one sentence each, from the docstrings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from ftlight.cli import classes, config
from ftlight.cli.options import Option

TOP = {
    "fit": [
        ("-c, --config X.yaml", "config file; several are merged in order, later ones win"),
        (
            "--run DIR",
            "folder of the run; runs/NAME/TIME if not given; one that exists is refused, unless it is resumed",
        ),
        ("--name N", "name of the run, by default that of the config file"),
        (
            "--wandb PROJECT",
            "W&B project to track the run in; WANDB_MODE=offline keeps it on this machine",
        ),
        ("--test false", "no test of the best checkpoint at the end"),
        ("--seed N", "seed of weights, dropout and order of the data (default: 0)"),
        (
            "--resume RUN",
            "go on with a run, in its folder, from its newest whole checkpoint; options and a -c given here win over its own",
        ),
        (
            "--resume auto",
            "go on with the run that --run DIR names, or start it where there is none (what a job that is queued again needs)",
        ),
        (
            "--ckpt_path FILE",
            "start a new run from the state of a checkpoint, such as OTHER_RUN/checkpoints/last.ckpt",
        ),
    ],
    "validate": [
        ("RUN", "folder of the run; or -c X.yaml for a model as it starts"),
        ("--ckpt_path best|last|FILE", "checkpoint to measure (default: best)"),
        ("--data.validation F", "other validation data"),
    ],
    "test": [
        ("RUN", "folder of the run"),
        ("--ckpt_path best|last|FILE", "checkpoint to measure (default: best)"),
        ("--data.test F", "other test data"),
        (
            "--wise SHARE|auto",
            "weights between pre-trained (0) and fine-tuned (1), or the best of them by the validation data (WiSE-FT)",
        ),
    ],
    "predict": [
        ("RUN", "folder of the run"),
        (
            "FILE",
            "rows to predict: CSV, TSV, JSONL or Parquet with the input columns; - for lines of standard input",
        ),
        ('--text "…"', "one text instead of a file"),
        ("--out F", "file to write, .jsonl or CSV; RUN/predictions/FILE if not given"),
        ("--probabilities", "write the probability of every label"),
        ("--trainer.precision bf16-true", "predict in bfloat16: faster, and scores are rounded"),
        ("--ckpt_path best|last|FILE", "checkpoint to use (default: best)"),
    ],
    "export": [
        ("RUN", "folder of the run"),
        ("--out DIR", "folder to write; RUN/export if not given"),
        (
            "--wise SHARE|auto",
            "weights between pre-trained (0) and fine-tuned (1), or the best of them by the validation data (WiSE-FT)",
        ),
        ("--ckpt_path best|last|FILE", "checkpoint to export (default: best)"),
    ],
    "init": [
        ("FILE", "data to write a YAML for, or the name of a shipped example to copy here"),
        ("--label COLUMN", "column of the label, where it is not plain"),
        ("--task T", "task, where it is not plain"),
    ],
}
# Lightning's own that are shown too, in a sentence each.
TRAINER = {
    "devices": "number of devices, their list, or auto for all",
    "num_nodes": "number of machines",
    "accumulate_grad_batches": "batches whose gradients are summed before a step",
    "val_check_interval": "validate after this share of an epoch, or number of batches",
    "log_every_n_steps": "steps between logged training losses, 50 if not given",
}
LINKED = {"model.labels", "model.kind", "data.tokenizer"}  # told by the data or the model


def show(verb: str, words: Sequence[str]) -> str:
    """The help of a verb.

    Args:
        verb: the verb.
        words: what else stands on the command line: --model names another task, ``all`` shows every option.
    """
    parts = [
        f"usage: python -m ftlight {verb} "
        + ("-c X.yaml [options]" if verb == "fit" else f"{TOP[verb][0][0]} [options]")
    ]
    parts.append(_lines(TOP[verb]))
    if verb == "fit":
        task = classes.describe(_after("--model", words) or "TextClassification")
        name = _after("--data", words) or task.data_module
        data = classes.describe(name, home=task.path.rpartition(".")[0]) if name else None
        trainer = classes.describe(config.TRAINER)
        if "all" not in words:
            trainer = trainer._replace(
                options=[o for o in trainer.options if o.owner == trainer.path or o.name in TRAINER]
            )
        for section, about in (("model", task), ("data", data), ("trainer", trainer)):
            if about is not None:
                parts.append(f"{section}: {about.name}\n" + _lines(rows(about.options, section)))
        parts.append(
            "--help all shows the rest of the trainer's; --model TASK --help the options of another task"
        )
    return "\n\n".join(parts)


def _after(option: str, words: Sequence[str]) -> str | None:
    return next(
        (
            words[i + 1]
            for i, w in enumerate(words[:-1])
            if w == option and not words[i + 1].startswith("-")
        ),
        None,
    )


def rows(options: Sequence[Option], section: str) -> list[tuple[str, str]]:
    """Options of a class as they are shown: name and type, sentence and default."""
    aliased = {f"trainer.{name}" for name in ("run", "name", "wandb", "test", "resume")}
    shown = []
    for option in options:
        if (key := f"{section}.{option.name}") not in LINKED | aliased:
            value = (
                str(option.default).lower() if isinstance(option.default, bool) else option.default
            )
            default = "" if value in (None, "", ()) else f" (default: {value})"
            sentence = (
                TRAINER.get(option.name, option.help) if section == "trainer" else option.help
            ).rstrip(".")
            shown.append((f"--{key} {kind(option.whole_type)}", sentence + default))
    return shown


def kind(text: str) -> str:
    """A type in a word."""
    choices = re.search(r"Literal\[([^\]]+)\]", text)
    if choices:
        return "|".join(
            [
                *(["true", "false"] if "bool" in text else []),
                *(c.strip(" '") for c in choices.group(1).split(",")),
            ]
        )
    for name, word in (("bool", "true|false"), ("str", "TEXT"), ("int", "N"), ("float", "X")):
        if re.search(rf"\b{name}\b", text):
            return word
    return "…"


def _lines(rows: Sequence[tuple[str, str]], width: int = 118) -> str:
    """Two columns; a long first column stands on a line of its own."""
    lines = []
    for name, sentence in rows:
        wrapped = textwrap.wrap(sentence, width - 34) or [""]
        head = f"  {name:30}  " if len(name) <= 30 else f"  {name}\n{' ' * 34}"
        lines.append(head + f"\n{' ' * 34}".join(wrapped))
    return "\n".join(lines)
