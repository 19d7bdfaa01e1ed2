"""The base data module: splits, caches, batches. A subclass says how to read rows and how to collate them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Dataset

from ftlight.backbone import load_tokenizer
from ftlight.data import files, sampling
from ftlight.errors import UserError, user_error

SPLITS = {"fit": ("train", "validation", "test"), "validate": ("validation",), "test": ("test",), "predict": ()}
Columns = dict[str, list[Any]]


class _Rows(Dataset[Any]):
    """Rows of a table by lists of numbers, collated."""

    def __init__(self, table: Any, collate: Callable[[Columns, list[int]], Any]) -> None:
        self.table, self.collate = table, collate

    def __getitem__(self, rows: list[int]) -> Any:
        return self.collate(self.table[rows], rows)


class DataModule(L.LightningDataModule):
    """Reads the splits of a data set once, keeps them memory-mapped, and makes batches of them.

    A subclass gives :meth:`source`, :meth:`encode` and :meth:`collate`.

    Args:
        train: training data: CSV, TSV, JSONL or Parquet (or .gz), or a hub data set hf:OWNER/REPO[:CONFIG][@REVISION].
        validation: validation data; without it a share of train is held out.
        test: test data, used once after training.
        validation_split: share of train held out for validation where no validation data are given; 0 for none.
        test_split: share of train held out for the test where no test data are given.
        split_seed: seed of the held-out shares.
        batch_size: rows of a batch on each device.
        tokens_per_batch: the most padded tokens of a training batch; batches then differ in rows (at most batch_size).
        workers: processes that load batches; 0 loads in the training process, which text does not slow down.
        encoding: encoding of text files.
        labels: the labels in order; read from train if not given.
        tokenizer: hub id or folder of the tokenizer; the backbone's by default.
    """

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        *,
        validation_split: float = 0.1,
        test_split: float = 0.0,
        split_seed: int = 0,
        batch_size: int = 32,
        tokens_per_batch: int | None = None,
        workers: int = 0,
        encoding: str = "utf-8",
        labels: list[str | int | float] | None = None,
        tokenizer: str = "",
    ) -> None:
        super().__init__()
        for name, share in (("validation_split", validation_split), ("test_split", test_split)):
            if not 0 <= share < 1:
                raise UserError(f"data.{name}: {share} is not a share; give 0 to below 1, for example 0.1")
        if batch_size < 1:
            raise UserError(f"data.batch_size: {batch_size} is not a number of rows; give 1 or more")
        self.files = {"train": train, "validation": validation, "test": test}
        self.shares = {"validation": 0.0 if validation else validation_split, "test": 0.0 if test else test_split}
        self.split_seed, self.batch_size, self.tokens_per_batch = split_seed, batch_size, tokens_per_batch
        self.workers, self.encoding, self.tokenizer_name = workers, encoding, tokenizer
        self.given_labels = [str(label) for label in labels] if labels else None
        self.notes: list[str] = []
        self.digests: dict[str, str] = {}
        self.sets: dict[str, Any] = {}
        self._raw: dict[str, datasets.Dataset] = {}

    # What a subclass gives

    def source(self, split: str) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """The generator function of a split's rows, its plain arguments, and the features of its rows.

        The function is one of a module, and all that its rows depend on is in the arguments: together they key the cache.
        """
        raise NotImplementedError

    def encode(self, table: Any, split: str) -> Any:
        """Makes a table ready for batches: with ``length`` (tokens of each row), indexable by lists of rows."""
        raise NotImplementedError

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """Makes a batch of encoded columns; ``rows`` are their numbers and belong into it as ``index``."""
        raise NotImplementedError

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        raise NotImplementedError

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The class of each row for stratified splits, or None."""
        return None

    # Splits

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded once."""
        return load_tokenizer(self.tokenizer_name)

    @property
    def labels(self) -> list[str]:
        """The labels in order: as given, else what a subclass reads from train."""
        return list(self.given_labels or [])

    def has(self, split: str) -> bool:
        """Whether there is such a split, by a file or as a share of train."""
        return bool(self.files[split]) or (bool(self.files["train"]) and self.shares.get(split, 0) > 0)

    def raw(self, split: str) -> datasets.Dataset:
        """The rows of a split as read, memory-mapped.

        Raises:
            UserError: the data cannot be read, or the split is not given.
        """
        if split not in self._raw:
            own = self.files[split]
            if own or split == "train":
                self._raw[split] = self._load(split, own)
            elif self.has(split):
                self.raw("train")
            else:
                raise UserError(f"no {split} data: give data.{split}, or data.{split}_split to hold out a share of train")
            if split == "train" and own:
                self._hold_out()
        return self._raw[split]

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        if not name:
            raise UserError(f"no {split} data: give data.{split}: FILE")
        if name.startswith("hf:"):
            digest = "-".join(d._fingerprint for d in files.load_hub(name).values())
        else:
            digest = files.sha256(files.check(name, f"data.{split}"))
        self.digests[split] = digest
        function, arguments, features = self.source(split)
        content = f"{digest} {files.code(function, files.read)}"
        try:
            table = datasets.Dataset.from_generator(function, features=features, gen_kwargs={**arguments, "digest": content})
        except datasets.exceptions.DatasetGenerationError as error:
            raise user_error(error) or error from None
        return table

    def _hold_out(self) -> None:
        for split in ("test", "validation"):
            if self.files[split] or not self.shares[split]:
                continue
            table = self._raw["train"]
            kept, held = sampling.hold_out(self.classes(table), len(table), self.shares[split], self.split_seed)
            if len(held) == 0 or len(kept) == 0:
                raise UserError(f"data.train has {len(table)} rows, too few to hold out data.{split}_split: {self.shares[split]}")
            self._raw["train"], self._raw[split] = table.select(kept), table.select(held)
            self.notes.append(f"no {split} data given: {self.shares[split]:.0%} of train held out (data.{split}_split)")

    def prepare_data(self) -> None:
        """Fills the caches on one process of each machine, while the others wait."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process needs where it does not inherit memory: how to collate, not the trainer or the tables."""
        return {**self.__dict__, "trainer": None, "sets": {}, "_raw": {}}

    def setup(self, stage: str) -> None:
        """Reads, checks and encodes the splits of a stage; ``fit`` includes the test, so that its faults show first."""
        for split in SPLITS[stage]:
            if split not in self.sets and (self.has(split) or stage != "fit"):
                self.sets[split] = self.encode(self.raw(split), split)

    # Batches

    def _position(self) -> tuple[int, int]:
        """The epoch, and how many of its batches are done: more than none where a run goes on in the middle.

        What is processed counts: when the loader is made, Lightning's own count of epochs still says the one before.
        """
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        done = loop.epoch_loop.batch_progress.current.processed if loop.restarting else 0
        return loop.epoch_progress.current.processed, done

    def loader(
        self, plan: Callable[[int], list[np.ndarray]], table: Any, position: Callable[[], tuple[int, int]] | None = None
    ) -> DataLoader[Any]:
        """Batches of a table by a plan: epoch to lists of rows."""
        trainer = self.trainer
        return DataLoader(
            _Rows(table, self.collate),
            sampler=sampling.Batches(plan, position or (lambda: (0, 0))),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def _ranks(self) -> dict[str, int]:
        return {"rank": self.trainer.global_rank, "world": self.trainer.world_size} if self.trainer is not None else {}

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of similar length in an order that is a pure function of the run's seed and the epoch."""
        table, ranks = self.sets["train"], self._ranks()
        lengths = np.asarray(table["length"])
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))

        def plan(epoch: int) -> list[np.ndarray]:
            return sampling.train_batches(lengths, self.batch_size, seed=seed, epoch=epoch, tokens=self.tokens_per_batch, **ranks)

        return self.loader(plan, table, self._position)

    def _eval_loader(self, table: Any) -> DataLoader[Any]:
        lengths, ranks = np.asarray(table["length"]), self._ranks()
        return self.loader(lambda epoch: sampling.eval_batches(lengths, self.batch_size, **ranks), table)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every validation row once, over all processes."""
        return self._eval_loader(self.sets["validation"]) if "validation" in self.sets else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test row once, over all processes."""
        return self._eval_loader(self.sets["test"])

    def predict_dataloader(self) -> DataLoader[Any]:
        """The rows given to :meth:`set_predict`, once each, over all processes."""
        return self._eval_loader(self.sets["predict"])

    def set_predict(self, rows: Sequence[files.Row], place: str = "rows") -> None:
        """Takes the rows to predict; they need the input columns, not the label.

        Raises:
            UserError: an input column is missing.
        """
        raise NotImplementedError
