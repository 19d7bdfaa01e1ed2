"""The frozen-prefix cache of a stage: filled once, checked on the first batch, then read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from ftlight.freezing import identity, verify
from ftlight.freezing import store as files
from ftlight.freezing.filling import Filling
from ftlight.freezing.identity import FIXED
from ftlight.freezing.store import ActivationStore
from ftlight.freezing.tap import Tap

log = logging.getLogger(__name__)
Cache = bool | Literal["auto"]


class PrefixCache(Filling):
    """Feeds the layers of a stage from stored activations of the frozen ones below.

    Args:
        gigabytes: the most that stored activations may take on the disk.
        trains: whether steps follow, of which giving up changes the time.
    """

    def __init__(self, gigabytes: float, trains: bool = True) -> None:
        self.limit, self.trains = gigabytes * 1e9, trains
        self.tap: Tap | None = None
        self.draws = 0
        self.stores: dict[int, ActivationStore] = {}
        self.paths: dict[int, Path] = {}
        self.named: set[Path] = set()
        self.waiting: set[int] = set()  # draws of which this stage has not seen a batch
        self.checked: set[tuple[str, int]] = set()  # split and draw whose first batch was compared
        self.off: set[str] = set()  # splits that run all layers from now on
        self.moved: set[str] = set()  # splits validated with other weights, for now

    def begin(self, trainer: Any, task: Any, cut: int, stage: str, draws: int = 0) -> None:
        """Opens the store of the lowest ``cut`` layers, and fills it if it does not exist yet.

        That of a draw is opened by its first batch, so that a run pays for the draws that it takes.

        Args:
            trainer: the trainer.
            task: the task.
            cut: number of frozen layers.
            stage: the stage in words, for the log.
            draws: random draws of training rows that epochs take in turn; 0 if rows do not differ.
        """
        self.trainer, self.task, self.stage, self.draws = trainer, task, stage, draws
        self.checked, self.off, self.waiting = set(), set(), set(range(draws))
        if self._all_have():
            return
        self.end()
        with files.preserve_rng():  # iterating over a loader draws a random number
            reason = self._agree(self._open(cut))
        if reason:
            self._give_up(reason)
            self.waiting = set()
        elif self._splits(FIXED):
            self._prepare(FIXED)

    def _all_have(self) -> bool:
        """Whether no process has given up what the others still have open."""
        decide = self.trainer.strategy.reduce_boolean_decision
        return bool(decide(self.tap is not None, all=True))

    def _prepare(self, draw: int) -> None:
        """Opens the store of a draw, or makes it. All processes come here together."""
        with files.preserve_rng():
            place = self._place(draw)
            reason = "" if self._find(place) else self._make(place)
        if reason and self.draws and draw != FIXED:  # the draws that fit are read all the same
            self.waiting = set()
            how = "the frozen layers run at every step of this draw and of those to come"
            log.info("%s: %s: %s", place.name, how, reason)
        elif reason:
            self._give_up(reason, "validation" if self.draws else "train")

    def load(self, batch: dict[str, Any], split: str, first: bool) -> None:
        """Puts the stored activations of a batch at the tap, for its next forward pass.

        Args:
            batch: the batch.
            split: train or validation.
            first: whether it begins an epoch.
        """
        if self.tap is None and not self.waiting:
            return
        draw = int(batch["draw"]) if self.draws and split == "train" else FIXED
        if draw in self.waiting:
            self._begin_draw(draw)
        if self.tap is None or draw not in self.stores or split in self.off:
            return
        if first:  # an average of the weights may stand in for them in a validation
            self.moved.discard(split)
            if files.fingerprint(identity.below(self.task, self.tap)) != self.weights:
                self.moved.add(split)
        if split in self.moved:
            return
        store = self.stores[draw]
        if (split, draw) not in self.checked:
            self.checked.add((split, draw))
            reason = verify.find_fault(self.task, self.tap, store, batch, split)
            passed = not reason
            # In training processes agree; evaluations may have unequal numbers of batches.
            if split == "train":
                passed = self.trainer.strategy.reduce_boolean_decision(passed, all=True)
            if not passed:
                self._give_up(reason or "it failed its check on another process", split)
                return
        states = store.get(split, batch["index"], batch["inputs"])
        if states is None:
            self._give_up(verify.DIFFERS, split)
            return
        self.tap.feed(states)

    def _begin_draw(self, draw: int) -> None:
        """Prepares a draw at its first batch in this stage, unless a process has given up."""
        self.waiting.discard(draw)
        if self._all_have():
            if draw not in self.stores:
                self._prepare(draw)
            return
        self.waiting = set()
        if self.tap is not None:
            self._give_up("it was given up on another process")

    def feed(self, batch: dict[str, Any], split: str) -> None:
        """Puts the stored activations of a batch at the tap if there are any, unchecked.

        Raises:
            ValueError: they are of other inputs.
        """
        store = self.stores.get(FIXED)
        if self.tap is None or store is None or split not in store.layout.lengths:
            return
        states = store.get(split, batch["index"], batch["inputs"])
        if states is None:
            raise ValueError(verify.DIFFERS)
        self.tap.feed(states)

    def done(self) -> None:
        """Clears the tap after a batch."""
        if self.tap is not None:
            self.tap.feed(None)

    def _give_up(self, reason: str, split: str = "train") -> None:
        self.off.add(split)
        if self.trains:
            log.info("%s: the frozen layers run at every step of %s: %s", self.stage, split, reason)
        if split == "train":
            self.end()

    def end(self) -> None:
        """Leaves the model as it was."""
        if self.tap is not None:
            self.tap.remove()
        self.tap, self.stores, self.paths = None, {}, {}
