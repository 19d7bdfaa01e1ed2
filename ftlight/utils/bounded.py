"""Code of others, such as a template, in bounded time and memory of this process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 5.0  # of the processor
MEMORY = 2**30  # bytes beside those that the process has


class Exceeded(Exception):
    """It took more time or memory than it may; says which."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Ends what runs inside if it takes too much of the processor, or of memory.

    Both are limits of the process, so they are set in its main thread alone, where signals arrive
    and nobody else sets them; what runs in other threads is not bounded. Where the system has no
    such limits (Windows; the memory of macOS) nothing is.

    Raises:
        Exceeded: it took more.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return
    with _limited(memory):
        before = signal.signal(signal.SIGVTALRM, _late)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1)  # again, if that was caught
        try:
            yield
        except MemoryError:
            raise Exceeded(f"it takes more than {memory >> 20:,} MB of memory") from None
        except _Late:
            raise Exceeded(f"it takes more than {seconds:g} s") from None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)


class _Late(BaseException):
    """The time is over; not an Exception, which code of others may catch."""


def _late(number: int, frame: Any) -> None:
    raise _Late


@contextlib.contextmanager
def _limited(memory: int) -> Iterator[None]:
    """Lets the process take so many more bytes."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + memory
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
