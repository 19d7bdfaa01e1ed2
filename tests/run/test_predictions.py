"""Tables of predictions."""

from __future__ import annotations

import csv
from pathlib import Path

from ftlight.run.predictions import COMMAS, write_predictions

CELLS = ["=1+1", "+49 30 123", "-sum", "@cmd", "\tx", "-0.5", "+1e3", "a=b", "", "'quoted"]


def test_cells_that_a_spreadsheet_would_run_are_texts_if_asked() -> None:
    rows = [{"=head": cell} for cell in CELLS]
    answers = [{"prediction": "=label", "score": -0.5}] * len(rows)
    for safe in (False, True):
        path = Path(f"{safe}.csv")
        write_predictions(path, rows, answers, False, dialect=COMMAS._replace(safe=safe))
        with path.open(newline="", encoding="utf-8") as file:
            head, *found = csv.reader(file)
        mark = "'" if safe else ""
        assert head == [f"{mark}=head", "prediction", "score"]
        assert [row[1:] for row in found] == [[f"{mark}=label", "-0.5"]] * len(rows)
        wanted = [mark + cell if i < 5 else cell for i, cell in enumerate(CELLS)]
        assert [row[0] for row in found] == wanted
