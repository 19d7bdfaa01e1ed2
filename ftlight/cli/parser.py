"""The command line: LightningCLI over tasks and data modules, fed from short YAML; errors in one line."""

from __future__ import annotations

import errno
import json
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ftlight.cli import command, config, values
from ftlight.cli.classes import find_class, public
from ftlight.data import files
from ftlight.data.module import DataModule
from ftlight.run import console as screen
from ftlight.run import folder as run
from ftlight.run.predictions import write_predictions
from ftlight.task import Task
from ftlight.trainer.predictor import Predictor
from ftlight.trainer.summary import show
from ftlight.trainer.trainer import Trainer
from ftlight.training import memory
from ftlight.utils import secrets
from ftlight.utils.errors import UserError, holds_code, user_error
from ftlight.utils.format import number

VERBS = {
    "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"},
    "validate": {"model", "dataloaders", "datamodule", "weights_only", "verbose"},
    "test": {"model", "dataloaders", "datamodule", "weights_only", "verbose"},
    "predict": {"model", "dataloaders", "datamodule", "weights_only", "return_predictions"},
    "export": {"model", "datamodule"},
}


class CLI(LightningCLI):
    """LightningCLI with our trainer, and what each verb does around Lightning's."""

    trainer: Trainer

    def __init__(self, args: list[str], verb: str = "") -> None:
        self.verb = verb  # the parser of each would take as long as that of the one that runs
        super().__init__(
            Task,
            DataModule,
            save_config_callback=None,  # the run folder keeps it, for fit only
            trainer_class=Trainer,
            seed_everything_default=0,
            parser_kwargs={
                "exit_on_error": False,
                **({verb: {"exit_on_error": False}} if verb else {}),
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=[verb, *args] if verb else args,
            run=bool(verb),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The verb that runs, and the arguments of the trainer's method that are no options."""
        return {self.verb: VERBS[self.verb]} if self.verb else VERBS

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the data tell the model, and the model the data."""
        parser.link_arguments("data.labels", "model.init_args.labels", apply_on="instantiate")
        parser.link_arguments("data.kind", "model.init_args.kind", apply_on="instantiate")
        parser.link_arguments("model.init_args.backbone", "data.init_args.tokenizer")

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument(
                "--file",
                type=str,
                default="",
                help="File with rows to predict, or - for lines of text.",
            )
            parser.add_argument("--text", type=str, default="", help="One text to predict.")
            parser.add_argument(
                "--out",
                type=str,
                default="",
                help="File to write; .jsonl for JSON lines, else CSV.",
            )
            parser.add_argument(
                "--probabilities",
                type=bool,
                default=False,
                help="Write the probability of every label.",
            )
        if subcommand == "test":
            parser.add_argument(
                "--wise", type=str, default="", help="Share of the fine-tuned weights, or auto."
            )
        return parser

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer; what Lightning says of options that do not go together is the user's.

        Raises:
            UserError: Lightning refuses an option.
        """
        try:
            return cast(Trainer, super().instantiate_trainer(**kwargs))
        except ValueError as error:
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error

    def _parse_ckpt_path(self) -> None:
        """Nothing: Lightning would let values stored in the checkpoint beat the command line."""

    def after_instantiate_classes(self) -> None:
        """Hands the trainer the config, as the run's record, or the data what a run has kept of them."""
        if self.trainer.given_run and self.subcommand != "fit":
            self.datamodule.load_state(Path(self.trainer.given_run))
        if self.subcommand == "fit":
            dumped = json.loads(self.parser.dump(self.config, format="json"))["fit"]
            record = {k: dumped[k] for k in ("seed_everything", "trainer", "model", "data")}
            record["trainer"] = {
                k: v for k, v in record["trainer"].items() if k not in ("run", "name", "resume")
            }
            for section in ("model", "data"):
                record[section]["class_path"] = public(record[section]["class_path"])
            record = secrets.redact(record)
            self.trainer.config = record
            self.trainer.config_yaml = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)

    def predict(self, model: Task, datamodule: DataModule, ckpt_path: str | None = None) -> None:
        """Predicts the rows of a file, of standard input or one text, and writes or prints them."""
        options = self.config_init["predict"]
        rows, place = _rows(options, datamodule)
        datamodule.set_predict(rows, place)
        batches = (
            self.trainer.predict(
                model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True
            )
            or []
        )
        found = dict(pair for batch in _gathered(self.trainer, batches) for pair in batch)
        if not self.trainer.is_global_zero:
            return
        decoded = [found[i] for i in range(len(rows))]
        if options.file in ("", "-") and not options.out:
            for row, answer in zip(rows, decoded, strict=True):
                _say(row, answer, options.probabilities)
            return
        beside = Path(str(self.trainer.given_run)) / "predictions" / _written(options.file)
        out = Path(options.out) if options.out else beside
        count = write_predictions(out, rows, decoded, options.probabilities)
        screen.console.print(f"{count:,} predictions in {run.short(out)}")

    def validate(self, model: Task, datamodule: DataModule, ckpt_path: str | None = None) -> None:
        """Measures the validation data, and shows it."""
        self._measure("val", self.trainer.validate, model, datamodule, ckpt_path)

    def test(self, model: Task, datamodule: DataModule, ckpt_path: str | None = None) -> None:
        """Measures the test data, and shows it."""
        wanted = self.config_init["test"].wise
        if wanted:
            assert ckpt_path is not None
            self.trainer.interpolate(model, datamodule, ckpt_path, wanted)
            ckpt_path = None
        self._measure("test", self.trainer.test, model, datamodule, ckpt_path)

    def _measure(
        self,
        stage: str,
        measure: Callable[..., Any],
        model: Task,
        data: DataModule,
        ckpt_path: str | None,
    ) -> None:
        measure(model, datamodule=data, ckpt_path=ckpt_path, verbose=False, weights_only=True)
        if self.trainer.is_global_zero:
            screen.table(show(model, stage))

    def after_export(self) -> None:
        """Says how to load what was written."""
        out = self.config_init["export"].out or Path(str(self.trainer.given_run)) / "export"
        screen.console.print(f"{out}: how to load it is in its README.md")


def _written(file: str) -> str:
    """Name of the predictions of a file or folder: its own, as JSON lines where it is JSON, else as CSV."""
    name = Path(Path(file).resolve().name.removesuffix(".gz"))
    return str(name.with_suffix(".jsonl" if name.suffix in (".json", ".jsonl") else ".csv"))


def _rows(options: Any, data: DataModule) -> tuple[list[files.Row], str]:
    """The rows to predict, and where they are from."""
    if bool(options.file) == bool(options.text):
        raise UserError('give a file to predict, or - for standard input, or --text "…"')
    if options.file not in ("", "-"):
        rows = data.read_predict(options.file)
        if not rows:
            raise UserError(f"{options.file} has a header but no rows")
        return rows, options.file
    if len(data.columns) > 1:
        raise UserError(
            f"the run reads several columns ({', '.join(data.columns)}); give a file that has them"
        )
    lines = [options.text] if options.text else [line.rstrip("\n") for line in sys.stdin]
    rows = [{data.columns[0]: line} for line in lines if line.strip()]
    if not rows:
        raise UserError("there is no text to predict")
    return rows, "input"


def _gathered(trainer: Any, batches: list[Any]) -> list[Any]:
    """The batches of all ranks."""
    if trainer.world_size == 1:
        return batches
    import torch.distributed as dist

    everyone: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(everyone, batches)
    return [batch for batches in everyone for batch in batches]


def _say(row: files.Row, answer: dict[str, Any], all_of_them: bool) -> None:
    """Prints a prediction as words with probabilities: the three best, or all."""
    text = next(str(v) for k, v in row.items() if not k.startswith("__"))
    named = sorted(answer.get("probabilities", {}).items(), key=lambda item: -item[1])
    shown = ", ".join(f"{k} {v:.2f}" for k, v in (named if all_of_them else named[:3])) or number(
        answer["score"]
    )
    found = answer["prediction"]
    lines = [_line(item) for item in found] if isinstance(found, list) else [f"{found}  ({shown})"]
    screen.console.print("\n  ".join([text, *(lines or ["nothing found"])]))
    for key in answer.keys() - {"prediction", "score", "probabilities"}:
        if isinstance(answer[key], list):
            screen.console.print("\n".join(f"    {_line(item)}" for item in answer[key]))


def _line(item: Any) -> str:
    """An item of a list that was found, in words: its values."""
    values = item.values() if isinstance(item, dict) else [item]
    return "  ".join(number(v) if isinstance(v, float) else str(v) for v in values)


def load(path: str, precision: str = "32-true") -> Predictor:
    """Loads the best model of a run.

    Args:
        path: folder of the run.
        precision: one of Lightning's; bf16-true is the fastest where the device computes in bfloat16, and rounds scores.

    Raises:
        UserError: there is no such run, or it has no checkpoint.
    """
    words = command.Words([path])
    resolved, _ = command.resolve("predict", words)
    resolved["seed_everything"] = False  # the caller's random numbers are the caller's
    resolved["trainer"]["precision"] = precision
    screen.silence_libraries()
    cli = CLI(["--config", json.dumps(resolved, ensure_ascii=False)])
    cli.model.load_weights(words.options["ckpt_path"])
    return Predictor(cli.model, cli.datamodule, cli.trainer.precision_plugin)


def run_verb(
    verb: str, words: command.Words, resolved: Mapping[str, Any], places: Mapping[str, str]
) -> str:
    """Runs a verb with the config that was made for it. Returns the fault in what was given; nothing where there is none."""
    try:
        screen.silence_libraries()
        for section in ("model", "data"):  # what the source says may not be what can be imported
            find_class(
                resolved[section]["class_path"],
                config.at(places, f"{section}.task", f"{section}.class_path", section),
            )
        inside = re.compile(r"^(model|data)\.")
        options = [
            "--" + inside.sub(r"\1.init_args.", key) + f"={value}"
            for key, value in words.options.items()
        ]
        CLI(["--config", json.dumps(resolved, ensure_ascii=False), *options], verb)
    except ArgumentError as error:
        return values.explain(str(error.message), places)
    except MisconfigurationException as error:
        return " ".join(str(error).split())
    except pickle.UnpicklingError:
        return str(holds_code(words.options.get("ckpt_path")))
    except (UserError, ValueError) as error:  # jsonargparse wraps what a constructor raises
        found = user_error(error)
        if found is None:
            raise
        return command.placed(str(found), places, words.options)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return f"{error.filename or 'the disk'}: {error.strerror}; make room, then go on: python -m ftlight fit --resume RUN"
    except Exception as error:
        if not memory.is_lack(error):
            raise
        return memory.words("", (), verb == "fit")
    return ""
