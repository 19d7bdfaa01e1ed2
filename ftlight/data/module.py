"""The base data module: splits, caches, batches. A subclass reads, encodes and collates rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import datasets
import lightning as L
import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from ftlight.data import duplicates, files, hub, sampling, tables, tokens
from ftlight.data.encoded import EncodedSplit as EncodedSplit
from ftlight.data.encoded import Rows
from ftlight.data.encoding import open_text
from ftlight.data.sources import Source
from ftlight.data.tables import Columns as Columns
from ftlight.models.loading import check_tokenizer, load_tokenizer
from ftlight.utils import internals
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import check_range
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
Reader = tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]


class DataModule(L.LightningDataModule):
    """Reads the splits of a data set once, keeps them memory-mapped, and makes batches of them.

    A subclass gives :meth:`reader`, :meth:`encode`, :meth:`encode_rows` and :meth:`collate`; for
    rows that occur twice also :meth:`duplicate_keys` and :meth:`duplicate_labels`.

    Args:
        train: Training data: CSV, TSV, JSONL or Parquet (or .gz), or a hub data set
            hf:OWNER/REPO[:CONFIG][@REVISION].
        validation: Validation data. Default: a share of train.
        test: Test data, used once after training.
        validation_split: Share of train to hold out if there are no validation data; 0 for none.
        test_split: Share of train to hold out if there are no test data.
        split_seed: Seed for the shares held out and the shots.
        max_overlap: Largest share of a validation or test file (of 100 rows or more) that may also
            be in train; more is an error.
        shots: Rows of each class to train on, drawn from train by split_seed; nothing is then held
            out for validation.
        batch_size: Rows per batch on each device.
        tokens_per_batch: Most tokens of a training batch, padding included; batches then differ in
            rows (at most batch_size).
        workers: Processes that load batches; 0 loads them in the training process, which is as fast
            for text.
        encoding: Encoding of text files.
        labels: Labels in order. Default: those in train.
        tokenizer: Hub id or folder of the tokenizer (or image processor). Default: the backbone's.
        log_text: Whether rows of the data may go to W&B, in a table of test predictions.
    """

    suffixes: ClassVar[tuple[str, ...]] = files.SUFFIXES  # of the files that the class reads
    # Whether a row differs from epoch to epoch (augmentation, masking). Columns then hold
    # ``epoch``, -1 in evaluation; random choices must be a function of ``seed``, epoch and row.
    varies: ClassVar[bool] = False
    # Whether the length that a sentence encoder was trained with limits max_length, is its default,
    # or is ignored; and an upper bound of the default.
    trained_length: ClassVar[Literal["limit", "default", "ignored"]] = "limit"
    default_length: ClassVar[int] = 10**6
    given_length: int | None  # option max_length; a subclass that reads no text does not set it
    kind: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Lets a subclass written for 0.1 use its old method names."""
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
        check_range("data.validation_split", validation_split, least=0, below=1)
        check_range("data.test_split", test_split, least=0, below=1)
        check_range("data.max_overlap", max_overlap, least=0, most=1)
        check_range("data.batch_size", batch_size, least=1)
        check_range("data.shots", shots, least=1)
        if shots is not None:
            validation_split = 0.0  # the share held out would be more than what is left
        self.files = {"train": train, "validation": validation, "test": test}
        self.shares = {
            "validation": 0.0 if validation else validation_split,
            "test": 0.0 if test else test_split,
        }
        self.split_seed, self.max_overlap, self.shots = split_seed, max_overlap, shots
        self.batch_size, self.tokens_per_batch, self.workers = batch_size, tokens_per_batch, workers
        self.encoding, self.tokenizer_name, self.log_text = encoding, tokenizer, log_text
        self.given_labels = [str(label) for label in labels] if labels else None
        self.notes: list[str] = []
        self.digests: dict[str, str] = {}
        self.processes = 0  # for which batches are made: those at the start of the run
        self.sets: dict[str, Any] = {}
        self._raw: dict[str, datasets.Dataset] = {}
        self._predict: list[files.Row] = []

    # What a subclass gives

    def reader(self, split: str) -> Reader:
        """The generator function of a split's rows, its arguments, and the features of the rows.

        The function is one of a module, and its rows depend on nothing but its arguments: together
        they are the key of the cache.
        """
        raise NotImplementedError

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Makes a table ready for batches."""
        raise NotImplementedError

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Makes rows to predict ready for batches.

        Args:
            rows: rows with the input columns and :data:`files.LINE`; labels may be missing.
            place: file of the rows, for errors.

        Raises:
            UserError: an input column is missing.
        """
        raise NotImplementedError

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """Makes a batch of encoded columns; their row numbers belong into it as ``index``."""
        raise NotImplementedError

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        raise NotImplementedError

    @property
    def column_names(self) -> dict[str, str]:
        """The user's column names by the names that rows hold them under: text to message, say."""
        return {}

    @property
    def example(self) -> str:
        """What can follow ``predict RUN``, for the screen."""
        return '--text "…"' if len(self.columns) == 1 else "FILE"

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The class of each row, for stratified splits and shots; None without classes."""
        return None

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The group of each row: a group is held out as a whole; None without groups."""
        return None

    def duplicate_keys(self, table: datasets.Dataset) -> Sequence[str] | None:
        """A key of each row's input, to find rows that occur twice; "" equals no other."""
        return None

    def duplicate_labels(self, table: datasets.Dataset) -> Sequence[Any] | None:
        """A value of each row on which rows with the same input should agree; None if none."""
        return None

    def digest(self, split: str, name: str) -> str:
        """Identifies the content of a split."""
        return Source(name, split, self.encoding, self.suffixes).digest()

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
        """Reads what :meth:`save_state` wrote into a run's folder."""

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
        """The labels in order: data.labels, or what a subclass reads from train."""
        return list(self.given_labels or [])

    @property
    def labels_from(self) -> str:
        """Where the labels come from, for errors."""
        return "data.labels" if self.given_labels else "train"

    @property
    def max_length(self) -> int:
        """The most tokens of a text or window: data.max_length, or what the backbone takes.

        Raises:
            AttributeError: the class has no such option.
            UserError: the backbone does not take so many.
        """
        length = self.given_length
        trained = tokens.max_length(self.tokenizer_name)
        takes = tokens.max_length(self.tokenizer_name, trained=False)
        most = trained if self.trained_length == "limit" else takes
        tokens.check_length("data.max_length", length, most)
        default = takes if self.trained_length == "ignored" else trained
        return length or min(default, self.default_length)

    def has(self, split: str) -> bool:
        """Whether there is such a split: a file of its own or a share of train."""
        held_out = bool(self.files["train"]) and self.shares.get(split, 0) > 0
        return bool(self.files[split]) or held_out

    def source_of(self, split: str) -> Source:
        """Where the rows of a split are read."""
        return Source(str(self.files[split]), split, self.encoding, self.suffixes)

    def file_of(self, split: str) -> str:
        """The file that holds the rows of a split: its own, or that of train."""
        return str(self.files[split] or self.files["train"])

    def train_tables(self) -> list[datasets.Dataset]:
        """The rows of train and of the shares held out of it."""
        self.load_split("train")
        return [t for s, t in self._raw.items() if s == "train" or not self.files[s]]

    def load_split(self, split: str) -> datasets.Dataset:
        """The rows of a split as read, memory-mapped.

        Raises:
            UserError: the data cannot be read, or the split is not given.
        """
        if split in self._raw:
            return self._raw[split]
        name = self.files[split]
        if name or split == "train":
            self._raw[split] = self._load(split, name)
        elif self.has(split):
            self.load_split("train")
        else:
            raise UserError(
                f"no {split} data: give data.{split},"
                f" or data.{split}_split to hold out a share of train"
            )
        if split == "train":
            self._hold_out()
            self._draw_shots()
        return self._raw[split]

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split through the cache."""
        if not name:
            raise UserError(f"no {split} data: give data.{split}: FILE")
        self.digests[split] = self.digest(split, name)
        function, arguments, features = self.reader(split)
        code = files.code(
            function, Source, hub.read_hub, files.read, open_text, tables.cached_table
        )
        content = f"{self.digests[split]} {code}"
        key = datasets.fingerprint.Hasher.hash(
            [function.__module__, function.__qualname__, arguments, content, features]
        )
        return tables.cached_table(
            key,
            lambda: tables.gathered(function(**arguments, digest=content), list(features)),
            features,
        )

    def _hold_out(self) -> None:
        """Moves shares of train to the splits that have no data of their own."""
        for split in ("test", "validation"):
            share = self.shares[split]
            if self.files[split] or not share:
                continue
            table = self._raw["train"]
            groups = self.groups(table)
            if groups is None:
                classes = self.classes(table)
                kept, held = sampling.hold_out(classes, len(table), share, self.split_seed)
            else:
                kept, held = sampling.hold_out_groups(groups, share, self.split_seed)
            if len(held) == 0 or len(kept) == 0:
                raise UserError(
                    f"data.train has {len(table)} rows,"
                    f" too few to hold out data.{split}_split: {share}"
                )
            self._raw["train"], self._raw[split] = table.select(kept), table.select(held)
            self.notes.append(
                f"no {split} data given: {share:.0%} of train held out (data.{split}_split)"
            )

    def _draw_shots(self) -> None:
        """Keeps a few rows of each class of train."""
        if self.shots is None:
            return
        table = self._raw["train"]
        classes = self.classes(table)
        if classes is None:
            raise UserError(
                "data.shots: rows have no single class each, so none can be drawn by class"
            )
        drawn = sampling.shots(classes, self.shots, self.split_seed)
        small = sum(count < self.shots for count in Counter(classes).values())
        self._raw["train"] = table.select(drawn)
        less = f" (of {small} all, which is less)" if small else ""
        self.notes.append(
            f"{len(drawn)} rows of train drawn, {self.shots} of each class{less} (data.shots)"
        )
        if not self.files["validation"]:
            self.notes.append(
                "nothing is held out for validation: the weights at the end are kept (data.shots)"
            )

    def rows(self, split: str, numbers: Sequence[int]) -> Sequence[files.Row]:
        """Rows of a split as read, or rows to predict as given."""
        if split == "predict":
            return [self._predict[i] for i in numbers]
        return self.load_split(split).select(list(numbers))

    def map_cached(
        self, table: datasets.Dataset, function: Callable[[Columns], Columns], *key: Any
    ) -> datasets.Dataset:
        """A table made of another in batches, cached and memory-mapped.

        Args:
            table: rows as read.
            function: makes the new columns of a batch of rows.
            key: what the result depends on beside the table and the function's source file.
        """
        code = files.code(function, tables.cached_table)
        mark = datasets.fingerprint.Hasher.hash([internals.fingerprint_of(table), code, *key])
        return tables.cached_table(mark, lambda: map(function, tables.batches(table)))

    def prepare_data(self) -> None:
        """Fills the caches, in one process of each machine, while the others wait."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process needs: how to collate, but neither the trainer nor the tables."""
        return {**self.__dict__, "trainer": None, "sets": {}, "_raw": {}, "_predict": []}

    def setup(self, stage: str) -> None:
        """Reads, checks and encodes the splits of a stage.

        ``fit`` includes the test, so that its faults show before training.
        """
        fresh = stage == "fit" and "train" not in self.sets
        for split in SPLITS[stage]:
            if split not in self.sets and (self.has(split) or stage != "fit"):
                self.sets[split] = self.encode(self.load_split(split), split)
                size, processes = len(self.sets[split]), self._ranks().get("world", 1)
                if size < processes:
                    raise UserError(
                        f"data.{split} has {size} rows, fewer than the {processes} processes;"
                        " lower trainer.devices"
                    )
        if fresh:
            self._find_duplicates()

    def _find_duplicates(self) -> None:
        inputs: dict[str, duplicates.Inputs] = {}
        for split in SPLITS["fit"]:
            if split not in self.sets:
                continue
            table = self.load_split(split)
            keys = self.duplicate_keys(table)
            if keys is not None:
                labels = self.duplicate_labels(table)
                inputs[split] = duplicates.Inputs(keys, labels, table, self.files[split])
        self.notes += duplicates.survey(inputs, self.max_overlap)

    # Batches

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
        return DataLoader(
            Rows(table, self.collate, self.varies, position is not None),
            sampler=sampling.Batches(plan, position or (lambda: (0, 0))),
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
            UserError: batches would differ, and rows be seen twice or not at all.
        """
        for name in ("batch_size", "tokens_per_batch"):
            if state[name] != getattr(self, name):
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

    def predict_dataloader(self) -> DataLoader[Any]:
        """The rows given to :meth:`set_predict`, once each, over all processes."""
        return self._eval_loader(self.sets["predict"])

    def set_predict(self, rows: Sequence[files.Row], place: str = "rows") -> None:
        """Takes the rows to predict; they need the input columns, not the label.

        Raises:
            UserError: an input column is missing.
        """
        self._predict = list(rows)
        numbered = [{files.LINE: number, **row} for number, row in enumerate(rows, 1)]
        self.sets["predict"] = self.encode_rows(numbered, place)


keep_old_names(DataModule, OLD_NAMES)
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_attribute(globals(), {"Encoded": "EncodedSplit"}, name)
