"""Files of stored activations: found if an earlier run left them, else filled by a frozen pass."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ftlight.freezing import identity, room
from ftlight.freezing import store as files
from ftlight.freezing.identity import FIXED
from ftlight.freezing.store import ActivationStore, Layout
from ftlight.freezing.tap import Tap
from ftlight.models.modes import evaluating
from ftlight.run.state import state_of
from ftlight.utils.atomic import part_of
from ftlight.utils.distributed import first_reason, gather_objects
from ftlight.utils.errors import first_line

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A file of stored activations.

    Attributes:
        draw: the draw of the rows in it, or FIXED.
        name: the stage and the draw in words.
        layout: where its rows lie.
        key: a name from all that it depends on.
        path: the file.
    """

    draw: int
    name: str
    layout: Layout
    key: str
    path: Path


class Filling:
    """The part of :class:`ftlight.freezing.cache.PrefixCache` that finds and fills stores.

    Rows that are the same in every epoch are in one file. If training rows are augmented, there is
    one for each draw of them, and one for validation, where none is.

    Attributes:
        limit: the most bytes on the disk.
        trainer: the trainer.
        task: the task.
        stage: the stage in words, for the log.
        draws: random draws of training rows that epochs take in turn; 0 if rows do not differ.
        tap: where activations are captured; None if nothing is stored.
        stores: open stores, by draw or FIXED.
        paths: their files.
        named: files that a line was about: it is said once where they came from.
    """

    limit: float
    trainer: Any
    task: Any
    stage: str
    draws: int
    tap: Tap | None
    stores: dict[int, ActivationStore]
    paths: dict[int, Path]
    named: set[Path]

    def _agree(self, reason: str) -> str:
        """The reason of the first process that has one, so that all do the same."""
        return first_reason(reason, self.trainer.world_size)

    def _open(self, cut: int) -> str:
        """Sets the tap, and what is to be stored of a row. Returns why it cannot, or nothing."""
        reason = identity.obstacle(self.trainer, self.task, self.draws)
        if reason:
            return reason
        sets = self.trainer.datamodule.sets
        self.tables = {split: sets[split] for split in sets if split in ("train", "validation")}
        self.lengths = {split: np.asarray(t["length"]) for split, t in self.tables.items()}
        try:
            self.folder = room.cache_dir()
            self.tap = Tap(self.task.model, cut)
            draw = 0 if self.draws else FIXED
            batch = next(iter(identity.batches(self.trainer, self.tables["train"], draw=draw)))
            states = self._capture(batch)
            for split, lengths in self.lengths.items():
                if len(lengths):  # the longest row may have several windows, which cannot be stored
                    longest = [np.array([int(lengths.argmax())])]
                    for long_batch in identity.load(self.trainer, self.tables[split], longest):
                        self._capture(long_batch)
        except ValueError as error:
            return str(error)
        mask = files.mask_of(batch["inputs"])
        self.per_row = mask is None or states.ndim < 3 or states.shape[1] != mask.shape[1]
        self.shape = states.shape[1 if self.per_row else 2 :]
        self.dtype = states.dtype
        self.weights = files.fingerprint(identity.below(self.task, self.tap))
        return ""

    def _splits(self, draw: int) -> list[str]:
        """The splits in the file of a draw."""
        if not self.draws:
            return list(self.tables)
        return ["train"] if draw != FIXED else [s for s in self.tables if s != "train"]

    def _place(self, draw: int) -> Place:
        """The file of a draw; all processes must ask for it together."""
        splits = self._splits(draw)
        name = self.stage
        if self.draws:
            name += ", validation" if draw == FIXED else f", draw {draw + 1} of {self.draws}"
        lengths = {split: self.lengths[split] for split in splits}
        layout = Layout(lengths, self.shape, self.dtype, self.per_row)
        tables = {split: self.tables[split] for split in splits}
        assert self.tap is not None
        key = identity.key(self.trainer, self.task, self.tap, tables, str(self.dtype), draw)
        return Place(draw, name, layout, key, self.folder / f"{key}.bin")

    # A frozen pass

    def _capture(self, batch: dict[str, Any]) -> Tensor:
        assert self.tap is not None
        precision = self.trainer.precision_plugin
        with evaluating(self.task), torch.no_grad(), precision.forward_context():
            return self.tap.capture(lambda: self.task.step(batch), len(batch["index"])).detach()

    # Files

    def _find(self, place: Place) -> bool:
        """Opens the store of an earlier run. Returns whether all processes could."""
        store, own = files.open_store(place.path, place.layout, place.key)
        faults = [f for f in gather_objects(own, self.trainer.world_size) if f]
        if store is not None and not faults:
            self._take(place, store)
            if place.path not in self.named:
                self._log_source(place, "kept from an earlier run")
        for fault in [f for f in faults if f != files.MISSING][:1]:
            log.info("%s; it is made again", fault)
        with contextlib.suppress(OSError):
            if own and own != files.MISSING:
                place.path.unlink()
            elif not own:
                place.path.touch()
        return not faults

    def _take(self, place: Place, store: ActivationStore) -> None:
        self.stores[place.draw], self.paths[place.draw] = store, place.path

    def _make(self, place: Place) -> str:
        """Fills a new store and opens it. Returns why not, or nothing."""
        part, first = self._part(place), self.trainer.local_rank == 0
        mine = {self.paths[draw]: store.layout.bytes for draw, store in self.stores.items()}
        try:
            reason = room.reserve(part, place.layout.bytes, self.limit, mine) if first else ""
            reason = self._agree(reason) or self._agree(self._fill(part, place))
            reason = reason or self._agree(files.seal_store(part, place.key) if first else "")
            if reason:
                return reason
            # opened before it is moved: from then on others may replace or delete it
            store, own = files.open_store(part, place.layout, place.key)
            reason = self._agree(own)
            if store is not None and not reason:
                self._take(place, store)
            reusable = all(
                getattr(self.tables[split], "fingerprint", None) for split in place.layout.lengths
            )
            if first and not reason and reusable:
                with contextlib.suppress(OSError):
                    os.replace(part, place.path)
            return reason
        finally:
            if first:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)

    def _part(self, place: Place) -> Path:
        """The partial file that all processes of this machine fill; others may share the folder."""
        node, own = self.trainer.node_rank, str(part_of(place.path))
        mine = ((node, self.trainer.local_rank), own)
        return Path(dict(gather_objects(mine, self.trainer.world_size))[node, 0])

    def _fill(self, part: Path, place: Place) -> str:
        """Writes the share of this process, of all on this machine. Returns why not, or nothing."""
        rank = self.trainer.local_rank
        processes = max(1, self.trainer.world_size // self.trainer.num_nodes)
        self._log_source(place, "computed once now")
        try:
            store = ActivationStore(part, place.layout, write=True)
            for split in place.layout.lengths:
                table = self.tables[split]
                for batch in identity.batches(self.trainer, table, rank, processes, place.draw):
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

    def _log_source(self, place: Place, source: str) -> None:
        assert self.tap is not None
        self.named.add(place.path)
        what = "the backbone" if self.tap.at_head else f"the lowest {self.tap.cut} layers"
        rows, size = f"{place.layout.rows:,}", f"{place.layout.bytes / 1e6:,.0f} MB"
        line = "%s: the output of %s for %s rows is %s (%s in %s)"
        log.info(line, place.name, what, rows, source, size, place.path)
