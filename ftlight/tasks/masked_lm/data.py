"""Data of masked language modelling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn

from ftlight.data import files, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit
from ftlight.tasks.masked_lm import masking
from ftlight.utils.errors import UserError

UNKNOWN = -1  # target of what stands under a mask from the start


def check_mask(tokenizer: Any, name: str) -> None:
    """Refuses a tokenizer without a mask token.

    Raises:
        UserError: there is none.
    """
    if tokenizer.mask_token_id is None:
        raise UserError(
            f"model.backbone: {name} has no mask token, it predicts the next one; adapt it with model.task: CausalLM"
        )


class MaskedData(DataModule):
    """Plain texts: a text file, or a column of CSV, TSV, JSONL, Parquet or the hub. Long ones are read in windows, none is cut.

    Args:
        text: column of the text, where it is a table.
        document: what is a document in a .txt file: a line, or a paragraph (lines between blank ones).
        mask: share of the tokens to predict; of these 80 % are masked, 10 % replaced by any token, 10 % left.
        whole_words: whether all pieces of a word are masked together.
        max_length: the most tokens of a window; as many as the backbone takes (or was trained with) if not given.
        base: options of DataModule.
    """

    suffixes = masking.SUFFIXES

    varies = True

    def __init__(
        self,
        train: str | None = None,
        *,
        text: str = "text",
        document: files.Unit = "line",
        mask: float = 0.15,
        whole_words: bool = False,
        max_length: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        if not 0 < mask < 1:
            raise UserError(
                f"data.mask: {mask} is not a share of the tokens; give a number between 0 and 1, for example 0.15"
            )
        self.text, self.document, self.mask, self.whole_words, self.given_length = (
            text,
            document,
            mask,
            whole_words,
            max_length,
        )

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return [self.text]

    @property
    def max_length(self) -> int:
        """The most tokens of a window."""
        most = tokens.max_length(self.tokenizer_name, trained=False)
        return tokens.limit(
            self.tokenizer_name, self.given_length, most if self.given_length else None
        )

    @property
    def _room(self) -> int:
        return self.max_length - self.tokenizer.num_special_tokens_to_add()

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        number = datasets.Value("int64")
        few = datasets.List(datasets.Value("int32"))
        features = {
            "text": datasets.Value("string"),
            "__ids": few,
            "__words": few,
            "document": number,
            "line": number,
        }
        arguments = {
            "name": self.files[split],
            "split": split,
            "column": self.text,
            "unit": self.document,
            "encoding": self.encoding,
            "tokenizer": self.tokenizer_name,
            "room": self._room,
            "code": tokens.identity(self.tokenizer),
        }
        return masking.read_rows, arguments, datasets.Features(features)

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Windows of a document stay on one side of a split."""
        return [str(n) for n in table["document"]]

    def read_predict(self, name: str) -> list[files.Row]:
        """Documents of a text file, or rows of a table."""
        path = files.check(name, "", masking.SUFFIXES)
        if files.suffix(path) != ".txt":
            return super().read_predict(name)
        found = files.documents(files.text_lines(path, self.encoding), self.document)
        return [{self.text: text, files.LINE: line} for line, text in found]

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Takes the windows as they are."""
        documents = table["document"][:]
        many = len(documents) - len(set(documents))
        if many:
            told = f"{len(documents)} windows of at most {self.max_length} tokens, nothing is cut"
            self.notes.append(f"{split}: {len(set(documents)):,} documents read in {told}")
        mapped = self.map_cached(
            table,
            lambda rows: {
                "ids": [[i] for i in rows["__ids"]],
                "words": [[w] for w in rows["__words"]],
                "length": [len(i) for i in rows["__ids"]],
            },
        )
        return EncodedSplit(mapped, None, mapped._fingerprint)

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes rows to predict; all windows of a row stay together."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = [
            files.as_text(row[self.text], place, row.get(files.LINE, i), self.text)
            for i, row in enumerate(rows, 1)
        ]
        made = masking.cut(self.tokenizer, texts, self._room)
        ids, words = (
            [[w[key] for w in windows] or [[]] for windows in made] for key in ("__ids", "__words")
        )
        return EncodedSplit(
            {"ids": ids, "words": words, "length": [sum(map(len, row)) for row in ids]}
        )

    def check_model(self, model: nn.Module) -> None:
        """Checks the tokenizer, which must have a mask."""
        super().check_model(model)
        check_mask(self.tokenizer, self.tokenizer_name)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch, masked anew in every epoch of training and always alike in evaluation.

        Where a row of an evaluation holds the mask token itself, that is what is predicted.

        Returns:
            ``inputs`` (``int64 [windows, tokens]`` each), ``index``, ``masked`` (``bool [windows, tokens]``), ``targets``
            (``[masked]``) and ``sizes``: masked tokens of each row.
        """
        before, after = specials(self.tokenizer)
        given, chosen, gold, sizes = [], [], [], []
        for row, epoch, windows, words in zip(
            rows, columns["epoch"], columns["ids"], columns["words"], strict=True
        ):
            rng = np.random.default_rng([0, 0, row] if epoch < 0 else [self.seed, epoch + 1, row])
            found = [
                self._masked(np.asarray(i), np.asarray(w), rng, epoch < 0)
                for i, w in zip(windows, words, strict=True)
            ]
            given += [[*before, *ids, *after] for ids, _, _ in found]
            chosen += [
                [False] * len(before) + mask.tolist() + [False] * len(after) for _, mask, _ in found
            ]
            gold += [target for _, _, targets in found for target in targets.tolist()]
            sizes.append(sum(len(targets) for _, _, targets in found))
        left = self.tokenizer.padding_side == "left"
        masked = tokens.pad(chosen, 0, left).bool()
        targets = torch.tensor(gold, dtype=torch.long)
        return {
            "inputs": tokens.collate({"input_ids": given}, self.tokenizer),
            "index": rows,
            "masked": masked,
            "targets": targets,
            "sizes": sizes,
        }

    def _masked(
        self, ids: np.ndarray, words: np.ndarray, rng: np.random.Generator, fixed: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of a window as the model sees them, which of them are to predict, and what they were."""
        mask = self.tokenizer.mask_token_id
        if fixed and (ids == mask).any():
            return ids, ids == mask, np.full((ids == mask).sum(), UNKNOWN)
        special = np.asarray(self.tokenizer.all_special_ids)
        chosen = masking.choose(
            ~np.isin(ids, special), words if self.whole_words else None, self.mask, rng
        )
        others = np.setdiff1d(np.arange(len(self.tokenizer)), special)
        return masking.corrupt(ids, chosen, mask, others, rng), chosen, ids[chosen]


def specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]
