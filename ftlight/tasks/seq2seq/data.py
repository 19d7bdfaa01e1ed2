"""Sources and targets, with one reference or several: rows as strings, tokenized once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from ftlight.data import files, heads, tables, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit, Reader
from ftlight.run import records
from ftlight.tasks.seq2seq.gathering import gather
from ftlight.tasks.seq2seq.readers import read_pairs
from ftlight.tasks.seq2seq.truecase import is_uncased, truecased
from ftlight.utils import internals
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted
from ftlight.utils.ranges import Length


class Seq2SeqData(DataModule):
    """Sources and targets from CSV, TSV, JSONL, Parquet or the hub, tokenized once.

    In training each reference is a row; in evaluation a row has all its references. Rows of the
    same source are held out of train together.

    Args:
        source: Column of the source, or several columns to join.
        target: Column of the target, a text or a list of references; or several columns with one
            reference each, of which a file must have at least one.
        group: Whether rows of the same source are one row with several references in validation
            and test.
        prefix: Text in front of each source, such as "summarize: " for T5.
        max_length: Most tokens of a source; longer ones are cut. Default: what the backbone takes.
        max_target_length: Most tokens of a target in training; longer ones are cut. Default: what
            the backbone takes.
        src_lang: Language of the sources in the tokenizer's own code, for multilingual models
            (en_XX, eng_Latn, en).
        tgt_lang: Language of the targets, likewise; generation begins with it.
        truecase: Whether generated texts get the capitals of names in their source, and of
            sentences. Default: if the tokenizer lowercases and targets in train have capitals.
        base: Options of DataModule.
    """

    trained_length = "ignored"
    keeps_rows = True

    def __init__(
        self,
        train: str | None = None,
        *,
        source: str | list[str] = "source",
        target: str | list[str] = "target",
        group: bool = True,
        prefix: str = "",
        max_length: Length | None = None,
        max_target_length: Length | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        truecase: bool | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.from_columns = (source,) if isinstance(source, str) else tuple(source)
        self.to_columns = (target,) if isinstance(target, str) else tuple(target)
        self.group, self.prefix = group, prefix
        self.languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        self.given_length, self.given_target_length = max_length, max_target_length
        self.truecase = truecase
        self.longest = 0  # tokens of the longest target of train

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return list(self.from_columns)

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        names = {}
        for name, columns in (("source", self.from_columns), ("target", self.to_columns)):
            if len(columns) == 1:
                names[name] = columns[0]
        return names

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        features = {"source": tables.TEXT, "target": tables.TEXT, "line": self.place_type(split)}
        arguments = {
            "source": self.source_of(split),
            "inputs": self.from_columns,
            "targets": self.to_columns,
        }
        return read_pairs, arguments, datasets.Features(features)

    def groups(self, table: datasets.Dataset) -> Sequence[str]:
        """Sources: the same one is not in train and in what is held out."""
        return tables.column(table, "source")

    def row_texts(self, table: datasets.Dataset) -> list[list[str]]:
        """The source of each row."""
        return [table["source"][:]]

    def load_split(self, split: str) -> datasets.Dataset:
        """The rows of a split: one per reference in train, else one per source."""
        table = super().load_split(split)
        if split == "train" or "target" not in table.column_names:
            return table
        joined = gather(table, "source" if self.group else "line")
        self._raw[split] = joined
        if len(joined) < len(table):
            how = " (rows of the same source are one: data.group)" if self.group else ""
            self.notes.append(f"{split}: {len(table):,} references of {len(joined):,} rows{how}")
        return joined

    # Tokens

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, set to the languages.

        Raises:
            UserError: it does not know a language.
        """
        tokenizer = super().tokenizer
        for name, code in self.languages.items():
            if code and getattr(tokenizer, name, None) != code:
                ids = [tokenizer.convert_tokens_to_ids(token) for token in (code, f"__{code}__")]
                if not hasattr(tokenizer, name) or set(ids) <= {None, tokenizer.unk_token_id}:
                    raise UserError(
                        f"data.{name}: the tokenizer of {self.tokenizer_name}"
                        f" knows no language {code}"
                    )
                setattr(tokenizer, name, code)
        return tokenizer

    @property
    def max_target_length(self) -> int:
        """The most tokens of a target."""
        most = tokens.max_length(self.tokenizer_name, trained=False)
        tokens.check_length("data.max_target_length", self.given_target_length, most)
        return self.given_target_length or most

    @property
    def eos(self) -> int | None:
        """The token that ends a target."""
        tokenizer = self.tokenizer
        return tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id

    def _sources(self, rows: Columns) -> Columns:
        texts = [self.prefix + text for text in rows["source"]]
        return tokens.tokenize(self.tokenizer, texts, None, self.max_length)

    def target(self, text: str) -> list[int]:
        """The tokens of a target, with the one that ends it; cut at what the backbone takes."""
        most = tokens.max_length(self.tokenizer_name, trained=False)
        ids: list[int] = self._targets([text], most)["input_ids"][0]
        return ids

    def _targets(self, texts: Sequence[str], most: int) -> Columns:
        tokenizer, eos = self.tokenizer, self.eos

        def as_targets(texts: Sequence[str], **options: Any) -> Any:
            return tokenizer(text_target=texts, **options)

        begun, _ = heads.heads(tokenizer, texts, None, most)
        columns = tokens.tokenize(as_targets, begun, None, most)
        # not every tokenizer ends a text; mBART's puts a language behind the end
        if eos is not None:
            columns["input_ids"] = [
                ids if eos in ids[-2:] else [*ids[: most - 1], eos] for ids in columns["input_ids"]
            ]
        return columns

    def _encode(self, rows: Columns) -> Columns:
        first = rows["target"] if "target" in rows else [texts[0] for texts in rows["references"]]
        targets = self._targets(first, self.max_target_length)
        return {
            **self._sources(rows),
            "labels": targets["input_ids"],
            "uncut_target": targets["uncut"],
        }

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split, cached; the first reference of a row is its target."""
        encoded = self.map_cached(
            table,
            self._encode,
            tokens.identity(self.tokenizer),
            self.languages,
            self.prefix,
            self.max_length,
            self.max_target_length,
            files.code(tokens.tokenize),
        )
        uncut, targets = encoded["uncut"][:], encoded["uncut_target"][:]
        self.notes += tokens.cut_notes(split, "sources", uncut, self.max_length)
        self.notes += tokens.cut_notes(split, "targets", targets, self.max_target_length)
        empty = sum(not text.strip() for text in table["source"][:])
        if empty:
            self.notes.append(f"{split}: {counted(empty, 'row', 'have')} no source")
        if split == "train":
            self.longest = max(targets)
            self._choose_truecase(table)
        columns = encoded.remove_columns(["uncut", "uncut_target"])
        return EncodedSplit(columns, None, internals.fingerprint_of(encoded))

    def _choose_truecase(self, table: datasets.Dataset) -> None:
        if self.truecase is None:
            capitals = any(text != text.lower() for text in table["target"][:1000])
            self.truecase = is_uncased(self.tokenizer) and capitals
        if self.truecase:
            self.notes.append(
                "what is written gets the capitals of names in its source, and of sentences"
                " (data.truecase)"
            )

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes the sources of rows to predict."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = {"source": [files.joined(row, self.from_columns, place) for row in rows]}
        columns = tables.mapped(self._sources, texts)
        return EncodedSplit({name: columns[name] for name in ("input_ids", "length")})

    def finished(self, text: str, row: Mapping[str, Any]) -> str:
        """A generated text with its capitals; ``row`` is one as read, or as given to predict."""
        if not self.truecase:
            return text
        if "references" in row:
            return truecased(text, str(row["source"]))
        return truecased(text, "\n".join(str(row.get(c, "")) for c in self.from_columns))

    def save_state(self, folder: Path) -> None:
        """Writes whether texts get capitals, which the targets of train have told."""
        write_json(folder / "texts.json", {"truecase": bool(self.truecase)})

    def load_state(self, folder: Path) -> None:
        """Reads whether texts get capitals."""
        kept = records.of(folder / "texts.json", {"truecase": bool})
        if self.truecase is None:
            self.truecase = kept.get("truecase")

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` and, if known, ``labels`` (``int64 [rows, tokens]``), ``index``."""
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        if "labels" in columns:
            batch["labels"] = tokens.pad(columns["labels"], tokens.IGNORE)
        return batch
