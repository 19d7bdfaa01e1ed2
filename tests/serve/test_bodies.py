from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from conftest import each

from ftlight.serve.bodies import Asked, Inputs, read
from ftlight.serve.limits import Limits, Refused
from ftlight.serve.multipart import parts
from ftlight.utils.errors import UserError

TEXTS, PAIRS = Inputs(["message"], []), Inputs(["question", "context"], [])
PHOTOS = Inputs(["image"], ["image"])
ONE = {"tickets": TEXTS}
ALL = {"tickets": TEXTS, "qa": PAIRS, "photos": PHOTOS}
JPEG = bytes(range(256)) + b"\r\n--x\r\r\n\n"


def form(*fields: tuple[str, bytes, bool], boundary: str = "xyz") -> tuple[bytes, str]:
    """A form, and its content type."""
    body = b""
    for name, data, is_file in fields:
        file = '; filename="a.jpg"' if is_file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def of(given: Any, runs: Any = ONE) -> Asked:
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    return read(data, "application/json", runs, Limits())


def test_rows_come_in_every_form() -> None:
    def check(given: Any, rows: list[Any]) -> None:
        assert of(given) == Asked("tickets", rows)

    row = {"message": "a"}
    each(
        [
            (row, [row]),
            ([row, "b"], [row, {"message": "b"}]),
            ({"rows": ["a"], "model": "tickets"}, [row]),
            ({**row, "model": "tickets"}, [row]),
            ({"rows": []}, []),
            ({"message": None, "other": 1}, [{"message": None, "other": 1}]),
            ({"message": "a\ud800"}, [{"message": "a\ufffd"}]),
        ],
        check,
    )


def test_options_stand_beside_rows_and_beside_a_row() -> None:
    options = {"at_least": 0.9, "coverage": 0.8, "explain": True, "fields": ["score"]}
    expected = Asked("tickets", [{"message": "a"}], ("score",), 0.9, 0.8, "occlusion")
    assert of({"rows": ["a"], **options}) == expected
    assert of({"message": "a", **options}) == expected
    assert of({"rows": ["a"], "explain": "ig"}).explain == "ig"
    assert of({"rows": ["a"], "explain": False}).explain is None


def test_a_column_with_the_name_of_an_option_is_the_column() -> None:
    phones = {"phones": Inputs(["model"], [])}
    assert of({"model": "x1"}, phones) == Asked("phones", [{"model": "x1"}])
    assert of({"rows": [{"model": "x1"}], "model": "phones"}, phones).rows == [{"model": "x1"}]


def test_a_run_is_chosen_by_its_name() -> None:
    assert of({"question": "a", "context": "b", "model": "qa"}, ALL).model == "qa"
    assert of({"rows": ["a"], "model": "tickets"}, ALL).rows == [{"message": "a"}]


def test_what_is_wrong_is_a_line_with_the_nearest_name() -> None:
    def check(given: Any, line: str) -> None:
        with pytest.raises((UserError, Refused)) as caught:
            of(given, ALL)
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)

    deep = b'{"message": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    each(
        [
            (b"", "body: is empty; send JSON such as"),
            (b"{", "body: not valid JSON"),
            (b"\xff\xfe", "body: byte 0 is not UTF-8"),
            (deep, "nested more than 100 levels deep"),
            (b'{"message": ' + b"9" * 5000 + b"}", "a number of thousands of digits"),
            (3, "body: expected an object or a list, got a whole number"),
            ("text", "body: expected an object or a list, got text"),
            ({"message": "a"}, "model: name one of the runs: tickets, qa, photos"),
            ({"rows": ["a"], "model": "ticket"}, 'no run ticket; did you mean "tickets"?'),
            ({"rows": ["a"], "model": 3}, "model: expected a name, got a whole number"),
            ({"rows": ["a"], "model": "qa", "atleast": 1}, 'no option atleast; did you mean "at_l'),
            ({"rows": "a", "model": "qa"}, "rows: expected a list such as"),
            ({"rows": [3], "model": "qa"}, "rows[0]: expected a text or an object, got a whole"),
            ({"rows": ["a", None], "model": "qa"}, "rows[1]: expected a text or an object"),
            ({"rows": ["a"], "model": "qa", "fields": "score"}, "fields: expected a list of names"),
            ({"rows": ["a"], "model": "qa", "explain": 3}, "explain: expected true, false or occl"),
            ({"rows": ["a"], "model": "qa", "at_least": "9"}, "at_least: expected a share"),
            ({"rows": ["a"], "model": "qa", "coverage": True}, "coverage: expected a share"),
            ({"rows": ["a"], "model": "qa", "at_least": 10**400}, "at_least: expected a share"),
            ({"rows": ["a"], "model": "qa", "at_least": 1}, "at_least: expected a share"),
            ({"rows": ["a"], "model": "qa", "coverage": float("nan")}, "coverage: expected a sh"),
            ({"rows": ["a"] * 1001, "model": "qa"}, "rows: 1,001; at most 1,000 in a request"),
            ({"rows": ["a"] * 51, "model": "qa", "explain": True}, "explain: 51 rows; at most 50"),
        ],
        check,
    )


def test_no_path_of_an_image_is_opened() -> None:
    def check(row: Any, line: str) -> None:
        with pytest.raises(UserError, match=line):
            of({"rows": [row], "model": "photos"}, ALL)

    internal = {"image": "QUFB", "__container": "/etc", "__name": "passwd"}
    each(
        [
            ({"image": "/etc/passwd"}, "expected the bytes of an image file in base64"),
            ({"image": "../a.jpg"}, "no path or address is opened"),
            ({"image": "http://127.0.0.1/a.jpg"}, "no path or address is opened"),
            ({"image": "file:///etc/passwd"}, "no path or address is opened"),
            ({"image": {"path": "/etc/passwd"}}, "in base64"),
            ({"image": None}, "in base64"),
            ({"image": ""}, "in base64"),
            (internal, "column __container: no column may begin with __"),
        ],
        check,
    )


def test_no_path_of_an_image_in_an_object_is_opened() -> None:
    runs = {"photos": Inputs(["photo.file"], ["photo.file"])}
    for row in ({"photo": {"file": "/etc/passwd"}}, {"photo.file": "/etc/passwd"}):
        with pytest.raises(UserError, match="no path or address is opened"):
            of({"rows": [row]}, runs)
    coded = base64.b64encode(JPEG).decode()
    assert of({"rows": [{"photo": {"file": coded}}]}, runs).rows[0]["photo.file"] == JPEG


def test_a_run_is_chosen_by_its_name_in_a_form() -> None:
    runs = {"2024": PHOTOS, "true": PHOTOS, "a": PHOTOS}
    for sent, name in (("2024", "2024"), ('"2024"', "2024"), ("true", "true"), ("a", "a")):
        body, kind = form(("model", sent.encode(), False), ("image", JPEG, True))
        assert read(body, kind, runs, Limits()).model == name


def test_images_come_in_base64_and_as_files_of_a_form() -> None:
    coded = base64.b64encode(JPEG).decode()
    for given in (coded, f"data:image/jpeg;base64,{coded}", coded[:8] + "\n" + coded[8:]):
        assert of({"image": given}, {"photos": PHOTOS}).rows == [{"image": JPEG}]
    body, kind = form(
        *(("model", b"photos", False), ("image", JPEG, True), ("at_least", b"0.9", False)),
        *(("more", b"", True), ("fields", b'["score"]', False)),
    )
    asked = read(body, kind, ALL, Limits())
    assert asked == Asked("photos", [{"image": JPEG}, {"image": b""}], ("score",), 0.9)


def test_a_form_that_is_none_is_told_in_a_line() -> None:
    whole, kind = form(("image", JPEG, True))

    def check(body: bytes, kind: str, line: str) -> None:
        with pytest.raises((UserError, Refused), match=line):
            read(body, kind, ALL, Limits(rows=2))

    each(
        [
            (whole, "multipart/form-data", "with a boundary"),
            (whole, "multipart/mixed; boundary=xyz", "expected multipart/form-data"),
            (whole[:-6], kind, "its last boundary is missing"),
            (b"", kind, "its last boundary is missing"),
            (b"--xyz\r\n\r\nabc\r\n--xyz--", kind, "a field has no name"),
            (*form(("other", b"1", False)), "other is neither a file nor an option"),
            (*form(("model", b"photos", False)), "it holds no file"),
            (*form(("model", b"qa", False), ("a", b"1", True)), "the run reads no images"),
            (*form(*[("a", b"1", True)] * 3, ("model", b"photos", False)), "3 files are too many"),
        ],
        check,
    )


def test_bytes_of_a_form_stay_as_they_are() -> None:
    body, kind = form(("a", JPEG, True), ("b", b"\r\n", True), ("c", b"", False))
    assert [part.data for part in parts(body, kind)] == [JPEG, b"\r\n", b""]
    quoted = kind.replace("=xyz", '="xyz"')
    assert parts(body, quoted) == parts(body, kind)
