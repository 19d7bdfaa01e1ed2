"""Which rows make which batch: pure functions of lengths, seed, epoch and rank."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler, SequentialSampler

from ftlight.utils.errors import UserError

WINDOW = (
    50  # batches sorted by length together: 6 % padding, a random order has 190 % (short texts)
)


def run_seed() -> int:
    """Seed of the run, as set by Lightning; 0 if it is not."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def _cut(lengths: np.ndarray, batch_size: int, tokens: int | None, world: int = 1) -> list[int]:
    """Ends of batches over rows sorted by length.

    Each rank gets at most ``batch_size`` rows and ``tokens`` padded tokens of a batch.
    """
    if tokens is None:
        return [*range(batch_size * world, len(lengths), batch_size * world), len(lengths)]
    ends, start, longest = [], 0, 0
    for i, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        rows = -(-(i - start + 1) // world)  # of the rank that has most
        if i - start >= world and (rows > batch_size or longest * rows > tokens):
            ends.append(i)
            start, longest = i, length
    return [*ends, len(lengths)]


def train_batches(
    lengths: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    tokens: int | None = None,
    rank: int = 0,
    world: int = 1,
    cut_for: int | None = None,
) -> list[np.ndarray]:
    """Batches of one epoch: rows in random order, sorted by length within windows, then shuffled.

    Every row is in exactly one batch of one rank, and all ranks have equally many batches. The rows
    of batch ``i`` over all ranks are those of batch ``i`` of one process with ``world`` times the
    batch size (unless fewer rows than ranks are left at the end: they join the batch before).

    Args:
        lengths: tokens of each row ``[rows]``.
        batch_size: rows of a batch on one rank.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        tokens: the most padded tokens of a batch on one rank; batches then differ in rows.
        rank: number of this process.
        world: number of processes.
        cut_for: number of processes that batches are made for, if other than ``world``.

    Raises:
        UserError: a batch cannot be shared by so many processes.

    >>> [b.tolist() for b in train_batches(np.array([1, 9, 1, 9]), 2, seed=0, epoch=0)]
    [[1, 3], [2, 0]]
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    ways = cut_for or world
    size = batch_size * ways
    # a token budget sorts all rows together: the number of batches is then the same in every epoch
    width = size * WINDOW if tokens is None else len(order)
    batches: list[np.ndarray] = []
    for window in np.split(order, range(width, len(order) - ways + 1, width)):
        window = window[np.argsort(lengths[window], kind="stable")]
        ends = _cut(lengths[window], batch_size, tokens, ways)
        if len(ends) > 1 and ends[-1] - ends[-2] < ways:
            del ends[-2]  # fewer rows than ranks: they join the batch before
        batches += np.split(window, ends[:-1])
    if world > ways and min(map(len, batches)) < world:
        raise UserError(
            f"a batch has fewer rows than there are processes ({world});"
            f" go on with {ways}, as the run began"
        )
    return [batches[i][rank::world] for i in rng.permutation(len(batches))]


def eval_batches(
    lengths: np.ndarray, batch_size: int, *, rank: int = 0, world: int = 1
) -> list[np.ndarray]:
    """Batches for evaluation: sorted by length, every row exactly once over all ranks.

    Ranks have equally many batches if there are enough rows: otherwise a collective in a loop would
    hang.

    >>> [b.tolist() for b in eval_batches(np.array([3, 1, 2]), 2)]
    [[1, 2], [0]]
    """
    order = np.argsort(lengths, kind="stable")
    if not len(order):
        return []
    if world == 1:
        return np.split(order, _cut(lengths[order], batch_size, None)[:-1])
    count = max(1, -(-len(order) // (batch_size * world)))
    return [batch for batch in np.array_split(order[rank::world], count) if len(batch)]


def even_batches(lengths: np.ndarray, batch_size: int, cost: int) -> list[np.ndarray]:
    """Batches of few rows, sorted by length, cut where that saves most padding.

    Args:
        lengths: tokens of each row ``[rows]``.
        batch_size: most rows of a batch.
        cost: padded tokens that take as long as beginning another batch.

    >>> [b.tolist() for b in even_batches(np.array([9, 200, 8, 210]), 4, cost=64)]
    [[2, 0], [1, 3]]
    >>> [b.tolist() for b in even_batches(np.array([9, 20, 8]), 4, cost=64)]
    [[2, 0, 1]]
    """
    order = np.argsort(lengths, kind="stable")
    longest = lengths[order].tolist()
    least, begins = [0.0], [0]  # of the first rows: what they cost, where their last batch begins
    for end in range(1, len(order) + 1):
        options = [
            (least[begin] + (end - begin) * longest[end - 1] + cost, begin)
            for begin in range(max(0, end - batch_size), end)
        ]
        value, begin = min(options)
        least.append(value)
        begins.append(begin)
    batches: list[np.ndarray] = []
    end = len(order)
    while end:
        batches.insert(0, order[begins[end] : end])
        end = begins[end]
    return batches


def draw_of(epoch: int, draws: int) -> int:
    """Number of the random draw of its rows that an epoch takes.

    Args:
        epoch: number of the epoch, from 0.
        draws: how many there are, which epochs take in turn; 0 if each epoch has its own.

    >>> [draw_of(epoch, 2) for epoch in range(4)], draw_of(3, 0)
    ([0, 1, 0, 1], 3)
    """
    return epoch % draws if draws else epoch


class Batches(Sampler[tuple[int, list[int]]]):
    """Gives draw and rows of each batch to a ``DataLoader(batch_size=None)``.

    Args:
        plan: epoch to batches, a pure function.
        position: gives the current epoch, and how many of its batches are done, at the start of an
            iteration.
        draws: gives the number of draws that epochs take in turn, 0 if each has its own, at the
            start of an iteration.
    """

    def __init__(
        self,
        plan: Callable[[int], list[np.ndarray]],
        position: Callable[[], tuple[int, int]],
        draws: Callable[[], int] = lambda: 0,
    ) -> None:
        self.plan, self.position, self.draws = functools.lru_cache(1)(plan), position, draws

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Yields the draw and the row numbers of each batch."""
        epoch, done = self.position()
        plan, draw = self.plan(epoch), draw_of(epoch, self.draws())
        return iter([(draw, batch.tolist()) for batch in plan[done if done < len(plan) else 0 :]])

    def __len__(self) -> int:
        """Batches of the current epoch."""
        return len(self.plan(self.position()[0]))


class SameBatches(Batches, SequentialSampler):  # type: ignore[misc]
    """Gives the batches of the first epoch in each, for ``overfit_batches``.

    Lightning replaces a sampler that is not torch's sequential one then.
    """

    def __init__(self, plan: Callable[[int], list[np.ndarray]], *rest: Any) -> None:
        Batches.__init__(self, lambda epoch: plan(0), *rest)
