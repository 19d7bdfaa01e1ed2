"""``unfreeze: auto``: how deep to thaw, decided by validation, as plain values.

Each depth trains for a while from the best weights so far, beside as many steps of the best depth
so far from the same weights: more steps alone make almost anything better. A paired bootstrap of
the validation rows decides which of the two goes on. The first depth that is kept has only to
better the head that it starts from: a head with few steps, since one that is solved is the best
head alone, and a bad start (scripts/bench/README.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftlight.metrics.statistics import Comparison, paired_bootstrap
from ftlight.models.layers import num_layers

SURE = 0.8  # probability of being better above which a depth is kept
MISSES = 2  # depths in a row that are not kept, after which the search ends
LEAST_STEPS = 50  # of a depth
LEAST_ROWS = 200  # of validation: fewer decide nothing


def depths(layers: Sequence[str]) -> list[str]:
    """Selectors of the depths to try: quarters of the layers, then the embeddings too.

    Args:
        layers: names of the model's layers.

    >>> depths(["embeddings", *(f"layer {i}" for i in range(6)), "head"])
    ['last:2', 'last:3', 'last:5', 'last:6', 'all']
    """
    count = num_layers(layers)
    tried = dict.fromkeys(math.ceil(count * quarter / 4) for quarter in (1, 2, 3, 4) if count)
    below = ["all"] if "embeddings" in layers or not count else []
    return [*(f"last:{depth}" for depth in tried), *below]


def trial_steps(per_epoch: float) -> int:
    """Optimizer steps of a depth: half an epoch, and at least 50.

    >>> trial_steps(250), trial_steps(10)
    (125, 50)
    """
    return max(LEAST_STEPS, math.ceil(per_epoch / 2))


@dataclasses.dataclass
class Search:
    """Where the search for a depth stands: the head's stages, then one for each depth.

    Attributes:
        count: number of stages.
        start: stage of the stepped head; before it the head is solved.
        stage: the stage that trains.
        depth: the deepest stage that was tried.
        began: optimizer step, of those kept, at which it began.
        steps: optimizer steps that it gets; 0 if it trains to the end of the run, and before any.
        best: the stage with the best weights so far.
        scores: score of each validation row with those weights; none before the first validation.
        pending: what the last validation decided and is still to be acted on: kept, lost, or
            control; back if the weights of before are there already.
        misses: depths in a row that were not kept.
        in_vain: optimizer steps that were not kept: those of one of the two that are compared.
        over: whether the depth is found.
        compared: the stages tried, each with gain, half its interval, probability and rows.
        stored: numbers of frozen layers whose output is stored.
    """

    count: int
    start: int = 0
    stage: int = 0
    depth: int = 0
    began: int = 0
    steps: int = 0
    best: int = 0
    scores: np.ndarray | None = None
    pending: str = ""
    misses: int = 0
    in_vain: int = 0
    over: bool = False
    compared: list[list[float]] = dataclasses.field(default_factory=list)
    stored: list[int] = dataclasses.field(default_factory=list)

    def is_due(self, step: int) -> bool:
        """Whether a validation must decide now.

        Args:
            step: optimizer steps so far, of those kept.
        """
        if self.over or self.pending:
            return False
        return self.scores is None if not self.steps else step >= self.end

    @property
    def is_control(self) -> bool:
        """Whether the best depth trains only for the next one to be compared with."""
        return self.start < self.stage == self.best and not self.over

    @property
    def end(self) -> int:
        """The optimizer step at which the stage is compared."""
        return self.began + self.steps

    def judge(self, scores: np.ndarray) -> Comparison | None:
        """Decides on the stage by its validation. Returns the comparison of a depth, or None.

        Args:
            scores: score of each validation row, ``float [rows]``.
        """
        if self.scores is None or self.stage <= max(self.best, self.start):
            self.pending = "control" if self.is_control else "kept"
            self.scores, self.best = scores, self.stage
            return None
        compared = paired_bootstrap(scores, self.scores)
        self.compared.append([self.stage, *compared])
        if compared.better > SURE:
            self.scores, self.best, self.pending, self.misses = scores, self.stage, "kept", 0
        else:
            self.pending, self.misses = "lost", self.misses + 1
        return compared

    def next_depth(self, left: int | None, per_epoch: float) -> int | None:
        """The depth to try next; None if the search is over.

        Args:
            left: optimizer steps that the run has left; None if nothing limits it.
            per_epoch: optimizer steps of an epoch.
        """
        following = max(self.stage, self.depth) + 1
        # what is left after a trial must be worth deciding on
        has_room = left is None or left >= 2 * trial_steps(per_epoch)
        over = following == self.count or self.misses == MISSES or not has_room
        return None if over else following

    def advance(self, step: int, left: int | None, per_epoch: float) -> int:
        """Goes on: to a depth after its control, to the next control, or to the best for the rest.

        Args:
            step: optimizer steps so far, without those that were taken back.
            left: as for :meth:`next_depth`.
            per_epoch: optimizer steps of an epoch.

        Returns:
            The stage.

        >>> search = Search(3, steps=50)
        >>> for right in (0, 1, 1, 1):  # the head, a depth, its control, and the next one
        ...     found = search.judge(np.full(9, right))
        ...     print(found and found.better, search.advance(50, left=500, per_epoch=10))
        None 1
        1.0 1
        None 2
        0.5 1
        """
        is_after_control = self.pending == "control"
        following = self.depth if is_after_control else self.next_depth(left, per_epoch)
        has_control = self.best > self.start and not is_after_control
        self.stage = self.best if following is None or has_control else following
        self.depth = following or self.depth
        self.pending, self.over, self.began = "", following is None, step
        self.steps = 0 if following is None else trial_steps(per_epoch)
        return self.stage

    def found(self, best: str) -> str:
        """What the search found, in one line.

        Args:
            best: name of the best depth.
        """
        tried = f"chosen among {len(self.compared) + 1} depths"
        deeper = [compared for compared in self.compared if compared[0] > self.best]
        if not deeper:
            return f"the rest trains {best} ({tried})"
        _, gain, half, better, rows = max(deeper, key=lambda compared: compared[1])
        assert self.scores is not None
        gained = line(Comparison(gain, half, better, int(rows)), self.scores)
        return f"stops at {best}: deeper gave {gained} ({tried})"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values."""
        state = dataclasses.asdict(self)
        state["scores"] = None if self.scores is None else self.scores.tolist()
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Search:
        """The search of a checkpoint."""
        scores = state["scores"]
        return cls(**{**state, "scores": None if scores is None else np.asarray(scores, float)})


def line(compared: Comparison, scores: np.ndarray) -> str:
    """A comparison in words.

    Args:
        compared: the comparison.
        scores: scores of rows, which tell the unit: shares are given in points of 100.

    >>> line(Comparison(0.001, 0.004, 0.6, 1000), np.array([0.0, 1.0]))
    '+0.1 ± 0.4 points on 1,000 rows'
    >>> line(Comparison(0.001, 0.004, 0.6, 1000), np.array([-3.0, -1.5]))
    '+0.001 ± 0.004 on 1,000 rows'
    """
    rows = f"on {compared.rows:,} rows"
    if scores.min() >= 0 and scores.max() <= 1:
        return f"{100 * compared.gain:+.1f} ± {100 * compared.half:.1f} points {rows}"
    return f"{compared.gain:+.3g} ± {compared.half:.2g} {rows}"
