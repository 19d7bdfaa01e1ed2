"""Names of files in zips of Windows, written in a code page that the zip does not name."""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ftlight.data.alphabets import FREQUENT, LETTERS
from ftlight.utils.format import counted

UTF_8 = 0x800  # the flag of an entry whose name is in UTF-8
UNICODE_NAME = 0x7075  # the extra field of one whose name is there in UTF-8
LEAST = 0.2  # share of frequent characters from which on a code page is believed
SHORTEST = 3  # letters of a word in Cyrillic: two may be a Chinese or Japanese character
CLEAR = 2.0  # how many times the next best share it must be


def names_of(entries: Sequence[zipfile.ZipInfo], place: str) -> tuple[list[str], str]:
    """Names of the entries of a zip, with ``/``, and a remark about how they were decoded.

    Args:
        entries: the entries; :mod:`zipfile` has read names without the flag of UTF-8 as cp437.
        place: the zip, for the remark.
    """
    names = [_told(entry) for entry in entries]
    raw = {i: entries[i].orig_filename.encode("cp437") for i, name in enumerate(names) if not name}
    page = code_page(set(raw.values())) if raw else None
    for i, data in raw.items():
        names[i] = data.decode(page) if page else entries[i].filename
    remark = ""
    if page and page not in ("utf-8", "cp850"):
        first = next(names[i] for i in raw)
        remark = f"{place}: {counted(len(raw), 'name', 'are')} read in {page}, such as {first}"
    elif raw and not page:
        first = names[next(iter(raw))]
        remark = (
            f"{place}: {counted(len(raw), 'name', 'are')} in a code page that cannot be told,"
            f" such as {first!r}; make the zip with names in UTF-8, or unpack it and give"
            " the folder"
        )
    return [name.replace("\\", "/") for name in names], remark


def _told(entry: zipfile.ZipInfo) -> str:
    """The name of an entry if the zip tells its encoding, else nothing."""
    if entry.flag_bits & UTF_8 or entry.orig_filename.isascii():
        return entry.filename
    extra, at = entry.extra, 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + size]
        if kind == UNICODE_NAME and len(field) > 5:
            (checksum,) = struct.unpack_from("<L", field, 1)
            if checksum == zlib.crc32(entry.orig_filename.encode("cp437")):
                return field[5:].decode("utf-8", "replace")
        at += 4 + size
    return ""


def code_page(names: Iterable[bytes]) -> str | None:
    """The code page in which names make sense; None if it cannot be told.

    It must decode all of them, to words of one alphabet, or to characters of which many are
    frequent in their language and which no other code page makes as many of. Names that are valid
    UTF-8 are in UTF-8.

    >>> code_page(["红/1.jpg".encode("gbk"), "蓝/1.jpg".encode("gbk")])
    'gbk'
    """
    texts: dict[str, list[str]] = {}
    for page in ("utf-8", *LETTERS, *FREQUENT):
        with contextlib.suppress(UnicodeDecodeError):
            texts[page] = [name.decode(page) for name in names]
    # two bytes of another code page may happen to be one Latin letter in UTF-8
    if any(c > "\xff" for name in texts.get("utf-8", ()) for c in name):
        return "utf-8"
    words = {"utf-8": LETTERS["cp1252"], **LETTERS}
    for page in [page for page in words if page in texts]:
        if _are_words(texts[page], words[page]):
            return page
    shares = {page: _share(page, texts[page]) for page in FREQUENT if page in texts}
    ranked = sorted(shares, key=lambda page: -shares[page])
    if not ranked or shares[ranked[0]] < LEAST:
        return None
    second = shares[ranked[1]] if len(ranked) > 1 else 0.0
    return ranked[0] if shares[ranked[0]] >= CLEAR * second else None


def _are_words(names: Iterable[str], letters: set[str]) -> bool:
    """Whether names are written in an alphabet: no capital follows a small letter.

    Latin letters with marks stand beside a plain one; Cyrillic ones make words of their own.
    """
    for part in (part for name in names for part in re.split(r"[\\/]", name)):
        stem = part.rpartition(".")[0] or part
        beyond = [c for c in stem if not c.isascii()]
        plain = any(c.isascii() and c.isalpha() for c in stem)
        if not letters.issuperset(beyond):
            return False
        for before, after in pairwise(stem):
            if before.islower() and after.isupper() and not (before + after).isascii():
                return False
        fits = not plain and len(beyond) >= SHORTEST if "я" in letters else plain
        if beyond and not fits:
            return False
    return True


def _share(page: str, names: Iterable[str]) -> float:
    """The share of characters beyond ASCII that are frequent in the language of a code page."""
    characters = {c for name in names for c in name if not c.isascii()}
    frequent = FREQUENT[page]
    kana = page == "cp932"
    good = sum(c in frequent or (kana and "\u3041" <= c <= "\u30fe") for c in characters)
    return good / len(characters)
