from __future__ import annotations

import gzip
import io
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import each, write_csv

from ftlight.data import files
from ftlight.data.hub import parse_hub, read_hub
from ftlight.utils.errors import UserError


def put(name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def rows(path: Path, encoding: str = "utf-8", **how: Any) -> list[dict[str, Any]]:
    return list(files.read(files.check(str(path)), encoding, **how))


def fault(path: Path, encoding: str = "utf-8", **how: Any) -> str:
    with pytest.raises(UserError) as info:
        rows(path, encoding, **how)
    return str(info.value)


def fault_of_check(name: str, option: str = "") -> str:
    with pytest.raises(UserError) as info:
        files.check(name, option)
    return str(info.value)


# What is there at all


def test_missing_file_names_the_nearest_in_its_folder() -> None:
    Path("data").mkdir()
    put("data/train.csv", "text,label\n")
    Path("data/tran.csv.d").mkdir()
    assert (
        fault_of_check("data/tran.csv") == 'data/tran.csv: no such file; did you mean "train.csv"?'
    )


def test_missing_file_with_nothing_like_it() -> None:
    put("zzz.parquet", "x")
    assert fault_of_check("train.csv") == "train.csv: no such file"
    assert fault_of_check("no/such/folder/train.csv") == "no/such/folder/train.csv: no such file"


def test_what_is_missing_is_like_a_folder_or_a_file_but_not_by_its_suffix() -> None:
    Path("letters").mkdir()
    put("mail.csv", "x")
    put(".lettre", "x")
    assert fault_of_check("lettres") == 'lettres: no such file or folder; did you mean "letters"?'
    assert fault_of_check("mial") == 'mial: no such file or folder; did you mean "mail.csv"?'
    assert fault_of_check("mail.json") == 'mail.json: no such file; did you mean "mail.csv"?'
    assert fault_of_check("x.csv") == "x.csv: no such file"


def test_option_stands_in_front() -> None:
    put("empty.csv", "")
    Path("folder").mkdir()
    for name in ("missing.csv", "empty.csv", "folder", "x.xls", "x.odt"):
        if name.startswith("x."):
            put(name, "x")
        assert fault_of_check(name, "data.validation").startswith(f"data.validation: {name}")


def test_folder_lists_its_files() -> None:
    Path("folder").mkdir()
    put("folder/only.csv", "text\n")
    assert fault_of_check("folder") == (
        "folder is a folder; name one of its files (only.csv),"
        " or a folder of documents (.txt, .md, .docx, .pdf)"
    )


def test_empty_file() -> None:
    assert fault_of_check(str(put("empty.csv", ""))) == "empty.csv is empty"


def test_spreadsheet_by_suffix() -> None:
    def check(name: str) -> None:
        assert (
            fault_of_check(str(put(name, "x"))) == f"{name} is a spreadsheet of another kind;"
            " save it as .xlsx or CSV and name that file"
        )

    each(["data.xls", "data.XLS", "data.ods"], check)


def test_an_archive_is_to_be_unpacked() -> None:
    def check(name: str) -> None:
        wanted = f"{name} is an archive; unpack it, and name a file of it or its folder"
        assert fault_of_check(str(put(name, "x"))) == wanted

    each(["data.zip", "data.tar.gz", "data.TAR", "data.7z"], check)


def test_unknown_format_lists_those_that_can_be_read() -> None:
    cases = [("data.txt", ".txt"), ("data", "without suffix"), ("data.docx.gz", ".docx")]

    def check(name: str, said: str) -> None:
        message = fault_of_check(str(put(name, "x")))
        assert (
            message == f"{name}: format {said} is not known;"
            " use .csv, .tsv, .jsonl, .json, .parquet, .xlsx (or .gz of one)"
        )

    each(cases, check)


def test_known_formats() -> None:
    cases = ["a.csv", "a.TSV", "a.JsonL", "a.json", "a.parquet", "a.csv.gz", "a.b.jsonl.GZ"]

    def check(name: str) -> None:
        assert files.check(str(put(name, "x"))) == Path(name)

    each(cases, check)


def test_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put("a.csv", "x")
    assert files.check("~/a.csv") == tmp_path / "a.csv"


def test_sha256() -> None:
    assert (
        files.sha256(put("a", "abc"))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# CSV


def test_rows_have_their_lines() -> None:
    path = put("a.csv", 'text,label\none,x\n\n"two\nlines",y\nfour,z\n')
    assert rows(path) == [
        {"text": "one", "label": "x", files.LINE: 2},
        {"text": "two\nlines", "label": "y", files.LINE: 4},
        {"text": "four", "label": "z", files.LINE: 6},
    ]


def test_line_ends() -> None:
    def check(end: str) -> None:
        path = put("a.csv", end.join(["text,label", "a,b", "c,d", ""]))
        assert rows(path) == [
            {"text": "a", "label": "b", files.LINE: 2},
            {"text": "c", "label": "d", files.LINE: 3},
        ]

    each(["\n", "\r\n", "\r"], check)


def test_header_only_has_no_rows() -> None:
    assert rows(put("a.csv", "text,label\n")) == []
    assert rows(put("b.csv", "\n\n")) == []


def test_values_stay_strings() -> None:
    cases = ["NA", "N/A", "null", "None", "nan", "NaN", "01", "1.0", "1e5", "True", "-", ""]

    def check(value: str) -> None:
        path = put("a.csv", f"text,label\na,{value}\n")
        assert rows(path) == [{"text": "a", "label": value, files.LINE: 2}]

    each(cases, check)


def test_spaces_around_column_names_go_and_around_values_stay() -> None:
    assert rows(put("a.csv", "text , label\n a , b\n")) == [
        {"text": " a ", "label": " b", files.LINE: 2}
    ]


def test_row_with_another_number_of_fields() -> None:
    cases = [
        ("a,b,c", "too many", 3),
        ("a,b,c,d", "too many", 4),
        ("a", "too few", 1),
        ("a,b,", "too many", 3),
    ]

    def check(row: str, what: str, fields: int) -> None:
        path = put("a.csv", f"text,label\nx,y\n{row}\n")
        assert fault(path) == (
            f"a.csv:3: {what} fields ({fields} where the header has 2);"
            " put quotes around a field that holds the delimiter"
        )

    each(cases, check)


def test_line_of_a_faulty_row_after_fields_of_several_lines() -> None:
    path = put("a.csv", 'text,label\n"one\ntwo\nthree",x\n\n"four\nfive",y\na,b,c\n')
    assert fault(path).startswith("a.csv:8: too many fields (3 where the header has 2)")


def test_line_of_a_faulty_row_of_several_lines_is_its_first() -> None:
    path = put("a.csv", 'text,label\nx,y\n"one\ntwo",x,z\n')
    assert fault(path).startswith("a.csv:3: too many fields")


def test_unclosed_quote_names_the_line_where_it_opens() -> None:
    path = put("a.csv", 'text,label\n"one\ntwo",x\n"three,y\nfour,z\nfive,z\n')
    assert fault(path) == (
        "a.csv:4: a quote that opens here is not closed (unexpected end of data);"
        " double a quote inside quotes, or set data.quotes: none if quotation marks are text"
    )


def test_unclosed_quote_that_a_later_quote_ends() -> None:
    path = put("a.csv", 'text,label\na,b\n"three,y\nfour,z\n"five",z\n')
    message = fault(path, quotes="csv")
    assert message.startswith("a.csv:3: a quote that opens here is not closed (")
    assert [row["text"] for row in rows(path)] == ["a", '"three', "four", '"five"']


def test_quote_inside_quotes_that_is_not_doubled() -> None:
    path = put("a.csv", 'text,label\n"say "yes", please",b\n')
    assert fault(path).startswith("a.csv:2: a quote that opens here is not closed (")
    assert (
        rows(put("b.csv", 'text,label\n"say ""yes"", please",b\n'))[0]["text"]
        == 'say "yes", please'
    )


def test_quote_within_a_field_without_quotes_is_text() -> None:
    assert rows(put("a.csv", 'text,label\n5" screen,b\n'))[0]["text"] == '5" screen'


def test_column_twice() -> None:
    cases = [("text,label,text", 1, "text"), ("\n\nb,a, a,b", 3, "a, b")]

    def check(header: str, line: int, said: str) -> None:
        path = put("a.csv", f"{header}\n")
        assert fault(path) == f"a.csv:{line}: column {said} occurs twice in the header; rename one"

    each(cases, check)


def test_long_fields() -> None:
    text = "x" * 300_000
    assert rows(put("a.csv", f"text,label\n{text},b\n"))[0]["text"] == text


# Delimiters


def test_delimiter_is_found() -> None:
    def check(delimiter: str) -> None:
        path = put(
            "a.csv",
            f"text{delimiter}label\nsome, text{delimiter}x\n".replace(
                "some, text", "some text, a" if delimiter != "," else "b"
            ),
        )
        assert [list(r)[:2] for r in rows(path)] == [["text", "label"]]
        assert rows(path)[0]["label"] == "x"

    each([",", ";", "\t", "|"], check)


def test_delimiters_within_quotes_are_text() -> None:
    def check(delimiter: str) -> None:
        text = f"a{delimiter}b, c; d\te | f"
        lines = [f"text{delimiter}label", *(f'"{text}"{delimiter}x' for _ in range(80))]
        found = rows(put("a.csv", "\n".join(lines) + "\n"))
        assert len(found) == 80
        assert found[-1] == {"text": text, "label": "x", files.LINE: 81}

    each([",", ";", "\t", "|"], check)


def test_delimiter_that_most_rows_agree_on() -> None:
    path = put("a.csv", "text;label\nyes, it is;x\nno, it, is, not;y\nplain;z\n")
    assert [r["label"] for r in rows(path)] == ["x", "y", "z"]


def test_one_column() -> None:
    assert [r["text"] for r in rows(put("a.csv", "text\nhello; you\nwho | what\n"))] == [
        "hello; you",
        "who | what",
    ]


def test_tsv_is_split_by_tabs_only() -> None:
    assert rows(put("a.tsv", "text,a\tlabel\nb,c;d\tx\n")) == [
        {"text,a": "b,c;d", "label": "x", files.LINE: 2}
    ]


# Encodings


def test_byte_order_mark_of_utf_8() -> None:
    assert rows(put("a.csv", "text,label\nä,ö\n", "utf-8-sig")) == [
        {"text": "ä", "label": "ö", files.LINE: 2}
    ]
    assert rows(put("a.jsonl", '{"text": "ä"}\n', "utf-8-sig")) == [{"text": "ä", files.LINE: 1}]


def test_wrong_encoding_names_byte_and_option() -> None:
    path = put("a.csv", "text,label\nna\xefve,x\n", "latin-1")
    assert (
        fault(path) == "a.csv: byte 13 (0xef) is not utf-8;"
        " set data.encoding, for example data.encoding: cp1252"
    )
    assert rows(path, "latin-1")[0]["text"] == "naïve"
    assert rows(path, "cp1252")[0]["text"] == "naïve"


def test_wrong_encoding_far_into_the_file() -> None:
    cases = itertools.product(["a.csv", "a.csv.gz", "a.jsonl"], [65_536 - 11, 65_536, 200_001])

    def check(name: str, at: int) -> None:
        line = (
            b'{"text": "aaaaaaaaaaaaaa"}\n' if name == "a.jsonl" else b"aaaaaaaaaaaaaaaaaaaaaaa,x\n"
        )
        data = bytearray((b"" if name == "a.jsonl" else b"text,label\n") + line * 9000)
        at = data.index(b"aaaa", at)
        data[at] = 0xE9
        path = put(name, gzip.compress(bytes(data)) if name.endswith(".gz") else bytes(data))
        assert fault(path).startswith(f"{name}: byte {at} (0xe9) is not utf-8; set data.encoding")

    each(cases, check)


def test_utf_16() -> None:
    cases = itertools.product(["a.csv", "a.jsonl"], [b"\xff\xfe", b"\xfe\xff"])

    def check(name: str, mark: bytes) -> None:
        text = '{"text": "ä"}\n' if name == "a.jsonl" else "text\nä\n"
        path = put(name, mark + text.encode("utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"))
        assert fault(path) == f"{name} is in UTF-16; set data.encoding: utf-16"
        assert [r["text"] for r in rows(path, "utf-16")] == ["ä"]

    each(cases, check)


def test_utf_16_without_a_mark() -> None:
    def check(name: str) -> None:
        path = put("a.csv", "text,label\na,b\n", name)
        assert "UTF-16" in fault(path)

    each(["utf-16-le", "utf-16-be"], check)


def test_utf_16_asked_for_and_not_there() -> None:
    message = fault(put("a.csv", "text,label\na,b\n"), "utf-16")
    assert message.startswith("a.csv")
    assert "utf-16" in message.lower()
    assert "data.encoding" in message


def test_unknown_encoding() -> None:
    def check(name: str) -> None:
        path = put("a.csv", "text,label\na,b\n")
        assert (
            fault(path, name) == f"data.encoding: {name} is not an encoding that Python knows;"
            " for example utf-8, cp1252, utf-16"
        )

    each(["utf-9", "klingon", "base64"], check)


def test_names_of_utf_8() -> None:
    def check(name: str) -> None:
        assert rows(put("a.csv", "text\nä\n", "utf-8-sig"), name) == [{"text": "ä", files.LINE: 2}]

    each(["utf-8", "UTF-8", "utf8", "UTF_8"], check)


# Other things under the name of a text file


def test_zip_under_the_name_of_a_csv() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    path = put("a.csv", made.getvalue())
    assert fault(path) == (
        "a.csv is a zip archive or spreadsheet, not text; name it .zip or .xlsx, or save it as CSV"
    )


def test_column_named_like_the_start_of_a_zip() -> None:
    assert rows(put("a.csv", "PK,text\n1,a\n")) == [{"PK": "1", "text": "a", files.LINE: 2}]


# JSON lines


def test_jsonl() -> None:
    path = put("a.jsonl", '{"text": "a\\nb", "label": ["x", "y"]}\n\n{"text": null, "label": 1}\n')
    assert rows(path) == [
        {"text": "a\nb", "label": ["x", "y"], files.LINE: 1},
        {"text": None, "label": 1, files.LINE: 3},
    ]


def test_jsonl_with_bad_json() -> None:
    path = put("a.jsonl", '{"text": "a"}\n\n{"text": "b",}\n')
    message = fault(path)
    assert message.startswith("a.jsonl:3: not valid JSON: ")
    assert message.endswith(" at column 14") or message.endswith(" at column 13")


def test_jsonl_with_something_else_than_objects() -> None:
    cases = [("[1, 2]", "list"), ('"text"', "str"), ("3", "int"), ("null", "NoneType")]

    def check(line: str, kind: str) -> None:
        path = put("a.jsonl", f'{{"text": "a"}}\n{line}\n')
        assert fault(path) == f'a.jsonl:2: expected an object such as {{"text": …}}, got {kind}'

    each(cases, check)


def test_json_with_an_object_per_line() -> None:
    assert rows(put("a.json", '{"text": "a"}\n{"text": "b"}')) == [
        {"text": "a", files.LINE: 1},
        {"text": "b", files.LINE: 2},
    ]


# Compressed


def test_gz() -> None:
    cases = [
        ("a.csv.gz", "text,label\nä,b\n"),
        ("a.tsv.gz", "text\tlabel\nä\tb\n"),
        ("a.jsonl.gz", '{"text": "ä", "label": "b"}\n'),
    ]

    def check(name: str, text: str) -> None:
        line = 1 if "json" in name else 2
        assert rows(put(name, gzip.compress(text.encode()))) == [
            {"text": "ä", "label": "b", files.LINE: line}
        ]

    each(cases, check)


def test_gz_cut_short() -> None:
    whole = gzip.compress(b"text,label\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))
    message = fault(put("a.csv.gz", whole[: len(whole) // 2]))
    assert message.startswith("a.csv.gz: the gzip file is damaged (")


def test_gz_that_is_none() -> None:
    assert fault(put("a.csv.gz", "text,label\na,b\n")).startswith(
        "a.csv.gz: the gzip file is damaged ("
    )


def test_gz_with_a_wrong_checksum() -> None:
    whole = bytearray(gzip.compress(b"text,label\na,b\n"))
    whole[-8] ^= 0xFF
    assert fault(put("a.csv.gz", bytes(whole))).startswith("a.csv.gz: the gzip file is damaged (")


def test_gz_with_broken_insides() -> None:
    whole = bytearray(gzip.compress(b"text,label\na,b\n"))
    whole[10:14] = b"\xff\xff\xff\xff"
    assert fault(put("a.csv.gz", bytes(whole))).startswith("a.csv.gz: the gzip file is damaged (")


# Parquet


def test_parquet_round_trip() -> None:
    table = pa.table(
        {
            "text": ["a", None, "c"],
            "label": [["x"], [], ["y", "z"]],
            "score": [0.5, 1.0, None],
            "NA": ["01", "NA", "null"],
        }
    )
    pq.write_table(table, "a.parquet")
    assert rows(Path("a.parquet")) == [
        {**row, files.LINE: i} for i, row in enumerate(table.to_pylist(), 1)
    ]


def test_parquet_of_many_batches() -> None:
    pq.write_table(pa.table({"n": list(range(3000))}), "a.parquet")
    found = rows(Path("a.parquet"))
    assert [r["n"] for r in found] == list(range(3000))
    assert [r[files.LINE] for r in found] == list(range(1, 3001))


def test_text_in_parquet_that_is_no_utf8_is_named_by_row_and_column() -> None:
    texts = pa.array([b"fine"] * 1500 + [b"na\xefve"]).view(pa.string())
    pq.write_table(pa.table({"n": list(range(1501)), "text": texts}), "a.parquet")
    assert fault(Path("a.parquet")) == (
        "a.parquet:1501: column text holds bytes that are not UTF-8 (0xef at byte 2);"
        " write the file anew from text"
    )


def test_json_that_python_cannot_hold_is_named_by_its_line() -> None:
    def check(value: str, says: str) -> None:
        rows = '{"text": "a"}', f'{{"text": {value}}}'
        lines, array = (
            put("a.jsonl", "\n".join(rows)),
            put("a.json", "[\n" + ",\n".join(rows) + "]"),
        )
        assert f"a.jsonl:2: not valid JSON: {says}" in fault(lines)
        assert f"a.json:3: not valid JSON: {says}" in fault(array)

    each(
        [("[" * 5000 + "]" * 5000, "nested too deep"), ("9" * 5000, "a number of thousands")],
        check,
    )


def test_broken_parquet() -> None:
    def check(damage: str) -> None:
        pq.write_table(pa.table({"n": [str(i * i) for i in range(5000)]}), "good.parquet")
        data = bytearray(Path("good.parquet").read_bytes())
        if damage == "text":
            data = bytearray(b"text,label\na,b\n")
        elif damage == "cut":
            data = data[: len(data) // 2]
        else:
            data[4:200] = b"\xff" * 196
        message = fault(put("a.parquet", bytes(data)))
        assert message.startswith("a.parquet: not a readable Parquet file (")
        assert "\n" not in message

    each(["text", "cut", "middle"], check)


# Columns and cells


def test_need_names_columns_and_the_nearest() -> None:
    row = rows(Path(write_csv(Path("a.csv"), [("a", "b")], ("message", "intent"))))[0]
    files.need(row, ["message", "intent"], "a.csv")
    with pytest.raises(UserError) as info:
        files.need(row, ["message", "intnt"], "a.csv")
    assert (
        str(info.value)
        == 'a.csv: no column intnt; did you mean "intent"? (columns: message, intent)'
    )


def test_need_minds_case_and_lists_without_a_nearest() -> None:
    with pytest.raises(UserError) as info:
        files.need({"Text": "a", "n": 1, files.LINE: 2}, ["text"], "a.csv")
    assert str(info.value) == 'a.csv: no column text; did you mean "Text"? (columns: Text, n)'
    with pytest.raises(UserError) as info:
        files.need({"x": "a", files.LINE: 2}, ["label"], "a.csv")
    assert str(info.value) == "a.csv: no column label (columns: x)"


def test_need_names_the_row_of_json_lines_that_lacks_a_column() -> None:
    *_, last = rows(
        put("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n{"text": "c"}\n')
    )
    with pytest.raises(UserError) as info:
        files.need(last, ["text", "label"], "a.jsonl")
    assert str(info.value).startswith("a.jsonl:3: no column label")


def test_as_text() -> None:
    cases = [
        ("a", "a"),
        ("", ""),
        (None, ""),
        (1, "1"),
        (0.5, "0.5"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
    ]

    def check(value: Any, text: str) -> None:
        assert files.as_text(value, "a.jsonl", 3, "text") == text

    each(cases, check)


def test_as_text_of_something_nested() -> None:
    def check(value: Any) -> None:
        with pytest.raises(UserError) as info:
            files.as_text(value, "a.jsonl", 3, "body")
        assert (
            str(info.value) == f"a.jsonl:3: column body holds {type(value).__name__}, expected text"
        )

    each([["a"], {"a": 1}, b"a"], check)


# The hub


def test_parse_hub() -> None:
    cases = [
        ("hf:imdb", ("imdb", None, None)),
        ("hf:fancyzhx/ag_news", ("fancyzhx/ag_news", None, None)),
        ("hf:fancyzhx/ag_news@main", ("fancyzhx/ag_news", None, "main")),
        ("hf:nyu-mll/glue:sst2", ("nyu-mll/glue", "sst2", None)),
        ("hf:nyu-mll/glue:sst2@abc123", ("nyu-mll/glue", "sst2", "abc123")),
        ("hf:nyu-mll/glue:@", ("nyu-mll/glue", None, None)),
    ]

    def check(name: str, parts: tuple[str, str | None, str | None]) -> None:
        assert parse_hub(name) == parts

    each(cases, check)


def test_hub_that_cannot_be_reached() -> None:
    with pytest.raises(UserError) as info:
        list(read_hub("hf:nobody/no-such-data", "train", ["text"]))
    message = str(info.value)
    assert message.startswith("hf:nobody/no-such-data: cannot be loaded from the hub (")
    assert message.endswith("); check the name and the network")
    assert "\n" not in message


def test_json_numbers_keep_their_digits() -> None:
    found = rows(
        put("a.jsonl", json.dumps({"label": 1}) + "\n" + json.dumps({"label": 1.0}) + "\n")
    )
    assert [files.as_text(r["label"], "a.jsonl", r[files.LINE], "label") for r in found] == [
        "1",
        "1.0",
    ]
