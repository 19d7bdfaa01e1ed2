"""Remarks about a file that is read: what was left out, replaced or decided, said once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

log = logging.getLogger(__name__)
_heard: ContextVar[list[str] | None] = ContextVar("remarks", default=None)


def remark(line: str) -> None:
    """Says something about a file: to whoever collects remarks, else to the log."""
    lines = _heard.get()
    if lines is None:
        log.info(line)
    elif line not in lines:
        lines.append(line)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collects the remarks of what is read inside."""
    lines: list[str] = []
    token = _heard.set(lines)
    try:
        yield lines
    finally:
        _heard.reset(token)
