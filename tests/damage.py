"""What can become of a file on a disk, for the tests of caches."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


def damaged(whole: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents: cut, empty, longer, zeroed, a bit flipped anywhere, another file.

    Args:
        whole: what was written; at least 2 kB, not zeros in its middle.
        other: what another file holds.
    """
    size = len(whole)
    yield "empty", b""
    for at in (1, size // 2, size - 40, size - 1):
        yield f"cut at {at}", whole[:at]
    yield "longer", whole + b"\0"
    yield "longer by itself", whole + whole
    for at in (0, size // 2, size - 512):
        yield f"zeros from {at}", whole[:at] + bytes(512) + whole[at + 512 :]
    for at in (0, 9, size // 3, size // 2, size - 200, size - 50, size - 30, size - 20, size - 1):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        yield f"bit {at % 8} of byte {at}", bytes(flipped)
    yield "another file", other


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process cannot grow larger, as on a disk that is full."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
