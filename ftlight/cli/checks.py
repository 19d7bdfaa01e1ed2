"""Checks of a command that need nothing imported: names, plain values, secrets."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.cli import values
from ftlight.cli.options import Option
from ftlight.cli.verbs import VERBS
from ftlight.run import former, records
from ftlight.utils import ranges, secrets
from ftlight.utils.errors import UserError, did_you_mean
from ftlight.utils.foreign import foreign
from ftlight.utils.yaml_file import read_yaml

SEED = f"bool | Annotated[int, {ranges.SEED}] | None"  # Lightning's, without what numpy refuses


def names(verb: str, given: Iterable[str], sections: Mapping[str, Sequence[Option]]) -> None:
    """Refuses options that do not exist; none is completed from its beginning.

    Args:
        verb: the verb.
        given: options of the command line, without dashes.
        sections: the options of model, data and trainer; empty if they are not known yet, and are
            then not checked.

    Raises:
        UserError: there is no such option; names the nearest.
    """
    table = VERBS[verb]
    inside = [f"{section}.{o.name}" for section, options in sections.items() for o in options]
    plain = [*(a.name for a in table.arguments if a.name)]
    plain += ["seed_everything", "model", "data"] if table.model else []
    for option in given:
        base = ".".join(option.split(".")[:2])  # trainer.logger.save_dir is of trainer.logger
        if option in plain or base in inside or ("." in option and table.model and not sections):
            continue
        if sections and (gone := former.GONE.get(option.removeprefix("data."))):
            raise UserError(f"--{option} is gone: {gone}")
        own = [name.rpartition(".")[2] for name in (*plain, *inside)]
        alias = foreign(option.rpartition(".")[2], own) if table.model else ""
        inner = [name for name in inside if name.endswith(f".{option}")]  # --lr is --model.lr
        nearest = did_you_mean(inner[0] if inner else option, [*plain, *inside])
        hint = f"; ftlight calls it --{alias}" if alias else nearest.replace('"', '"--', 1)
        dashes = "--" if len(option) > 1 else "-"
        raise UserError(
            f"{dashes}{option} is not an option of {verb}{hint} "
            f"(all: python -m ftlight {verb} --help)"
        )


def whole(folder: Path, given: Iterable[str]) -> None:
    """Refuses the config of a run that was made in Python with what YAML cannot hold.

    Args:
        folder: where the config is; it need not be a run.
        given: options of the command line, which may say what is missing.

    Raises:
        UserError: the model or the data would be others without it.
    """
    lacks = records.facts(folder).get("lacks", {})
    for name in sorted(lacks.keys() - set(given)):
        raise UserError(
            f"{folder}/config.yaml lacks {name}: {lacks[name]}; make task and data module in"
            f' Python, then: task.load_weights("{folder}/checkpoints/best.ckpt");'
            " ftlight.Predictor(task, data)"
        )


def plain_values(
    given: Mapping[str, str],
    expanded: Mapping[str, Any],
    sections: Mapping[str, Sequence[Option]],
    places: Mapping[str, str],
) -> None:
    """Refuses words where numbers, true or false, or choices are wanted.

    Args:
        given: options of the command line.
        expanded: the config in ``class_path`` form.
        sections: the options of model, data and trainer.
        places: dotted key to ``file:line``.

    Raises:
        UserError: a value is of another type.
    """
    seed = given.get("seed_everything", expanded.get("seed_everything"))
    wrong = values.fault(SEED, seed)
    name = "--seed" if "seed_everything" in given else "seed_everything"
    faults = [f"{name}: {wrong}"] if wrong else []
    for section, options in sections.items():
        config_values = expanded[section]
        present = dict(config_values if section == "trainer" else config_values["init_args"])
        for name, value in given.items():
            if name.startswith(f"{section}."):
                present[name.partition(".")[2]] = value
        for option in options:
            if option.name in present:
                value = present[option.name]
                wrong = values.fault(option.full_type, value)
                if value in (None, "null") and not values.takes_null(option):
                    wrong = "null is nothing it can be; leave it out for the default"
                faults += [f"{section}.{option.name}: {wrong}"] if wrong else []
    if faults:
        raise UserError(placed("\n".join(faults), places, given))


def secrets_again(
    merged: dict[str, Any], places: Mapping[str, str], given: Mapping[str, str]
) -> None:
    """Refuses placeholders of secrets, except those that the command line replaces.

    Raises:
        UserError: a secret must be given again; says how.
    """
    model, data = merged["model"][1], merged["data"][1]
    sections = {"model": model, "data": data, "trainer": merged["trainer"]}
    faults = []
    for key in secrets.left_out(sections):
        option = key.replace(".init_args.", ".")
        section, _, name = option.partition(".")
        if any(option == o or option.startswith(f"{o}.") for o in given):
            # the placeholder may not even be of the option's type
            sections[section].pop(name, None)
            continue
        how = f"give it again: --{option} VALUE"
        in_list = re.match(r"(.+?)\.\d", option)
        if in_list:
            how = f"give all of {in_list[1]} in a YAML after this one: -c FILE"
        faults.append(f"{option} is a secret, which a run does not keep; {how}")
    if faults:
        raise UserError(placed("\n".join(faults), places))


def placed(message: str, places: Mapping[str, str], given: Iterable[str] = ()) -> str:
    """Puts ``file:line`` before each line of a message that begins with an option of a file.

    Args:
        message: lines such as ``model.lr: expected a number``.
        places: dotted key to ``file:line``.
        given: options of the command line, which win over the files.
    """
    options = list(given)
    lines = []
    for line in message.splitlines():
        match = re.match(r"(model|data|trainer)(\.\w+)+|seed_everything", line)
        key = match.group() if match else ""
        overruled = any(key == o or key.startswith(f"{o}.") for o in options)
        while key and key not in places:
            key = key.rpartition(".")[0]
        is_option = "." in key or key == "seed_everything"
        lines.append(f"{places[key]}: {line}" if is_option and not overruled else line)
    return "\n".join(lines)


def hidden(argv: Sequence[str], configs: Iterable[str]) -> set[str]:
    """What no message may show: secrets of the command line, config files and the environment."""
    found = secrets.given(argv) | secrets.of_environment()
    for path in configs:
        with contextlib.suppress(UserError):
            found |= secrets.within(read_yaml(path)[0])
    return found


def traceback_of(error: Exception, hide: set[str]) -> str:
    """The traceback of an error without the secrets in it; empty if it shows none."""
    text = "".join(traceback.format_exception(error))
    shown = secrets.hide(text, hide)
    return "" if shown == text else shown
