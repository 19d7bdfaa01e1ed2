"""From a checked config to trainer, model and data, and the verb that works on them."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ftlight.cli import checks, command, config, trusting, values, verbs
from ftlight.cli.classes import find_class, public
from ftlight.data.loaders import lost_worker
from ftlight.data.module import DataModule
from ftlight.run import console as screen
from ftlight.run import ending, former, records, trust
from ftlight.task import Task
from ftlight.trainer import overlap
from ftlight.trainer.predictor import Predictor
from ftlight.trainer.resume_state import peek
from ftlight.trainer.scores import show
from ftlight.trainer.trainer import Trainer
from ftlight.training import group, memory
from ftlight.utils import secrets
from ftlight.utils.errors import UserError, WriteError, holds_code, join_limited, user_error
from ftlight.utils.internals import let_errors_be_empty
from ftlight.utils.yaml_file import quoted

log = logging.getLogger(__name__)
ALONE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}  # one process, whatever a run had


class CLI(LightningCLI):
    """LightningCLI that makes our trainer, task and data module, for the verbs to work with."""

    trainer: Trainer
    model: Task
    datamodule: DataModule

    def __init__(self, args: list[str]) -> None:
        let_errors_be_empty()
        super().__init__(
            Task,
            DataModule,
            save_config_callback=None,  # the run folder keeps it
            trainer_class=Trainer,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=args,
            run=False,  # a subcommand's parser takes as long again as the one without
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links what the data tell the model, and the model the data."""
        _link(parser)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the trainer.

        Raises:
            UserError: Lightning refuses an option, or options that do not go together.
        """
        try:
            return cast(Trainer, super().instantiate_trainer(**kwargs))
        except (TypeError, ValueError) as error:
            if isinstance(error, TypeError) and not _is_of_lightning(error):
                raise
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error

    def record(self) -> dict[str, Any]:
        """The whole config as a run records it: with public names, without secrets."""
        self.trainer.settle_unfreeze(self.model)
        options = self.config.model.init_args
        if options.get("unfreeze", "") is None:
            options.unfreeze = self.model.schedule
        dumped = json.loads(self.parser.dump(self.config, format="json"))
        record = {key: dumped[key] for key in ("seed_everything", "trainer", "model", "data")}
        for key in ("run", "name", "resume"):
            record["trainer"].pop(key, None)
        # Trainer always sets it, whatever Lightning's default says
        record["trainer"]["use_distributed_sampler"] = False
        for section in ("model", "data"):
            record[section]["class_path"] = public(record[section]["class_path"])
        return cast(dict[str, Any], secrets.redact(record))

    def measure(self, stage: Literal["val", "test"], ckpt_path: str | None) -> None:
        """Measures validation or test data and prints the table of results."""
        measure = self.trainer.validate if stage == "val" else self.trainer.test
        measure(
            self.model,
            datamodule=self.datamodule,
            ckpt_path=ckpt_path,
            verbose=False,
            weights_only=True,
        )
        if self.trainer.is_global_zero:
            if self.trainer.folder is not None and stage == "val":
                overlap.find(self.model, self.datamodule, self.trainer.run, stage)
            screen.table(show(self.model, stage))


def _link(parser: LightningArgumentParser) -> None:
    parser.link_arguments("data.labels", "model.init_args.labels", apply_on="instantiate")
    parser.link_arguments("data.kind", "model.init_args.kind", apply_on="instantiate")
    parser.link_arguments("model.init_args.backbone", "data.init_args.tokenizer")


def run_verb(words: command.Words, resolved: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """Runs a verb that works on a model.

    Args:
        words: the command line.
        resolved: the config it stands for, in ``class_path`` form.
        places: dotted key to ``file:line``.

    Returns:
        What is wrong with what the user gave; empty if nothing is.

    Raises:
        WriteError: something could not be written.
    """
    hidden = checks.hidden(sys.argv, words.configs)
    try:
        with _told(words, places), group.command(lambda line: secrets.hide(line, hidden)):
            screen.silence_libraries()
            for section in ("model", "data"):  # a class whose source is clear may still not import
                place = config.at(places, f"{section}.task", f"{section}.class_path", section)
                find_class(resolved[section]["class_path"], place)
            if words.verb == "fit" and "ckpt_path" in words.own:
                _keep_options(words, resolved)
            verbs.load(words.verb).run(words, _made(words, resolved))
    except UserError as error:
        if error.status != UserError.status:
            raise
        return str(error)
    if lost := screen.output.gap():
        raise WriteError(f"standard output: {lost}; some of it is lost")
    return ""


def _made(words: command.Words, resolved: Mapping[str, Any]) -> CLI | DataModule:
    """What the file of a verb works with."""
    if not verbs.VERBS[words.verb].only_data:
        return _build(words, resolved)
    if words.own.get("full") != "true" and not words.alone:
        return _data(words, resolved)
    return _build(words, {**resolved, "trainer": {**resolved["trainer"], **ALONE}})


def _data(words: command.Words, resolved: Mapping[str, Any]) -> DataModule:
    """Makes the data module alone; that of a run as it kept it."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(DataModule, "data", subclass_mode=True)
    section = resolved["data"]
    tokenizer = words.options.get("model.backbone", resolved["model"]["init_args"].get("backbone"))
    options = {"tokenizer": tokenizer, **section["init_args"]}
    asked = quoted({**section, "init_args": options})
    read = parser.parse_args([f"--data={asked}", *_given(words, "data")])
    data: DataModule = parser.instantiate_classes(read).data
    known = {option.name: option.default for option in config.options_of(resolved)["model"]}
    data.set_task(SimpleNamespace(**{**known, **resolved["model"]["init_args"]}))
    return _as_kept(words, data)


def _as_kept(words: command.Words, data: DataModule) -> DataModule:
    """A data module with what the run that is used keeps of it."""
    if words.run is not None:
        data.load_state(words.run)
        data.dropped = records.facts(words.run).get("dropped", ())
    return data


def _given(words: command.Words, *sections: str) -> list[str]:
    """Options of the command line, as the parser reads them."""
    given = []
    for key, value in words.options.items():
        section, _, option = key.partition(".")
        if section in sections or not sections:
            inside = f"{section}.init_args.{option}" if section in ("model", "data") else key
            given.append(f"--{inside}={value}")
    return given


def _build(words: command.Words, resolved: Mapping[str, Any]) -> CLI:
    """Makes trainer, model and data; those of a run as it kept them."""
    config = quoted(resolved)
    cli = CLI(["--config", config, *_given(words)])
    cli.datamodule.set_task(cli.model)
    _as_kept(words, cli.datamodule)
    _say_unfinished(words)
    return cli


def measured(path: str) -> CLI:
    """Trainer, model and data of a run, whose best weights have been validated in this process.

    Raises:
        UserError: there is no such run, or it cannot be measured.
    """
    words = command.Words("validate", [path])
    resolved, places = command.resolve(words)
    screen.silence_libraries()
    with _told(words, places):
        cli = _build(words, {**resolved, "trainer": {**resolved["trainer"], **ALONE}})
        checkpoint = words.own["ckpt_path"]
        how: dict[str, Any] = {"verbose": False, "weights_only": True}
        cli.trainer.validate(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, **how)
    return cli


def with_backbone(words: command.Words, backbone: str) -> CLI:
    """Makes trainer, model and data of the run or config that is used, with another backbone.

    Args:
        words: the command line.
        backbone: a hub id or a folder.
    """
    again = command.Words(words.verb, [] if words.run is None else [str(words.run)])
    again.named = trusting.named_now(words)
    if words.run is None:
        again.configs, again.classes = list(words.configs), dict(words.classes)
        again.options |= words.options
    again.options |= {"model.backbone": backbone, "model.peft": "null"}
    return _build(again, command.resolve(again)[0])


def _say_unfinished(words: command.Words) -> None:
    """Says that the run whose weights are used is not done."""
    kind = Path(words.own.get("ckpt_path", "")).stem
    if words.run is not None and kind in ("best", "last") and (how := ending.unfinished(words.run)):
        then = ending.resume(words.run)
        log.warning("%s; these are its %s weights so far; to go on: %s", how, kind, then)


def _keep_options(words: command.Words, resolved: Mapping[str, Any]) -> None:
    """Takes options that are not given from the schedule in the checkpoint that a run begins from.

    The checkpoint itself would do so, but the config that the run records must have them too.
    """
    schedule = peek(Path(words.own["ckpt_path"])).get("callbacks", {}).get("Freezing")
    known = {option.name for option in config.options_of(resolved)["model"]}
    given = resolved["model"]["init_args"]
    for name, value in former.saved(schedule).items() if schedule else ():
        if name in known & former.MODEL.keys() and f"model.{name}" not in words.options:
            if code := trust.class_paths(value):
                raise UserError(
                    f"{words.own['ckpt_path']}: its schedule names code, which ftlight never takes"
                    f" from a checkpoint: {join_limited(code)}"
                )
            given.setdefault(name, value)


@contextlib.contextmanager
def _told(words: command.Words, places: Mapping[str, str]) -> Iterator[None]:
    """Raises what the user can mend as an error of ftlight's own, with its line.

    Raises:
        UserError: something is wrong with what the user gave.
        WriteError: something could not be written.
    """
    try:
        yield
    except Exception as error:
        fault = _fault(error, words, places)
        if not fault:
            raise
        known = WriteError(fault) if _is_full(error) else user_error(error)
        raise (UserError if known is None else type(known))(fault) from error


def _fault(error: Exception, words: command.Words, places: Mapping[str, str]) -> str:
    """The line for an error that the user can mend; empty for any other."""
    if isinstance(error, ArgumentError):
        return values.explain(str(error.message), places)
    if isinstance(error, MisconfigurationException) or _is_of_lightning(error):
        return " ".join(str(error).split())
    if isinstance(error, pickle.UnpicklingError):
        return str(holds_code(words.own.get("ckpt_path")))
    if isinstance(error, (UserError, ValueError)):
        # jsonargparse wraps what a constructor raises
        fault = user_error(error)
        if fault:
            return checks.placed(str(fault), places, words.options)
    if isinstance(error, OSError) and _is_full(error):
        return f"{error.filename or 'the disk'}: {error.strerror}; make room, then go on"
    lost = lost_worker(error)
    if lost:
        return lost
    return memory.words("", (), words.verb == "fit") if memory.is_lack(error) else ""


def _is_full(error: Exception) -> bool:
    """Whether a disk had no room."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _is_of_lightning(error: Exception) -> bool:
    """Whether Lightning itself refuses an option: it does so with a plain ValueError, too."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return type(error) in (ValueError, TypeError) and str(module).startswith("lightning.")


def trained(path: str, asked: command.Words) -> Task:
    """The task of a run with its best weights; no trainer is made, whose devices are taken.

    Args:
        path: folder of the run.
        asked: the command that takes it, which may trust it, or name its classes.

    Raises:
        UserError: there is no such run, or it has no checkpoint.
    """
    trusts = ["--trust"] if asked.own.get("trust") == "true" else []
    words = command.Words("predict", [path, *trusts])
    words.named = trusting.named_now(asked)
    resolved, places = command.resolve(words)
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(DataModule, "data", subclass_mode=True)
    parser.add_lightning_class_args(Task, "model", subclass_mode=True)
    _link(parser)
    given = [f"--{key}={quoted(resolved[key])}" for key in ("data", "model")]
    with _told(words, places):
        task = cast(Task, parser.instantiate_classes(parser.parse_args(given)).model)
        task.load_weights(words.own["ckpt_path"])
    _say_unfinished(words)
    return task


def load(
    path: str,
    precision: str = "32-true",
    *,
    task: type[Task] | None = None,
    data: type[DataModule] | None = None,
    trust: bool = False,
) -> Predictor:
    """Loads the best model of a run.

    Args:
        path: Folder of the run.
        precision: One of Lightning's. bf16-true is fastest on devices that compute in bfloat16, and
            rounds scores.
        task: Class of the task, if it is your own: a run that was not made here may name any.
        data: Class of the data module likewise. Default: that of the task.
        trust: Whether classes that the run names are imported though it was not made here.

    Raises:
        UserError: there is no such run, it has no checkpoint, or it names code that is not trusted.
    """
    words = command.Words("predict", [path, *(["--trust"] if trust else [])])
    if task is not None:
        words.classes["model"] = f"{task.__module__}.{task.__qualname__}"
        own = task.data_module or "ftlight."
        if data is None and not own.startswith("ftlight."):
            words.classes["data"] = own
    if data is not None:
        words.classes["data"] = f"{data.__module__}.{data.__qualname__}"
    return _opened(words, precision)[0]


def opened(path: str, options: Sequence[str]) -> Predictor:
    """The model of a run on the device of this machine.

    Args:
        path: folder of the run.
        options: options of ``predict``, such as ``--trust``.

    Raises:
        UserError: there is no such run, it has no checkpoint, or it names code that is not trusted.
    """
    predictor, cli = _opened(command.Words("predict", [path, *options]), "32-true")
    predictor.task.to(cli.trainer.strategy.root_device)
    return predictor


def _opened(words: command.Words, precision: str) -> tuple[Predictor, CLI]:
    """The model of a run, and what was made to load it."""
    resolved, places = command.resolve(words)
    resolved["seed_everything"] = False  # the caller's random numbers stay as they are
    resolved["trainer"]["precision"] = precision
    screen.silence_libraries()
    with _told(words, places):
        cli = _build(words, resolved)
        cli.model.load_weights(words.own["ckpt_path"])
    return Predictor(cli.model, cli.datamodule, cli.trainer.precision_plugin, words.run), cli
