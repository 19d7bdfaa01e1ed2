"""Whether the classes that a run names may be imported, asked before anything of them is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.run import folder as runs
from ftlight.run import trust
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.yaml_file import read_yaml


def check(words: Any, folders: list[Path], begins: bool) -> None:
    """Refuses to import classes that a run names, unless it may; lets them be found if it may.

    Args:
        words: the command line.
        folders: the runs whose configs it begins with.
        begins: whether the run's trainer is made as its config says, as in a resumed training.

    Raises:
        UserError: a run names code that is not named now, and is neither trusted nor made here.
    """
    named = named_now(words) if folders else set()
    for folder in folders:
        config = runs.read_config(folder)
        code = [name for name in trust.classes(config) if name not in named]
        if begins:
            code += trust.attached(config)
        elif words.verb in ("validate", "test"):  # these compute where the run was trained
            code += trust.placed(config)
        if not code and not trust.classes(config):
            continue
        if code and words.own.get("trust") == "true":
            trust.note(folder, config)
        elif code and not trust.is_trusted(folder):
            place = runs.short(folder)
            raise UserError(
                f"{place} was not made here, or was changed or moved since, and names code:"
                f" {join_limited(code)}. If you know where it comes from, add --trust (in a job set"
                f" {trust.VARIABLE}={shlex.quote(place)}), or name the class with -c X.yaml"
            )
        for path in trust.import_path(folder):
            if path not in sys.path:
                sys.path.append(path)


def named_now(words: Any) -> set[str]:
    """Classes that the command itself names: with options, or configs that are not a run's own."""
    own = {str(folder / "config.yaml") for folder in words.begun_with}
    named = {*words.classes.values(), *words.named}
    for path in words.configs:
        if path not in own:
            config: Mapping[str, Any] = read_yaml(path)[0]
            named |= set(trust.classes(config))
    return named
