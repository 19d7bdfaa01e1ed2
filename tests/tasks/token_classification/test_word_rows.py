from __future__ import annotations

from pathlib import Path

import pytest

from ftlight.data.sources import Source
from ftlight.tasks.token_classification import readers
from ftlight.tasks.token_classification.layout import layout_of
from ftlight.utils.errors import UserError

KAGGLE = """Sentence #,Word,POS,Tag
Sentence: 1,Ann,NNP,B-PER
,ran,VB,O
Sentence: 2,"New",NNP,B-LOC
,York,NNP,I-LOC
,",",",",O
"""
NAMES = {"tokens": "Word", "tags": "Tag"}


def read(name: str, **options: str) -> list[dict[str, object]]:
    source = Source(name, "train", suffixes=readers.SUFFIXES)
    return list(readers.open_rows(source, layout_of(**options)))


def test_a_sentence_goes_on_where_its_column_is_empty() -> None:
    Path("a.csv").write_text(KAGGLE)
    rows = read("a.csv", sentence="Sentence #", **NAMES)
    assert [row["Word"] for row in rows] == [["Ann", "ran"], ["New", "York", ","]]
    assert [row["Tag"] for row in rows] == [["B-PER", "O"], ["B-LOC", "I-LOC", "O"]]
    assert [row["__line__"] for row in rows] == [2, 4]
    whole = list(
        readers.read_rows(
            Source("a.csv", suffixes=readers.SUFFIXES),
            layout_of(sentence="Sentence #", **NAMES),
            "",
            "",
        )
    )
    assert [row["text"] for row in whole] == ["Ann ran", "New York ,"]
    assert whole[1]["spans"] == [{"type": "LOC", "text": "New York", "start": 0, "end": 8}]


def test_blank_rows_divide_sentences_without_such_a_column() -> None:
    for blank in ("", ","):
        Path("a.csv").write_text(f"Word,Tag\nAnn,B-PER\nran,O\n{blank}\nBob,B-PER\n")
        assert [row["Word"] for row in read("a.csv", **NAMES)] == [["Ann", "ran"], ["Bob"]]


def test_a_tsv_is_a_table_if_its_first_line_names_the_columns() -> None:
    Path("a.tsv").write_text("id\tWord\tTag\n1\tAnn\tB-PER\n1\tran\tO\n2\tBob\tB-PER\n")
    assert len(read("a.tsv", sentence="id", **NAMES)) == 2
    Path("a.tsv").write_text("Ann\tB-PER\nran\tO\n\nBob\tB-PER\n")
    assert [row["tokens"] for row in read("a.tsv")] == [["Ann", "ran"], ["Bob"]]


def test_a_table_of_texts_has_its_spans_as_json() -> None:
    Path("a.csv").write_text(
        'text,label\nAnn ran,"[{""start"": 0, ""end"": 3, ""labels"": [""PER""]}]"\n'
    )
    (row,) = readers.read_rows(Source("a.csv", suffixes=readers.SUFFIXES), layout_of(), "", "")
    assert row["spans"] == [{"type": "PER", "text": "Ann", "start": 0, "end": 3}]


def test_a_missing_column_is_named() -> None:
    Path("a.csv").write_text(KAGGLE)
    with pytest.raises(UserError, match='no column Sentence; did you mean "Sentence #"'):
        read("a.csv", sentence="Sentence", **NAMES)
    with pytest.raises(UserError, match=r"no column Tga; did you mean .* set data.tags"):
        read("a.csv", tokens="Word", tags="Tga")
    Path("a.csv").write_text("Word,Tag\nAnn,B-PER\nran,\n")
    with pytest.raises(UserError, match=r"a.csv:3: column Tag is empty"):
        read("a.csv", **NAMES)
