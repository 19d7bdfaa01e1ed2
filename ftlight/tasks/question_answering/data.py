"""Data of question answering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np

from ftlight.data import files, tables, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit, Reader
from ftlight.tasks.question_answering import placement, readers
from ftlight.tasks.question_answering import windows as contexts
from ftlight.utils import internals
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted
from ftlight.utils.ranges import Length, NonNegative


class QAData(DataModule):
    """Questions with answers in a context: SQuAD JSON (1.1, 2.0), a table, or the hub's layout.

    Args:
        question: Column of the question.
        context: Column of the text that holds the answer.
        answer: Column of the answer as it stands in the context; empty if there is none. A list
            holds several. Also SQuAD's {text: […], answer_start: […]}, read from the column
            answers too.
        answer_start: Column of the answer's first character in the context, from 0. Default: the
            answer's first occurrence.
        missing: What to do with answers that are not in their context: error or skip.
        max_length: Most tokens of question and context together; longer ones are read in several
            windows. Default: 384, or what the backbone takes.
        stride: Tokens of a context that two windows share; below 1 a share of max_length.
        base: Options of DataModule.
    """

    trained_length = "ignored"
    default_length = 384  # attention costs the square of it

    def __init__(
        self,
        train: str | None = None,
        *,
        question: str = "question",
        context: str = "context",
        answer: str = "answer",
        answer_start: str = "answer_start",
        missing: readers.Missing = "error",
        max_length: Length | None = None,
        stride: NonNegative = 0.25,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.question, self.context = question, context
        self.answer, self.answer_start = answer, answer_start
        self.missing, self.given_length, self.given_stride = missing, max_length, stride

    @property
    def columns(self) -> list[str]:
        """Question and context."""
        return [self.question, self.context]

    @property
    def overlap(self) -> int:
        """Tokens of a context that two windows share.

        Raises:
            UserError: they leave no room for new tokens beside a question of half a window.
        """
        stride, longest = self.given_stride, self.max_length
        room = longest - longest // 2 - self.tokenizer.num_special_tokens_to_add(pair=True)
        shared = int(stride * longest if stride < 1 else stride)
        if shared >= room:
            raise UserError(
                f"data.stride: {stride:g} leaves no room in windows of {longest} tokens,"
                " of which a question may take half"
            )
        return shared

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        features = {
            "id": tables.TEXT,
            self.question: tables.TEXT,
            self.context: tables.TEXT,
            "answers": datasets.List(tables.TEXT),
            "answer_starts": datasets.List(tables.NUMBER),
            "line": self.place_type(split),
            "__placed": tables.NUMBER,
            "__skipped": tables.NUMBER,
        }
        names = readers.Names(self.question, self.context, self.answer, self.answer_start)
        arguments = {
            "source": self.source_of(split),
            "names": names,
            "missing": self.missing,
        }
        return readers.read_rows, arguments, datasets.Features(features)

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The contexts: questions about a text that was trained on would be too easy."""
        numbers: dict[str, int] = {}
        return [str(numbers.setdefault(text, len(numbers))) for text in table[self.context][:]]

    def row_texts(self, table: datasets.Dataset) -> list[list[str]]:
        """The question and the context of each row."""
        return [table[self.question][:], table[self.context][:]]

    def _windows(self, rows: Columns) -> Columns:
        made = contexts.windows(
            self.tokenizer, rows[self.question], rows[self.context], self.max_length, self.overlap
        )
        if "answers" not in rows:
            return made
        made["start_positions"], made["end_positions"] = [], []
        for i, answers in enumerate(zip(rows["answers"], rows["answer_starts"], strict=True)):
            # of several annotators what most say, else the first
            common = Counter(zip(*answers, strict=True)).most_common(1)
            text, start = common[0][0] if common else ("", -1)
            sizes = made["sizes"][i]
            spans = [(-1, -1)] * len(sizes)
            if text:
                end = start + len(text)
                spans = contexts.target(made["begin"][i], made["end"][i], sizes, start, end)
            made["start_positions"].append([first for first, _ in spans])
            made["end_positions"].append([last for _, last in spans])
        return made

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Windows of a split with the answers in them, cached by data, tokenizer and sizes."""
        tokens.check_places(self.tokenizer)
        encoded = self.map_cached(
            table,
            self._windows,
            tokens.identity(self.tokenizer),
            self.max_length,
            self.overlap,
            files.code(contexts.windows),
            self.columns,
        )
        self._note(table, encoded, split)
        return EncodedSplit(encoded, fingerprint=internals.fingerprint_of(encoded))

    def _note(self, table: datasets.Dataset, encoded: datasets.Dataset, split: str) -> None:
        placed = np.asarray(table["__placed"][:])
        windows = np.array([len(sizes) for sizes in encoded["sizes"][:]])
        answered = np.array([bool(answers) for answers in table["answers"][:]])
        reached = np.array([max(first) >= 0 for first in encoded["start_positions"][:]])
        most = self.max_length
        counts = {
            "have no answer in their context": ~answered,
            "have an answer that occurs several times, without answer_start: the first is taken": (
                placed == placement.FIRST
            ),
            "have a wrong answer_start, moved to where the answer is": placed == placement.MOVED,
            f"are longer than half of {most} tokens and cut": np.asarray(encoded["cut"][:]),
            f"have a context of more than {most} tokens, read in up to {windows.max()} windows": (
                windows > 1
            ),
            "have an answer that no window holds in full: they are not trained on": (
                answered & ~reached
            ),
        }
        for what, which in counts.items():
            if count := int(which.sum()):
                self.notes.append(f"{split}: {count:,} of {len(table):,} questions {what}")
        if skipped := sum(table["__skipped"][:]):
            self.notes.append(
                f"{split}: {counted(skipped, 'question', 'are')} left out:"
                " their answer is not in the context (data.missing)"
            )

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict: SQuAD's layout, with or without answers, or a table."""
        content = readers.document(self.source_at(name))
        if content is None:
            return super().read_predict(name)
        rows = []
        for row in readers.flat(content, name, gold=False):
            row[self.question], row[self.context] = row.pop("question"), row.pop("context")
            rows.append(row)
        return rows

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Windows of rows to predict."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = {c: [files.filled(row, c, place) for row in rows] for c in self.columns}
        return EncodedSplit(tables.mapped(self._windows, texts))

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch of all windows of the rows (:func:`contexts.collate`), with ``index``."""
        return {**contexts.collate(columns, self.tokenizer), "index": rows}
