"""Text files, plain or compressed: a wrong encoding or a damaged file becomes one clear line."""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ftlight.data.remarks import remark
from ftlight.utils import archives
from ftlight.utils.errors import UserError

MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# Encodings of one byte for each letter, beside those of ISO 8859.
SINGLE = {*(f"cp125{i}" for i in range(9)), "cp437", "cp850", "koi8-r", "mac-roman"}
BINARY = 0.1  # share of NUL bytes from which on a file is no text
BLOCK = 1 << 20  # bytes searched at once
LONGEST = 2**27  # bytes of a line, which readers hold several times


@contextlib.contextmanager
def open_text(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """Opens a text file, plain or .gz, to read its lines with their ends; NULs are left out.

    Raises:
        UserError: it is not text in this encoding, damaged, or larger than can be read.
    """
    compressed = path.suffix.lower() == ".gz"
    _check_start(path, encoding, compressed)
    if _is_utf8(path, encoding):
        remark(f"{path.name}: read as UTF-8, by its bytes, not as {encoding} (data.encoding)")
        encoding = "utf-8"
    opener = gzip.open if compressed else open
    try:
        # utf-8-sig reads UTF-8 with and without a byte order mark
        name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        wide = "16" in encoding or "32" in encoding
        searched = special_bytes(path)
        with opener(path, "rt", encoding=name, newline="") as file:
            holds_nul = not wide and b"\0" in searched
            yield _without_nul(file, path) if holds_nul else file
    except UnicodeDecodeError as error:
        byte, offset = _first_bad_byte(path, encoding)
        raise UserError(
            f"{path}: byte {offset} (0x{byte:02x}) is not {encoding};"
            " set data.encoding, for example data.encoding: cp1252"
        ) from error
    except UnicodeError as error:  # utf-16 or utf-32 without a byte order mark
        raise UserError(
            f"{path} is not {encoding} ({error});"
            " set data.encoding, for example data.encoding: utf-8"
        ) from None
    except LookupError:
        raise _unknown(encoding) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is damaged ({error})") from None


def encoding_of(path: Path) -> str:
    """The encoding that a byte order mark at the start of a file tells; empty if there is none."""
    with path.open("rb") as raw:
        start = raw.read(4)
    return next((name for mark, name in MARKS.items() if start.startswith(mark)), "")


def _is_utf8(path: Path, encoding: str) -> bool:
    """Whether a file that is to be read in another encoding is in UTF-8 beyond doubt.

    Letters of an encoding of one byte each spell UTF-8 only by an unlikely chance: é is two bytes
    of it, which are Ã© in cp1252. Of others, such as GBK, only the mark of UTF-8 tells.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        return False
    if name.startswith("utf"):
        return False
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            start = file.read(BLOCK)
    except (EOFError, OSError, zlib.error):
        return False  # whoever reads it says why
    if start.startswith(codecs.BOM_UTF8):
        return True
    if start.isascii() or not (name.startswith("iso8859") or name in SINGLE):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


@functools.lru_cache(8)
def _searched(path: Path, changed: int) -> frozenset[bytes]:
    found = set()
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    most = archives.most(path)
    total = line = 0
    with opener(path, "rb") as file:
        while block := file.read(BLOCK):
            found |= {byte for byte in (b'"', b"\0") if byte in block}
            total += len(block)
            line = 0 if b"\n" in block or b"\r" in block else line + len(block)
            if total > most:
                raise UserError(f"{path}: {archives.BOMB}")
            if line > LONGEST:
                raise UserError(f"{path} holds a line of more than {LONGEST:,} bytes; divide it")
    return frozenset(found)


def special_bytes(path: Path) -> frozenset[bytes]:
    """Which of quotation mark and NUL a file holds: readers take longer if it does.

    Raises:
        UserError: it unpacks to more than its size lets expect, or a line is too long to be held.
    """
    return _searched(path, path.stat().st_mtime_ns)


def _without_nul(lines: Iterable[str], path: Path) -> Iterator[str]:
    """Lines without NULs, which are no text."""
    held: list[int] = []
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            held.append(number)
            line = line.replace("\0", "")
        yield line
    if held:
        remark(f"{path.name}: NUL characters are left out of {len(held):,} lines (first {held[0]})")


def _check_start(path: Path, encoding: str, compressed: bool) -> None:
    """Refuses what the first bytes show to be no text in this encoding."""
    with path.open("rb") as raw:
        start = raw.read(512)
    if start[:4] == b"PK\x03\x04":
        raise UserError(
            f"{path} is a zip archive or spreadsheet, not text; name it .zip or .xlsx,"
            " or save it as CSV"
        )
    if "16" in encoding or "32" in encoding:
        return
    for mark, name in MARKS.items():
        if start.startswith(mark):
            raise UserError(f"{path} is in {name.upper()}; set data.encoding: {name}")
    if start.count(b"\0") > BINARY * len(start) and not compressed:
        raise UserError(
            f"{path} holds NUL bytes: it is binary, or UTF-16 without a byte order mark"
            " (then set data.encoding: utf-16-le)"
        )


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int]:
    """Value and offset of the first byte that cannot be decoded.

    Readers decode by blocks, so the offset in their error is relative to a block.
    """
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    decoder = codecs.getincrementaldecoder(encoding)()
    before = 0
    with opener(path, "rb") as file:
        while block := file.read(BLOCK):
            held = decoder.getstate()[0]  # the start of a character, from the block before
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return (held + block)[error.start], before - len(held) + error.start
            before += len(block)
    return 0, 0


def check(name: str) -> None:
    """Checks that an encoding is one.

    Raises:
        UserError: Python knows none of that name.
    """
    try:
        codecs.lookup(name)
    except LookupError:
        raise _unknown(name) from None


def _unknown(name: str) -> UserError:
    return UserError(
        f"data.encoding: {name} is not an encoding that Python knows;"
        " for example utf-8, cp1252, utf-16"
    )
