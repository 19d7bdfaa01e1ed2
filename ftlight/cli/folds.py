"""``fit --folds N``: cross-validation, then one model on all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftlight.cli import command, early, several
from ftlight.run import folder, records
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import parse

OWN = ("folds", "run", "trainer.run")  # what each run gets anew
# The run on all rows is as long as the folds say, has nothing to validate, and alone is tested.
WHOLE = (
    *("--data.validation_split", "0", "--trainer.max_epochs", "null"),
    *("--trainer.max_time", "null"),
)


def run(words: command.Words, argv: Sequence[str]) -> tuple[int, str]:
    """Trains and scores the folds, then trains on all rows, unless that is done already.

    Args:
        words: the command line, taken apart.
        argv: the command line.

    Returns:
        The status of the first run that did not end well, else 0 and what to print.

    Raises:
        UserError: the number of folds is none, or options do not go together.
    """
    count = several.number(words, "folds")
    if "seeds" in words.own:
        raise UserError("--folds and --seeds: give one; another --seed with --folds in another run")
    if command.in_group():
        raise UserError(
            "--folds: start it as one process, which starts each run; several devices are given by"
            " --trainer.devices"
        )
    rest = several.without(argv, OWN)
    given = command.Words("fit", rest)
    resolved, _ = command.resolve(given)  # finds mistakes before a folder is made
    has_lengths = _check_schedule(given, resolved)
    home = several.home(words, "folds")
    runs = [home / f"fold-{fold}" for fold in range(count)]
    for fold, path in enumerate(runs):
        own = ["--data.folds", str(count), "--data.fold", str(fold), "--trainer.test", "false"]
        if status := several.fit(path, [*rest, *own], "fold"):
            return status, ""
    from ftlight.cli import out_of_fold  # brings torch

    found = out_of_fold.pool(runs, home)
    steps = out_of_fold.steps_on_all(
        [records.facts(path) for path in runs], found.rows, has_lengths
    )
    own = ["--trainer.max_steps", str(steps)] if steps else []
    own += ["--trainer.calibration", str(found.calibration)] if found.calibration else []
    out_of_fold.write(found, steps, home)
    if status := several.fit(home / folder.ALL, [*rest, *WHOLE, *own], folder.ALL):
        return status, ""
    several.tell(home, runs)
    return 0, out_of_fold.shown(found, steps, home)


def _check_schedule(words: command.Words, resolved: dict[str, Any]) -> bool:
    """Whether stages of the schedule have a length of their own.

    Raises:
        UserError: it decides by validation, which the model on all rows has none of.
    """
    option = early.asked("model", words.options, resolved["model"]).get("unfreeze")
    if isinstance(option, str) and option[:1] in ("{", "["):
        option = parse(option, "--model.unfreeze")[0]
    stages = [option] if isinstance(option, dict) else option
    waits = isinstance(stages, list) and any(stage.get("patience") for stage in stages)
    if option == "auto" or waits:
        what = "auto" if option == "auto" else "a stage with patience"
        raise UserError(
            f"model.unfreeze: {what} decides by validation, and with --folds the last model is"
            " trained on all rows, without any; give another schedule, such as gradual"
        )
    return isinstance(stages, list)
