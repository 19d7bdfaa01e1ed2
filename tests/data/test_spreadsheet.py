from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import each, toy_rows, write_csv
from tiny import spreadsheet as tiny

from ftlight.data import files, spreadsheet
from ftlight.data.remarks import collected
from ftlight.utils.errors import UserError


def rows(path: str, **options: Any) -> list[files.Row]:
    return list(files.read(Path(path), **options))


def fault(path: str | Path) -> str:
    with pytest.raises(UserError) as info:
        rows(str(path))
    return str(info.value)


def test_cells_are_text_as_in_a_csv() -> None:
    header = ["text", "label", "when", "n"]
    path = tiny.write(
        Path("a.xlsx"),
        {
            "One": [
                header,
                ["a  b\n<c>", "good", (45000, 1), 1],
                ["café", None, (45000.5, 2), 1.5],
                ["#N/A", True, (0.25, 3), 1e20],
            ]
        },
    )
    assert [[row[name] for name in header] for row in rows(path)] == [
        ["a  b\n<c>", "good", "2023-03-15", "1"],
        ["café", "", "2023-03-15 12:00:00", "1.5"],
        ["#N/A", "TRUE", "06:00:00", "1e+20"],
    ]


def test_rows_are_those_of_the_csv_with_their_lines() -> None:
    data = [list(row) for row in toy_rows(20)]
    table = [["text", "label"], *data[:5], [], [None, None], *data[5:]]
    path = tiny.write(Path("a.xlsx"), {"One": table})
    found = rows(path)
    expected = rows(write_csv(Path("a.csv"), toy_rows(20)))
    assert [{**row, files.LINE: 0} for row in found] == [{**r, files.LINE: 0} for r in expected]
    assert [row[files.LINE] for row in found] == [*range(2, 7), *range(9, 24)]


def test_a_table_may_begin_anywhere_and_have_no_header() -> None:
    path = tiny.write(Path("a.xlsx"), {"One": [[], [None, None, "x", "y"], [None, None, 1, 2]]})
    assert [{k: row[k] for k in "xy"} for row in rows(path)] == [{"x": "1", "y": "2"}]
    path = tiny.write(Path("a.xlsx"), {"One": [["a", 1], ["b", 2]]})
    assert [row["label"] for row in rows(path, header=["text", "label"])] == ["1", "2"]


def test_a_title_above_the_header_is_left_out_with_a_line() -> None:
    cells = [[f"some text of case {i}", "xy"[i % 2]] for i in range(9)]
    sheet = [["Tickets 2024", None], [], ["text", "label"], *cells]
    path = tiny.write(Path("a.xlsx"), {"One": sheet})
    with collected() as remarks:
        assert rows(path)[0] == {"text": "some text of case 0", "label": "x", files.LINE: 4}
    assert remarks == ["a.xlsx: lines 1 to 2 are a title and left out; the header is line 3"]


def test_the_first_sheet_is_read_and_said() -> None:
    sheets = {"Mine": [["x"], [1]], "Other": [["y"], [2]]}
    with collected() as said:
        assert rows(tiny.write(Path("a.xlsx"), sheets)) == [{"x": "1", files.LINE: 2}]
    assert said == ["a.xlsx: the first of 2 sheets is read, 'Mine'"]


def test_faults_are_one_line() -> None:
    Path("a.xlsx").write_text("text,label\n")
    assert fault("a.xlsx") == "a.xlsx: not a readable spreadsheet (File is not a zip file)"
    Path("b.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    assert fault("b.xlsx").endswith("; one with a password must be saved without")
    with zipfile.ZipFile("c.xlsx", "w") as book:
        book.writestr("a.txt", "no sheet")
    assert fault("c.xlsx").startswith("c.xlsx: not a readable spreadsheet (")
    path = tiny.write(Path("d.xlsx"), {"One": [["x", "x"], [1, 2]]})
    assert fault(path) == "d.xlsx:1: column x occurs twice in the header; rename one"


def test_cells_far_apart_are_refused_before_they_take_memory() -> None:
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    path = tiny.write(Path("a.xlsx"), {"One": [["x"], [1]]}, more=far)
    assert fault(path).startswith(
        "a.xlsx: a sheet has cells as far as row 1,048,576 and column 16,384; take those out"
    )


def test_a_zip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write(Path("a.xlsx"), {"One": [["x"], [1]]})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/bomb.xml", " " * 3_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(spreadsheet.archives, "HELD", 1_000_000)
        assert "as those of a zip bomb" in fault(path)
    monkeypatch.setattr(spreadsheet, "TOTAL", 1_000_000)
    assert "unpacked; save it as CSV" in fault(path)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write(Path("a.xlsx"), {"One": [["x"], [1]]})
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert fault(path) == (
        "a.xlsx: spreadsheets need python-calamine: pip install ftlight[documents]"
    )


def test_letters_of_columns() -> None:
    def check(letters: bytes, number: int) -> None:
        assert spreadsheet._number(letters) == number

    each([(b"A", 1), (b"Z", 26), (b"aa", 27), (b"XFD", 16384)], check)
