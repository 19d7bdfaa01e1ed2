"""Which stages of a schedule read stored activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

EPSILON = 1e-6  # epochs: sums of fractions are not exact


def plan(
    cuts: Sequence[int], epochs: Sequence[float], always: bool = False, draws: int = 1
) -> list[int | None]:
    """Decides which stages read stored activations, and at which cut these are stored.

    A store at cut ``k`` holds the output of the lowest ``k`` layers. It costs one pass through
    them for each draw of the rows that its epochs take, and serves every stage that freezes at
    least as many; such a stage still runs the frozen layers above ``k``. The plan runs the fewest
    layers over the whole schedule (dynamic programming over the stages).

    Args:
        cuts: frozen layers at the bottom, by stage.
        epochs: epochs of each stage.
        always: whether to make stores that save nothing, too.
        draws: random draws of the rows that epochs take in turn; 1 if rows do not differ.

    Returns:
        The cut of the store that each stage reads, or None if it runs all layers.

    >>> plan([6, 4, 0], [5, 1, 3])  # head for 5 epochs, last:2 for 1, all: the second saves nothing
    [6, None, None]
    >>> plan([6, 5, 4, 3, 0], [1, 1, 1, 1, 5])
    [3, 3, 3, 3, None]
    >>> plan([6], [4], draws=4), plan([6], [5], draws=4)  # the fifth epoch repeats the first draw
    ([None], [6])
    """
    starts = list(accumulate(epochs, initial=0.0))
    best: list[_Plan] = [(0.0, [])]  # of the first 0, 1, … stages
    for end in range(1, len(cuts) + 1):
        cost, stores = best[end - 1]
        options: list[_Plan] = [(cost + cuts[end - 1] * epochs[end - 1], [*stores, None])]
        for start in range(end):
            cut = min(cuts[start:end])
            if cut > 0:
                cost, stores = best[start]
                passes = _passes(starts[start], starts[end], draws)
                run = 0 if always else _layers_run(cut, cuts[start:end], epochs[start:end], passes)
                options.append((cost + run, [*stores, *[cut] * (end - start)]))
        best.append(min(options, key=lambda option: (option[0], _rest(option, cuts, always))))
    return best[-1][1]


_Plan = tuple[float, list[int | None]]  # layers that are run, times epochs; cut of each stage


def _passes(start: float, end: float, draws: int) -> int:
    """Passes that fill a store: one for each draw that the epochs between two points take."""
    touched = math.ceil(end - EPSILON) - math.floor(start + EPSILON)
    return min(draws, max(1, touched))


def _layers_run(cut: int, cuts: Sequence[int], epochs: Sequence[float], passes: int) -> float:
    """Frozen layers run by stages that share a store: to fill it, then those above its cut."""
    return passes * cut + sum((c - cut) * e for c, e in zip(cuts, epochs, strict=True))


def _rest(option: _Plan, cuts: Sequence[int], always: bool) -> int:
    """Decides between equal costs: the first; if stores are asked for, the fewest layers left."""
    if not always:
        return 0
    return sum(cut - (store or 0) for cut, store in zip(cuts, option[1], strict=False))
