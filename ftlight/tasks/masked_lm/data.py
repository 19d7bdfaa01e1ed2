"""Data of masked language modelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn

from ftlight.data import files, tables, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit, Reader
from ftlight.tasks.masked_lm import masking, readers
from ftlight.utils import internals
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted
from ftlight.utils.ranges import Length, Proportion

UNKNOWN = -1  # target of a token that is masked in the data already


def check_mask(tokenizer: Any, name: str) -> None:
    """Refuses a tokenizer without a mask token.

    Raises:
        UserError: there is none.
    """
    if tokenizer.mask_token_id is None:
        raise UserError(
            f"model.backbone: {name} has no mask token, it predicts the next one;"
            " adapt it with model.task: CausalLM"
        )


class MaskedData(DataModule):
    """Plain texts: a text file, a folder of documents, or a column of a table or the hub.

    Long texts are read in windows; nothing is cut.

    Args:
        text: Column of the text in a table.
        document: One document of a .txt file: a line, or a paragraph (lines between blank ones).
        mask: Share of the tokens to predict: 80 % of them are masked, 10 % replaced by a random
            token, 10 % kept.
        whole_words: Whether all tokens of a word are masked together.
        max_length: Most tokens of a window. Default: what the backbone takes (or was trained with).
        base: Options of DataModule.
    """

    suffixes = readers.SUFFIXES
    trained_length = "default"
    varies = True

    def __init__(
        self,
        train: str | None = None,
        *,
        text: str = "text",
        document: files.Unit = "line",
        mask: Proportion = 0.15,
        whole_words: bool = False,
        max_length: Length | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.text, self.document, self.given_length = text, document, max_length
        self.mask, self.whole_words = mask, whole_words
        self.find_splits()

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return [self.text]

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        return {"text": self.text}

    @property
    def _room(self) -> int:
        return self.max_length - self.tokenizer.num_special_tokens_to_add()

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        numbers = datasets.List(datasets.Value("int32"))
        features = {
            "text": tables.TEXT,
            "__ids": numbers,
            "__words": numbers,
            "document": tables.NUMBER,
            "line": self.place_type(split),
        }
        arguments = {
            "source": self.source_of(split),
            "column": self.text,
            "unit": self.document,
            "tokenizer": self.tokenizer_name,
            "room": self._room,
            "code": tokens.identity(self.tokenizer),
        }
        return masking.read_rows, arguments, datasets.Features(features)

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The document of each window."""
        return [str(n) for n in table["document"]]

    def row_texts(self, table: datasets.Dataset) -> list[list[str]]:
        """The text of each window."""
        return [table["text"][:]]

    def read_predict(self, name: str) -> list[files.Row]:
        """Documents of a text file, or rows of a table."""
        source = self.source_at(name)
        if source.suffix != ".txt":
            return super().read_predict(name)
        documents = files.divided(files.text_lines(source.path, self.encoding), self.document)
        return [{self.text: text, files.LINE: line} for line, text in documents]

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Takes the windows as they are, each as a row of one."""
        documents = table["document"][:]
        count = len(set(documents))
        if len(documents) > count:
            self.notes.append(
                f"{split}: {counted(count, 'document')} read in {len(documents)} windows"
                f" of at most {self.max_length} tokens, nothing is cut"
            )
        encoded = self.map_cached(
            table,
            lambda rows: {
                "ids": [[ids] for ids in rows["__ids"]],
                "words": [[words] for words in rows["__words"]],
                "length": [len(ids) for ids in rows["__ids"]],
            },
        )
        return EncodedSplit(encoded, None, internals.fingerprint_of(encoded))

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes rows to predict; all windows of a row stay together."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = [files.cell(row, self.text, place) for row in rows]
        columns: Columns = {"ids": [], "words": [], "length": []}
        for windows in masking.cut(self.tokenizer, texts, self._room):
            ids = [window["__ids"] for window in windows] or [[]]
            columns["ids"].append(ids)
            columns["words"].append([window["__words"] for window in windows] or [[]])
            columns["length"].append(sum(map(len, ids)))
        return EncodedSplit(columns)

    def check_model(self, model: nn.Module) -> None:
        """Checks the tokenizer, which must have a mask."""
        super().check_model(model)
        check_mask(self.tokenizer, self.tokenizer_name)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch, masked anew in every epoch of training and always alike in evaluation.

        In evaluation a row that holds the mask token itself is masked there and nowhere else.

        Returns:
            ``inputs`` (``int64 [windows, tokens]`` each), ``index``, ``masked``
            (``bool [windows, tokens]``), ``targets`` (``[masked]``) and ``sizes``: masked tokens of
            each row.
        """
        before, after = specials(self.tokenizer)
        inputs, chosen, gold, sizes = [], [], [], []
        for row, epoch, windows, words in zip(
            rows, columns["epoch"], columns["ids"], columns["words"], strict=True
        ):
            rng = np.random.default_rng([0, 0, row] if epoch < 0 else [self.seed, epoch + 1, row])
            size = 0
            for window, words_of in zip(windows, words, strict=True):
                ids, mask, originals = self._masked(
                    np.asarray(window), np.asarray(words_of), rng, epoch < 0
                )
                inputs.append([*before, *ids, *after])
                chosen.append([False] * len(before) + mask.tolist() + [False] * len(after))
                gold += originals.tolist()
                size += len(originals)
            sizes.append(size)
        left = self.tokenizer.padding_side == "left"
        masked = tokens.pad(chosen, 0, left).bool()
        targets = torch.tensor(gold, dtype=torch.long)
        return {
            "inputs": tokens.collate({"input_ids": inputs}, self.tokenizer),
            "index": rows,
            "masked": masked,
            "targets": targets,
            "sizes": sizes,
        }

    def _masked(
        self, ids: np.ndarray, words: np.ndarray, rng: np.random.Generator, fixed: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of a window as the model sees them, which to predict, and the originals."""
        mask = self.tokenizer.mask_token_id
        if fixed and (ids == mask).any():
            return ids, ids == mask, np.full((ids == mask).sum(), UNKNOWN)
        special = np.asarray(self.tokenizer.all_special_ids)
        free = ~np.isin(ids, special)
        chosen = masking.choose(free, words if self.whole_words else None, self.mask, rng)
        others = np.setdiff1d(np.arange(len(self.tokenizer)), special)
        return masking.corrupt(ids, chosen, mask, others, rng), chosen, ids[chosen]


def specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    ids = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    start = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)
    return ids[:start], ids[start + len(bare) :]
