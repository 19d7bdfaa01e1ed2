r"""Does `serve` answer what `predict` answers?

    python scripts/bench/served.py RUN… --rows 200

Rows of each run's test data (else validation), evenly spread, are asked by --clients at once, 1, 7
and 32 rows in a request, and compared with the answers of `predict` in Python: all that is no
number must be equal; the last column is the largest difference of two numbers, as a share of those
above 1.
"""

from __future__ import annotations

import argparse
import base64
import math
from pathlib import Path
from typing import Any

from exported import rows_of
from serve import serve, started, through

SIZES = (1, 7, 32)
Row = dict[str, Any]


def apart(one: Any, other: Any) -> float:
    """The largest difference of two numbers in the same place; infinite if anything else differs.

    >>> apart({"label": "a", "score": 0.5}, {"label": "a", "score": 0.25})
    0.25
    >>> apart({"label": "a"}, {"label": "b"})
    inf
    """
    if isinstance(one, float) and isinstance(other, float | int):
        return abs(one - other) / max(1.0, abs(one))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((apart(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(apart, one, other), default=0.0)
    return 0.0 if one == other else math.inf


def sendable(row: Row, images: list[str]) -> Row:
    """A row as JSON can hold it."""
    coded = {name: Path(row[name]).read_bytes() for name in images}
    return {**row, **{name: base64.b64encode(data).decode() for name, data in coded.items()}}


def measure(run: str, most: int, clients: int) -> str:
    """Asks for one run. Returns its line of the table."""
    import ftlight

    rows, wanted = rows_of(run, most)
    images = list(ftlight.load(run).data.image_columns)
    asked = [sendable(row, images) for row in rows]
    equal, worst = [], 0.0
    with started(serve(run)) as (port, _):
        for size in SIZES:
            bodies = [{"rows": asked[at : at + size]} for at in range(0, len(asked), size)]
            replies = through(port, bodies, clients).answers
            found = [answer for reply in replies for answer in reply["answers"]]
            gaps = [apart(a, b) for a, b in zip(wanted, found, strict=True)]
            near = [gap for gap in gaps if gap < math.inf]
            equal.append(str(len(near)))
            worst = max(worst, *near) if near else worst
    return f"| {run} | {len(rows)} | {', '.join(equal)} | {worst:.1e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    print("| run | rows | equal answers at 1, 7, 32 | largest difference |")
    print("|---|---|---|---|")
    for run in options.runs:
        print(measure(run, options.rows, options.clients), flush=True)


if __name__ == "__main__":
    main()
