from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
from conftest import each

from ftlight.data import holding
from ftlight.tasks.text_classification.data import TextData


def classes_of(sizes: list[int], seed: int = 0) -> list[str]:
    names = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]


SIZES = ([50, 50], [100, 10, 3], [2] * 40, [7] * 30, [500, 2, 2, 2], [13, 1, 1, 40], [3, 3, 3])


def test_hold_out_by_class() -> None:
    def check(share: float, sizes: list[int]) -> None:
        classes = classes_of(sizes)
        kept, held = holding.hold_out(classes, len(classes), share, seed=3)
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(classes)))
        assert (np.diff(kept) > 0).all()
        assert (np.diff(held) > 0).all()
        counts, out = Counter(classes), Counter(classes[i] for i in held)
        assert all(abs(out[name] - count * share) <= 1 for name, count in counts.items())
        assert all(out[name] < count for name, count in counts.items())
        assert abs(len(held) - share * len(classes)) <= 1 or min(sizes) == 1

    each(itertools.product([0.01, 0.1, 0.2, 0.5], SIZES), check)


def test_hold_out_of_random_classes() -> None:
    cases = itertools.product(range(10), [0.05, 0.1, 0.25, 0.5])

    def check(seed: int, share: float) -> None:
        classes = classes_of(np.random.default_rng(seed).integers(2, 60, 40).tolist(), seed)
        _, held = holding.hold_out(classes, len(classes), share, seed)
        counts, out = Counter(classes), Counter(classes[i] for i in held)
        assert abs(len(held) - share * len(classes)) <= 1
        assert all(abs(out[name] - count * share) <= 1 for name, count in counts.items())

    each(cases, check)


def test_every_class_keeps_a_row() -> None:
    def check(share: float, sizes: list[int]) -> None:
        classes = classes_of(sizes)
        kept, held = holding.hold_out(classes, len(classes), share, seed=0)
        assert {classes[i] for i in kept} == set(classes)
        assert len(held) > 0

    each(itertools.product([0.9, 0.99], SIZES), check)


def test_single_rows_stay() -> None:
    classes = [*"abcdefgh", *"z" * 20]
    kept, held = holding.hold_out(classes, len(classes), 0.5, seed=0)
    assert set(range(8)) <= set(kept.tolist())
    assert {classes[i] for i in held} == {"z"}
    kept, held = holding.hold_out([*"abc"], 3, 0.5, seed=0)
    assert (kept.tolist(), held.tolist()) == ([0, 1, 2], [])


def test_a_class_with_a_row_to_give_gives_it() -> None:
    cases = [([20, 10], 0.1), ([15, 10], 0.1), ([5, 5, 5, 5, 5, 5], 0.2), ([3, 2, 2, 2], 0.5)]

    def check(sizes: list[int], share: float) -> None:
        classes = classes_of(sizes)
        _, held = holding.hold_out(classes, len(classes), share, seed=0)
        assert {classes[i] for i in held} == set(classes)

    each(cases, check)


def test_hold_out_is_a_function_of_the_seed() -> None:
    def check(classes: list[str] | None) -> None:
        made = {seed: holding.hold_out(classes, 100, 0.2, seed)[1].tolist() for seed in range(5)}
        assert len({str(held) for held in made.values()}) == 5
        assert all(
            held == holding.hold_out(classes, 100, 0.2, seed)[1].tolist()
            for seed, held in made.items()
        )

    each([None, classes_of([40, 40, 20])], check)


def test_hold_out_without_classes() -> None:
    cases = [(100, 0.1, 10), (7, 0.1, 1), (3, 0.1, 1), (10, 0.95, 10), (205, 0.2, 41)]

    def check(rows: int, share: float, held: int) -> None:
        kept, out = holding.hold_out(None, rows, share, seed=1)
        assert len(out) == held
        assert sorted([*kept.tolist(), *out.tolist()]) == list(range(rows))
        assert out.tolist() == sorted(out.tolist())

    each(cases, check)


def test_rows_held_out_are_not_the_first() -> None:
    _, held = holding.hold_out(["a"] * 1000, 1000, 0.1, seed=0)
    assert held.max() > 800
    assert held.min() < 200


def test_groups_stay_on_one_side() -> None:
    def check(seed: int) -> None:
        groups = [f"g{i % 7}" for i in range(50)]
        kept, held = holding.hold_out_groups(groups, 0.3, seed)
        assert sorted([*kept, *held]) == list(range(50))
        assert len({groups[i] for i in held}) == 2
        assert not {groups[i] for i in kept} & {groups[i] for i in held}

    each(range(3), check)


def test_shots_are_so_many_of_each_class() -> None:
    def check(seed: int) -> None:
        classes = ["a"] * 30 + ["b"] * 5 + ["c"] * 2
        chosen = holding.shots(classes, 4, seed)
        assert [classes[i] for i in chosen] == ["a"] * 4 + ["b"] * 4 + ["c"] * 2
        assert (
            chosen.tolist()
            == holding.shots(classes, 4, seed).tolist()
            != holding.shots(classes, 4, seed + 1).tolist()
        )

    each(range(3), check)


def test_smaller_draws_are_parts_of_larger_ones_with_one_of_each_class_first() -> None:
    classes = ["a"] * 90 + ["b"] * 9 + ["c"]
    order = holding.nested(classes, 100, 3)
    assert sorted(order.tolist()) == list(range(100))
    assert {classes[row] for row in order[:3]} == {"a", "b", "c"}
    assert order.tolist() == holding.nested(classes, 100, 3).tolist()
    assert order.tolist() != holding.nested(classes, 100, 4).tolist()
    assert sorted(holding.nested(None, 100, 3).tolist()) == list(range(100))


def test_as_many_rows_are_trained_on_as_are_asked_for(bert: str, toy: str) -> None:
    def train(**options: Any) -> list[str]:
        data = TextData(toy, tokenizer=bert, **options)
        data.setup("fit")
        assert len(data.load_split("validation")) == 6
        assert data.labels == ["bad", "good", "late"]
        return list(data.load_split("train")["text"])

    few, more, everything = train(train_rows=3), train(train_rows=20), train(train_rows=500)
    assert (len(few), len(more), len(everything)) == (3, 20, 54)
    assert set(few) <= set(more) <= set(everything)
