from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from conftest import each

from ftlight.serve.batches import Full, Queue, take


class Model:
    """Doubles numbers, once it is let go, and notes what it was asked together."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def answer(self, given: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(given))
        self.begun.set()
        self.go.wait(60)
        return [ValueError("negative") if number < 0 else 2 * number for number in given]


def test_those_that_fit_are_taken_together() -> None:
    def check(sizes: list[int], count: int) -> None:
        assert take(sizes, 8) == count

    each([([], 0), ([9], 1), ([4, 4, 1], 2), ([1] * 20, 8), ([7, 9, 1], 1), ([0, 0], 2)], check)


def test_whatever_waits_is_answered_together_in_order() -> None:
    model = Model()
    noted, waits = list[int](), list[int]()
    queue = Queue(model.answer, 3, 9, noted.append, waits.append)
    first = queue.put(1, 1)
    assert model.begun.wait(60)
    others = [queue.put(number, 1) for number in (2, 3, -4, 5)]
    assert waits == [1, 0, 1, 2, 3, 4]
    others[0].cancel()
    model.go.set()
    assert [future.result(60) for future in (first, others[1], others[3])] == [2, 6, 10]
    with pytest.raises(ValueError, match="negative"):
        others[2].result(60)
    queue.close()
    assert model.batches == [[1], [3, -4], [5]]  # nobody waited for 2
    assert noted == [1, 2, 1]


def test_no_more_than_so_many_wait() -> None:
    model = Model()
    queue = Queue(model.answer, most=3, waiting=2)
    futures = [queue.put(1, 1)]
    assert model.begun.wait(60)
    futures += [queue.put(number, 1) for number in (2, 3)]
    with pytest.raises(Full):
        queue.put(4, 1)
    model.go.set()
    assert [future.result(60) for future in futures] == [2, 4, 6]
    queue.close()


def test_a_queue_that_closes_answers_all_that_wait() -> None:
    model = Model()
    queue = Queue(model.answer, most=1, waiting=9)
    futures: list[Future[int]] = [queue.put(number, 1) for number in range(5)]
    model.go.set()
    queue.close()
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]
    assert not queue.works
    with pytest.raises(Full):
        queue.put(1, 1)


def test_a_fault_of_the_model_ends_its_batch_alone() -> None:
    def answer(given: Sequence[int]) -> list[int | Exception]:
        if 0 in given:
            raise ZeroDivisionError
        return list(given)

    queue = Queue(answer, most=1, waiting=9)
    with pytest.raises(ZeroDivisionError):
        queue.put(0, 1).result(60)
    assert queue.put(3, 1).result(60) == 3
    queue.close()
