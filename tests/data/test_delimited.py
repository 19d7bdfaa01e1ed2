"""CSV and TSV are read to the last row: quotation marks as text, nameless columns, odd bytes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.data import files
from ftlight.data.remarks import collected
from ftlight.utils.errors import UserError

PLAIN = 'text\tlabel\n"Great" he said\tx\nfine\ty\n"I said\tx\n"yes"\ty\nand "no"\tx\n'
TEXTS = ['"Great" he said', "fine", '"I said', '"yes"', 'and "no"']


def read(name: str, content: str | bytes, **how: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a file, and the remarks about it."""
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with collected() as remarks:
        return list(files.read(path, **how)), remarks


def test_quotes_are_text_if_that_alone_gives_every_line_the_same_fields() -> None:
    def check(content: str, why: str) -> None:
        for delimiter in "\t,;|":
            rows, remarks = read(
                "a.tsv" if delimiter == "\t" else "a.csv", content.replace("\t", delimiter)
            )
            lines = content.replace("\r", "").splitlines()[1:]
            assert [row["text"] for row in rows] == [line.split("\t")[0] for line in lines]
            assert [row[files.LINE] for row in rows] == list(range(2, len(lines) + 2))
            (remark,) = remarks
            assert "read as text (data.quotes: none)" in remark
            assert why in remark

    each(
        [
            (PLAIN, "some are not closed"),
            ('text\tlabel\na\tx\n"open\ty\nto the end\tz\n', "some are not closed"),
            # two rows that quote each other away: read as csv, nothing is wrong but the count
            ('text\tlabel\n"one\ty\nx"\tz\nb\ty\n', "1 of 3 lines run into others"),
            ('text\tlabel\r\n"one\ty\r\nx"\tz\r\n', "1 of 2 lines run into others"),
        ],
        check,
    )


TABLE = "id;text;label\n" + "".join(f"{i};some text of case {i};{'xy'[i % 2]}\n" for i in range(9))


def test_a_title_above_the_header_is_left_out_with_a_line() -> None:
    def check(title: str, said: str) -> None:
        rows, remarks = read("a.csv", title + TABLE)
        assert remarks == [f"a.csv: {said}"]
        assert [row["label"] for row in rows] == list("xyxyxyxyx")
        assert list(rows[0]) == ["id", "text", "label", files.LINE]
        assert rows[0][files.LINE] == title.count("\n") + 2

    each(
        [
            ("Tickets 2024;;\n", "line 1 is a title and left out; the header is line 2"),
            ("sep=;\nTickets;;\n", "line 2 is a title and left out; the header is line 3"),
            (
                'Tickets 2024, "all"\nof June\n\n',
                "lines 1 to 3 are a title and left out; the header is line 4",
            ),
        ],
        check,
    )


def test_what_may_be_a_header_is_no_title() -> None:
    def check(content: str, names: list[str]) -> None:
        rows, _ = read("a.csv", content)
        assert list(rows[0])[:-1] == names

    each(
        [
            (",text\n0,some text\n1,some other text\n", ["", "text"]),
            ("text,,\nsome text,late,1\nmore text,late,1\nand more,late,1\n", ["text"]),
            ("text\nhello\nyou\n", ["text"]),
        ],
        check,
    )


def test_a_title_that_cannot_be_told_is_named_by_the_error() -> None:
    with pytest.raises(UserError, match="; if line 1 is a title and no"):
        read("a.csv", "Tickets 2024\nhello,you\nthere,she\n")


def test_quotes_enclose_fields_if_they_can() -> None:
    def check(content: str, texts: list[str]) -> None:
        rows, remarks = read("a.csv", content)
        assert [row["text"] for row in rows] == texts
        assert remarks == []

    each(
        [
            ('text,label\n"a",x\nb,y\n', ["a", "b"]),
            ('text,label\n"a, b",x\nc,y\n', ["a, b", "c"]),
            ('text,label\n"a\nb",x\nc,y\n', ["a\nb", "c"]),
            ('text\n"a\nb"\nc\n', ["a\nb", "c"]),
            ('text,label\n"say ""yes""",x\n', ['say "yes"']),
            ('"text","label"\n"a","x"\n', ["a"]),
            ('text,label\n5" screen,x\n', ['5" screen']),
        ],
        check,
    )


def test_names_in_quotes_say_that_quotes_enclose_fields() -> None:
    with pytest.raises(UserError, match=r"a.csv:3: a quote that opens here is not closed"):
        read("a.csv", '"text","label"\n"a","x"\n"b,"y"\n')


def test_the_option_decides() -> None:
    with pytest.raises(UserError, match=r"a.tsv:2: .*data.quotes: none if quotation marks are"):
        read("a.tsv", PLAIN, quotes="csv")
    rows, remarks = read("b.csv", 'text,label\n"a",x\n', quotes="none")
    assert (rows[0]["text"], remarks) == ('"a"', [])
    with pytest.raises(UserError, match=r"c.csv:2: too many fields .* data.quotes: csv reads"):
        read("c.csv", 'text,label\n"a, b",x\n', quotes="none")
    assert [row["text"] for row in read("d.tsv", PLAIN)[0]] == TEXTS


def test_several_columns_without_a_name_are_left_out_and_what_they_hold_is_counted() -> None:
    rows, remarks = read("a.csv", "label,text,,\nx,a,,\ny,b,more,\n\nz,c,,\n")
    assert rows[0] == {"label": "x", "text": "a", files.LINE: 2}
    assert [row["text"] for row in rows] == ["a", "b", "c"]
    assert remarks == [
        "a.csv: 2 columns without a name in the header are left out;"
        " 1 line holds something there (first 3)"
    ]
    assert read("b.csv", "label,text,,\nx,a,,\n")[1] == []
    assert read("c.csv", ",text\n0,a\n")[0] == [{"": "0", "text": "a", files.LINE: 2}]
    with pytest.raises(UserError, match=r"d.csv:1: the header names no column"):
        read("d.csv", ",,\na,b,c\n")


def test_names_of_columns_can_be_given() -> None:
    def check(name: str, content: str) -> None:
        rows, _ = read(name, content, header=["label", "text"])
        assert [(row["label"], row["text"]) for row in rows] == [("1", "a"), ("2", '"b')]
        assert [row[files.LINE] for row in rows] == [1, 2]

    each([("a.csv", '1,a\n2,"b\n'), ("a.tsv", '1\ta\n2\t"b\n')], check)
    with pytest.raises(UserError, match=r"b.csv:1: too many fields \(3 where the header has 2\)"):
        read("b.csv", "1,a,b\n", header=["label", "text"])


def test_excel_says_the_delimiter_in_the_first_line() -> None:
    for start in ("sep=;\n", "\ufeffsep=;\r\n", '"sep=;"\n'):
        rows, _ = read("a.csv", f'{start}text;label\n"a;b";x\nc, d, e;y\n')
        assert rows == [
            {"text": "a;b", "label": "x", files.LINE: 3},
            {"text": "c, d, e", "label": "y", files.LINE: 4},
        ]
    with pytest.raises(UserError, match=r"a.csv:3: too few fields"):
        read("a.csv", "sep=;\ntext;label\na\n")


def test_nul_characters_are_left_out_and_counted() -> None:
    content = "text,label\n" + "some words,x\n" * 20 + "a\0b,y\nc\0,z\n"
    rows, remarks = read("a.csv", content)
    assert [row["text"] for row in rows[-2:]] == ["ab", "c"]
    assert remarks == ["a.csv: NUL characters are left out of 2 lines (first 22)"]
    head = "te\0xt,label\n" + "some words,x\n" * 20
    assert read("b.csv", head)[0][0]["text"] == "some words"


def test_every_line_end_and_no_line_end() -> None:
    for end in ("\n", "\r", "\r\n"):
        content = end.join(["text\tlabel", "a\tx", "", '"b\ty', 'c"\tz'])
        assert [row["text"] for row in read("a.tsv", content)[0]] == ["a", '"b', 'c"']


def test_marks_of_wide_encodings() -> None:
    for encoding in ("utf-16", "utf-32"):
        data = PLAIN.encode(encoding)
        assert [row["text"] for row in read("a.tsv", data, encoding=encoding)[0]] == TEXTS
        with pytest.raises(UserError, match=rf"set data.encoding: {encoding}$"):
            read("a.tsv", data)
    data = ("\ufeff" + PLAIN).encode("utf-16-le")
    assert [row["text"] for row in read("a.tsv", data, encoding="utf-16-le")[0]] == TEXTS


def test_remarks_go_to_the_log_if_nobody_collects_them(caplog: pytest.LogCaptureFixture) -> None:
    Path("a.tsv").write_text(PLAIN, encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="ftlight"):
        assert len(list(files.read(Path("a.tsv")))) == 5
    assert "a.tsv: quotation marks are read as text" in caplog.text


def test_rows_of_delimiters_alone_are_blank() -> None:
    rows, remarks = read("a.csv", 'text,label\nhi,a\n,\n" ",""\nho,b\n,,,\n\n')
    assert [row[files.LINE] for row in rows] == [2, 5]
    assert remarks == ["a.csv: 3 rows are blank and left out (first in line 3)"]


def test_utf8_is_not_taken_for_an_encoding_of_one_byte() -> None:
    """A run that was trained on a table of Excel reads another one of a web page."""
    text = "text,label\nbestätigen Sie,a\nschön,b\n"
    cells = ["bestätigen Sie", "schön"]

    def check(name: str, encoding: str, is_told: bool) -> None:
        rows, remarks = read("a.csv", text.encode(name), encoding=encoding)
        assert [row["text"] for row in rows] == cells
        assert next(iter(rows[0])) == "text"
        said = f"a.csv: read as UTF-8, by its bytes, not as {encoding} (data.encoding)"
        assert remarks == ([said] if is_told else [])

    each(
        [
            ("utf-8", "cp1252", True),
            ("utf-8-sig", "cp1252", True),
            ("utf-8-sig", "gbk", True),
            ("utf-8", "latin-1", True),
            ("cp1252", "cp1252", False),
            ("utf-8-sig", "utf-8", False),
        ],
        check,
    )
    rows, remarks = read("a.csv", "text,label\n联通,a\n".encode("gbk"), encoding="gbk")
    assert (rows[0]["text"], remarks) == ("联通", [])  # two letters whose bytes spell UTF-8, too
