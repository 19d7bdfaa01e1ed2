"""Sources and targets, with one reference or several: rows as strings, tokenized once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from ftlight.data import duplicates, files, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit
from ftlight.data.sources import open_rows
from ftlight.utils.errors import UserError, did_you_mean, join_limited


def read_pairs(
    name: str,
    split: str,
    source: tuple[str, ...],
    target: tuple[str, ...],
    encoding: str,
    digest: str,
) -> Iterator[files.Row]:
    """Rows of a split as strings, one for each reference: ``source``, ``target`` and the ``line`` of the file.

    Raises:
        UserError: a column is missing, or a row has no reference.
    """
    needed = (
        [*source, *target] if name.startswith("hf:") else source
    )  # of a hub data set only these columns are read
    for row in open_rows(name, split, needed, encoding):
        line = row[files.LINE]
        there = [c for c in target if c in row]
        if not there:
            have = [k for k in row if k != files.LINE]
            raise UserError(
                f"{name}:{line}: no column {join_limited(target)}{did_you_mean(target[0], have)} (columns: {join_limited(have, 20)}); data.target"
            )
        cells = [(c, v) for c in there for v in (row[c] if isinstance(row[c], list) else [row[c]])]
        references = [t for c, v in cells if (t := files.as_text(v, name, line, c).strip())]
        if not references:
            raise UserError(
                f"{name}:{line}: column {join_limited(there)} is empty; fill it in or take the row out"
            )
        text = "\n".join(files.as_text(row[c], name, line, c) for c in source)
        for reference in references:
            yield {"source": text, "target": reference, "line": line}


def alike(keys: Iterable[Hashable]) -> list[list[int]]:
    """Numbers of the rows with the same key, in the order in which keys first occur.

    >>> alike("abac")
    [[0, 2], [1], [3]]
    """
    found: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return list(found.values())


def gather(table: datasets.Dataset, by: str) -> datasets.Dataset:
    """One row for all rows of equal ``by``, whose targets become its list of ``references``."""
    members, targets = alike(table[by][:]), table["target"][:]
    references = [[targets[i] for i in rows] for rows in members]
    return (
        table.select([rows[0] for rows in members])
        .remove_columns("target")
        .add_column("references", references)
    )


def is_uncased(tokenizer: Any) -> bool:
    """Whether a tokenizer makes capitals small, so that no model can write one."""
    text: str = tokenizer.decode(tokenizer("Ab")["input_ids"], skip_special_tokens=True)
    return text == text.lower()


# Words with capitals in a row, such as "The Blue Spice"; not inside a word such as priceRange.
NAME = re.compile(r"\b[^\W\d_a-z][\w'&]*(?:[ -][^\W\d_a-z][\w'&]*)*")
BEGIN = re.compile(r"(?:^|[.!?:]\s|\n)\s*$")  # where a capital says nothing


def truecased(text: str, source: str) -> str:
    """Writes names as the source does, and the first letters of sentences large; joins words at hyphens.

    For tokenizers that lose all three. A single word that begins a sentence of the source is no name.

    >>> truecased("the blue spice is a family - friendly pub. it is near the rice boat.", "name[Blue Spice], near[The Rice Boat]")
    'The Blue Spice is a family-friendly pub. It is near The Rice Boat.'
    """
    text = re.sub(r"(?<=\w) - (?=\w)", "-", text)
    found = {
        m[0] for m in NAME.finditer(source) if " " in m[0] or not BEGIN.search(source[: m.start()])
    }
    for name in sorted(found, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", name, text, flags=re.IGNORECASE)
    return re.sub(r"(^|[.!?]\s+)(\w)", lambda m: m[1] + m[2].upper(), text)


class Seq2SeqData(DataModule):
    """Sources and targets from CSV, TSV, JSONL, Parquet or the hub, tokenized once.

    In training each reference is a row; in evaluation a row has all its references. What is held out of train is held out
    by source: rows of the same source are on one side.

    Args:
        source: column of the source, or several that are joined by new lines.
        target: column of the target, text or a list of references; or several columns with a reference each, of which a file
            must have one.
        group: whether rows of the same source are one row with several references in validation and test.
        prefix: text put before each source, such as "summarize: " for T5.
        max_length: the most tokens of a source, longer ones are cut; as many as the backbone takes if not given.
        max_target_length: the most tokens of a target in training, longer ones are cut; as many as the backbone takes if not given.
        src_lang: language of the sources as the tokenizer calls it, for models of several languages (en_XX, eng_Latn, en).
        tgt_lang: language of the targets, likewise; generation begins with it.
        truecase: whether what is written gets the capitals that names have in the source, and sentences; if not given where the
            tokenizer has small letters only and the targets of train have others.
        base: options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        source: str | list[str] = "source",
        target: str | list[str] = "target",
        group: bool = True,
        prefix: str = "",
        max_length: int | None = None,
        max_target_length: int | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        truecase: bool | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.from_columns = (source,) if isinstance(source, str) else tuple(source)
        self.to_columns = (target,) if isinstance(target, str) else tuple(target)
        self.group, self.prefix, self.languages = (
            group,
            prefix,
            {"src_lang": src_lang, "tgt_lang": tgt_lang},
        )
        self.given_length, self.given_target_length = max_length, max_target_length
        self.truecase = truecase
        self.longest = 0  # tokens of the longest target of train

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return list(self.from_columns)

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text = datasets.Value("string")
        features = datasets.Features(
            {"source": text, "target": text, "line": datasets.Value("int64")}
        )
        arguments = {
            "source": self.from_columns,
            "target": self.to_columns,
            "encoding": self.encoding,
        }
        return read_pairs, {"name": self.files[split], "split": split, **arguments}, features

    def groups(self, table: datasets.Dataset) -> Sequence[str]:
        """Sources: the same one is not in train and in what is held out."""
        found: list[str] = table["source"][:]
        return found

    def duplicate_keys(self, table: datasets.Dataset) -> list[str]:
        """What tells the source of each row from others."""
        return [duplicates.key(text) for text in table["source"]]

    def load_split(self, split: str) -> datasets.Dataset:
        """The rows of a split: of train one for each reference, of others one for each source, with its ``references``."""
        table = super().load_split(split)
        if split != "train" and "target" in table.column_names:
            self._raw[split] = gather(table, "source" if self.group else "line")
            if len(self._raw[split]) < len(table):
                said = " (rows of the same source are one: data.group)" if self.group else ""
                self.notes.append(
                    f"{split}: {len(table):,} references of {len(self._raw[split]):,} rows{said}"
                )
        return self._raw[split]

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
                        f"data.{name}: the tokenizer of {self.tokenizer_name} knows no language {code}"
                    )
                setattr(tokenizer, name, code)
        return tokenizer

    @property
    def max_length(self) -> int:
        """The most tokens of a source."""
        return tokens.limit(
            self.tokenizer_name,
            self.given_length,
            tokens.max_length(self.tokenizer_name, trained=False),
        )

    @property
    def max_target_length(self) -> int:
        """The most tokens of a target."""
        most, given = (
            tokens.max_length(self.tokenizer_name, trained=False),
            self.given_target_length,
        )
        if given is not None and not 3 <= given <= most:
            raise UserError(
                f"data.max_target_length: {given} is not between 3 and the backbone's {most} tokens"
            )
        return given or most

    @property
    def eos(self) -> int | None:
        """The token that ends a target."""
        tokenizer = self.tokenizer
        return (
            tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        )

    def _sources(self, texts: Sequence[str]) -> Columns:
        return tokens.tokenize(
            self.tokenizer, [self.prefix + t for t in texts], None, self.max_length
        )

    def _targets(self, texts: Sequence[str]) -> Columns:
        tokenizer, eos, most = self.tokenizer, self.eos, self.max_target_length
        found = tokens.tokenize(
            lambda given, **options: tokenizer(text_target=given, **options), texts, None, most
        )
        if (
            eos is not None
        ):  # a tokenizer without an end of its own (mBART's first writes a language behind it)
            found["input_ids"] = [
                ids if eos in ids[-2:] else [*ids[: most - 1], eos] for ids in found["input_ids"]
            ]
        return found

    def _encode(self, rows: Columns) -> Columns:
        found = self._sources(rows["source"])
        targets = self._targets(
            rows["target"] if "target" in rows else [several[0] for several in rows["references"]]
        )
        return {**found, "labels": targets["input_ids"], "uncut_target": targets["uncut"]}

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split, cached by data, tokenizer and lengths; the first reference of a row is its target."""
        about = (
            tokens.identity(self.tokenizer),
            self.languages,
            self.prefix,
            self.max_length,
            self.max_target_length,
        )
        encoded = self.map_cached(table, self._encode, *about, files.code(tokens.tokenize))
        targets = encoded["uncut_target"][:]
        self.notes += tokens.cut_notes(split, "sources", encoded["uncut"][:], self.max_length)
        self.notes += tokens.cut_notes(split, "targets", targets, self.max_target_length)
        empty = sum(not t.strip() for t in table["source"][:])
        if empty:
            self.notes.append(f"{split}: {empty} rows have no source")
        if split == "train":
            self.longest = max(targets)
            if self.truecase is None:
                self.truecase = is_uncased(self.tokenizer) and any(
                    t != t.lower() for t in table["target"][:1000]
                )
            if self.truecase:
                self.notes.append(
                    "what is written gets the capitals of names in its source, and of sentences (data.truecase)"
                )
        return EncodedSplit(
            encoded.remove_columns(["uncut", "uncut_target"]), None, encoded._fingerprint
        )

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes the sources of rows to predict."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = [
            "\n".join(files.as_text(r[c], place, i, c) for c in self.from_columns)
            for i, r in enumerate(rows, 1)
        ]
        chunks = [self._sources(texts[i : i + 1000]) for i in range(0, len(rows), 1000)]
        return EncodedSplit(
            {k: [v for chunk in chunks for v in chunk[k]] for k in ("input_ids", "length")}
        )

    def finished(self, text: str, row: Mapping[str, Any]) -> str:
        """What was written for a row, which is one as read or as given to predict, with its capitals."""
        source = (
            str(row["source"])
            if "references" in row
            else "\n".join(str(row.get(c, "")) for c in self.from_columns)
        )
        return truecased(text, source) if self.truecase else text

    def save_state(self, folder: Path) -> None:
        """Writes whether texts get capitals, which the targets of train have told."""
        (folder / "texts.json").write_text(
            json.dumps({"truecase": bool(self.truecase)}) + "\n", encoding="utf-8"
        )

    def load_state(self, folder: Path) -> None:
        """Takes whether texts get capitals."""
        if self.truecase is None and (folder / "texts.json").is_file():
            self.truecase = json.loads((folder / "texts.json").read_text(encoding="utf-8"))[
                "truecase"
            ]

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` (``int64 [rows, tokens]`` each), ``index`` and, where known, ``labels`` (-100 where padded)."""
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        if "labels" in columns:
            batch["labels"] = tokens.pad(columns["labels"], -100)
        return batch
