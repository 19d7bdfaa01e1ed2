"""``fit --seeds N``: the same run N times, each in a process of its own, then compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ftlight.cli import child, command
from ftlight.run import folder
from ftlight.utils.errors import UserError
from ftlight.utils.paths import user_path

OWN = ("seeds", "seed", "seed_everything", "run", "trainer.run")  # what each run gets anew


def run(words: command.Words, argv: Sequence[str]) -> tuple[int, str]:
    """Trains a run for each seed, unless it is done already, in RUN/seed-0, RUN/seed-1, ….

    Args:
        words: the command line, taken apart.
        argv: the command line.

    Returns:
        The status of the first run that did not end well, else 0 and what to print.

    Raises:
        UserError: the number of seeds is none, or options do not go together.
    """
    first, count = _seeds(words)
    rest = _without(argv, OWN)
    command.resolve(command.Words("fit", rest))  # finds mistakes before a folder is made
    home = _home(words)
    runs = [home / f"seed-{seed}" for seed in range(first, first + count)]
    for seed, path in zip(range(first, first + count), runs, strict=True):
        own = ["--seed", str(seed), "--run", str(path), "--resume", "auto"]
        status = child.run("fit", [*rest, *own])
        if status:
            return status, ""
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))):
        return 0, ""
    from ftlight.cli.verbs import compare

    return 0, compare.run(command.Words("compare", [str(path) for path in runs]))


def _seeds(words: command.Words) -> tuple[int, int]:
    """The first seed, and how many there are."""
    given, first = words.own["seeds"], words.options.get("seed_everything", "0")
    if not given.isascii() or not given.isdigit() or not 2 <= int(given) <= 1000:
        raise UserError(f"--seeds: expected a whole number from 2 to 1,000, got {given}")
    if not first.isascii() or not first.isdigit():
        raise UserError(f"--seed: with --seeds it is the first of them, a number, not {first}")
    for option in ("resume", "ckpt_path"):
        if option in words.own:
            raise UserError(
                f"--{option} does not go with --seeds; the same command with the same --run DIR"
                " goes on where it was stopped"
            )
    return int(first), int(given)


def _home(words: command.Words) -> Path:
    """The folder of the runs."""
    if "trainer.run" in words.options:
        home = user_path(words.options["trainer.run"], "trainer.run").absolute()
        if (home / "config.yaml").is_file():
            raise UserError(f"{home} is a run; give another folder for those of --seeds")
        return home
    if command.in_group():
        raise UserError("--seeds in several processes needs --run DIR, the same one for all")
    return folder.make(None, words.options.get("trainer.name") or command.name_of(words))


def _without(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """A command line without some options and their values."""
    kept, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if word.startswith("--") and name.lstrip("-") in names:
            if not equals:
                rest.pop(0)
        else:
            kept.append(word)
    return kept
