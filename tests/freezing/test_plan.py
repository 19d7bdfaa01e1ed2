"""Which stages read stored activations: the fewest layers run over a schedule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction

from conftest import each

from ftlight.freezing.plan import plan


def cost(cuts: Sequence[int], epochs: Sequence[Fraction], made: Sequence[int | None]) -> Fraction:
    """Layers run over a schedule; neighbours that read one cut share its store."""
    total, i = Fraction(0), 0
    for k, group in itertools.groupby(made):
        for number, _ in enumerate(group):
            assert k is None or 0 < k <= cuts[i]
            total += (k if k and number == 0 else 0) + (cuts[i] - (k or 0)) * epochs[i]
            i += 1
    return total


def schedules() -> list[tuple[list[int], list[Fraction]]]:
    rng = random.Random(0)
    lengths = [Fraction(n, 8) for n in (0, 1, 4, 7, 8, 9, 12, 16, 40)]
    made = []
    for _ in range(250):
        count, high = rng.randint(1, 4), rng.randint(1, 5)
        made.append(
            (
                [rng.randint(0, high) for _ in range(count)],
                [rng.choice(lengths) for _ in range(count)],
            )
        )
    return made


SCHEDULES = schedules()


def test_plan_runs_the_fewest_layers_of_all_assignments() -> None:
    saves = 0
    for cuts, epochs in SCHEDULES:
        every = itertools.product(*[[None, *range(1, c + 1)] for c in cuts])
        least = min(cost(cuts, epochs, made) for made in every)
        made = plan(cuts, [float(e) for e in epochs])
        assert len(made) == len(cuts)
        assert cost(cuts, epochs, made) == least
        saves += least < cost(cuts, epochs, [None] * len(cuts))
    assert 50 < saves < 200  # the schedules are of both kinds


def test_every_store_saves_something() -> None:
    stored = 0
    for cuts, epochs in SCHEDULES:
        made = plan(cuts, [float(e) for e in epochs])
        runs = [
            (k, [i for i, _ in group])
            for k, group in itertools.groupby(enumerate(made), key=lambda item: item[1])
        ]
        for k, stages in runs:
            if k is not None:
                without = [None if i in stages else m for i, m in enumerate(made)]
                assert cost(cuts, epochs, without) > cost(cuts, epochs, made)
                stored += 1
    assert stored > 50


def test_always_stores_wherever_something_is_frozen() -> None:
    for cuts, epochs in SCHEDULES:
        made = plan(cuts, [float(e) for e in epochs], always=True)
        frozen = [c for c, e in zip(cuts, epochs, strict=True) if e]
        assert [k is not None for k, e in zip(made, epochs, strict=True) if e] == [
            c > 0 for c in frozen
        ]
        assert [k for k, e in zip(made, epochs, strict=True) if e and k is not None] == [
            c for c in frozen if c
        ]  # nothing left to run
        assert all(k is None or 0 < k <= c for k, c in zip(made, cuts, strict=True))


def test_plan() -> None:
    def check(cuts: list[int], epochs: list[float], made: list[int | None]) -> None:
        assert plan(cuts, epochs) == made

    each(
        [
            ([0], [10], [None]),
            ([12], [10], [12]),
            ([12], [1], [None]),
            ([12], [1.5], [12]),
            ([12, 0], [3, 10], [12, None]),
            ([12, 0, 12], [3, 1, 3], [12, None, 12]),
            ([12, 9, 6, 3, 0], [1, 1, 1, 1, 4], [6, 6, 6, None, None]),
            ([12, 9, 6, 3, 0], [0.75, 0.75, 0.75, 0.75, 4], [6, 6, 6, None, None]),
            ([0, 12, 12], [1, 0.6, 0.6], [None, 12, 12]),
        ],
        check,
    )


def test_one_epoch_in_all_saves_nothing() -> None:
    def check(cuts: list[int]) -> None:
        assert plan(cuts, [1 / len(cuts)] * len(cuts)) == [None] * len(cuts)
        assert plan(cuts, [1 / len(cuts)] * len(cuts), always=True) == cuts

    each([[1], [6], [6, 6], [3, 5, 4]], check)


def test_plan_counts_a_pass_for_each_draw_that_is_taken() -> None:
    """Against every assignment, as above; the layers that fill a store are run once a draw."""

    def filling(cuts: Sequence[int], epochs: Sequence[Fraction], made: Sequence[int | None]) -> int:
        more, ends = 0, [sum(epochs[:i], Fraction(0)) for i in range(len(epochs) + 1)]
        for k, group in itertools.groupby(range(len(made)), key=lambda i: made[i]):
            stages = list(group)
            start, end = ends[stages[0]], ends[stages[-1] + 1]
            taken = {e % 3 for e in range(200) if e < end and e + 1 > start}
            more += (k or 0) * (max(1, len(taken)) - 1)
        return more

    saves = 0
    for cuts, epochs in SCHEDULES[:100]:
        every = itertools.product(*[[None, *range(1, c + 1)] for c in cuts])
        costs = {m: cost(cuts, epochs, m) + filling(cuts, epochs, m) for m in every}
        made = tuple(plan(cuts, [float(e) for e in epochs], draws=3))
        assert costs[made] == min(costs.values())
        saves += costs[made] < cost(cuts, epochs, [None] * len(cuts))
    assert 20 < saves < 90
