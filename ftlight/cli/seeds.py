"""``fit --seeds N``: the same run N times, each in a process of its own, then compared."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ftlight.cli import command, several
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import LAST_SEED

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
    rest = several.without(argv, OWN)
    command.resolve(command.Words("fit", rest))  # finds mistakes before a folder is made
    home = several.home(words, "seeds")
    runs = [home / f"seed-{seed}" for seed in range(first, first + count)]
    for seed, path in zip(range(first, first + count), runs, strict=True):
        if status := several.fit(path, [*rest, "--seed", str(seed)], "seed"):
            return status, ""
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))):
        return 0, ""
    several.tell(home, runs)
    from ftlight.cli.verbs import compare

    return 0, compare.run(command.Words("compare", [str(path) for path in runs]))


def _seeds(words: command.Words) -> tuple[int, int]:
    """The first seed, and how many there are."""
    count, first = several.number(words, "seeds"), words.options.get("seed_everything", "0")
    if not (first.isascii() and first.isdigit() and int(first[:11]) <= LAST_SEED):
        raise UserError(f"--seed: with --seeds it is the first of them, a number, not {first}")
    return int(first), count
