"""Several runs of one command, each in a process of its own, in the folders of one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftlight.cli import agent, child, command
from ftlight.run import folder, tracked
from ftlight.utils.errors import UserError
from ftlight.utils.paths import user_path

RESUME = ("--resume", "auto")  # each run starts, goes on, or is done


def number(words: command.Words, option: str) -> int:
    """How many runs an option asks for.

    Raises:
        UserError: another option does not go with it.
    """
    for other in ("resume", "ckpt_path"):
        if other in words.own:
            raise UserError(
                f"--{other} does not go with --{option}; the same command with the same --run DIR"
                " goes on where it was stopped"
            )
    return int(words.own[option])


def home(words: command.Words, option: str) -> Path:
    """The folder of the runs.

    Raises:
        UserError: it is a run itself, or several processes would make one each.
    """
    if "trainer.run" in words.options:
        found = user_path(words.options["trainer.run"], "trainer.run").absolute()
        if (found / "config.yaml").is_file():
            raise UserError(f"{found} is a run; give another folder for those of --{option}")
        return found
    if command.in_group():
        raise UserError(f"--{option} in several processes needs --run DIR, the same one for all")
    return folder.make(None, words.options.get("trainer.name") or command.name_of(words))


def fit(path: Path, argv: Sequence[str], kind: str) -> int:
    """Trains a run in a process of its own, unless it is done already.

    Args:
        path: folder of the run.
        argv: options of fit.
        kind: what the run is, for W&B: seed, fold, or all for that on all rows.

    Returns:
        Its status.
    """
    words = [*agent.words(argv), "--run", str(path), *RESUME]
    if (project := tracked.of_agent()) is not None:
        words = ["--wandb", project, *words]
    return child.run("fit", words, variables=tracked.grouped(path.parent, kind))


def tell(home: Path, runs: Sequence[Path]) -> None:
    """Gives a W&B agent, whose sweep has one run for them all, the mean scores of several runs.

    Args:
        home: folder of the runs.
        runs: the runs.
    """
    if (project := tracked.of_agent()) is not None:
        from ftlight.run import swept  # brings torch

        swept.tell(project, home, runs)


def without(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """A command line without some options and their values.

    >>> without(["-c", "a.yaml", "--seed", "1", "--run=r", "--name", "n"], ["seed", "run"])
    ['-c', 'a.yaml', '--name', 'n']
    """
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
