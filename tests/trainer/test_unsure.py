"""Answers that keep a promise: shares that are right, sets and ranges that hold the truth."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run, each, write_csv

import ftlight
from ftlight.__main__ import main
from ftlight.metrics.sureness import Calibration
from ftlight.task import Task
from ftlight.tasks.classification import Classification
from ftlight.tasks.text_classification.data import TextData
from ftlight.trainer import unsure
from ftlight.utils.errors import UserError

LABELS = ("good", "bad", "late")


def rows_of(count: int, seed: int, doubtful: float = 0.4) -> list[tuple[str, str]]:
    """Texts that name their label; a share names none, so that nothing tells it."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        label = draw.choice(LABELS)
        said = "film" if draw.random() < doubtful else label
        rows.append((f"{said} {draw.choice('abcdefgh')} {i}", label))
    return rows


def known(calibrated: Calibration | None = None) -> Calibration:
    """A calibration of 300 rows: the surer, the more often right."""
    confidence = torch.linspace(0.4, 1, 300)
    right = torch.rand(300, generator=torch.manual_seed(0)) < confidence
    return calibrated or Calibration(
        1.5, 300, True, 0.1, 0.05, 0.04, confidence, right, 1 - confidence
    )


def task(kind: str = "single") -> Any:
    found = Classification.__new__(Classification)
    torch.nn.Module.__init__(found)
    found.kind = kind
    return found


def test_what_cannot_be_promised_is_said_in_one_line() -> None:
    few = known()._replace(rows=10, misfits=known().misfits[:10])

    def check(kind: str, calibration: Any, asked: tuple[Any, Any], says: str) -> None:
        with pytest.raises(UserError) as error:
            unsure.settle(task(kind), calibration, *asked, dashes="--")
        assert "\n" not in str(error.value)
        assert says in str(error.value)

    each(
        [
            (
                "single",
                known(),
                (0.999, None),
                "--at_least 0.999: not reachable with 300 validation rows; they bear up to 0",
            ),
            ("single", known(), (0.999, None), "it takes 2,703 if all were right; for more rows"),
            ("single", known(), (0.99, None), "too many of the surest are wrong; for more rows"),
            ("single", known(), (98, None), "--at_least 98: expected a share between 0 and 1"),
            (
                "single",
                few,
                (None, 0.95),
                "--coverage 0.95: not reachable with 10 validation rows; it takes 19",
            ),
            ("single", None, (0.9, None), "these weights have no calibration"),
            ("multi", known(), (None, 0.9), "several labels a row have no sets"),
            ("regression", known(), (0.9, None), "a number is not right or wrong"),
        ],
        check,
    )
    with pytest.raises(UserError, match="Task does not tell right answers from wrong ones"):
        unsure.settle(Task.__new__(Task), known(), 0.9, None)


def test_the_most_that_rows_bear_is_the_most_within_reach() -> None:
    calibration = known()
    assert calibration.threshold(calibration.most() - 1e-6) is not None
    assert calibration.threshold(calibration.most() + 1e-6) is None


def test_answers_are_marked() -> None:
    answers = [
        {"prediction": "a", "score": 0.9, "probabilities": {"b": 0.06, "a": 0.9, "c": 0.04}},
        {"prediction": "b", "score": 0.5, "probabilities": {"b": 0.5, "a": 0.45, "c": 0.05}},
    ]
    unsure.mark(answers, unsure.Promise(0.8, 0.6))
    assert [a["unsure"] for a in answers] == [False, True]
    assert [a["prediction"] for a in answers] == ["a", None]
    assert [a["set"] for a in answers] == [["a"], ["b", "a"]]
    unsure.mark(answers, unsure.Promise(None, 0.01))
    assert [a["set"] for a in answers] == [["a"], ["b"]]  # an empty set is filled
    numbers = [{"prediction": 3.0, "score": 3.0}]
    unsure.mark(numbers, unsure.Promise(quantile=0.5), [0])
    assert numbers == [{"prediction": 3.0, "score": 3.0, "low": 2.5, "high": 3.5}]


def test_a_row_without_a_text_is_never_sure() -> None:
    answers = [{"prediction": label, "score": 0.97} for label in "ab"]
    unsure.mark(answers, unsure.Promise(0.8), [1])
    assert [a["prediction"] for a in answers] == ["a", None]

    def check(options: dict[str, Any], rows: list[Any], numbers: list[int]) -> None:
        data = TextData(**options)
        given = [{**row, "__line__": i} for i, row in enumerate(rows, 1)]
        assert data.without_text(given, "rows") == numbers

    pairs = [{"a": a, "b": b} for a, b in (("x", "y"), ("x", None), (" ", ""))]
    each(
        [
            ({}, [{"text": text} for text in ("x", " \n", None, "?")], [1, 2]),
            ({"text": ["a", "b"]}, pairs, [2]),
            ({"text": "a", "text_pair": "b"}, pairs, [2]),
            ({"text": "a", "text_pair": "b", "on_empty_text": "skip"}, pairs, [1, 2]),
        ],
        check,
    )


@pytest.mark.run
def test_a_share_of_the_answers_is_right_and_sets_hold_the_truth(
    fit: Run, tmp_path: Path, capsys: Any
) -> None:
    train = write_csv(tmp_path / "train.csv", rows_of(120, 0))
    validation = write_csv(tmp_path / "v.csv", rows_of(400, 1))
    options = ["--data.validation", validation, "--data.check", "off", "--model.lr", "0.02"]
    folder = fit(*options, train=train, epochs=6)
    new = rows_of(400, 2)
    file = write_csv(tmp_path / "new.csv", [(text,) for text, _ in new], ("text",))
    asked = ["--at_least", "0.9", "--coverage", "0.9"]
    capsys.readouterr()
    assert main(["predict", str(folder), file, "--out", "p.jsonl", *asked]) == 0
    found = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert f"; {sum(row['unsure'] for row in found)} of 400 unsure" in capsys.readouterr().out
    pairs = list(zip(found, (label for _, label in new), strict=True))
    answered = [row["prediction"] == label for row, label in pairs if not row["unsure"]]
    assert 100 < len(answered) < 400
    assert sum(answered) / len(answered) > 0.9
    assert all((row["prediction"] is None) == row["unsure"] for row in found)
    covered = sum(label in row["set"] for row, label in pairs) / len(pairs)
    assert 0.84 < covered < 0.97
    assert {len(row["set"]) for row in found} > {1}
    model = ftlight.load(str(folder))
    same = model.predict([text for text, _ in new], at_least=0.9, coverage=0.9)
    assert [a["set"] for a in same] == [row["set"] for row in found]
    assert [a["prediction"] for a in same] == [row["prediction"] for row in found]
    empty = write_csv(tmp_path / "e.csv", [("good a",), (" ",), ("bad b",), ("",)], ("text",))
    assert main(["predict", str(folder), empty, "--out", "e.jsonl", "--at_least", "0.6"]) == 0
    said = "e.csv: 2 of 4 rows have no text (lines 3, 5): unsure"
    assert said in " ".join(capsys.readouterr().out.split())
    marked = [json.loads(line)["unsure"] for line in Path("e.jsonl").read_text().splitlines()]
    assert marked[1::2] == [True, True]
    assert [a["unsure"] for a in model.predict(["good a", None, "bad b", ""], 0.6)] == marked
    assert main(["predict", str(folder), "--text", "film a", *asked]) == 0
    shown = capsys.readouterr().out
    assert "unsure  (" in shown
    assert "one of: " in shown
    assert main(["predict", str(folder), file, "--at_least", "0.9999"]) == 2
    assert "--at_least 0.9999: not reachable with 400 validation rows" in capsys.readouterr().err
    assert main(["predict", str(folder), file, "--at_least", "x"]) == 2
    assert "--at_least x: expected a share between 0 and 1" in capsys.readouterr().err
    assert main(["predict", str(folder), file, "--at_least", "0.9", "--ckpt_path", "last"]) == 2
    assert "these weights have no calibration" in capsys.readouterr().err


def test_spans_are_marked_one_by_one() -> None:
    found = [{"type": "A", "score": 0.9}, {"type": "B", "score": 0.3}]
    answers = [{"prediction": found, "score": 0.1}, {"prediction": [], "score": 1.0}]
    unsure.mark(answers, unsure.Promise(0.5))
    assert [span["unsure"] for span in found] == [False, True]
    assert "unsure" not in answers[0]
    assert unsure.items(answers) == found


@pytest.mark.run
def test_ranges_hold_numbers(fit: Run, tmp_path: Path, capsys: Any) -> None:
    draw = random.Random(0)
    values = [
        (text, f"{LABELS.index(label) + draw.random():.3f}") for text, label in rows_of(520, 0, 0.0)
    ]
    files = [
        write_csv(tmp_path / f"{name}.csv", part)
        for name, part in (("train", values[:120]), ("v", values[120:320]), ("test", values[320:]))
    ]
    options = ["--data.validation", files[1], "--data.test", files[2], "--data.check", "off"]
    folder = fit(*options, "--model.lr", "0.02", train=files[0], epochs=4)
    out = " ".join(capsys.readouterr().out.split())
    assert "holds 95 % of values" in out
    assert "of these, by the 200 rows that chose the epoch" in out
    answers = ftlight.load(str(folder)).predict([t for t, _ in values[320:]], coverage=0.9)
    held = [
        a["low"] <= float(v) <= a["high"] for a, (_, v) in zip(answers, values[320:], strict=True)
    ]
    assert 0.82 < sum(held) / len(held) < 0.97
    kept = json.loads((folder / "calibration.json").read_text())
    assert answers[0]["high"] - answers[0]["low"] == pytest.approx(2 * kept["coverage"]["0.9"])
