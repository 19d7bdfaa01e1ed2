"""Which stages of a schedule read stored activations."""

from __future__ import annotations

from collections.abc import Sequence


def plan(cuts: Sequence[int], epochs: Sequence[float], always: bool = False) -> list[int | None]:
    """Decides which stages read stored activations, and at which cut these are stored.

    A store at cut ``k`` holds the output of the lowest ``k`` layers. It costs one pass through
    them, and serves every stage that freezes at least as many; such a stage still runs the frozen
    layers above ``k``. The plan runs the fewest layers over the whole schedule (dynamic
    programming over the stages).

    Args:
        cuts: frozen layers at the bottom, by stage.
        epochs: epochs of each stage.
        always: whether to make stores that save nothing, too.

    Returns:
        The cut of the store that each stage reads, or None if it runs all layers.

    >>> plan([6, 4, 0], [5, 1, 3])  # head for 5 epochs, last:2 for 1, all: the second saves nothing
    [6, None, None]
    >>> plan([6, 5, 4, 3, 0], [1, 1, 1, 1, 5])
    [3, 3, 3, 3, None]
    """
    best: list[_Plan] = [(0.0, [])]  # of the first 0, 1, … stages
    for end in range(1, len(cuts) + 1):
        cost, stores = best[end - 1]
        options: list[_Plan] = [(cost + cuts[end - 1] * epochs[end - 1], [*stores, None])]
        for start in range(end):
            cut = min(cuts[start:end])
            if cut > 0:
                cost, stores = best[start]
                run = 0 if always else _layers_run(cut, cuts[start:end], epochs[start:end])
                options.append((cost + run, [*stores, *[cut] * (end - start)]))
        best.append(min(options, key=lambda option: (option[0], _rest(option, cuts, always))))
    return best[-1][1]


_Plan = tuple[float, list[int | None]]  # layers that are run, times epochs; cut of each stage


def _layers_run(cut: int, cuts: Sequence[int], epochs: Sequence[float]) -> float:
    """Frozen layers run by stages that share a store: once below its cut, then those above."""
    return cut + sum((c - cut) * e for c, e in zip(cuts, epochs, strict=True))


def _rest(option: _Plan, cuts: Sequence[int], always: bool) -> int:
    """Decides between equal costs: the first; if stores are asked for, the fewest layers left."""
    if not always:
        return 0
    return sum(cut - (store or 0) for cut, store in zip(cuts, option[1], strict=False))
