from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future

import pytest
from conftest import each

from ftlight.serve import batches
from ftlight.serve.batches import TURNS, Full, Queue, take


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


def test_those_that_were_answered_together_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SHARE", 1e9)
    monkeypatch.setattr(batches, "LINGERS", 60.0)
    model = Model()
    queue = Queue(model.answer, 3, 9)
    first = queue.put(1, 1)
    assert model.begun.wait(60)
    together = [queue.put(number, 1) for number in (2, 3)]
    model.go.set()
    assert [future.result(60) for future in (first, *together)] == [2, 4, 6]
    again = [queue.put(number, 1) for number in (4, 5)]
    assert [future.result(60) for future in again] == [8, 10]
    queue.close()
    assert model.batches == [[1], [2, 3], [4, 5]]


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


def test_answers_that_come_bit_by_bit_take_turns_with_all_that_waits() -> None:
    steps: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def say(name: str) -> Generator[None, None, str]:
        for number in range(3):
            steps.append(f"{name}{number}")
            begun.set()
            go.wait(60)
            yield
        if name == "c":
            raise ValueError(name)
        return name

    def answer(given: Sequence[str]) -> list[str | Generator[None, None, str]]:
        return [name if name == "row" else say(name) for name in given]

    queue = Queue[str, str](answer, most=9, waiting=9)
    first = queue.put("a", 1)
    assert begun.wait(60)
    others = [queue.put(name, 1) for name in ("b", "row", "c")]
    go.set()
    assert (first.result(60), others[0].result(60), others[1].result(60)) == ("a", "b", "row")
    with pytest.raises(ValueError, match="c"):
        others[2].result(60)
    queue.close()
    assert steps == ["a0", "a1", "b0", "c0", "a2", "b1", "c1", "b2", "c2"]


def test_no_more_than_so_many_take_turns() -> None:
    going: set[int] = set()
    most = 0

    def say(number: int) -> Generator[None, None, int]:
        nonlocal most
        going.add(number)
        most = max(most, len(going))
        yield
        going.remove(number)
        return number

    queue = Queue[int, int](lambda given: [say(number) for number in given], most=99, waiting=99)
    futures = [queue.put(number, 1) for number in range(3 * TURNS)]
    assert [future.result(60) for future in futures] == list(range(3 * TURNS))
    queue.close()
    assert not going
    assert most <= TURNS
