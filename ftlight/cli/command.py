"""A command line taken apart, and the config it stands for, checked as far as possible."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.cli import agent, checks, config, early, trusting
from ftlight.cli.verbs import VERBS, Verb
from ftlight.run import folder as run
from ftlight.run import records
from ftlight.utils.errors import UserError
from ftlight.utils.paths import anchor, user_path
from ftlight.utils.yaml_file import UNUSABLE, parse

PLACEMENT = ("accelerator", "devices", "num_nodes", "strategy", "precision")
# To a command and its machine, rather than to a run.
ATTACHED = {"callbacks", "logger", "plugins", "profiler"}
ATTACHED |= {"accelerator", "devices", "num_nodes", "strategy"}
GROUPS = ("WORLD_SIZE", "SLURM_NTASKS")  # variables with the number of processes of a training
CLASSES = {  # options that name a class, with the section they belong to
    f"{section}{key}": section
    for section, word in (("model", "task"), ("data", "module"))
    for key in ("", f".{word}", ".class_path")
}


def in_group() -> bool:
    """Whether this is one of several processes of a training."""
    return any(os.environ.get(name, "1") != "1" for name in GROUPS)


class Words:
    """A command line taken apart by the table of verbs.

    Attributes:
        verb: the verb.
        configs: config files in order; that of a run first.
        classes: classes by section, as ``--model TASK`` names them.
        options: options of model, data and trainer by dotted name, and seed_everything; as text.
        own: options of the verb itself by name; as text, ``true`` for a flag.
        alone: words that belong to no option: a run, a file.
        run: folder of the run that is used; None if there is none.
        begun_with: runs whose configs come before all others.
        named: classes that the user names beside these words, as for the command that asks.
        begun: ``time.monotonic()`` at which the command began.
    """

    def __init__(self, verb: str, argv: Sequence[str]) -> None:
        self.verb = verb
        self.configs: list[str] = []
        self.classes: dict[str, str] = {}
        self.options: dict[str, str] = {}
        self.own: dict[str, str] = {}
        self.alone: list[str] = []
        self.run: Path | None = None
        self.begun_with: list[Path] = []
        self.named: set[str] = set()
        self.begun = time.monotonic()
        rest = agent.words(argv)
        if any(UNUSABLE.search(word) for word in rest):
            raise UserError("the command line holds a NUL or is not UTF-8; rename what is meant")
        while rest:
            word = rest.pop(0)
            if word == "-" or not word.startswith("-"):
                self.alone.append(word)
                continue
            name, equals, value = word.partition("=")
            argument = VERBS[verb].argument(name.lstrip("-"))
            is_flag = argument is not None and argument.is_flag
            if is_flag and not equals and rest[:1] not in (["true"], ["false"]):
                value = "true"
            elif not equals:
                if not rest:
                    if "." not in name and name not in ("-c", "--config"):
                        checks.names(verb, [name.lstrip("-")], {})
                    raise UserError(f"{word} needs a value")
                value = rest.pop(0)
            if is_flag and value not in ("true", "false"):
                raise UserError(f"{name}: expected true or false, got {value}")
            if argument is not None and (wrong := argument.fault(value)):
                raise UserError(f"{name}: {wrong}")
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        key = name.lstrip("-").replace(".init_args.", ".")
        verb = VERBS[self.verb]
        argument = verb.argument(key)
        if name in ("-c", "--config") and (verb.takes_config or verb.takes_run):
            self.configs.append(value)
        elif key in CLASSES:
            self.classes[CLASSES[key]] = value
        elif argument is None or "." in key:
            self.options[key] = value
        elif argument.key:
            self.options[argument.key] = value
        else:
            self.own[key] = value


def resolve(words: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """The config of a verb that works on a model, checked as far as it can be without imports.

    Returns:
        The config in ``class_path`` form, and for each dotted key its place as ``file:line``.

    Raises:
        UserError: a word, name, plain value or file is wrong.
    """
    verb = VERBS[words.verb]
    if "resume" in words.own:
        _resume(words)
    if verb.takes_config:
        early.no_data(words.verb, words.alone[:1], words.configs)
    if "from" in words.own:
        _from(words)
    if verb.takes_run and words.alone:
        words.run = run.find(words.alone.pop(0))
        _begin_with(words.run, words)
    _check_words(words, verb)
    merged, places = config.merge(words.configs, words.begun_with)
    asked = merged["trainer"]
    if not verb.takes_run and (resumed := _resumed(words, asked)) is not None:
        _begin_with(resumed, words)  # an option that is not given stays as it was
        merged, places = config.merge(words.configs, words.begun_with)
        for name in ATTACHED - asked.keys():
            merged["trainer"].pop(name, None)
    trains = words.verb == "baselines"  # which may train again by the config of the run
    begins = trains or (verb.takes_config and not verb.takes_run)
    trusting.check(words, words.begun_with, begins)
    if "from" in words.own and not words.begun_with:  # weights are taken of it, and its classes
        trusting.check(words, [Path(words.own["from"])], begins=False)
    for path in words.configs:
        checks.whole(Path(path).parent, words.options)
    for option, value in words.options.items():
        if value[:1] in ("{", "["):
            parse(value, f"--{option}")
        section, _, key = option.partition(".")
        words.options[option] = anchor(section, key, value, Path())
    for section, name in words.classes.items():
        merged[section] = (name, merged[section][1])
        # a config may name another class
        places = {k: v for k, v in places.items() if CLASSES.get(k) != section}
        places[section] = f"--{section}"
    if words.run is not None:
        _use_run(words.run, merged, words)
    elif not verb.takes_run:
        words.options.setdefault("trainer.name", name_of(words))
    if "from" in words.own:
        _know_labels(merged, words)
    checks.secrets_again(merged, places, words.options)
    early.checkpoint(words.own.get("ckpt_path"), words.run)
    expanded = config.expand(merged, places)
    known = config.options_of(expanded)
    checks.names(words.verb, words.options, known)
    checks.plain_values(words.options, expanded, known, places)
    early.time_limit(words.options, expanded["trainer"], places)
    early.schedule(words.options, expanded["model"], known["model"], places)
    if verb.takes_file and words.alone:
        early.data_file(words.alone[0])
    if not ("trainer.resume" in words.options or "resume" in expanded["trainer"]):
        early.splits(words.verb, words.options, expanded["data"], places)  # one done reads none
        if words.run is None:
            early.backbone(words.options, expanded["model"], places)
        early.tables(words.verb, words.options, expanded["data"], known["data"])
    return expanded, places


def _check_words(words: Words, verb: Verb) -> None:
    """Checks that a verb has the run or config it needs, and no word too many."""
    begins = bool(words.configs or words.classes)
    surplus = words.alone[1 if verb.takes_file else 0 :]
    if surplus:
        hint = "" if verb.takes_run else "; a config is given with -c"
        raise UserError(f"{surplus[0]}: unexpected{hint}")
    if words.run is not None or (verb.takes_config and begins):
        return
    checks.names(words.verb, words.options, {})
    usage = f"python -m ftlight {words.verb} {verb.takes.replace(' | ', ' or ')}"
    if not verb.takes_config:
        raise UserError(f"{words.verb} needs a run: {usage}")
    what = "a run or a config" if verb.takes_run else "a config"
    raise UserError(
        f"{words.verb} needs {what}: {usage} (python -m ftlight init DATA.csv writes a config)"
    )


def _begin_with(folder: Path, words: Words) -> None:
    """Puts the config of a run before all others."""
    words.configs.insert(0, str(folder / "config.yaml"))
    words.begun_with.append(folder)


def _resume(words: Words) -> None:
    """Turns ``--resume RUN|auto`` into options of the trainer.

    Raises:
        UserError: there is no such run, or auto is given without --run.
    """
    wanted = words.own.pop("resume")
    words.options["trainer.resume"] = "true"
    if wanted == "auto":
        if "trainer.run" not in words.options:
            raise UserError("--resume auto needs --run DIR: the run to resume, or to start")
        records.check(user_path(words.options["trainer.run"], "trainer.run"))
        return
    folder = run.find(wanted)
    _begin_with(folder, words)
    if words.options.setdefault("trainer.run", str(folder)) != str(folder):
        raise UserError(
            "--resume RUN resumes it in its own folder; leave --run out, "
            "or give --run DIR --resume auto"
        )


def _from(words: Words) -> None:
    """Finds the run of ``--from RUN``, whose config holds if no other is given.

    Raises:
        UserError: there is no such run, or a checkpoint is given too.
    """
    folder = run.find(words.own["from"])
    words.own["from"] = str(folder)
    if "ckpt_path" in words.own:
        raise UserError("--from takes the weights of a run, --ckpt_path its whole state: give one")
    if not (words.configs or words.classes):
        _begin_with(folder, words)


def _know_labels(merged: Mapping[str, Any], words: Words) -> None:
    """Puts the labels of that run before those of train."""
    given = {*merged["data"][1], *(key.removeprefix("data.") for key in words.options)}
    known = records.labels(Path(words.own["from"])).get("labels")
    if known and not given & {"labels", "known_labels"}:
        merged["data"][1]["known_labels"] = known


def _resumed(words: Words, trainer: Mapping[str, Any]) -> Path | None:
    """The run that is resumed in its folder; None if there is none, or its config is read already.

    Args:
        words: the command line.
        trainer: the trainer's options in config files.
    """
    resumes = words.options.get("trainer.resume", trainer.get("resume"))
    run_of = words.options.get("trainer.run", trainer.get("run"))
    if resumes not in ("true", True) or not isinstance(run_of, str):
        return None
    folder = user_path(run_of, "trainer.run").absolute()
    config_file = folder / "config.yaml"
    is_read = str(config_file) in words.configs
    return folder if config_file.is_file() and not is_read else None


def name_of(words: Words) -> str:
    """Name of a run: its config file's, or that of the run whose own config it trains again.

    Without a config the name of its task.
    """
    if not words.configs:
        return words.classes.get("model", "run")
    file = Path(words.configs[-1]).absolute()
    return file.parent.parent.name if (file.parent / "run.json").is_file() else file.stem


def _use_run(folder: Path, merged: dict[str, Any], words: Words) -> None:
    """Puts what a run keeps in place of what it was trained from: labels, model, checkpoint."""
    model, data = merged["model"][1], merged["data"][1]
    known = records.labels(folder)
    if known.get("labels"):
        data["labels"] = known["labels"]
    if "kind" in known:
        data["kind"] = known["kind"]
    needs_pretrained = words.verb == "baselines" or model.get("peft") or words.own.get("wise")
    if not needs_pretrained:  # the checkpoint holds all weights
        model.update(pretrained=False, backbone=str(folder / "backbone"))
    trainer: dict[str, Any] = {"devices": 1}  # where a run was trained is not where it is used
    if words.verb in ("validate", "test"):
        trainer |= {k: v for k, v in merged["trainer"].items() if k in PLACEMENT}
    if words.verb == "predict":  # the scores of an exported model, to the last digits
        trainer["precision"] = "32-true"
    merged["trainer"] = {**trainer, "run": str(folder)}
    wanted = words.own.setdefault("ckpt_path", "best")
    if wanted in ("best", "last"):
        words.own["ckpt_path"] = str(folder / "checkpoints" / f"{wanted}.ckpt")
