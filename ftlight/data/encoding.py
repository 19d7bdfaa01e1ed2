"""Text files, plain or compressed: a wrong encoding or a damaged file becomes one clear line."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from ftlight.utils.errors import UserError

_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@contextlib.contextmanager
def open_text(path: Path, encoding: str) -> Iterator[io.TextIOBase]:
    """Opens a text file, plain or .gz.

    Raises:
        UserError: it is not text in this encoding, or damaged.
    """
    compressed = path.suffix.lower() == ".gz"
    _check_start(path, encoding, compressed)
    opener = gzip.open if compressed else open
    try:
        # utf-8-sig reads UTF-8 with and without a byte order mark
        name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        with opener(path, "rt", encoding=name, newline="") as file:
            yield file
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
        raise UserError(
            f"data.encoding: {encoding} is not an encoding that Python knows;"
            " for example utf-8, cp1252, utf-16"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is damaged ({error})") from None


def _check_start(path: Path, encoding: str, compressed: bool) -> None:
    """Refuses what the first bytes show to be no text in this encoding."""
    with path.open("rb") as raw:
        start = raw.read(512)
    if start[:4] == b"PK\x03\x04":
        raise UserError(f"{path} is a zip archive or spreadsheet, not text; save it as CSV (UTF-8)")
    if "16" in encoding or "32" in encoding:
        return
    if start[:2] in _UTF_16_MARKS:
        raise UserError(f"{path} is in UTF-16; set data.encoding: utf-16")
    if b"\0" in start and not compressed:
        raise UserError(
            f"{path} holds NUL bytes: it is binary, or UTF-16 without a byte order mark"
            " (then set data.encoding: utf-16-le)"
        )


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int]:
    """Value and offset of the first byte that cannot be decoded.

    Readers decode by blocks, so the offset in their error is relative to a block.
    """
    data = gzip.open(path).read() if path.suffix.lower() == ".gz" else path.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return data[error.start], error.start
    return 0, 0
