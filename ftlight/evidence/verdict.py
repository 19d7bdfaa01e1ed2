"""What a run keeps of how it learned, and what is to be said of it, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Facts(NamedTuple):
    """What a run keeps of how it learned.

    Attributes:
        monitor: name of the score.
        sign: 1 if a higher score is better, -1 if a lower one is.
        train_rows: rows of train.
        labels: number of labels; 0 if there are none.
        total: optimizer steps of the run.
        steps: optimizer steps at each validation.
        scores: score of each validation.
        losses: validation loss of each.
        train_losses: mean loss of each epoch, in training.
        train_steps: optimizer steps at the end of each epoch.
        constant_loss: loss in training of the best answer that is the same for all rows.
        rate: the highest learning rate, in times the highest that ftlight would choose.
        skipped: steps that were left out, since their loss or gradients were not finite.
        kept: optimizer step of the weights that are kept; 0 for those before the first step.
        longer: option that trains longer; empty if the run was not ended by a limit.
        floor: the score of guessing, if that is the same for all data.
        base: what the weights of step 0 are, in words.
        rows: how good the kept weights are on each row of validation ``[rows]``; more is better.
        chance: the same to expect if answers are dealt at random.
        sure: how sure its answers are.
        start: the same as rows before the first step, and rows of the kept weights, of some rows.
        test: the same as rows, of test.
    """

    monitor: str = "val/f1"
    sign: float = 1.0
    train_rows: int = 0
    labels: int = 0
    total: int = 0
    steps: Sequence[int] = ()
    scores: Sequence[float] = ()
    losses: Sequence[float] = ()
    train_losses: Sequence[float] = ()
    train_steps: Sequence[int] = ()
    constant_loss: float | None = None
    rate: float = 0.0
    skipped: int = 0
    kept: int | None = None
    longer: str = ""
    floor: float | None = None
    base: str = "the model before its first step"
    rows: np.ndarray | None = None
    chance: np.ndarray | None = None
    sure: np.ndarray | None = None
    start: tuple[np.ndarray, np.ndarray] | None = None
    test: np.ndarray | None = None

    @property
    def best(self) -> float:
        """The best score; nan if none is finite."""
        known = [self.sign * score for score in self.scores if math.isfinite(score)]
        return self.sign * max(known, default=math.nan)

    @property
    def fit(self) -> float | None:
        """The last loss of train as a share of that of a constant answer; None if not known."""
        if not self.train_losses or not self.constant_loss:
            return None
        return self.train_losses[-1] / self.constant_loss


class Verdict(NamedTuple):
    """What is to be said of a run.

    Attributes:
        kind: in a word or two.
        sentence: in a plain sentence, with its evidence.
        evidence: the figures behind it, by name.
        option: what to try next; empty if nothing is to be.
    """

    kind: str
    sentence: str
    evidence: Mapping[str, float]
    option: str

    def line(self) -> str:
        """The sentence, with what to try."""
        return f"{self.sentence}; {self.option}" if self.option else self.sentence
