"""JSON files of runs and models: what is wrong with one is a line that names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.utils import json_file
from ftlight.utils.errors import UserError

BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "zeros": (bytes(9), "holds nothing but NUL bytes"),
    "cut off": (b'{"labels": ["a"', r"not valid JSON: .* \(line 1, column 16\)"),
    "two values": (b"{}\n{}", r"Extra data \(line 2, column 1\)"),
    "no UTF-8": (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
    "a NUL": (b'{"a": "\0"}', "Invalid control character"),
    "nested for the reader": (b"[" * 10_000 + b"]" * 10_000, "nested more than 100 levels deep"),
    "nested for those who walk": (
        b'{"a":' * 300 + b"1" + b"}" * 300,
        "nested more than 100 levels deep",
    ),
    "a huge number": (b'{"a": ' + b"9" * 5000 + b"}", "a number of thousands of digits"),
    "a list": (b"[]", "expected an object, got a list"),
    "null": (b"null", "expected an object, got null"),
    "a number for a label": (b'{"labels": ["a", 3]}', r"labels\.1: expected text, got a whole"),
    "true for a number": (b'{"count": true}', "count: expected a whole number, got true or false"),
    "text for a number or null": (b'{"seed": "x"}', "seed: expected a whole number or null"),
    "another word": (b'{"name": "lisp"}', "name: expected list or word, got 'lisp'"),
    "a wrong value below any key": (b'{"sha": {"x": 1}}', r"sha\.x: expected text"),
    "lacks": (b'{"labels": []}', "has no kind"),
}
SHAPE = {
    "labels": [str],
    "count": int,
    "seed": (int, None),
    "name": {"word", "list"},
    "sha": {json_file.ANY: str},
    "share": float,
}


def test_a_broken_file_is_one_line_with_its_name(tmp_path: Path) -> None:
    def check(what: str) -> None:
        content, says = BROKEN[what]
        path = tmp_path / "x.json"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            json_file.read(path, SHAPE, "do this", need=["kind"])
        line = str(caught.value)
        assert re.fullmatch(rf"{path}: .*{says}.*; do this", line), line

    each(BROKEN, check)


def test_a_file_that_is_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, says in ((tmp_path, "Is a directory"), (tmp_path / "loop", "symbolic links")):
        with pytest.raises(UserError, match=rf"{path}: cannot be read \(.*{says}"):
            json_file.read(path)


def test_what_fits_is_read_as_it_is(tmp_path: Path) -> None:
    def check(content: bytes, value: Any) -> None:
        path = tmp_path / "x.json"
        path.write_bytes(content)
        assert json_file.read(path, SHAPE) == value

    each(
        [
            (b"\xef\xbb\xbf{}", {}),
            (b'{"other": [1, "a"], "seed": null}', {"other": [1, "a"], "seed": None}),
            (b'{"share": 1, "name": "word"}', {"share": 1, "name": "word"}),
        ],
        check,
    )


def test_lines_are_named_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n')
    assert json_file.read_lines(path, {"text": str}) == [{"text": "a"}, {"text": "b"}]

    def check(second: str, says: str) -> None:
        path.write_text(f'{{"text": "a"}}\n{second}\n')
        with pytest.raises(UserError, match=f"x.jsonl:2: {says}"):
            json_file.read_lines(path, {"text": str}, need=["text"])

    each(
        [('{"text": 3}', "text: expected text"), ("{", "not valid JSON"), ("{}", "has no text")],
        check,
    )
