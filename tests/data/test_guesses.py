"""Guesses of encodings and headers."""

from __future__ import annotations

import gzip
from pathlib import Path

from conftest import each

from ftlight.data import encoding_guess
from ftlight.data.headers import names_columns

FRENCH = "L'élève a déjà été là où le garçon naïf mange – « très tôt » à 3 € l'œuf"
GERMAN = "Übergröße für Mädchen, schöne Grüße aus Köln"
POLISH = "Zażółć gęślą jaźń, proszę o zwrot środków, dziękuję bardzo"
RUSSIAN = "Где мой заказ? Я жду уже неделю, верните деньги"
GREEK = "Πού είναι η παραγγελία μου; Περιμένω μια εβδομάδα"
CHINESE = "我的订单在哪里？我已经等了一个星期，请把钱还给我"
JAPANESE = "注文した品物がまだ届いていません。いつ来ますか"
KOREAN = "주문한 상품이 아직 도착하지 않았습니다 언제 오나요"
CASES = [
    *((FRENCH, name) for name in ("utf-8", "cp1252", "mac_roman")),
    *((GERMAN, name) for name in ("utf-8", "cp1252", "mac_roman", "cp850")),
    *((POLISH, name) for name in ("utf-8", "cp1250")),
    *((RUSSIAN, name) for name in ("utf-8", "cp1251", "koi8_r", "cp866")),
    *((GREEK, name) for name in ("utf-8", "cp1253")),
    *((CHINESE, name) for name in ("utf-8", "gb18030")),
    *((JAPANESE, name) for name in ("utf-8", "cp932")),
    *((KOREAN, name) for name in ("utf-8", "cp949")),
    ("it costs \u00a3100", "cp1252"),
    ("caf\u00e9", "cp1252"),
]


def test_the_encoding_of_texts() -> None:
    def check(text: str, name: str) -> None:
        Path("a.csv").write_bytes(f"text,label\n{text},a\n".encode(name))
        assert encoding_guess.guess(Path("a.csv")) == name
        Path("a.csv.gz").write_bytes(gzip.compress(Path("a.csv").read_bytes()))
        assert encoding_guess.guess(Path("a.csv.gz")) == name

    each(CASES, check)


def test_marks_and_wide_characters() -> None:
    def check(name: str, expected: str) -> None:
        Path("a.csv").write_bytes("text,label\nsome text,a\n".encode(name))
        assert encoding_guess.guess(Path("a.csv")) == expected

    each(
        [
            *[("ascii", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16")],
            *[("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("utf-32", "utf-32")],
        ],
        check,
    )


def test_what_spells_nothing_is_still_read() -> None:
    Path("a.csv").write_bytes(b"text,label\n\x81\x8d\xff\x9d\x02,a\n")
    name = encoding_guess.guess(Path("a.csv"))
    assert Path("a.csv").read_text(encoding=name)


def test_headers() -> None:
    long = "a text of more than twenty letters"
    news = [[str(i % 4), "a title", f"{long} {i}"] for i in range(9)]
    spam = [["ham" if i % 2 else "spam", f"{long} {i}"] for i in range(9)]
    pairs = [[f"{long} {i}", f"{long}, too {i}"] for i in range(9)]
    bits = [[f"{long} {i}", str(i % 2), str(i % 3 // 2)] for i in range(9)]
    forms = [[f"2024-05-{i + 10}", f"{long} {i}"] for i in range(9)]

    def check(rows: list[list[str]], expected: bool) -> None:
        assert names_columns(rows) is expected

    each(
        [
            *[(rows, False) for rows in (news, spam, pairs)],
            (spam[:1], True),
            (bits, False),
            ([["label", "title", "text"], *news], True),
            ([["v1", "v2"], *spam], True),
            ([["source", "target"], *pairs], True),
            ([["text", "0", "1"], *bits], True),
            ([["Timestamp", "What did you like about the course?"], *forms], True),
            ([["name"], ["Ann"], ["Bob"]], True),
        ],
        check,
    )
