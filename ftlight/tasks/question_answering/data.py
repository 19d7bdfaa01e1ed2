"""Data of question answering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np

from ftlight.data import duplicates, files, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit
from ftlight.tasks.question_answering import readers
from ftlight.tasks.question_answering import windows as contexts
from ftlight.utils.errors import UserError

LONGEST = 384  # tokens of a window, where the model takes more: attention costs their square


class QAData(DataModule):
    """Questions with answers in a context: SQuAD JSON (1.1, 2.0), or a table, also with the answers as on the hub.

    Args:
        question: column of the question.
        context: column of the text that holds the answer.
        answer: column of the answer, as it stands in the context; empty where there is none. Also a list of several, or
            SQuAD's {text: […], answer_start: […]}, for which the column answers is taken too.
        answer_start: column of the answer's first character in the context; the first occurrence is taken without it.
        missing: what to do with an answer that is not in its context: error or skip.
        max_length: the most tokens of question and context together, longer ones are read in several windows; 384, or as
            many as the backbone takes, if not given.
        stride: tokens of a context that two windows share; below 1 as a share of max_length.
        base: options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        question: str = "question",
        context: str = "context",
        answer: str = "answer",
        answer_start: str = "answer_start",
        missing: readers.Missing = "error",
        max_length: int | None = None,
        stride: float = 0.25,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.question, self.context, self.answer, self.answer_start = (
            question,
            context,
            answer,
            answer_start,
        )
        self.missing, self.given_length, self.given_stride = missing, max_length, stride

    @property
    def columns(self) -> list[str]:
        """Question and context."""
        return [self.question, self.context]

    @property
    def max_length(self) -> int:
        """Tokens of a window; how long the texts of a sentence encoder's training were does not count."""
        most = tokens.max_length(self.tokenizer_name, trained=False)
        return tokens.limit(self.tokenizer_name, self.given_length or min(LONGEST, most), most)

    @property
    def overlap(self) -> int:
        """Tokens of a context that two windows share.

        Raises:
            UserError: windows would not get on: the question may take half of one.
        """
        given, longest = self.given_stride, self.max_length
        room = longest - longest // 2 - self.tokenizer.num_special_tokens_to_add(pair=True)
        found = int(given * longest if given < 1 else given)
        if given < 0 or found >= room:
            raise UserError(
                f"data.stride: {given:g} leaves no room in windows of {longest} tokens, of which a question may take half"
            )
        return found

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text, number = datasets.Value("string"), datasets.Value("int64")
        named = {
            "id": text,
            self.question: text,
            self.context: text,
            "answers": datasets.List(text),
            "answer_starts": datasets.List(number),
        }
        columns = {
            "question": self.question,
            "context": self.context,
            "answer": self.answer,
            "answer_start": self.answer_start,
        }
        arguments = {
            "name": self.files[split],
            "split": split,
            "columns": columns,
            "missing": self.missing,
            "encoding": self.encoding,
        }
        return (
            readers.read_rows,
            arguments,
            datasets.Features({**named, "line": number, "__placed": number, "__skipped": number}),
        )

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The contexts: a question about a text that was trained on would flatter."""
        numbers: dict[str, int] = {}
        return [str(numbers.setdefault(text, len(numbers))) for text in table[self.context][:]]

    def duplicate_keys(self, table: datasets.Dataset) -> list[str]:
        """What tells the question and context of each row from others."""
        return [
            duplicates.key(*texts)
            for texts in zip(table[self.question], table[self.context], strict=True)
        ]

    def _windows(self, rows: Columns) -> Columns:
        made = contexts.windows(
            self.tokenizer, rows[self.question], rows[self.context], self.max_length, self.overlap
        )
        if "answers" not in rows:
            return made
        made["first"], made["last"] = [], []
        for i, found in enumerate(zip(rows["answers"], rows["answer_starts"], strict=True)):
            spans = Counter(zip(*found, strict=True)).most_common(
                1
            )  # of several annotators what most say, else the first
            text, start = spans[0][0] if spans else ("", -1)
            sizes = made["sizes"][i]
            inside = (
                contexts.target(made["begin"][i], made["end"][i], sizes, start, start + len(text))
                if text
                else [(-1, -1)] * len(sizes)
            )
            made["first"].append([f for f, _ in inside])
            made["last"].append([last for _, last in inside])
        return made

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Windows of a split with the answers in them, cached by data, tokenizer and sizes."""
        tokens.check_places(self.tokenizer)
        about = (
            tokens.identity(self.tokenizer),
            self.max_length,
            self.overlap,
            files.code(contexts.windows),
            self.columns,
        )
        made = self.map_cached(table, self._windows, *about)
        self._note(table, made, split)
        return EncodedSplit(made, fingerprint=made._fingerprint)

    def _note(self, table: datasets.Dataset, made: datasets.Dataset, split: str) -> None:
        placed, windows = (
            np.asarray(table["__placed"][:]),
            np.array([len(s) for s in made["sizes"][:]]),
        )
        golden = np.array([bool(a) for a in table["answers"][:]])
        unreached = sum(max(f) < 0 for f, g in zip(made["first"][:], golden, strict=True) if g)
        counts = {
            "have no answer in their context": np.count_nonzero(~golden),
            "have an answer that occurs several times and no place for it: the first is taken": np.count_nonzero(
                placed == readers.FIRST
            ),
            "have an answer whose place was wrong and moved to where its text is": np.count_nonzero(
                placed == readers.MOVED
            ),
            f"are longer than half of {self.max_length} tokens and cut": sum(made["cut"][:]),
            f"have a context of more than {self.max_length} tokens, read in up to {windows.max()} windows": np.count_nonzero(
                windows > 1
            ),
            "have an answer that no window holds whole: they train for none": unreached,
        }
        self.notes += [
            f"{split}: {n:,} of {len(table):,} questions {what}" for what, n in counts.items() if n
        ]
        if skipped := sum(table["__skipped"][:]):
            self.notes.append(
                f"{split}: {skipped:,} questions are left out, since their answer is not in the context (data.missing)"
            )

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict: SQuAD's layout, with or without answers, or a table."""
        content = readers.document(name, self.encoding)
        if content is None:
            return super().read_predict(name)
        names = {"question": self.question, "context": self.context}
        return [
            {names.get(k, k): v for k, v in row.items()}
            for row in readers.flat(content, name, gold=False)
        ]

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Windows of rows to predict."""
        texts: Columns = {c: [] for c in self.columns}
        for i, row in enumerate(rows, 1):
            files.need(row, self.columns, place)
            for column, found in texts.items():
                found.append(files.as_text(row[column], place, i, column))
                if not found[-1].strip():
                    raise UserError(
                        f"{place}:{row.get(files.LINE, i)}: column {column} is empty; fill it in or take the row out"
                    )
        chunks = [
            self._windows({c: v[i : i + 1000] for c, v in texts.items()})
            for i in range(0, len(rows), 1000)
        ]
        return EncodedSplit({k: [v for chunk in chunks for v in chunk[k]] for k in chunks[0]})

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch of all windows of the rows, see :func:`contexts.collate`; ``index`` are the numbers of the rows."""
        return {**contexts.collate(columns, self.tokenizer), "index": rows}
