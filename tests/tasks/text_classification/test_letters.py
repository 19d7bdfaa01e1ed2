"""Text classification from folders of documents: fit, its test, predictions, findings."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import toy_rows

from ftlight.__main__ import main

pytestmark = pytest.mark.run


def letters(folder: Path, count: int, start: int = 0) -> None:
    """Writes texts into a folder for each label."""
    for number, (text, label) in list(enumerate(toy_rows(start + count)))[start:]:
        path = folder / label / f"{number:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_stand_in_place_of_lines(fit: Callable[..., Path], capsys: Any) -> None:
    letters(Path("mail/train"), 60)
    letters(Path("mail/test"), 12, start=60)
    Path("mail/test/late/062.txt").write_text(" ")
    run = fit(train="mail")
    said = " ".join(capsys.readouterr().out.split())
    assert "test: found in " in said
    assert "kind of task: single, by folders" in said
    assert "/mail: 1 of 12 documents left out (test/late/062.txt): no text in it" in said
    rows = table(run / "test_predictions.csv")
    assert len(rows) == 11
    assert list(rows[0]) == ["text", "label", "file", "prediction", "score"]
    for row in rows:
        assert Path("mail", row["file"]).read_text() == row["text"]
        assert row["file"].split("/")[:2] == ["test", row["label"]]
    findings = [json.loads(line) for line in (run / "findings.jsonl").read_text().splitlines()]
    places = [line for finding in findings for line in finding["lines"]]
    assert places
    assert all(Path("mail", place).is_file() for place in places)

    # new ones need no folders, and the same documents under other labels can be tested
    letters(Path("inbox 1.2"), 6)
    assert main(["predict", str(run), "inbox 1.2"]) == 0
    answers = table(run / "predictions" / "inbox 1.2.csv")
    assert [row["file"] for row in answers] == sorted(row["file"] for row in answers)
    assert {row["prediction"] for row in answers} <= {"good", "bad", "late"}
    assert main(["test", str(run), "--data.test", "inbox 1.2"]) == 0
    Path("inbox 1.2/good").rename("inbox 1.2/fine")
    assert main(["test", str(run), "--data.test", "inbox 1.2"]) == 2
    assert "inbox 1.2/fine/000.txt: label 'fine' is not in data.labels" in capsys.readouterr().err
