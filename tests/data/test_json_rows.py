"""JSON as rows: per line, in arrays, wrapped, over many lines, with halves of surrogate pairs."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.data import files
from ftlight.data.json_rows import whole
from ftlight.data.remarks import collected
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"text": "a [b", "label": "x"},
    {"text": '{"c": "d\\', "label": "y", "more": [{"e": 1}]},
    {"text": "ä", "label": None},
]


def read(name: str, content: str, columns: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    Path(name).write_text(content, encoding="utf-8")
    return list(files.read(Path(name), columns=columns))


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != files.LINE} for row in rows]


def fault(name: str, content: str) -> str:
    with pytest.raises(UserError) as info:
        read(name, content)
    return str(info.value)


def test_rows_in_an_array_or_over_several_lines_are_read() -> None:
    wrapped = {"version": "1.0", "info": {"data": []}, "rows": ROWS}

    def check(content: str) -> None:
        for name in ("a.json", "a.jsonl"):
            assert plain(read(name, content)) == ROWS
            assert plain(read(name, content.replace("\n", "\r\n"))) == ROWS
            assert plain(read(name, f"\ufeff\n {content}\n\n")) == ROWS

    each(
        [
            json.dumps(ROWS),
            json.dumps(ROWS, indent=2),
            json.dumps(ROWS, indent=1, ensure_ascii=False),
            "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]",
            "[\n" + ",\n".join(map(json.dumps, ROWS)) + ",\n]",
            json.dumps({"data": ROWS}),
            json.dumps({"data": ROWS}, indent=4),
            json.dumps(wrapped),
            json.dumps(wrapped, indent=2),
            "\n".join(json.dumps(row, indent=2) for row in ROWS),
            ",\n".join(json.dumps(row, indent=2) for row in ROWS),
            "\n".join(map(json.dumps, ROWS)),
            "\n\n".join(map(json.dumps, ROWS)),
        ],
        check,
    )


def test_rows_have_the_line_where_they_start() -> None:
    assert [row[files.LINE] for row in read("a.json", json.dumps(ROWS[:2], indent=2))] == [2, 6]
    content = json.dumps({"version": 1, "data": ROWS[:2]}, indent=2)
    assert [row[files.LINE] for row in read("b.json", content)] == [4, 8]
    assert [row[files.LINE] for row in read("c.jsonl", '\n{"a": 1}\n\n{"a": 2}')] == [2, 4]


def test_rows_that_share_lines_have_their_number_and_id() -> None:
    numbered = ["row 1 (id 7)", "row 2 (id b)", "row 3"]
    rows = [{"id": 7, "text": "a"}, {"id": "b", "text": "b"}, {"text": "c"}]
    dumped = json.dumps(rows)

    def check(content: str) -> None:
        assert [row[files.LINE] for row in read("a.json", content)] == numbered

    for content in (dumped, f'{{"data": {dumped}}}', dumped.replace('}, {"te', '},\n{"te')):
        check(content)
    assert read("a.json", json.dumps(rows[:1]))[0][files.LINE] == 1
    said = fault("a.json", '[{"a": 1}, {"a": 2}, 3]')
    assert said.startswith("a.json, row 3: expected an object")


def test_a_table_of_an_array_knows_its_rows(tmp_path: Path) -> None:
    """With one line for all, groups were those of the last row, and references of one source."""
    names: dict[str, Any] = {"source": "text", "target": "label"}
    rows = [{"text": f"t {i}", "label": "ab"[i % 2], "side": "lr"[i % 2]} for i in range(20)]
    for indent in (None, 1):
        Path("a.json").write_text(json.dumps(rows, indent=indent))
        data = TextData("a.json", validation_split=0, groups=["side"])
        assert data.group_values("train") == {"side": [row["side"] for row in rows]}
        places = data.places("train")
        assert places[1] == ("row 2" if indent is None else 7)
        pairs = Seq2SeqData("a.json", validation="a.json", **names, group=False)
        assert len(pairs.load_split("validation")) == len(rows)


def test_an_object_with_the_wanted_columns_is_a_row() -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    one = {"text": "a", "spans": [{"start": 0}]}
    listed = {"text": "a", "rows": [{"b": 1}]}

    def check(row: dict[str, Any], columns: tuple[str, ...]) -> None:
        for indent in (None, 2):
            assert plain(read("a.json", json.dumps(row, indent=indent), columns)) == [row]

    each([(chat, ()), (one, ()), (one, ("text",)), (listed, ("text", "rows"))], check)
    assert plain(read("a.json", json.dumps(listed), ("b",))) == [{"b": 1}]


def test_columns_as_pandas_writes_them() -> None:
    columns = {name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]}
    expected = [{name: row[name] for name in columns} for row in ROWS]
    assert plain(read("a.json", json.dumps(columns))) == expected


def test_compressed() -> None:
    with gzip.open("a.json.gz", "wt", encoding="utf-8") as file:
        json.dump(ROWS, file, indent=2)
    assert plain(list(files.read(Path("a.json.gz")))) == ROWS


def test_halves_of_surrogate_pairs_are_replaced_and_counted() -> None:
    given = [
        '{"text": "fine \U0001f600"}',
        '{"text": "half \\ud83d"}',
        '{"text": ["\\uDE00 other", {"\\ud800": 1}]}',
        '{"text": "pair \\ud83d\\ude00"}',
        '{"text": "no escape \\\\ud83d"}',
    ]
    for content in ("\n".join(given), f"[{','.join(given)}]", "[\n" + ",\n".join(given) + "]"):
        with collected() as remarks:
            rows = plain(read("a.jsonl", content))
        assert [row["text"] for row in rows] == [
            "fine \U0001f600",
            "half \ufffd",
            ["\ufffd other", {"\ufffd": 1}],
            "pair \U0001f600",
            "no escape \\ud83d",
        ]
        (remark,) = remarks
        assert re.search(r"replaced by U\+FFFD in 2 rows \(first in (line|row) ", remark)
    assert whole({"a": [None, 1, "b"]}) == {"a": [None, 1, "b"]}


def test_raw_control_characters_are_read() -> None:
    assert plain(read("a.jsonl", '{"text": "a\tb"}\n')) == [{"text": "a\tb"}]


def test_what_is_no_json_names_its_line() -> None:
    def check(content: str, start: str) -> None:
        assert fault("a.json", content).startswith(start)

    each(
        [
            ('{"a": 1}\n{"a": 2,}\n', "a.json:2: not valid JSON: "),
            ('{"a": "1}\n{"a": 2}\n', "a.json:1: not valid JSON: "),
            ('[\n{"a": 1}\n{"a": 2}\n]', "a.json:3: not valid JSON: Expecting ',' delimiter"),
            ('[\n{"a": 1},\n{"a": }\n]', "a.json:3: not valid JSON: "),
            ('[{"a": 1},\n', "a.json:2: not valid JSON: "),
            ('[{"a": 1}]\n[{"a": 2}]', "a.json:1: expected an object"),
            ('[\n{"a": 1}\n] more', "a.json:3: not valid JSON: Extra data"),
            ("[1]", 'a.json:1: expected an object such as {"text": …}, got int'),
            ('[["a", "b"],\n["c", "d"]]', "a.json:1: expected an object"),
        ],
        check,
    )


def test_dotted_columns_are_fields_of_objects() -> None:
    rows = [{"t": {"en": "cat", "alt": ["x", {"y": 2}]}, "a.b": 3}, {"t": {}}]
    columns = ("t.en", "t.alt.1.y", "a.b", "t.fr", "t.alt.7")
    read_rows = read("a.jsonl", "\n".join(map(json.dumps, rows)), columns)
    assert [read_rows[0].get(column) for column in columns] == ["cat", 2, 3, None, None]
    assert "t.fr" not in read_rows[0]
    assert "t.en" not in read_rows[1]
    with pytest.raises(UserError, match=r'a.jsonl:1: no column t.em; .*"t.en".*columns: t.en, t.a'):
        files.need(read_rows[0], ["t.em"], "a.jsonl")


def test_rows_nested_deep_are_refused_before_anything_walks_through_them() -> None:
    deep = "[" * 300 + '"\\ud800"' + "]" * 300  # half of a surrogate pair, which is looked for
    for name, text in {
        "a.jsonl": f'{{"a": 1}}\n{{"a": {deep}}}\n',
        "a.json": f'[{{"a": 1}},\n{{"a": {deep}}}]',
        "b.json": f'{{"data": [{{"a": {deep}}}]}}',
    }.items():
        Path(name).write_text(text)
        with pytest.raises(UserError, match="nested too deep"):
            list(files.read(Path(name)))
    wide = json.dumps([{"a": [[i]] * 200} for i in range(3)])
    Path("c.json").write_text(wide)
    assert len(list(files.read(Path("c.json")))) == 3
