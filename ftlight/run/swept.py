"""The run of a W&B sweep that stands for several runs of ftlight: it gets their mean scores."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ftlight.run import tracked, tracking_end
from ftlight.utils.errors import first_line

log = logging.getLogger(__name__)
ENDS = ("_low", "_high")  # of an interval, which a mean has not


def tell(project: str, home: Path, runs: Sequence[Path]) -> None:
    """Logs the mean scores of runs as the run that an agent has started this process for.

    The runs are runs of their own in W&B, in a group with this one and outside of the sweep, as
    W&B's example of a cross-validation in a sweep has it. If W&B cannot be used, a line says why.

    Args:
        project: project of the sweep.
        home: folder of the runs.
        runs: the runs.
    """
    about = {**tracked.settle({}, project), "group": tracked.grouped(home, "")[tracked.GROUP]}
    try:
        run = tracked.begin(home, about, os.environ.get("WANDB_MODE", ""))
        run.log(means(runs))
        run.finish()
    except Exception as error:
        log.warning("W&B: %s; the sweep gets no score of %s", first_line(error), home)


def means(runs: Sequence[Path]) -> dict[str, float]:
    """The mean of each number that the summaries of all runs have.

    Args:
        runs: the runs, at least one.
    """
    found = [tracking_end.summary(run) for run in runs]
    values = {}
    for name in found[0]:
        each = [summary[name] for summary in found if isinstance(summary.get(name), int | float)]
        if len(each) == len(found) and not name.endswith(ENDS):
            values[name] = fmean(each)
    return values
