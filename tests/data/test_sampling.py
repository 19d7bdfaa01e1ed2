from __future__ import annotations

import functools
import itertools

import numpy as np
from conftest import each

from ftlight.data import sampling

ROWS = (*range(1, 40), 63, 64, 65, 127, 128, 129, 199, 200, 201)


@functools.cache
def lengths(rows: int, seed: int = 0) -> np.ndarray:
    """Tokens of short texts: most of a few words, some long."""
    return np.clip(np.random.default_rng([seed, rows]).lognormal(2.7, 0.6, rows).astype(int), 3, 64)


def ranks(
    rows: int, batch_size: int, world: int, tokens: int | None = None, epoch: int = 0, seed: int = 0
) -> list[list[np.ndarray]]:
    plan = functools.partial(
        sampling.train_batches,
        lengths(rows),
        batch_size,
        seed=seed,
        epoch=epoch,
        tokens=tokens,
        world=world,
    )
    return [plan(rank=rank) for rank in range(world)]


def everything(plans: list[list[np.ndarray]]) -> list[int]:
    return sorted(row for plan in plans for batch in plan for row in batch.tolist())


def as_lists(plan: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in plan]


# Training


def test_every_row_once_and_equally_many_batches() -> None:
    cases = itertools.product([None, 64, 200], [1, 2, 3], [1, 2, 8, 32])

    def check(tokens: int | None, world: int, batch_size: int) -> None:
        for rows in ROWS:
            if rows < world:
                continue
            plans = ranks(rows, batch_size, world, tokens)
            assert everything(plans) == list(range(rows)), rows
            assert len({len(plan) for plan in plans}) == 1, rows

    each(cases, check)


def test_no_batch_is_empty() -> None:
    def check(world: int, batch_size: int) -> None:
        for rows in ROWS:
            if rows >= world:
                assert all(
                    len(batch) for plan in ranks(rows, batch_size, world) for batch in plan
                ), rows

    each(itertools.product([1, 2, 3], [1, 2, 8, 32]), check)


def test_no_batch_is_empty_with_a_token_budget() -> None:
    def check(tokens: int, world: int) -> None:
        for rows in ROWS:
            if rows >= world:
                assert all(
                    len(batch) for plan in ranks(rows, 8, world, tokens) for batch in plan
                ), rows

    each(itertools.product([10, 64, 200], [1, 2, 3]), check)


def test_batch_size_is_kept() -> None:
    def check(world: int, batch_size: int) -> None:
        for rows in ROWS:
            left = rows % (batch_size * world)
            joined = (
                0 < left < world < rows
            )  # fewer rows than ranks are left and join another batch
            for plan in ranks(rows, batch_size, world):
                more = [len(batch) for batch in plan if len(batch) > batch_size]
                assert more in ([], [batch_size + 1] if joined else []), rows

    each(itertools.product([1, 2, 3], [1, 2, 8, 32]), check)


def test_token_budget_is_kept() -> None:
    def check(world: int, tokens: int) -> None:
        for rows in ROWS:
            if rows < world:
                continue
            for plan in ranks(rows, 32, world, tokens):
                assert all(len(batch) <= 32 for batch in plan), rows
                over = [
                    batch
                    for batch in plan
                    if len(batch) > 1 and len(batch) * lengths(rows)[batch].max() > tokens
                ]
                assert len(over) <= (world > 1), (
                    rows
                )  # fewer rows than ranks are left and join another batch

    each(itertools.product([1, 2, 3], [10, 64, 200]), check)


def test_token_budget_fills_batches() -> None:
    plan = sampling.train_batches(np.full(100, 10), 32, seed=0, epoch=0, tokens=100)
    assert [len(batch) for batch in plan] == [10] * 10


def test_a_row_longer_than_the_token_budget_is_alone() -> None:
    plan = sampling.train_batches(np.array([5, 500, 5, 400, 5]), 32, seed=0, epoch=0, tokens=50)
    assert sorted(sorted(batch) for batch in as_lists(plan)) == [[0, 2, 4], [1], [3]]


def test_equally_many_batches_in_every_epoch() -> None:
    sizes = [(1, 1), (37, 1), (201, 3), (3300, 2)]

    def check(size: tuple[int, int], tokens: int | None) -> None:
        rows, world = size
        counts = set()
        for seed, epoch in itertools.product((0, 1, 7), range(4)):
            counts.add(len(ranks(rows, 8, world, tokens, epoch, seed)[0]))
        assert len(counts) == 1

    each(itertools.product(sizes, [None, 64, 200]), check)


def test_pure_function_of_seed_and_epoch() -> None:
    def check(tokens: int | None) -> None:
        def plan(seed: int, epoch: int) -> list[list[int]]:
            np.random.seed(seed + 100 * epoch)  # of no account
            return as_lists(ranks(200, 8, 1, tokens, epoch, seed)[0])

        made = {(seed, epoch): plan(seed, epoch) for seed in (0, 1, 42) for epoch in (0, 1, 2)}
        assert all(made[key] == plan(*key) for key in reversed(made))
        assert len({str(p) for p in made.values()}) == len(made)  # (0, 1) is not (1, 0) either

    each([None, 100], check)


def test_rows_meet_other_rows_in_every_epoch() -> None:
    first, second = (
        {frozenset(b) for b in as_lists(ranks(2000, 8, 1, epoch=e)[0])} for e in (0, 1)
    )
    assert len(first & second) < len(first) / 10


def test_batches_are_not_sorted_by_length() -> None:
    longest = [lengths(2000)[b].max() for b in ranks(2000, 8, 1)[0]]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_ranks_together_are_one_process_with_a_larger_batch() -> None:
    def check(world: int, batch_size: int) -> None:
        size = batch_size * world
        for rows in (*ROWS, 50 * size, 50 * size + world, 100 * size - 1):
            if 0 < rows % size < world:
                continue  # rows left over make a batch of their own only in one process
            plans = ranks(rows, batch_size, world)
            (alone,) = ranks(rows, size, 1)
            together = [np.concatenate(parts) for parts in zip(*plans, strict=True)]
            assert [sorted(b.tolist()) for b in together] == [sorted(b.tolist()) for b in alone], (
                rows
            )

    each(itertools.product([2, 3], [1, 2, 8, 32]), check)


def test_ranks_share_long_and_short_rows() -> None:
    def check(world: int) -> None:
        for parts in zip(*ranks(960, 8, world), strict=True):
            means = [lengths(960)[part].mean() for part in parts]
            assert max(means) - min(means) < 8

    each([2, 3, 4], check)


def test_little_padding() -> None:
    def check(seed: int, limits: tuple[int, int | None]) -> None:
        batch_size, tokens = limits
        sizes = lengths(2500, seed)

        def padding(batches: list[np.ndarray]) -> float:
            padded = sum(len(b) * sizes[b].max() for b in batches)
            return (padded - sizes.sum()) / padded

        plan = sampling.train_batches(sizes, batch_size, seed=seed, epoch=0, tokens=tokens)
        assert padding(plan) < 0.1
        assert padding(sampling.eval_batches(sizes, batch_size)) < 0.1
        order = np.random.default_rng(0).permutation(2500)
        assert padding(np.array_split(order, 2500 // batch_size)) > 0.3  # what it saves

    each(itertools.product(range(5), [(8, None), (32, None), (32, 600)]), check)


# Evaluation


def test_eval_batches() -> None:
    def check(world: int, batch_size: int) -> None:
        for rows in ROWS:
            plans = [
                sampling.eval_batches(lengths(rows), batch_size, rank=rank, world=world)
                for rank in range(world)
            ]
            assert everything(plans) == list(range(rows)), rows
            assert all(0 < len(batch) <= batch_size for plan in plans for batch in plan), rows
            for plan in plans:
                if plan:
                    assert (np.diff(lengths(rows)[np.concatenate(plan)]) >= 0).all(), rows
            count = -(-rows // (batch_size * world))
            if rows >= world * count:
                assert {len(plan) for plan in plans} == {count}, rows

    each(itertools.product([1, 2, 3, 5], [1, 2, 8, 32]), check)


def test_eval_batches_of_nothing() -> None:
    assert sampling.eval_batches(np.array([], dtype=int), 8) == []
    assert sampling.eval_batches(np.array([], dtype=int), 8, rank=1, world=2) == []


# The sampler


def test_batches_follow_the_epoch() -> None:
    position, asked = (0, 0), []

    def plan(number: int) -> list[np.ndarray]:
        asked.append(number)
        return sampling.train_batches(lengths(100), 8, seed=0, epoch=number)

    batches = sampling.Batches(plan, lambda: position)
    first = list(batches)
    assert first == list(batches) == [(0, batch) for batch in as_lists(plan(0))]
    assert len(batches) == len(first) == 13
    assert asked == [0, 0]  # once by the sampler, once above
    position = (1, 0)
    assert list(batches) == [(1, batch) for batch in as_lists(plan(1))] != first
    assert all(isinstance(row, int) for _, batch in batches for row in batch)


def test_batches_go_on_in_the_middle_of_an_epoch() -> None:
    whole = as_lists(sampling.train_batches(lengths(100), 8, seed=0, epoch=2))
    batches = sampling.Batches(
        lambda epoch: sampling.train_batches(lengths(100), 8, seed=0, epoch=epoch), lambda: (2, 5)
    )
    assert list(batches) == [(2, batch) for batch in whole[5:]]
    assert len(batches) == len(whole)  # of the epoch


def test_epochs_take_draws_in_turn_and_keep_their_own_order() -> None:
    def plan(number: int) -> list[np.ndarray]:
        return sampling.train_batches(lengths(100), 8, seed=0, epoch=number)

    for epoch in range(5):
        for draws in (0, 1, 3):
            batches = sampling.Batches(plan, lambda e=epoch: (e, 0), lambda d=draws: d)
            draw = epoch % draws if draws else epoch
            assert list(batches) == [(draw, rows) for rows in as_lists(plan(epoch))]


def test_even_batches_have_each_row_once_and_the_least_padding() -> None:
    def cost(batches: list[np.ndarray], sizes: np.ndarray) -> int:
        return sum(len(batch) * int(sizes[batch].max()) + 20 for batch in batches)

    def check(rows: int) -> None:
        sizes = lengths(rows)
        batches = sampling.even_batches(sizes, 4, cost=20)
        assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
        assert max(map(len, batches)) <= 4
        order = np.argsort(sizes, kind="stable")
        ways = itertools.product([False, True], repeat=rows - 1)
        cuts = [[i + 1 for i, is_cut in enumerate(way) if is_cut] for way in ways]
        options = [np.split(order, cut) for cut in cuts]
        allowed = [option for option in options if max(map(len, option)) <= 4]
        assert cost(batches, sizes) == min(cost(option, sizes) for option in allowed)

    each([(rows,) for rows in range(1, 11)], check)
    assert sampling.even_batches(lengths(0), 4, cost=20) == []
