"""A queue before a model: one thread answers whatever waits, together."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

log = logging.getLogger(__name__)
LAST = 10.0  # seconds that the last batch may take; the thread then ends with its process
Given = TypeVar("Given")
Got = TypeVar("Got")


class Full(Exception):
    """No more may wait."""


class Waiting(NamedTuple, Generic[Given, Got]):
    """A request that waits.

    Attributes:
        given: the request.
        size: its rows.
        future: gets its answer.
        alone: whether it is answered by itself.
    """

    given: Given
    size: int
    future: Future[Got]
    alone: bool = False


def take(sizes: Iterable[int], most: int) -> int:
    """How many of those that wait are answered together: the first, and the next that fit.

    Args:
        sizes: rows of each in order.
        most: most rows of all.

    >>> take([3, 4, 1, 9], most=8), take([9, 1], most=8), take([], most=8)
    (3, 1, 0)
    """
    total = count = 0
    for size in sizes:
        total += size
        if count and total > most:
            break
        count += 1
    return count


class Queue(Generic[Given, Got]):
    """Requests in order, and the thread that answers them.

    Args:
        answer: answers several requests, each with its answer or with why there is none.
        most: most rows that are answered together.
        waiting: most requests that wait.
        note: is told the rows of each batch.
        waits: is told the rows that wait, whenever these change.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Given]], Sequence[Got | Exception]],
        most: int,
        waiting: int,
        note: Callable[[int], None] = lambda rows: None,
        waits: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._answer, self._most, self._longest = answer, most, waiting
        self._note, self._waits, self._rows = note, waits, 0
        self._waiting: deque[Waiting[Given, Got]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def put(self, given: Given, size: int, alone: bool = False) -> Future[Got]:
        """Lets a request of so many rows wait, which may have to be answered by itself.

        Raises:
            Full: too many wait already, or the queue is closed.
        """
        with self._changed:
            if self._closed or len(self._waiting) >= self._longest:
                raise Full
            waiting = Waiting[Given, Got](given, size, Future(), alone)
            self._waiting.append(waiting)
            self._add(size)
            self._changed.notify()
        return waiting.future

    @property
    def works(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Answers all that wait, then ends the thread; waits for it for a while."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(LAST)

    def _work(self) -> None:
        while batch := self._next():
            self._note(sum(waiting.size for waiting in batch))
            try:
                answers = self._answer([waiting.given for waiting in batch])
            except Exception as error:
                log.exception("a batch of requests could not be answered")
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    waiting.future.set_exception(answer)
                else:
                    waiting.future.set_result(answer)

    def _next(self) -> list[Waiting[Given, Got]]:
        """The next that are answered together, without those that nobody waits for any more.

        Nothing if the queue is closed and empty.
        """
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                full = self._most + 1
                sizes = (full if w.alone else w.size for w in self._waiting)
                count = take(sizes, self._most)
                batch = [self._waiting.popleft() for _ in range(count)]
                self._add(-sum(waiting.size for waiting in batch))
                wanted = [w for w in batch if w.future.set_running_or_notify_cancel()]
                if wanted:
                    return wanted

    def _add(self, rows: int) -> None:
        """Counts rows that wait, or no longer do; for whoever holds the lock."""
        self._rows += rows
        self._waits(self._rows)
