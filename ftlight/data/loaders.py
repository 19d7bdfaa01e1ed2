"""Batches of encoded splits, in an order that only the run's seed and the epoch decide."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, Self

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from ftlight.data import sampling
from ftlight.data.encoded import Rows
from ftlight.data.tables import Columns
from ftlight.run.state import state_of
from ftlight.utils import arguments
from ftlight.utils.errors import UserError

# What torch says if a process that loads batches is gone, and if shared memory is full.
LOST = re.compile(
    r"DataLoader worker \(pid\S* [\d, ]+\) "
    r"(?:is killed by signal: |exited \w+(?: with )?)([\w ]*)"
)
SHARED = ("bus error", "(shm)", "</torch_")
FEW = 1000  # rows to predict whose batches are cut with care


def _lost_memory(error: BaseException) -> bool:
    """Whether a batch was to be fetched from the memory of a process that is gone."""
    if not isinstance(error, (ConnectionError, EOFError, FileNotFoundError)):
        return False
    modules = (
        frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return any(module == "torch.multiprocessing.reductions" for module in modules)


def lost_worker(error: BaseException) -> str:
    """The line for a process that loads batches and is gone; empty for any other error.

    >>> lost_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Aborted. "))
    'a process that loads batches has ended (Aborted); data.workers: 0 does without'
    """
    how = said = ""
    chain: BaseException | None = error
    while chain is not None:  # a cause may tell the signal
        found = LOST.search(str(chain))
        how = (found and found[1]) or how
        if found or any(sign in str(chain).lower() for sign in SHARED) or _lost_memory(chain):
            said += str(chain).lower()
        chain = chain.__cause__ or chain.__context__
    if not said:
        return ""
    if any(sign in said for sign in SHARED):
        return (
            "shared memory (/dev/shm) is full, which processes that load batches need; make it"
            " larger (docker run --shm-size 8g), or set data.workers: 0"
        )
    if how in ("", "Killed"):
        return (
            "a process that loads batches was killed, as the system does if memory runs out;"
            " lower data.workers or data.batch_size"
        )
    return f"a process that loads batches has ended ({how}); data.workers: 0 does without"


class Loaders(L.LightningDataModule):
    """The part of :class:`ftlight.DataModule` that makes batches of encoded splits.

    Attributes:
        sets: encoded splits by name.
        batch_size: rows per batch on each device.
        batch_size_auto: whether that is still to be chosen.
        tokens_per_batch: most tokens of a training batch, or None.
        workers: processes that load batches.
        processes: for which batches are made: those at the start of the run; 0 before.
        draws: random draws of training rows that epochs take in turn, as the freezing schedule
            sets it between epochs; 0 if each epoch has its own.
        options_given: the options that the class was constructed with.
    """

    # Whether a row differs from epoch to epoch (augmentation, masking). Columns then hold
    # ``epoch``, -1 in evaluation; random choices must be a function of ``seed``, that and row.
    varies: ClassVar[bool] = False
    draws = 0
    # Options that may change when a run resumes, since no row, batch or order depends on them.
    may_change: ClassVar[frozenset[str]] = frozenset({"workers", "check", "groups", "log_text"})
    sets: dict[str, Any]
    batch_size: int
    batch_size_auto: bool
    tokens_per_batch: int | None
    workers: int
    processes: int
    options_given: dict[str, Any]

    def __new__(cls, *positional: Any, **named: Any) -> Self:
        """Notes the options as given, whatever a subclass makes of them."""
        self = super().__new__(cls)
        self.options_given = arguments.given(cls, positional, named)
        return self

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """Makes a batch of encoded columns; their row numbers belong into it as ``index``."""
        raise NotImplementedError

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return sampling.run_seed()

    @property
    def augmentation(self) -> str:
        """What random changes of training rows depend on beside seed, draw and row, as text.

        If it is not empty, an epoch may repeat the draw of an earlier one (:attr:`draws`).
        """
        return ""

    def _position(self) -> tuple[int, int]:
        """The epoch, and how many of its batches are done if a run resumes in the middle of it.

        Counts what is processed: when the loader is made, Lightning's current epoch is still the
        one before.
        """
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        done = loop.epoch_loop.batch_progress.current.processed if loop.restarting else 0
        return loop.epoch_progress.current.processed, done

    def loader(
        self,
        plan: Callable[[int], list[np.ndarray]],
        table: Any,
        position: Callable[[], tuple[int, int]] | None = None,
    ) -> DataLoader[Any]:
        """Batches of an encoded split.

        Args:
            plan: epoch to the row numbers of each batch.
            table: the split.
            position: epoch and batches done, in training.
        """
        trainer = self.trainer
        overfits = getattr(trainer, "overfit_batches", 0)
        kind = sampling.SameBatches if overfits else sampling.Batches
        return DataLoader(
            Rows(table, self.collate, self.varies, position is not None),
            sampler=kind(plan, position or (lambda: (0, 0)), lambda: self.draws),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {}
        return {"rank": self.trainer.global_rank, "world": self.trainer.world_size}

    def state_dict(self) -> dict[str, Any]:
        """What the order of the training rows depends on beside seed and epoch."""
        return {
            "batch_size": self.batch_size,
            "tokens_per_batch": self.tokens_per_batch,
            "processes": self.processes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues the batches of a checkpoint, the same rows in each step on any number of ranks.

        Raises:
            UserError: batches would differ, and rows be seen twice or not at all. ftlight's own
                trainer has checked that, with all else that decides the rows.
        """
        for name in ("batch_size", "tokens_per_batch"):
            if state_of(self.trainer) is None and state[name] != getattr(self, name):
                raise UserError(
                    f"data.{name}: the run began with {state[name]}, and its batches must stay"
                    f" what they were; this is {getattr(self, name)}"
                )
        self.processes = state["processes"]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of similar length, in an order that only the run's seed and the epoch decide."""
        table, ranks = self.sets["train"], self._ranks()
        lengths, seed = np.asarray(table["length"]), self.seed
        processes = self.processes = self.processes or ranks.get("world", 1)

        def plan(epoch: int) -> list[np.ndarray]:
            return sampling.train_batches(
                lengths,
                self.batch_size,
                seed=seed,
                epoch=epoch,
                tokens=self.tokens_per_batch,
                cut_for=processes,
                **ranks,
            )

        return self.loader(plan, table, self._position)

    def _eval_loader(self, table: Any) -> DataLoader[Any]:
        lengths, ranks = np.asarray(table["length"]), self._ranks()
        return self.loader(
            lambda epoch: sampling.eval_batches(lengths, self.batch_size, **ranks), table
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every validation row once, over all processes."""
        return self._eval_loader(self.sets["validation"]) if "validation" in self.sets else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test row once, over all processes."""
        return self._eval_loader(self.sets["test"])

    def predict_dataloader(self, cost: int = 0) -> DataLoader[Any]:
        """The rows given to :meth:`set_predict`, once each, over all processes.

        Args:
            cost: padded tokens that take as long as beginning another batch, if a single process
                is to cut few rows into batches with little padding.
        """
        table = self.sets["predict"]
        if not cost or len(table) > FEW:  # sorted, many rows have little padding anyway
            return self._eval_loader(table)
        lengths = np.asarray(table["length"])
        return self.loader(
            lambda epoch: sampling.even_batches(lengths, self.batch_size, cost), table
        )
