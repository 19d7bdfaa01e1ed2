"""The frozen-prefix cache of a stage: filled once, checked on the first batch, then read."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ftlight.freezing import identity, room, verify
from ftlight.freezing import store as files
from ftlight.freezing.store import ActivationStore, Layout
from ftlight.freezing.tap import Tap
from ftlight.models.modes import evaluating
from ftlight.run.state import state_of
from ftlight.utils.atomic import part_of
from ftlight.utils.distributed import gather_objects
from ftlight.utils.errors import first_line

log = logging.getLogger(__name__)
Cache = bool | Literal["auto"]


class PrefixCache:
    """Feeds the layers of a stage from stored activations of the frozen ones below.

    Args:
        gigabytes: the most that stored activations may take on the disk.
    """

    def __init__(self, gigabytes: float) -> None:
        self.limit = gigabytes * 1e9
        self.tap: Tap | None = None
        self.store: ActivationStore | None = None
        self.checked: set[str] = set()  # splits whose first batch was compared
        self.off: set[str] = set()  # splits that run all layers from now on
        self.moved: set[str] = set()  # splits validated with other weights, for now

    # Filling

    def begin(self, trainer: Any, task: Any, cut: int, stage: str) -> None:
        """Opens the store of the lowest ``cut`` layers, and fills it if it does not exist yet.

        Args:
            trainer: the trainer.
            task: the task.
            cut: number of frozen layers.
            stage: the stage in words, for the log.
        """
        self.trainer, self.task, self.stage = trainer, task, stage
        self.checked, self.off = set(), set()
        # One process may have given up a store that the others still have open.
        if trainer.strategy.reduce_boolean_decision(self.store is not None, all=True):
            return
        self.end()
        with files.preserve_rng():  # iterating over a loader draws a random number
            reason = self._agree(self._open(cut))
            if not reason and not self._find():
                reason = self._make()
        if reason:
            self._give_up(reason)

    def _agree(self, reason: str) -> str:
        """The reason of the first process that has one, so that all do the same."""
        return next(filter(None, gather_objects(reason, self.trainer.world_size)), "")

    def _open(self, cut: int) -> str:
        """Sets the tap, the layout and the key of the store. Returns why it cannot, or nothing."""
        reason = identity.obstacle(self.trainer, self.task)
        if reason:
            return reason
        sets = self.trainer.datamodule.sets
        self.tables = {split: sets[split] for split in sets if split in ("train", "validation")}
        self.lengths = {split: np.asarray(t["length"]) for split, t in self.tables.items()}
        try:
            folder = room.cache_dir()
            self.tap = Tap(self.task.model, cut)
            batch = next(iter(identity.batches(self.trainer, self.tables["train"])))
            states = self._capture(batch)
            for split, lengths in self.lengths.items():
                if len(lengths):  # the longest row may have several windows, which cannot be stored
                    longest = [np.array([int(lengths.argmax())])]
                    for long_batch in self._load(longest, split):
                        self._capture(long_batch)
        except ValueError as error:
            return str(error)
        mask = files.mask_of(batch["inputs"])
        per_row = mask is None or states.ndim < 3 or states.shape[1] != mask.shape[1]
        shape = states.shape[1 if per_row else 2 :]
        self.layout = Layout(self.lengths, shape, states.dtype, per_row)
        self.weights = files.fingerprint(identity.below(self.task, self.tap))
        self.reusable = all(getattr(t, "fingerprint", None) for t in self.tables.values())
        self.key = identity.key(self.trainer, self.task, self.tap, self.tables, str(states.dtype))
        self.path = folder / f"{self.key}.bin"
        return ""

    def _load(self, plan: list[np.ndarray], split: str) -> Iterator[dict[str, Any]]:
        return identity.load(self.trainer, self.tables[split], plan)

    def _capture(self, batch: dict[str, Any]) -> Tensor:
        assert self.tap is not None
        precision = self.trainer.precision_plugin
        with evaluating(self.task), torch.no_grad(), precision.forward_context():
            return self.tap.capture(lambda: self.task.step(batch), len(batch["index"])).detach()

    def _find(self) -> bool:
        """Opens the store of an earlier run. Returns whether all processes could."""
        self.store, own = files.open_store(self.path, self.layout, self.key)
        faults = [f for f in gather_objects(own, self.trainer.world_size) if f]
        if not faults:
            self._log_source("kept from an earlier run")
        for fault in [f for f in faults if f != files.MISSING][:1]:
            log.info("%s; it is made again", fault)
        with contextlib.suppress(OSError):
            if own and own != files.MISSING:
                self.path.unlink()
            elif not own:
                self.path.touch()
        return not faults

    def _make(self) -> str:
        """Fills a new store and opens it. Returns why not, or nothing."""
        part, first = self._part(), self.trainer.local_rank == 0
        try:
            reason = room.reserve(part, self.layout.bytes, self.limit) if first else ""
            reason = self._agree(reason) or self._agree(self._fill(part))
            reason = reason or self._agree(files.seal_store(part, self.key) if first else "")
            if reason:
                return reason
            # opened before it is moved: from then on others may replace or delete it
            self.store, own = files.open_store(part, self.layout, self.key)
            reason = self._agree(own)
            if first and not reason and self.reusable:
                with contextlib.suppress(OSError):
                    os.replace(part, self.path)
            return reason
        finally:
            if first:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)

    def _part(self) -> Path:
        """The partial file that all processes of this machine fill; others may share the folder."""
        node, own = self.trainer.node_rank, str(part_of(self.path))
        mine = ((node, self.trainer.local_rank), own)
        return Path(dict(gather_objects(mine, self.trainer.world_size))[node, 0])

    def _fill(self, part: Path) -> str:
        """Writes the share of this process, of all on this machine. Returns why not, or nothing."""
        rank = self.trainer.local_rank
        processes = max(1, self.trainer.world_size // self.trainer.num_nodes)
        self._log_source("computed once now")
        try:
            store = ActivationStore(part, self.layout, write=True)
            for split in self.tables:
                for batch in identity.batches(self.trainer, self.tables[split], rank, processes):
                    self._obey_signals()
                    store.put(split, batch["index"], self._capture(batch), batch["inputs"])
            store.flush()
        except (OSError, ValueError) as error:
            return f"it cannot be filled ({first_line(error)})"
        return ""

    def _obey_signals(self) -> None:
        """Stops if a signal asked for it; several processes stop together, at the next step."""
        run = state_of(self.trainer)
        if run is not None and run.obey is not None and self.trainer.world_size == 1:
            run.obey(self.trainer)

    def _log_source(self, source: str) -> None:
        assert self.tap is not None
        what = "the backbone" if self.tap.at_head else f"the lowest {self.tap.cut} layers"
        rows, size = f"{self.layout.rows:,}", f"{self.layout.bytes / 1e6:,.0f} MB"
        line = "%s: the output of %s for %s rows is %s (%s in %s)"
        log.info(line, self.stage, what, rows, source, size, self.path)

    # Reading

    def load(self, batch: dict[str, Any], split: str, first: bool) -> None:
        """Puts the stored activations of a batch at the tap, for its next forward pass.

        Args:
            batch: the batch.
            split: train or validation.
            first: whether it begins an epoch.
        """
        if self.store is None or self.tap is None or split in self.off:
            return
        if first:  # an average of the weights may stand in for them in a validation
            self.moved.discard(split)
            if files.fingerprint(identity.below(self.task, self.tap)) != self.weights:
                self.moved.add(split)
        if split in self.moved:
            return
        if split not in self.checked:
            self.checked.add(split)
            reason = verify.find_fault(self.task, self.tap, self.store, batch, split)
            passed = not reason
            # In training processes agree; evaluations may have unequal numbers of batches.
            if split == "train":
                passed = self.trainer.strategy.reduce_boolean_decision(passed, all=True)
            if not passed:
                self._give_up(reason or "it failed its check on another process", split)
                return
        states = self.store.get(split, batch["index"], batch["inputs"])
        if states is None:
            self._give_up(verify.DIFFERS, split)
            return
        self.tap.pending = states

    def done(self) -> None:
        """Clears the tap after a batch."""
        if self.tap is not None:
            self.tap.pending = None

    def _give_up(self, reason: str, split: str = "train") -> None:
        self.off.add(split)
        log.info("%s: the frozen layers run at every step of %s: %s", self.stage, split, reason)
        if split == "train":
            self.end()

    def end(self) -> None:
        """Leaves the model as it was."""
        if self.tap is not None:
            self.tap.remove()
        self.tap = self.store = None
