"""The files of a test name the columns as the user does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, each, toy_rows, write_csv

from ftlight import (
    ImageData,
    MaskedData,
    QAData,
    RetrievalData,
    Seq2SeqData,
    TextData,
    TokenData,
)
from ftlight.trainer import scores
from ftlight.trainer.results import _under_user_names

NAMES: list[tuple[type, dict[str, Any], dict[str, str]]] = [
    (TextData, {}, {"text": "text", "label": "label"}),
    (TextData, {"text": "message", "label": "topic"}, {"text": "message", "label": "topic"}),
    (
        TextData,
        {"text": "question", "text_pair": "reply"},
        {"text": "question", "pair": "reply", "label": "label"},
    ),
    (TextData, {"text": ["title", "body"]}, {"label": "label"}),  # joined: none of the two
    (ImageData, {"image": "photo", "label": "kind"}, {"image": "photo", "label": "kind"}),
    (Seq2SeqData, {"source": "en", "target": "de"}, {"source": "en", "target": "de"}),
    (Seq2SeqData, {"source": ["a", "b"]}, {"target": "target"}),
    (MaskedData, {"text": "body"}, {"text": "body"}),
    (TokenData, {"text": "note"}, {"text": "note"}),
    (TokenData, {"text": "note", "spans": "found"}, {"text": "note", "spans": "found"}),
    (RetrievalData, {"query": "search"}, {"query": "search"}),
    (QAData, {"question": "ask"}, {}),  # its rows have the user's names already
]


def test_every_data_module_knows_the_names_of_the_user() -> None:
    def check(module: type, options: dict[str, Any], names: dict[str, str]) -> None:
        assert module(**options).column_names == names

    each(NAMES, check)


def test_a_name_of_the_user_wins_over_an_internal_one() -> None:
    rows = [{"text": "good", "label": "a", "line": 2, "__gold": 1, "pair": ""}]
    names = {"text": "label", "label": "text"}
    assert _under_user_names(rows, names) == [{"label": "good", "text": "a", "line": 2}]
    assert _under_user_names(rows, {"text": "line"}) == [{"line": "good", "label": "a"}]


@pytest.mark.run
def test_written_predictions_have_the_columns_of_the_file(fit: Run, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "mail.csv", toy_rows(30), header=("message", "topic"))
    names = ["--data.text", "message", "--data.label", "topic"]
    folder = fit("--data.test", file, *names, train=file)
    with (folder / "test_predictions.csv").open(newline="") as found:
        rows = list(csv.DictReader(found))
    assert list(rows[0]) == ["message", "topic", "line", "prediction", "score"]
    assert [row["topic"] for row in rows] == [label for _, label in toy_rows(30)]
    assert json.loads((folder / "test_metrics.json").read_text())["test/rows"] == 30


@pytest.mark.run
def test_a_run_that_is_done_keeps_no_checkpoint_before_the_last(fit: Run) -> None:
    folder = fit("--trainer.save_every", "1")
    names = {p.name for p in (folder / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt"}


def test_an_accuracy_is_compared_with_always_the_most_frequent_label() -> None:
    worse = scores.against_chance((0.2, 0.4), "late", 91, 100)
    assert worse == "worse than always saying 'late', which is right in 91 % of these rows"
    unsure = scores.against_chance((0.85, 0.95), "late", 91, 100)
    assert unsure.startswith("100 rows do not show that it is better than always saying 'late'")
