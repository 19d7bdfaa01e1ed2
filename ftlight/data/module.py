"""The base data module: its options, and what a subclass gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import datasets
from torch import Tensor, nn

from ftlight.data import documents, files, tokens
from ftlight.data.audited import Audited
from ftlight.data.cells import with_nested
from ftlight.data.encoded import EncodedSplit as EncodedSplit
from ftlight.data.folds import read_fold
from ftlight.data.splits import Reader as Reader
from ftlight.data.swaps import Exchanged
from ftlight.data.tables import Columns as Columns
from ftlight.models import padding
from ftlight.models.loading import load_tokenizer
from ftlight.models.weights import check_tokenizer
from ftlight.utils import archives
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.paths import user_path
from ftlight.utils.ranges import Count, Folds, Fraction, PositiveInt, Processes, check_ranges
from ftlight.utils.renamed import keep_old_names, old_attribute

SPLITS = {
    "fit": ("train", "validation", "test"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": (),
}
LONGEST_PATH = 1000  # characters
OLD_NAMES = {
    "source": "reader",
    "raw": "load_split",
    "keep": "save_state",
    "restore": "load_state",
    "inputs": "duplicate_keys",
    "answers": "duplicate_labels",
    "mapped": "map_cached",
}


class DataModule(Audited):
    """Reads the splits of a data set once, keeps them memory-mapped, and makes batches of them.

    A subclass gives :meth:`reader`, :meth:`encode`, :meth:`encode_rows` and :meth:`collate`; for
    an audit also :meth:`row_texts` (or :meth:`duplicate_keys`), :meth:`row_labels` and
    :meth:`duplicate_labels`.

    Args:
        train: Training data: CSV, TSV, JSONL (or .gz), Parquet or .xlsx, a folder of documents, or
            a hub data set hf:OWNER/REPO[:CONFIG][@REVISION].
        validation: Validation data. Default: a share of train.
        test: Test data, used once after training.
        validation_split: Share of train to hold out if there are no validation data; 0 for none.
        test_split: Share of train to hold out if there are no test data.
        split_seed: Seed for the shares held out and the shots.
        check: Audit of the data before training: fast finds leaks, repeats, wrong or odd labels,
            shortcuts and personal data by the texts alone; off trains without it.
        on_leak: What to do with rows of train that are in validation or test too, the same or
            nearly: keep says how many, drop takes them out of train, stop is an error. A file with
            over 90 % of its rows in train is an error in any case, unless check is off.
        groups: Columns that tell which group a row belongs to, such as gender or region: an audit
            says if labels fall to one of them far more often, a test how good it is on each.
        folds: Number of parts that train is divided into, classes and groups alike in each, by
            split_seed; one of them is the validation data. The command fit --folds trains on all.
        fold: Which of these parts is the validation data, from 0.
        shots: Rows of each class to train on, drawn from train by split_seed; nothing is then held
            out for validation.
        train_rows: Rows of train to train on, drawn by split_seed with one of each class first; a
            smaller number draws a part of the same rows. What is held out stays.
        batch_size: Rows per batch on each device; auto takes the fewest whose rows a second are
            within a tenth of the most, of sizes that fit in memory and leave 20 steps an epoch, and
            has the default rate follow the square root of the rows.
        tokens_per_batch: Most tokens of a training batch, padding included; batches then differ in
            rows (at most batch_size).
        workers: Processes that load batches; 0 loads them in the training process, which is as fast
            for text.
        encoding: Encoding of text files.
        quotes: Quotation marks in CSV and TSV: csv if they enclose fields, none if they are text;
            auto reads them as text if that alone gives every line the same fields.
        max_bytes: Bytes that a packed file may unpack to. Default: 4 GiB, or 100 times its size if
            that is more.
        header: Names of the columns of CSV, TSV and .xlsx files that have no header line.
        labels: Labels in order. Default: those in train.
        known_labels: Labels that come first, those of another run; other ones in train follow.
        tokenizer: Hub id or folder of the tokenizer (or image processor). Default: the backbone's.
        log_text: Whether texts of the data may go to W&B: wrong rows, examples of findings, the
            page about the run; else only labels and numbers do.
    """

    # Whether the length that a sentence encoder was trained with limits max_length, is its default,
    # or is ignored; and an upper bound of the default.
    trained_length: ClassVar[Literal["limit", "default", "ignored"]] = "limit"
    default_length: ClassVar[int] = 10**6
    given_length: int | None  # option max_length; a subclass that reads no text does not set it
    unit: ClassVar[str] = "rows"  # what rows are, for a person
    kind: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Checks ranges, and lets a subclass written for 0.1 use its old method names."""
        super().__init_subclass__(**options)
        keep_old_names(cls, OLD_NAMES)
        check_ranges(cls, "data")

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        *,
        validation_split: Fraction = 0.1,
        test_split: Fraction = 0.0,
        split_seed: Count = 0,
        check: Literal["fast", "off"] = "fast",
        on_leak: Literal["keep", "drop", "stop"] = "keep",
        groups: list[str] | None = None,
        folds: Folds | None = None,
        fold: Count | None = None,
        shots: PositiveInt | None = None,
        train_rows: PositiveInt | None = None,
        batch_size: PositiveInt | Literal["auto"] = 32,
        tokens_per_batch: PositiveInt | None = None,
        workers: Processes = 0,
        encoding: str = "utf-8",
        quotes: files.Quotes = "auto",
        max_bytes: PositiveInt | None = None,
        header: list[str] | None = None,
        labels: list[str | int | float] | None = None,
        known_labels: list[str] | None = None,
        tokenizer: str = "",
        log_text: bool = False,
    ) -> None:
        super().__init__()
        if shots is not None:
            validation_split = 0.0  # the share held out would be more than what is left
        self.files = {"train": train, "validation": validation, "test": test}
        self.shares = {
            "validation": 0.0 if validation else validation_split,
            "test": 0.0 if test else test_split,
        }
        self.split_seed, self.shots, self.train_rows = split_seed, shots, train_rows
        self.fold = read_fold(fold, folds, validation, shots)
        if self.fold is not None:
            self.shares["validation"] = 1 / self.fold[1]
        self.check, self.on_leak, self.dropped = check, on_leak, ()
        self.group_columns = tuple(groups or ())
        self.batch_size_auto = batch_size == "auto"  # until it is chosen
        self.batch_size = 32 if batch_size == "auto" else batch_size
        self.tokens_per_batch, self.workers = tokens_per_batch, workers
        self.encoding, self.quotes, self.header = encoding, quotes, tuple(header or ())
        archives.permit(max_bytes)
        self.tokenizer_name, self.log_text = tokenizer, log_text
        self.given_labels = [str(label) for label in labels] if labels else None
        self.known_labels = known_labels or []
        self.notes: list[str] = []
        self.digests: dict[str, str] = {}
        self.processes = 0  # for which batches are made: those at the start of the run
        self.sets: dict[str, Any] = {}
        self._raw: dict[str, datasets.Dataset] = {}
        self._predict: list[files.Row] = []
        self.empty: list[int] = []  # numbers of the rows to predict that hold nothing to read

    # What a subclass gives

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

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        raise NotImplementedError

    @property
    def image_columns(self) -> list[str]:
        """Those of the input columns whose cells are images: a path, or the bytes of a file."""
        return []

    def texts_of(self, row: files.Row) -> dict[str, str]:
        """The texts of a row to predict that a model reads, by name, for explanations.

        Default: the input columns that hold texts.

        Args:
            row: a row with the input columns.
        """
        cells = next(with_nested(iter([row]), self.columns))
        return {name: cells[name] for name in self.columns if isinstance(cells.get(name), str)}

    def with_texts(self, row: files.Row, texts: Mapping[str, str]) -> files.Row:
        """A row with other texts in place of those of :meth:`texts_of`."""
        return {**row, **texts}

    def jpeg(self, pixels: Tensor) -> bytes:
        """An image of a batch as a JPEG, for explanations.

        Args:
            pixels: ``[channels, height, width]``.
        """
        raise UserError(f"{type(self).__name__} has no images to show")

    @property
    def column_names(self) -> dict[str, str]:
        """The user's column names by the names that rows hold them under: text to message, say."""
        return {}

    @property
    def document_columns(self) -> documents.Columns:
        """Names of the columns of a folder of documents: the text in the only input column."""
        names = self.columns
        return documents.Columns(names[0]) if len(names) == 1 else documents.COLUMNS

    @property
    def example(self) -> str:
        """What can follow ``predict RUN``, for the screen."""
        return '--text "…"' if len(self.columns) == 1 else "FILE"

    def exchanged(self, split: str, rows: Sequence[int]) -> Exchanged | None:
        """Rows of a split with words exchanged that should change no answer; None if none should.

        Args:
            split: the split.
            rows: numbers of the rows to look at.
        """
        return None

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict; a text file is one document, if rows are one text."""
        if len(self.columns) == 1 and files.suffix(user_path(name)) == ".txt":
            path = files.check(name, suffixes=documents.SUFFIXES)
            return list(documents.read_text(path, self.encoding, self.document_columns))
        return list(self.source_at(str(files.check(name))).read(self.columns))

    def rows_to_predict(self, split: str, numbers: Sequence[int]) -> list[files.Row]:
        """Rows of a split as :meth:`read_predict` reads them, with the user's columns.

        Args:
            split: the split.
            numbers: numbers of its rows.

        Raises:
            UserError: they are no rows of a file that can be predicted.
        """
        origin = split if self.files[split] else "train"
        places, name = self.places(split), str(self.files[origin])
        source = self.source_of(origin)
        read = source.rows(self.columns) if source.on_hub else self.read_predict(name)
        row_at = {str(row[files.LINE]): row for row in read}
        wanted = [str(places[number]) for number in numbers]
        if lost := [place for place in wanted if place not in row_at]:
            raise UserError(f"{name}: rows of {split} cannot be found again ({lost[0]})")
        return [row_at[place] for place in wanted]

    def set_task(self, task: Any) -> None:
        """Learns from the task that it feeds how that reads rows, before any is encoded."""

    def unreadable(self, rows: Sequence[files.Row], place: str) -> dict[int, str]:
        """Which rows to predict cannot be read, by their number from 0, and why.

        Args:
            rows: rows with the input columns and :data:`files.LINE`.
            place: file of the rows, for errors.
        """
        return {}

    def without_text(self, rows: Sequence[files.Row], place: str) -> list[int]:
        """Numbers from 0 of the rows to predict that hold nothing to read: no answer is sure.

        Args:
            rows: rows with the input columns and :data:`files.LINE`.
            place: file of the rows, for errors.
        """
        return []

    def left_out(self, faults: Mapping[int, str], count: int) -> str:
        """Which of so many rows to predict cannot be read, in words."""
        named = join_limited(faults.values(), 3)
        return f"{len(faults):,} of {count:,} {self.unit} cannot be used: {named}"

    def is_row(self, name: str) -> bool:
        """Whether a file is itself a row to predict, as a photo is."""
        return False

    def is_place(self, text: str) -> bool:
        """Whether a text that is given to be predicted is rather a file or folder to read."""
        if "\n" in text or len(text) > LONGEST_PATH:
            return False
        try:
            path = Path(text).expanduser()
        except RuntimeError:  # of a user that is not there
            return False
        known = files.suffix(path) in (*self.suffixes, *documents.SUFFIXES)
        return (known or "/" in text) and path.exists()

    def usable(self, row: files.Row) -> files.Row:
        """A row of a split whose paths can be opened from where one stands."""
        return row

    def check_model(self, model: nn.Module) -> None:
        """Checks that inputs and model belong together, and how rows may be padded.

        Raises:
            UserError: the tokenizer has more tokens than the model has embeddings.
        """
        check_tokenizer(model, self.tokenizer, self.tokenizer_name)
        note = padding.settle(model, self.tokenizer)
        self.notes += [note] if note else []

    def save_state(self, folder: Path) -> None:
        """Writes into a run's folder what later verbs need of the data beside labels.json."""

    def load_state(self, folder: Path) -> None:
        """Reads what :meth:`save_state` wrote into a run's folder."""

    def made_with(self) -> dict[str, str]:
        """What rows are turned into batches with, beside options and files, as text.

        A run cannot resume with another. The base names the tokenizer, if there is one.
        """
        return tokens.made_with(self.tokenizer) if self.tokenizer_name else {}

    # Splits

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

    def rows(self, split: str, numbers: Sequence[int]) -> Sequence[files.Row]:
        """Rows of a split as read, or rows to predict as given."""
        if split == "predict":
            return [self._predict[i] for i in numbers]
        return self.load_split(split).select(list(numbers))

    def prepare_data(self) -> None:
        """Fills the caches, in one process of each machine, while the others wait."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process needs: how to collate, but neither the trainer nor the tables."""
        state = {**self.__dict__, "trainer": None, "sets": {}, "_raw": {}, "_predict": []}
        return {name: value for name, value in state.items() if name != "audited"}

    def setup(self, stage: str) -> None:
        """Reads, checks and encodes the splits of a stage.

        ``fit`` includes the test, so that its faults show before training.
        """
        task = getattr(self.trainer, "lightning_module", None)
        if task is not None:
            self.set_task(task)
        if stage == "fit" and "train" not in self.sets:
            self._audit()
        for split in SPLITS[stage]:
            needed = split == "train" or stage != "fit"
            if split not in self.sets and (needed or self.has(split)):
                self.sets[split] = self.encode(self.load_split(split), split)
                size, processes = len(self.sets[split]), self._ranks().get("world", 1)
                if size < processes:
                    raise UserError(
                        f"data.{split} has {size} rows, fewer than the {processes} processes;"
                        " lower trainer.devices"
                    )

    def set_predict(self, rows: Sequence[files.Row], place: str = "rows") -> dict[int, str]:
        """Takes the rows to predict; they need the input columns, not the label.

        Args:
            rows: the rows.
            place: file of the rows, for errors.

        Returns:
            Which rows cannot be read, by their number from 0, and why; they are left out.

        Raises:
            UserError: an input column is missing, or no row can be read.
        """
        numbered = ({files.LINE: number, **row} for number, row in enumerate(rows, 1))
        given = list(with_nested(numbered, self.columns))
        faults = self.unreadable(given, place)
        if faults and len(faults) == len(rows):
            raise UserError(f"{place}: {self.left_out(faults, len(rows))}")
        self._predict = [row for i, row in enumerate(rows) if i not in faults]
        kept = [row for i, row in enumerate(given) if i not in faults]
        self.sets["predict"] = self.encode_rows(kept, place)
        self.empty = self.without_text(kept, place)
        return faults


keep_old_names(DataModule, OLD_NAMES)
check_ranges(DataModule, "data")
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_attribute(globals(), {"Encoded": "EncodedSplit"}, name)
