"""Columns that an option names, which only some rows need: one that no row has is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.question_answering.data import QAData
from ftlight.tasks.token_classification.data import TokenData
from ftlight.utils.errors import UserError

SPAN = {"start": 0, "end": 4, "label": "PER"}
MARK = {"type": "labels", "value": {"start": 0, "end": 4, "labels": ["PER"]}}
TASK = {"data": {"text": "Anna ran"}, "annotations": [{"result": [MARK]}]}
WORDS = {"tokens": ["Anna", "ran"], "tags": ["B-PER", "O"]}
CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def write(rows: list[dict[str, Any]]) -> str:
    Path("a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return "a.jsonl"


def test_a_named_column_that_no_row_has_is_refused() -> None:
    prodigy = {"text": "Anna ran", "spans": [SPAN], "answer": "accept"}
    asked = {"question": "q", "context": "Anna ran", "answer": "Anna", "starts": 0}
    cases: list[tuple[Any, dict[str, Any], dict[str, str], str]] = [
        (TokenData, prodigy, {"spans": "spanz"}, '; did you mean "spans"? (columns: text, spans'),
        (TokenData, TASK, {"spans": "entities"}, " (columns: data, annotations, text)"),
        (TokenData, WORDS, {"spans": "ents"}, " (columns: tokens, tags)"),
        (TokenData, WORDS, {"sentence": "id"}, " (columns: tokens, tags)"),
        (TokenData, prodigy, {"tags": "tag"}, " (columns: text, spans, answer)"),
        (TokenData, prodigy, {"tokens": "words"}, " (columns: text, spans, answer)"),
        (QAData, asked, {"answer_start": "start"}, '; did you mean "starts"?'),
        (ChatData, CHAT, {"text": "body"}, " (columns: messages)"),
        (ChatData, {"text": "a", "frage": "b"}, {"prompt": "frag"}, '; did you mean "frage"?'),
    ]

    def check(kind: Any, row: dict[str, Any], named: dict[str, str], hint: str) -> None:
        data = kind(write([row, row]), validation_split=0, **named)
        ((option, column),) = named.items()
        with pytest.raises(UserError) as info:
            data.load_split("train")
        said = str(info.value)
        assert said.startswith(f"a.jsonl: no row has a column {column}{hint}"), said
        assert said.endswith(f"; name one of them in data.{option}, or leave that out")
        assert "\n" not in said

    each(cases, check)


def test_one_row_with_it_is_enough() -> None:
    rows = [
        {"text": "Anna ran", "_input_hash": 1},
        {"text": "Anna ran", "_input_hash": 2, "ents": [SPAN]},
    ]
    table = TokenData(write(rows), validation_split=0, spans="ents").load_split("train")
    assert [len(spans) for spans in table["spans"]] == [0, 1]


def test_files_without_names_of_columns_need_none() -> None:
    Path("a.conll").write_text("Anna B-PER\nran O\n")
    table = TokenData("a.conll", validation_split=0, spans="ents").load_split("train")
    assert len(table) == 1
