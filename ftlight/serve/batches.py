"""A queue before a model: one thread answers whatever waits, together or in turns."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

log = logging.getLogger(__name__)
SHARE = 0.2  # of a batch's time for which the next waits for those who ask again
LINGERS = 0.05  # seconds for which it does at most
LAST = 10.0  # seconds that the last batch may take; the thread then ends with its process
TURNS = 8  # answers that are given in turns; each holds what its model has read
Given = TypeVar("Given")
Got = TypeVar("Got")
Steps = Generator[None, None, Got]


class Full(Exception):
    """No more may wait."""


class Waiting(NamedTuple, Generic[Given, Got]):
    """A request that waits.

    Attributes:
        given: the request.
        size: its rows.
        future: gets its answer.
    """

    given: Given
    size: int
    future: Future[Got]


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

    An answer that is a generator comes bit by bit: whatever waits meanwhile is answered between its
    steps, and so are others of its kind, step by step in turn. What it returns is the answer.

    Clients that were answered together ask again a moment later: as many are waited for, a little.

    Args:
        answer: answers several requests, each with its answer or with why there is none.
        most: most rows that are answered together.
        waiting: most requests that wait.
        note: is told the rows of each batch.
        waits: is told the rows that wait, whenever these change.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Given]], Sequence[Got | Steps[Got] | Exception]],
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
        self._last, self._took = 0, 0.0  # requests of the last batch, and its seconds
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def put(self, given: Given, size: int) -> Future[Got]:
        """Lets a request of so many rows wait.

        Raises:
            Full: too many wait already, or the queue is closed.
        """
        with self._changed:
            if self._closed or len(self._waiting) >= self._longest:
                raise Full
            waiting = Waiting[Given, Got](given, size, Future())
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
        going: list[tuple[Future[Got], Steps[Got]]] = []
        while (batch := self._next(not going)) or going:
            if batch:
                began = time.monotonic()
                going += self._answered(batch)
                self._took = time.monotonic() - began
            now, later = going[:TURNS], going[TURNS:]
            going = [one for one in now if not _ends(*one)] + later

    def _answered(
        self, batch: Sequence[Waiting[Given, Got]]
    ) -> list[tuple[Future[Got], Steps[Got]]]:
        """Answers requests; gives the futures of those whose answers come bit by bit."""
        self._note(sum(waiting.size for waiting in batch))
        answers: Sequence[Got | Steps[Got] | Exception]
        try:
            answers = self._answer([waiting.given for waiting in batch])
        except Exception as error:
            log.exception("a batch of requests could not be answered")
            answers = [error] * len(batch)
        going = []
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Generator):
                going.append((waiting.future, answer))
            elif isinstance(answer, Exception):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)
        return going

    def _next(self, waits: bool) -> list[Waiting[Given, Got]]:
        """The next that are answered together, without those that nobody waits for any more.

        Nothing if there are none and none is waited for, or the queue is closed and empty.
        """
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed or not waits)
                if not self._waiting:
                    return []
                if waits and self._last > 1:  # who was answered just now may ask again
                    self._changed.wait_for(
                        lambda: self._closed or len(self._waiting) >= self._last,
                        min(LINGERS, SHARE * self._took),
                    )
                count = take((waiting.size for waiting in self._waiting), self._most)
                batch = [self._waiting.popleft() for _ in range(count)]
                self._add(-sum(waiting.size for waiting in batch))
                wanted = [w for w in batch if w.future.set_running_or_notify_cancel()]
                if wanted:
                    self._last = len(wanted)
                    return wanted

    def _add(self, rows: int) -> None:
        """Counts rows that wait, or no longer do; for whoever holds the lock."""
        self._rows += rows
        self._waits(self._rows)


def _ends(future: Future[Got], steps: Steps[Got]) -> bool:
    """Lets an answer come a step further; whether it has ended."""
    try:
        next(steps)
    except StopIteration as end:
        future.set_result(end.value)
    except Exception as error:
        future.set_exception(error)
    else:
        return False
    return True
