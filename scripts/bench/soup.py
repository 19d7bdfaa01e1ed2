r"""Does the mean of two runs' weights pay? Pairs of runs, beside the better of each pair.

    python scripts/bench/soup.py RUN RUN RUN --validation val.csv --test test.csv

The runs are classifiers of texts that began with the same weights (Wortsman et al. 2022, "Model
soups", arXiv:2203.05482). The files have columns text and label. The better one of a pair is that
of validation; what the mean of both gains over it on the test rows is printed, and the mean gain
of the pairs whose mean validation likes at least as well.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from torch import Tensor

import ftlight
from ftlight.trainer.wise import mix
from ftlight.utils.format import table

State = Mapping[str, Tensor]


def score(model: Any, state: State, rows: list[dict[str, str]]) -> float:
    """Accuracy of weights on rows."""
    model.task.load_state_dict(state)
    answers = model.predict([{"text": row["text"]} for row in rows])
    right = [a["prediction"] == row["label"] for a, row in zip(answers, rows, strict=True)]
    return float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    given = parser.parse_args()
    files = [list(csv.DictReader(path.open())) for path in (given.validation, given.test)]
    models = [ftlight.load(run) for run in given.runs]
    states = [{k: v.clone() for k, v in model.task.state_dict().items()} for model in models]
    single = [[score(models[0], state, rows) for rows in files] for state in states]
    lines = [["runs", "validation", "test", "of the mean", "", "gain on test"]]
    gains, liked = list[float](), list[float]()
    for a, b in itertools.combinations(range(len(models)), 2):
        both = mix(states[a], states[b], 0.5)
        found = [score(models[0], both, rows) for rows in files]
        better = max((single[a], single[b]))
        gains.append(100 * (found[1] - better[1]))
        if found[0] >= better[0]:
            liked.append(gains[-1])
        names = f"{Path(given.runs[a]).name}, {Path(given.runs[b]).name}"
        lines.append([names, *(f"{value:.4f}" for value in (*better, *found)), f"{gains[-1]:+.2f}"])
    print(table(lines))
    print(f"mean gain {mean(gains):+.2f} points")
    if liked:
        print(f"of the {len(liked)} that validation likes {mean(liked):+.2f}")


if __name__ == "__main__":
    main()
