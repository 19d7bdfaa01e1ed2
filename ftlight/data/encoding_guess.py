"""The encoding of a text file that does not tell it, by what its bytes spell."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import re
import zlib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from ftlight.data.alphabets import FREQUENT, LETTERS
from ftlight.data.encoding import BINARY, BLOCK, MARKS, special_bytes

SAMPLE = 4000  # words beyond ASCII that are looked at
NONE = "latin-1"  # in which every byte is a character: for what spells nothing
SIGNS = set("£€§°©®™«»½¼¾²³µ·¿¡…–—‘’“”„‚•†´¨ª×÷¢¥¹\u00a0")
# Alphabets by encoding; of equally good ones the first is taken.
SINGLE = {
    "cp1252": LETTERS["cp1252"],
    "cp1250": LETTERS["cp852"],
    "cp1251": LETTERS["cp1251"],
    "cp1253": set("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΆΈΉΊΌΎΏ"),
    "cp1254": LETTERS["cp1252"] | set("ğışĞİŞ"),
    "mac_roman": LETTERS["cp1252"],
    "cp850": LETTERS["cp850"],
    "koi8_r": LETTERS["cp1251"],
    "cp866": LETTERS["cp866"],
}
SEVERAL = {"gb18030": "gbk", "cp950": "cp950", "cp932": "cp932", "cp949": "cp949"}
WORD = re.compile(rb"[^\s,;|\"()\[\]{}:.!?]+")


def guess(path: Path) -> str:
    """The encoding of a text file: as its byte order mark says, UTF-8 if it is that, else a guess.

    A single byte may be a letter in many code pages; the one is taken in which most characters
    beyond ASCII are letters where letters stand, or frequent in their language.
    """
    with path.open("rb") as file:
        start = file.read(512)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    if path.suffix.lower() != ".gz" and start.count(0) > BINARY * len(start):
        return "utf-16-le" if start[1::2].count(0) >= start[::2].count(0) else "utf-16-be"
    with contextlib.suppress(EOFError, OSError, zlib.error):  # whoever reads it says why
        special_bytes(path)  # bounds it
    words = dict.fromkeys(_words(path))
    return _best(list(words)) if words else "utf-8"


def _words(path: Path) -> list[bytes]:
    """The first words beyond ASCII of a file that is not UTF-8; none of one that is."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    decoder = codecs.getincrementaldecoder("utf-8")()
    words: list[bytes] = []
    is_utf8 = True
    with contextlib.suppress(EOFError, OSError, zlib.error), opener(path, "rb") as file:
        while block := file.read(BLOCK) + file.readline(BLOCK):
            if is_utf8:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    is_utf8 = False
            if len(words) < SAMPLE:
                beyond = [] if block.isascii() else WORD.findall(block)
                words += [w for w in beyond if not w.isascii()][: SAMPLE - len(words)]
            elif not is_utf8:
                break
    return [] if is_utf8 else words


def _best(words: list[bytes]) -> str:
    scores: dict[str, float] = {}
    for name in (*SINGLE, *SEVERAL):
        with contextlib.suppress(UnicodeDecodeError):
            texts = [word.decode(name) for word in words]
            scores[name] = _of_frequent(name, texts) if name in SEVERAL else _of_words(name, texts)
    best = max(scores, key=lambda name: scores[name], default=NONE)
    return best if scores.get(best) else NONE


def _of_words(name: str, texts: Iterable[str]) -> float:
    """The share of characters beyond ASCII that are letters of an alphabet, or signs, in place."""
    letters = SINGLE[name]
    latin = "é" in letters
    good, count = 0.0, 0
    for text in texts:
        beyond = [c for c in text if not c.isascii()]
        count += len(beyond)
        mixed = any(c.isascii() and c.isalpha() for c in text)
        odd = any(a.islower() and b.isupper() for a, b in pairwise(text))
        # a Latin letter beyond ASCII stands among plain ones, or nearly alone, as à does
        own = len(beyond) < 3 if latin else not mixed
        digits = any(c.isdigit() for c in text)
        fits = not odd and ((latin and mixed) or (own and not digits))
        good += sum(fits and c in letters for c in beyond)
        good += sum(0.9 for c in beyond if c in SIGNS and c not in letters)
    return good / max(count, 1)


def _of_frequent(name: str, texts: Iterable[str]) -> float:
    """Twice the share of characters beyond ASCII that are frequent in a language, at most 1."""
    frequent = FREQUENT[SEVERAL[name]]
    beyond = [c for text in texts for c in text if not c.isascii()]
    kana = name == "cp932"
    good = sum(c in frequent or (kana and "\u3041" <= c <= "\u30fe") for c in beyond)
    return min(1.0, 2 * good / max(len(beyond), 1))
