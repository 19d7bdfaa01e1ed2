"""Data modules read rows in arrays, nested and with plain quotes; what was remarked is noted."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from ftlight.data import hub
from ftlight.data.sources import Source
from ftlight.tasks.question_answering.readers import document
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.tasks.text_classification.data import TextData


def test_what_a_reader_remarked_is_noted_in_every_run() -> None:
    Path("a.tsv").write_text('text\tlabel\n"one\tx\ntwo"\ty\nthree\tx\n', encoding="utf-8")
    for _ in range(2):  # the second time the rows come from the cache
        data = TextData("a.tsv", validation_split=0)
        assert data.load_split("train")["text"][:] == ['"one', 'two"', "three"]
        (note,) = [n for n in data.notes if "quotation" in n]
        assert note.startswith("a.tsv: quotation marks are read as text (data.quotes: none)")
        assert note.endswith("1 of 3 lines run into others")
    data = TextData("a.tsv", validation_split=0, quotes="csv")
    assert data.load_split("train")["text"][:] == ["one\tx\ntwo", "three"]
    assert not any("quotation" in note for note in data.notes)


def test_the_columns_of_a_file_without_a_header() -> None:
    Path("a.csv").write_text("x,one\ny,two\n", encoding="utf-8")
    data = TextData("a.csv", validation_split=0, header=["label", "text"])
    assert data.load_split("train")["text"][:] == ["one", "two"]


def test_nested_fields_of_an_array() -> None:
    rows = [{"translation": {"en": f"cat {i}", "de": f"Katze {i}"}} for i in range(3)]
    Path("a.json").write_text(json.dumps({"data": rows}, indent=1), encoding="utf-8")
    data = Seq2SeqData(
        "a.json", source="translation.en", target="translation.de", validation_split=0
    )
    table = data.load_split("train")
    assert table["source"][:] == ["cat 0", "cat 1", "cat 2"]
    assert table["target"][:] == ["Katze 0", "Katze 1", "Katze 2"]
    assert len(data.read_predict("a.json")) == 3


def test_flat_rows_under_data_are_no_squad() -> None:
    row = {"question": "Who?", "context": "Ada \ud83d", "answer": "Ada"}
    nested = {"data": [{"paragraphs": [{"context": "Ada \ud83d", "qas": []}]}]}
    Path("flat.json").write_text(json.dumps({"data": [row]}), encoding="utf-8")
    Path("nested.json").write_text(json.dumps(nested), encoding="utf-8")
    data = TextData("flat.json")
    assert document(data.source_at("flat.json")) is None
    content = document(data.source_at("nested.json"))
    assert content is not None
    assert content["data"][0]["paragraphs"][0]["context"] == "Ada \ufffd"


def test_nested_fields_of_a_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    table = datasets.Dataset.from_list([{"t": {"en": "cat", "de": "Katze"}, "more": 1}])
    monkeypatch.setattr(hub, "load_hub", lambda name: {"train": table})
    (row,) = Source("hf:a/b", "train").rows(["t.en"], optional=["t.de", "t.fr"])
    assert (row["t.en"], row["t.de"]) == ("cat", "Katze")
    assert "more" not in row
    assert "t.fr" not in row
