"""A command line taken apart and made whole: configs merged, runs looked up, names checked, errors put into one line."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.cli import classes as lookup
from ftlight.cli import config, values
from ftlight.cli.options import Option
from ftlight.data import files
from ftlight.run import folder as run
from ftlight.utils import secrets
from ftlight.utils.atomic import read_json
from ftlight.utils.errors import UserError, did_you_mean

# One word on the command line for an option inside.
ALIASES = {
    "run": "trainer.run",
    "name": "trainer.name",
    "wandb": "trainer.wandb",
    "test": "trainer.test",
    "seed": "seed_everything",
}
PLACEMENT = ("accelerator", "devices", "num_nodes", "strategy", "precision")
FLAGS = ("--probabilities",)


class Words:
    """A command line taken apart: config files, classes, words that stand alone, and options for the parser."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.configs: list[str] = []
        self.classes: dict[str, str] = {}
        self.alone: list[str] = []
        self.options: dict[str, str] = {}
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            if word == "-" or not word.startswith("-"):
                self.alone.append(word)
                continue
            name, equals, value = word.partition("=")
            if name in FLAGS and not equals and not (rest and rest[0] in ("true", "false")):
                value, equals = "true", "="
            if not equals:
                if not rest:
                    raise UserError(f"{word} needs a value")
                value = rest.pop(0)
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        key = name.lstrip("-").replace(".init_args.", ".")
        if name in ("-c", "--config"):
            self.configs.append(value)
        elif key in (
            "model",
            "model.task",
            "model.class_path",
            "data",
            "data.module",
            "data.class_path",
        ):
            self.classes[key.split(".")[0]] = value
        else:
            self.options[ALIASES.get(key, key)] = value


def resolve(verb: str, words: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """The config of a command in ``class_path`` form, with the places of its keys.

    Checks on the way what can be checked before anything is imported: names, plain values, and that files are there.
    """
    folder = None
    if verb == "fit":
        _resume(words)
    if words.alone and verb != "fit":
        folder = run.find(words.alone.pop(0))
        _take_config(folder, words)
    if verb in ("test", "predict", "export") and folder is None:
        raise UserError(f"{verb} needs a run: python -m ftlight {verb} RUN")
    if verb == "predict" and words.alone:
        words.options["file"] = words.alone.pop(0)
    if words.alone:
        raise UserError(
            f"{words.alone[0]}: unexpected{'; a config is given with -c' if verb == 'fit' else ''}"
        )
    if verb == "fit" and not words.configs and not words.classes:
        _check_options(verb, words, {})
        raise UserError(
            "fit needs a config: python -m ftlight fit -c X.yaml (python -m ftlight init DATA.csv writes one)"
        )
    merged, places = config.merge(words.configs)
    for option, value in words.options.items():
        section, _, key = option.partition(".")
        words.options[option] = config.anchor(section, key, value, Path())
    for section, name in words.classes.items():
        merged[section] = (name, merged[section][1])
    if folder is not None:
        _use_run(folder, merged, words, verb)
    elif verb == "fit":
        words.options.setdefault(
            "trainer.name", _name(words.configs[-1]) if words.configs else merged["model"][0]
        )
    _ask_again(merged, places, words.options)
    checkpoint = words.options.get("ckpt_path")
    if checkpoint is not None and not Path(checkpoint).is_file():
        beside = [p.name for p in Path(checkpoint).parent.glob("*.ckpt")]
        raise UserError(
            f"{checkpoint}: no such checkpoint (there are: {', '.join(beside) or 'none'})"
        )
    expanded = config.expand(merged, places)
    known = {
        section: lookup.describe(expanded[section]["class_path"]).options
        for section in ("model", "data")
    }
    known["trainer"] = lookup.describe(config.TRAINER).options
    _check_options(verb, words, known)
    _check_values(words, expanded, known, places)
    resumes = "trainer.resume" in words.options or "resume" in expanded["trainer"]
    _check_files(verb, words, expanded["data"], resumes, places)
    return expanded, places


def _take_config(folder: Path, words: Words) -> None:
    """Puts the config of a run before all others."""
    words.configs.insert(0, str(folder / "config.yaml"))
    sys.path += [
        p for p in read_json(folder / "run.json").get("python_path", []) if p not in sys.path
    ]


def _resume(words: Words) -> None:
    """Turns ``--resume`` into options: the run that goes on, or auto for the one that ``--run`` names, if there is one.

    Raises:
        UserError: there is no such run, or auto is without --run.
    """
    wanted = words.options.pop("resume", None)
    if wanted is None:
        return
    words.options["trainer.resume"] = "true"
    if wanted != "auto":
        folder = run.find(wanted)
        _take_config(folder, words)
        if words.options.setdefault("trainer.run", str(folder)) != str(folder):
            raise UserError(
                "--resume RUN goes on in its own folder; leave --run out, or give --run DIR --resume auto"
            )
    elif "trainer.run" not in words.options:
        raise UserError("--resume auto needs --run DIR: the run that goes on, or is started")


def _name(path: str) -> str:
    """Name of a run after its config file; one that trains a run's own config again keeps the name."""
    file = Path(path).absolute()
    return file.parent.parent.name if (file.parent / "run.json").is_file() else file.stem


def _use_run(folder: Path, merged: dict[str, Any], words: Words, verb: str) -> None:
    """Puts what a run knows in place of what it was trained from: labels, model, checkpoint."""
    known = read_json(folder / "labels.json")
    if known.get("labels"):
        merged["data"][1]["labels"] = known["labels"]
    if "kind" in known:
        merged["data"][1]["kind"] = known["kind"]
    if not merged["model"][1].get("peft") and not words.options.get(
        "wise"
    ):  # all weights come from the checkpoint
        merged["model"][1].update(pretrained=False, backbone=str(folder / "backbone"))
    # where a run was trained is not where it is used
    kept = PLACEMENT if verb in ("validate", "test") else ()
    merged["trainer"] = {
        "devices": 1,
        **{k: v for k, v in merged["trainer"].items() if k in kept},
        "run": str(folder),
    }
    if verb == "predict":  # the scores of an exported model, to the last digits
        merged["trainer"]["precision"] = "32-true"
    wanted = words.options.get("ckpt_path", "best")
    words.options["ckpt_path"] = (
        str(folder / "checkpoints" / f"{wanted}.ckpt") if wanted in ("best", "last") else wanted
    )


def _ask_again(merged: dict[str, Any], places: dict[str, str], options: Collection[str]) -> None:
    """Refuses the placeholders of secrets, except where the command line gives them again.

    Raises:
        UserError: a secret is not given again; says how.
    """
    faults = []
    sections = {
        "model": merged["model"][1],
        "data": merged["data"][1],
        "trainer": merged["trainer"],
    }
    for key in secrets.left_out(sections):
        option = key.replace(".init_args.", ".")
        section, _, name = option.partition(".")
        if any(option == o or option.startswith(f"{o}.") for o in options):
            sections[section].pop(
                name, None
            )  # the placeholder may not even be of the option's type
            continue
        whole = re.match(r"(.+?)\.\d", option)
        how = (
            f"give all of {whole[1]} in a YAML after this one: -c FILE"
            if whole
            else f"give it again: --{option} VALUE"
        )
        faults.append(f"{option} is a secret, which a run does not keep; {how}")
    if faults:
        raise UserError(placed("\n".join(faults), places))


def _check_options(verb: str, words: Words, sections: Mapping[str, Sequence[Option]]) -> None:
    """Refuses options that do not exist; none is guessed from its beginning. Without sections only those outside of them.

    Raises:
        UserError: an option is unknown; names the nearest.
    """
    known = {section: [o.name for o in options] for section, options in sections.items()}
    own = {
        "predict": ["file", "text", "out", "probabilities"],
        "test": ["wise"],
        "export": ["out", "wise"],
    }.get(verb, [])
    plain = [*([*ALIASES, "resume"] if verb == "fit" else []), "seed_everything", "ckpt_path", *own]
    names = [
        *plain,
        "config",
        "model",
        "data",
        *(f"{s}.{n}" for s, ns in known.items() for n in ns),
    ]
    for option in words.options:
        section, _, key = option.partition(".")
        if option in plain or (
            key.split(".")[0] in known[section] if section in known else not known and key
        ):
            continue
        alias = config.FOREIGN.get(key or section)
        hint = f"; ftlight calls it --{alias}" if alias else did_you_mean(option, names)
        raise UserError(
            f"--{option} is not an option of {verb}{hint} (all: python -m ftlight {verb} --help)"
        )


def _check_values(
    words: Words,
    expanded: dict[str, Any],
    sections: Mapping[str, Sequence[Option]],
    places: dict[str, str],
) -> None:
    """Refuses words where numbers, truth or choices are wanted.

    Raises:
        UserError: a value is of another type.
    """
    faults = []
    for section, options in sections.items():
        given = dict(expanded[section] if section == "trainer" else expanded[section]["init_args"])
        given |= {
            o.partition(".")[2]: v for o, v in words.options.items() if o.startswith(f"{section}.")
        }
        found = (
            (o.name, values.fault(o.whole_type, given[o.name])) for o in options if o.name in given
        )
        faults += [f"{section}.{name}: {wrong}" for name, wrong in found if wrong]
    if faults:
        raise UserError(placed("\n".join(faults), places, words.options))


def _check_files(
    verb: str, words: Words, data: dict[str, Any], resumes: bool, places: dict[str, str]
) -> None:
    """Checks that the files are there which a verb reads, where the data module is one of ours.

    Raises:
        UserError: one is missing; names the nearest.
    """
    splits = {
        "fit": ("train", "validation", "test"),
        "validate": ("validation",),
        "test": ("test",),
    }.get(verb, ())
    if resumes or not data["class_path"].startswith("ftlight."):  # a run that is done reads none
        return
    try:
        for split in splits:
            name = words.options.get(f"data.{split}", data["init_args"].get(split))
            if isinstance(name, str) and name not in ("", "null") and not name.startswith("hf:"):
                files.there(name, f"data.{split}")
        if words.options.get("file", "-") not in ("", "-"):
            files.there(words.options["file"])
    except UserError as error:
        raise UserError(placed(str(error), places, words.options)) from None


def placed(message: str, places: Mapping[str, str], options: Collection[str] = ()) -> str:
    """Puts file and line before each line of a message that begins with an option given in a file, and not on the command line."""
    lines = []
    for line in message.splitlines():
        found = re.match(r"(model|data|trainer)(\.\w+)+", line)
        key = found.group() if found else ""
        overruled = any(key == o or key.startswith(f"{o}.") for o in options)
        while key and key not in places:
            key = key.rpartition(".")[0]
        lines.append(f"{places[key]}: {line}" if "." in key and not overruled else line)
    return "\n".join(lines)


def hidden(argv: Sequence[str], words: Words | None) -> set[str]:
    """What no message may show: secrets of the command line, of its config files and of the environment."""
    found = secrets.given(argv) | secrets.of_environment()
    for path in words.configs if words else ():
        with contextlib.suppress(UserError):
            found |= secrets.within(config.read_yaml(path)[0])
    return found


def traceback_of(error: Exception, argv: Sequence[str], words: Words | None) -> str:
    """The traceback of an error without the secrets it shows; nothing where it shows none."""
    text = "".join(traceback.format_exception(error))
    shown = secrets.hide(text, hidden(argv, words))
    return "" if shown == text else shown
