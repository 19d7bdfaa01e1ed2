"""The base data module: splits, caches, batches. A subclass says how to read rows and how to collate them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import datasets
import lightning as L
import numpy as np
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ftlight.data import duplicates, files, sampling, tables
from ftlight.data.hub import load_hub
from ftlight.data.tables import Columns as Columns
from ftlight.models.loading import check_tokenizer, load_tokenizer
from ftlight.utils.errors import UserError
from ftlight.utils.renamed import keep_old_names, old_attribute

SPLITS = {
    "fit": ("train", "validation", "test"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": (),
}
OLD_NAMES = {
    "source": "reader",
    "raw": "load_split",
    "keep": "save_state",
    "restore": "load_state",
    "inputs": "duplicate_keys",
    "answers": "duplicate_labels",
    "mapped": "map_cached",
}


class EncodedSplit:
    """EncodedSplit columns, and targets where they are known, by lists of rows.

    Args:
        columns: a table or a mapping of column to values, with ``length``: the tokens of each row, or what else makes rows alike.
        targets: a target for each row, given as column ``target``.
        fingerprint: tells the content, for caches; empty where it cannot be told.
    """

    def __init__(
        self, columns: Any, targets: Sequence[Any] | None = None, fingerprint: str = ""
    ) -> None:
        self.columns, self.targets, self.fingerprint = columns, targets, fingerprint

    def __len__(self) -> int:
        return len(self.columns["length"])

    def __getitem__(self, key: str | list[int]) -> Any:
        if isinstance(key, str):
            return (
                self.columns[key]
                if isinstance(self.columns, dict)
                else tables.column(self.columns, key)
            )
        if isinstance(self.columns, dict):
            found = {k: [v[i] for i in key] for k, v in self.columns.items()}
        else:
            found = self.columns[key]
        return (
            found if self.targets is None else {**found, "target": [self.targets[i] for i in key]}
        )


class _Rows(Dataset[Any]):
    """Rows of a table by lists of numbers, collated."""

    def __init__(
        self, table: Any, collate: Callable[[Columns, list[int]], Any], varies: bool, trains: bool
    ) -> None:
        self.table, self.collate, self.varies, self.trains = table, collate, varies, trains

    def __getitem__(self, place: tuple[int, list[int]]) -> Any:
        epoch, rows = place
        columns = self.table[rows]
        if self.varies:
            columns = {**columns, "epoch": [epoch if self.trains else -1] * len(rows)}
        return self.collate(columns, rows)


class DataModule(L.LightningDataModule):
    """Reads the splits of a data set once, keeps them memory-mapped, and makes batches of them.

    A subclass gives :meth:`reader`, :meth:`encode`, :meth:`encode_rows` and :meth:`collate`. Where a row differs from epoch to
    epoch (augmentation, masking) it sets ``varies``: columns then hold ``epoch``, -1 in evaluation, and what is drawn must be
    a function of :attr:`seed`, epoch and row. ``suffixes`` are those of the files it reads. :meth:`duplicate_keys` and :meth:`duplicate_labels`
    find rows that stand twice.

    Args:
        train: training data: CSV, TSV, JSONL or Parquet (or .gz), or a hub data set hf:OWNER/REPO[:CONFIG][@REVISION].
        validation: validation data; without it a share of train is held out.
        test: test data, used once after training.
        validation_split: share of train held out for validation where no validation data are given; 0 for none.
        test_split: share of train held out for the test where no test data are given.
        split_seed: seed of the held-out shares and of the shots.
        max_overlap: share of the rows of a validation or test file (of 100 rows or more) that may be in train too; more is an error.
        shots: rows of each class to train on, drawn from train by split_seed; nothing is then held out for validation.
        batch_size: rows of a batch on each device.
        tokens_per_batch: the most padded tokens of a training batch; batches then differ in rows (at most batch_size).
        workers: processes that load batches; 0 loads in the training process, which text does not slow down.
        encoding: encoding of text files.
        labels: the labels in order; read from train if not given.
        tokenizer: hub id or folder of the tokenizer (or image processor); the backbone's by default.
        log_text: whether rows of the data may go to W&B, as a table of test predictions.
    """

    varies: ClassVar[bool] = False
    suffixes: ClassVar[tuple[str, ...]] = files.SUFFIXES
    kind: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Takes the names of 0.1 for the new ones."""
        super().__init_subclass__(**options)
        keep_old_names(cls, OLD_NAMES)

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        *,
        validation_split: float = 0.1,
        test_split: float = 0.0,
        split_seed: int = 0,
        max_overlap: float = 0.9,
        shots: int | None = None,
        batch_size: int = 32,
        tokens_per_batch: int | None = None,
        workers: int = 0,
        encoding: str = "utf-8",
        labels: list[str | int | float] | None = None,
        tokenizer: str = "",
        log_text: bool = False,
    ) -> None:
        super().__init__()
        for name, share in (("validation_split", validation_split), ("test_split", test_split)):
            if not 0 <= share < 1:
                raise UserError(
                    f"data.{name}: {share} is not a share; give 0 to below 1, for example 0.1"
                )
        if not 0 <= max_overlap <= 1:
            raise UserError(
                f"data.max_overlap: {max_overlap} is not a share; give 0 to 1, for example 0.1"
            )
        if batch_size < 1:
            raise UserError(
                f"data.batch_size: {batch_size} is not a number of rows; give 1 or more"
            )
        if shots is not None and shots < 1:
            raise UserError(f"data.shots: {shots} is not a number of rows; give 1 or more")
        if shots is not None:
            validation_split = 0.0  # what is held out would be more than what is left
        self.files = {"train": train, "validation": validation, "test": test}
        self.shares = {
            "validation": 0.0 if validation else validation_split,
            "test": 0.0 if test else test_split,
        }
        self.split_seed, self.batch_size, self.tokens_per_batch = (
            split_seed,
            batch_size,
            tokens_per_batch,
        )
        self.workers, self.encoding, self.tokenizer_name = workers, encoding, tokenizer
        self.shots, self.log_text, self.max_overlap = shots, log_text, max_overlap
        self.given_labels = [str(label) for label in labels] if labels else None
        self.notes: list[str] = []
        self.digests: dict[str, str] = {}
        self.processes = 0  # that batches are made for; those of the run at its start
        self.sets: dict[str, Any] = {}
        self._raw: dict[str, datasets.Dataset] = {}
        self._predict: list[files.Row] = []

    # What a subclass gives

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """The generator function of a split's rows, its plain arguments, and the features of its rows.

        The function is one of a module, and all that its rows depend on is in the arguments: together they key the cache.
        """
        raise NotImplementedError

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Makes a table ready for batches: with ``length`` (tokens of each row), indexable by lists of rows."""
        raise NotImplementedError

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Makes rows to predict ready for batches; they need the input columns, not the label.

        Raises:
            UserError: an input column is missing.
        """
        raise NotImplementedError

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """Makes a batch of encoded columns; ``rows`` are their numbers and belong into it as ``index``."""
        raise NotImplementedError

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        raise NotImplementedError

    @property
    def example(self) -> str:
        """What may follow ``predict RUN``, for the screen."""
        return '--text "…"' if len(self.columns) == 1 else "FILE"

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The class of each row for stratified splits and shots, or None."""
        return None

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """What rows must share a side of a held-out split: those of equal value; or None."""
        return None

    def duplicate_keys(self, table: datasets.Dataset) -> Sequence[str] | None:
        """What tells the input of each row from others (empty for none), to find rows that stand twice; or None."""
        return None

    def duplicate_labels(self, table: datasets.Dataset) -> Sequence[Any] | None:
        """What each row should give, where rows of the same input should agree; or None where they need not."""
        return None

    def digest(self, split: str, name: str) -> str:
        """What tells the content of a split: the SHA-256 of its file."""
        return files.sha256(files.check(name, f"data.{split}", self.suffixes))

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict."""
        return list(files.read(files.check(name), self.encoding))

    def check_model(self, model: nn.Module) -> None:
        """Checks that inputs and model belong together.

        Raises:
            UserError: the tokenizer has more tokens than the model has embeddings.
        """
        check_tokenizer(model, self.tokenizer, self.tokenizer_name)

    def save_state(self, folder: Path) -> None:
        """Writes into a run's folder what later verbs need of the data beside labels.json."""

    def load_state(self, folder: Path) -> None:
        """Takes from a run's folder what :meth:`save_state` wrote."""

    # Splits

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return sampling.run_seed()

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
        return bool(self.files[split]) or (
            bool(self.files["train"]) and self.shares.get(split, 0) > 0
        )

    def load_split(self, split: str) -> datasets.Dataset:
        """The rows of a split as read, memory-mapped.

        Raises:
            UserError: the data cannot be read, or the split is not given.
        """
        if split not in self._raw:
            own = self.files[split]
            if own or split == "train":
                self._raw[split] = self._load(split, own)
            elif self.has(split):
                self.load_split("train")
            else:
                raise UserError(
                    f"no {split} data: give data.{split}, or data.{split}_split to hold out a share of train"
                )
            if split == "train" and own:
                self._hold_out()
                self._draw_shots()
        return self._raw[split]

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        if not name:
            raise UserError(f"no {split} data: give data.{split}: FILE")
        if name.startswith("hf:"):
            digest = "-".join(d._fingerprint for d in load_hub(name).values())
        else:
            digest = self.digest(split, name)
        self.digests[split] = digest
        function, arguments, features = self.reader(split)
        content = f"{digest} {files.code(function, files.read, tables.cached_table)}"
        mark = datasets.fingerprint.Hasher.hash(
            [function.__module__, function.__qualname__, arguments, content, features]
        )
        return tables.cached_table(
            mark,
            lambda: tables.gathered(function(**arguments, digest=content), list(features)),
            features,
        )

    def _hold_out(self) -> None:
        for split in ("test", "validation"):
            if self.files[split] or not self.shares[split]:
                continue
            table = self._raw["train"]
            share, groups = self.shares[split], self.groups(table)
            if groups is None:
                kept, held = sampling.hold_out(
                    self.classes(table), len(table), share, self.split_seed
                )
            else:
                kept, held = sampling.hold_out_groups(groups, share, self.split_seed)
            if len(held) == 0 or len(kept) == 0:
                raise UserError(
                    f"data.train has {len(table)} rows, too few to hold out data.{split}_split: {share}"
                )
            self._raw["train"], self._raw[split] = table.select(kept), table.select(held)
            self.notes.append(
                f"no {split} data given: {share:.0%} of train held out (data.{split}_split)"
            )

    def _draw_shots(self) -> None:
        if self.shots is None:
            return
        table = self._raw["train"]
        classes = self.classes(table)
        if classes is None:
            raise UserError(
                "data.shots: the rows have no single class each, so none can be drawn by class"
            )
        chosen = sampling.shots(classes, self.shots, self.split_seed)
        few = sum(n < self.shots for n in Counter(classes).values())
        self._raw["train"] = table.select(chosen)
        self.notes.append(
            f"{len(chosen)} rows of train drawn, {self.shots} of each class{f' (of {few} all, which is less)' if few else ''} (data.shots)"
        )
        if not self.files["validation"]:
            self.notes.append(
                "nothing is held out for validation: the weights at the end are kept (data.shots)"
            )

    def rows(self, split: str, numbers: Sequence[int]) -> Sequence[files.Row]:
        """Rows of a split as read, or of those to predict as given."""
        if split == "predict":
            return [self._predict[i] for i in numbers]
        return self.load_split(split).select(list(numbers))

    def map_cached(
        self, table: datasets.Dataset, function: Callable[[Columns], Columns], *about: Any
    ) -> datasets.Dataset:
        """A table made of another in batches, memory-mapped, cached by its content, the function's source file and ``about``.

        Args:
            table: rows as read.
            function: makes the new columns of a batch of rows.
            about: all else that the result depends on.
        """
        mark = datasets.fingerprint.Hasher.hash(
            [table._fingerprint, files.code(function, tables.cached_table), *about]
        )
        return tables.cached_table(mark, lambda: map(function, tables.batches(table)))

    def prepare_data(self) -> None:
        """Fills the caches on one process of each machine, while the others wait."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process needs where it does not inherit memory: how to collate, not the trainer or the tables."""
        return {**self.__dict__, "trainer": None, "sets": {}, "_raw": {}, "_predict": []}

    def setup(self, stage: str) -> None:
        """Reads, checks and encodes the splits of a stage; ``fit`` includes the test, so that its faults show first."""
        fresh = stage == "fit" and "train" not in self.sets
        for split in SPLITS[stage]:
            if split not in self.sets and (self.has(split) or stage != "fit"):
                self.sets[split] = self.encode(self.load_split(split), split)
                processes = self._ranks().get("world", 1)
                if len(self.sets[split]) < processes:
                    raise UserError(
                        f"data.{split} has {len(self.sets[split])} rows, fewer than the {processes} processes; lower trainer.devices"
                    )
        if fresh:
            self._find_duplicates()

    def _find_duplicates(self) -> None:
        found: dict[str, duplicates.Inputs] = {}
        for split in (s for s in SPLITS["fit"] if s in self.sets):
            table = self.load_split(split)
            keys = self.duplicate_keys(table)
            if keys is not None:
                found[split] = duplicates.Inputs(
                    keys, self.duplicate_labels(table), table, self.files[split]
                )
        self.notes += duplicates.survey(found, self.max_overlap)

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
        self,
        plan: Callable[[int], list[np.ndarray]],
        table: Any,
        position: Callable[[], tuple[int, int]] | None = None,
    ) -> DataLoader[Any]:
        """Batches of a table by a plan: epoch to lists of rows."""
        trainer = self.trainer
        return DataLoader(
            _Rows(table, self.collate, self.varies, position is not None),
            sampler=sampling.Batches(plan, position or (lambda: (0, 0))),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def _ranks(self) -> dict[str, int]:
        return (
            {"rank": self.trainer.global_rank, "world": self.trainer.world_size}
            if self.trainer is not None
            else {}
        )

    def state_dict(self) -> dict[str, Any]:
        """What the order of the training rows depends on beside seed and epoch."""
        return {
            **{name: getattr(self, name) for name in ("batch_size", "tokens_per_batch")},
            "processes": self.processes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the batches of a checkpoint, whatever the number of processes: each step has the same rows.

        Raises:
            UserError: batches would be others, and rows be seen twice or not at all.
        """
        for name in ("batch_size", "tokens_per_batch"):
            if state[name] != getattr(self, name):
                was = f"the run began with {state[name]}, and its batches must stay what they were"
                raise UserError(f"data.{name}: {was}; this is {getattr(self, name)}")
        self.processes = state["processes"]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of similar length in an order that is a pure function of the run's seed and the epoch."""
        table, ranks = self.sets["train"], self._ranks()
        lengths, seed = np.asarray(table["length"]), self.seed
        self.processes = self.processes or ranks.get("world", 1)
        how: dict[str, Any] = {
            "seed": seed,
            "tokens": self.tokens_per_batch,
            "cut_for": self.processes,
            **ranks,
        }

        def plan(epoch: int) -> list[np.ndarray]:
            return sampling.train_batches(lengths, self.batch_size, epoch=epoch, **how)

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

    def predict_dataloader(self) -> DataLoader[Any]:
        """The rows given to :meth:`set_predict`, once each, over all processes."""
        return self._eval_loader(self.sets["predict"])

    def set_predict(self, rows: Sequence[files.Row], place: str = "rows") -> None:
        """Takes the rows to predict; they need the input columns, not the label.

        Raises:
            UserError: an input column is missing.
        """
        self._predict = list(rows)
        self.sets["predict"] = self.encode_rows(self._predict, place)


keep_old_names(DataModule, OLD_NAMES)
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_attribute(globals(), {"Encoded": "EncodedSplit"}, name)
