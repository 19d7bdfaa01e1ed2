"""Hostile requests for serve.py, in bytes: bodies, heads and paths that no server wants."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

TOKEN = "benchmark"
MEGABYTE = 1_000_000
PATHS = (
    *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//predict", "/predict/", "/predict/../x"),
    *("/predict%00", "/predict\\..\\x", "/static/page.js", "/page.js/../page.py", "/page.html"),
    *(
        "http://evil.example/predict",
        "/v1/models/../../etc",
        "/v1/models/%2e%2e%2fetc",
        "/;/predict",
    ),
    *("/%ff%fe", "/\u202e".encode().decode("latin-1"), "/" + "a" * 5000, "/PREDICT", "/predict#x"),
)
NOT_JSON = (
    *(
        b"",
        b"{",
        b"}",
        b"null",
        b"true",
        b"'a'",
        b"message=a",
        b"<a/>",
        b"[1,]",
        b'{"a":1,}',
        b"[][]",
    ),
    *(
        b"\x00",
        b"\x1f\x8b\x08\x00",
        b'"' + b"\\" * 999,
        b'{"rows": undefined}',
        b"--x\r\n\r\n--x--",
    ),
)
BYTES = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80")
CHUNKS = (
    *(b"zz\r\nabc\r\n0\r\n\r\n", b"-5\r\nabc\r\n0\r\n\r\n", b"0x5\r\nabcde\r\n0\r\n\r\n"),
    *(
        b"f" * 40 + b"\r\nabc",
        b"5 5\r\nabcde\r\n0\r\n\r\n",
        b"3\r\nabcdef\r\n0\r\n\r\n",
        b"\r\n\r\n",
    ),
    *(
        b"1" + b";x" * 60_000 + b"\r\n{\r\n0\r\n\r\n",
        b"1\r\n{\r\n0\r\nx" + b"y" * 99_000 + b"\r\n\r\n",
    ),
)


class Form(NamedTuple):
    """A kind of request.

    Attributes:
        make: the bytes of one, in pieces; the draws say which.
        may_be_silent: whether a connection that is closed without an answer will do.
    """

    make: Callable[[random.Random], Iterable[bytes]]
    may_be_silent: bool = False


def head(length: int | None, *lines: str, path: str = "/predict", token: str = TOKEN) -> bytes:
    """The head of a POST; without a length the lines say how its body comes."""
    given = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *lines]
    given += [] if length is None else [f"Content-Length: {length}"]
    return ("\r\n".join(given) + "\r\n\r\n").encode("latin-1")


def post(body: bytes, *lines: str, path: str = "/predict", token: str = TOKEN) -> list[bytes]:
    return [head(len(body), *lines, path=path, token=token), body]


def of_json(value: object, *lines: str, path: str = "/predict") -> list[bytes]:
    return post(json.dumps(value).encode(), *lines, path=path)


def rows(draws: random.Random, column: str) -> list[bytes]:
    """Rows that are none, or have wrong columns."""
    wrong: tuple[object, ...] = (3, [3], [None], [[]], {column: "a"}, "a", None, [{}], [True])
    named: tuple[object, ...] = (
        *([{"nothing": "a"}], [{column: {"a": {}}}], [{column: "a"}, {}], [{column.upper(): "a"}]),
        *([{"__container": "/etc", "__name": "passwd"}], [{column: "a", "__words": []}]),
        *([column, 5], ["a"] * 1001, [{column: "a"}] * 2000, [{column + "\x00": "\u202e"}]),
    )
    return of_json({"rows": draws.choice(wrong + named)})


def options(draws: random.Random, column: str) -> list[bytes]:
    """Options that are none, or have wrong values."""
    wrong: tuple[tuple[str, object], ...] = (
        *(
            ("at_least", 2),
            ("at_least", "0.9"),
            ("at_least", -1),
            ("coverage", 5),
            ("coverage", []),
        ),
        *(("model", "../etc"), ("model", 5), ("model", "\x1b[31m\u202e"), ("model", "x" * 9999)),
        *(
            ("explain", "grad"),
            ("explain", 2),
            ("fields", 5),
            ("fields", ["\n\x00"]),
            ("filds", []),
        ),
        *(("__class__", 1), ("x" * 9999, 1), ("ckpt_path", "/etc/passwd"), ("trust", True)),
    )
    return of_json({"rows": [{column: "a"}], **dict([draws.choice(wrong)])})


def nested(draws: random.Random) -> list[bytes]:
    """Values in values."""
    depth = draws.choice((500, 1000, 5000, 50_000, 150_000))
    opening, closing = draws.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"rows":', b"}]")))
    whole = opening * depth + b"1" + closing * depth
    return post(draws.choice((whole, opening * depth, b'{"rows": ' + whole + b"}"))[:MEGABYTE])


def numbers(draws: random.Random, column: str) -> list[bytes]:
    """Numbers that are none, or too large."""
    number = draws.choice(
        ("9" * 50_000, "1e999999", "-1e400", "NaN", "-Infinity", "0x10", "1" * 5000)
    )
    option = draws.choice(("at_least", "coverage", "explain", "model", "fields"))
    text = f'{{"rows": [{json.dumps({column: "a"})}], "{option}": {number}}}'
    return post(draws.choice((text, f"[{number}]", number)).encode())


def types(draws: random.Random) -> list[bytes]:
    """Bodies that are not what their head says."""
    kinds = ("", "; boundary=", "; boundary=x", "; boundary=" + "y" * 9000, "; boundary=\xff")
    bodies = (b"", b"x", b"--x\r\n", b"--x--", b"--x\r\n\r\nb\r\n--x--", b"\r\n--x" * 5000)
    if draws.random() < 0.3:
        coding = draws.choice(("gzip", "br", "deflate, gzip", "x" * 999))
        return post(b"\x1f\x8b", f"Content-Encoding: {coding}")
    file = (
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="/etc/passwd"\r\n\r\nb\r\n--x--'
    )
    body = draws.choice((*bodies, file))
    return post(body, f"Content-Type: multipart/form-data{draws.choice(kinds)}")


def talks(draws: random.Random) -> list[bytes]:
    """What is no chat and no text for vectors."""
    wrong: tuple[object, ...] = (
        [],
        {},
        {"messages": 5},
        {"messages": [{}]},
        {"input": [5]},
        "a",
        5,
    )
    hi = {"role": "user", "content": "hi"}
    asked: tuple[object, ...] = ({"messages": [hi]}, {"messages": [hi] * 2000}, {"input": "a"})
    path = draws.choice(("/v1/chat/completions", "/v1/embeddings"))
    return of_json(draws.choice(wrong + asked), path=path)


def chunked(draws: random.Random) -> list[bytes]:
    """Chunks that are none."""
    return [head(None, "Transfer-Encoding: chunked"), draws.choice(CHUNKS)]


def heads(draws: random.Random) -> list[bytes]:
    """Heads that are none, or say two things."""
    lines = (
        *(
            ["Content-Length: 5", "Content-Length: 6"],
            ["Content-Length: -1"],
            ["Content-Length: x"],
        ),
        *(["Content-Length: " + "9" * 20], ["Transfer-Encoding: gzip, chunked"], ["Host: other"]),
        *(
            ["A: " + "b" * 100_000],
            ["A: b"] * 20_000,
            ["A\x00B: c", "Content-Length: 0"],
            ["no colon"],
        ),
        *(
            ["A B: c", "Content-Length: 0"],
            ["A: b\x00c", "Content-Length: 0"],
            ["Content-Length: +5"],
        ),
    )
    whole = (
        *(
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"GET\r\n\r\n",
            b"\x00" * 70_000,
            b"GET / FTP/1\r\n\r\n",
        ),
        *(
            b"GET /predict HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"POST /predict HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
        ),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    if draws.random() < 0.4:
        return [draws.choice(whole)]
    return [head(None, *draws.choice(lines)), b"{}"]


def methods(draws: random.Random) -> list[bytes]:
    """Methods that a path does not have."""
    method = draws.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"))
    return [head(0).replace(b"POST", method.encode(), 1)]


def streamed(draws: random.Random) -> Iterator[bytes]:
    """A body of 100 MB, in chunks or as announced."""
    piece = b"x" * MEGABYTE
    in_chunks = draws.random() < 0.5
    yield head(None, "Transfer-Encoding: chunked") if in_chunks else head(100 * MEGABYTE)
    for _ in range(100):
        yield b"%x\r\n%s\r\n" % (MEGABYTE, piece) if in_chunks else piece
    if in_chunks:
        yield b"0\r\n\r\n"


def strangers(draws: random.Random) -> list[bytes]:
    """Requests without the token."""
    lines = (
        *(
            "Basic YTpi",
            "Bearer",
            "Bearer x",
            f"Bearer {TOKEN}x",
            f"bearer{TOKEN}",
            f"Bearer {TOKEN[:-1]}",
        ),
        *("Bearer \xff\xfe", "Bearer " + "x" * 9000, "", TOKEN, f"Bearer {TOKEN}, Bearer x"),
    )
    path = draws.choice(("/predict", "/v1/models", "/metrics", "/nothing", "/v1/chat/completions"))
    given = head(2, path=path).replace(
        f"Bearer {TOKEN}".encode(), draws.choice(lines).encode("latin-1")
    )
    return [given, b"{}"]


def forms(column: str) -> dict[str, Form]:
    """Kinds of requests that each are to be refused, for a server with a token.

    Args:
        column: the input column of the run.
    """
    good = json.dumps({"rows": [{column: "where is it"}]}).encode()
    marked = good.replace(b"where", b"wh%bere")
    return {
        "not JSON": Form(lambda d: post(d.choice(NOT_JSON))),
        "JSON cut off": Form(lambda d: post(good[: d.randrange(1, len(good))])),
        "bad UTF-8": Form(lambda d: post(marked % d.choice(BYTES))),
        "nested": Form(nested),
        "huge numbers": Form(lambda d: numbers(d, column)),
        "wrong rows": Form(lambda d: rows(d, column)),
        "wrong options": Form(lambda d: options(d, column)),
        "too long": Form(lambda d: post(b"x" * d.randrange(MEGABYTE + 1, 3 * MEGABYTE))),
        "100 MB streamed": Form(streamed),
        "wrong types": Form(types),
        "no chats": Form(talks),
        "bad chunks": Form(chunked),
        "bad heads": Form(heads),
        "paths": Form(lambda d: [head(0, path=d.choice(PATHS))]),
        "methods": Form(methods),
        "no token": Form(strangers),
        "left early": Form(lambda d: [head(500), b"{"], may_be_silent=True),
    }
