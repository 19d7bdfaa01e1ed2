"""The items of a search or recommendation, and pairs of a query with what it seeks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files, labels
from ftlight.data.sources import Source
from ftlight.run import records
from ftlight.utils import json_file
from ftlight.utils.errors import UserError, did_you_mean
from ftlight.utils.paths import place, places


class Catalogue(NamedTuple):
    """Items in order; elsewhere an item is its number here.

    Attributes:
        ids: id of each item; its text if there is no table of items.
        texts: text of each item.
        counts: how often each was sought in training.
        named: whether ids differ from texts.
    """

    ids: list[str]
    texts: list[str]
    counts: list[int]
    named: bool

    def item(self, number: int, score: float) -> dict[str, Any]:
        """An item as a person reads it."""
        identity = {"id": self.ids[number]} if self.named else {}
        return {**identity, "text": self.texts[number], "score": score}


def of_texts(texts: Iterable[str]) -> Catalogue:
    """A catalogue of distinct texts, in the order in which they first appear."""
    distinct = list(dict.fromkeys(texts))
    return Catalogue(distinct, distinct, [0] * len(distinct), False)


def read_items(source: Source, column: str, text: Sequence[str]) -> Catalogue:
    """Reads a table of items.

    Args:
        source: file, or hub data set.
        column: column of the id.
        text: columns of the text, joined by a comma.

    Raises:
        UserError: an item has no id or no text, or its id occurs twice.
    """
    name = source.name
    lines: dict[str, int | str] = {}
    texts: list[str] = []
    for row in source.rows([column, *text]):
        line = row[files.LINE]
        key = files.cell(row, column, name).strip()
        parts = [files.cell(row, part, name).strip() for part in text]
        joined = ", ".join(filter(None, parts))
        if not key or not joined:
            what = "text" if key else f"id in column {column}"
            raise UserError(
                f"{place(name, line)}: the item has no {what}; fill it in or take the row out"
            )
        if key in lines:
            other = places([lines[key]], 1)
            raise UserError(f"{place(name, line)}: item {key} is in {other} too; take one out")
        lines[key] = line
        texts.append(joined)
    return Catalogue(list(lines), texts, [0] * len(texts), True)


def number(numbers: dict[str, int], item: str, where: str, items: str) -> int:
    """The number of an item.

    Args:
        numbers: id to number.
        item: the id.
        where: where it was read.
        items: what the catalogue was read from.

    Raises:
        UserError: there is no such item.
    """
    if item not in numbers:
        hint = did_you_mean(item, list(numbers)[:10000])
        raise UserError(
            f"{where}: item {item} is not in {items}{hint}; add it there or take the row out"
        )
    return numbers[item]


def save(catalogue: Catalogue, path: Path) -> None:
    """Writes a catalogue as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        items = zip(catalogue.ids, catalogue.texts, catalogue.counts, strict=True)
        for key, text, count in items:
            identity = {"id": key} if catalogue.named else {}
            row = {**identity, "text": text, "count": count}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def load(path: Path) -> Catalogue:
    """Reads what :func:`save` wrote.

    Raises:
        UserError: the file is damaged.
    """
    shape = {"id": str, "text": str, "count": int}
    rows = json_file.read_lines(path, shape, records.WAY, need=("text", "count"))
    texts = [row["text"] for row in rows]
    return Catalogue(
        [row.get("id", row["text"]) for row in rows],
        texts,
        [row["count"] for row in rows],
        bool(rows) and "id" in rows[0],
    )


def read_pairs(
    source: Source, query: str, positive: str, negatives: str | None, digest: str
) -> Iterator[files.Row]:
    """Yields the rows of pairs, those of one query joined.

    Args:
        source: file, or hub data set.
        query: column of the query.
        positive: column of what it seeks: a text, or a list of them.
        negatives: column of what it does not seek, though it looks like it: a list, or ``a|b``.
        digest: identifies the content, for the cache.

    Yields:
        ``query``, ``positives``, ``negatives`` and the first ``line``.

    Raises:
        UserError: a row has no query or nothing that it seeks, or an item is both.
    """
    name = source.name
    pairs: dict[str, files.Row] = {}
    for row in source.rows([query, positive, *([negatives] if negatives else [])]):
        line, value = row[files.LINE], row[positive]
        asked = files.filled(row, query, name).strip()
        if isinstance(value, list):
            sought = several(value, name, line, positive)
        else:
            sought = [files.cell(row, positive, name).strip()]
        if not any(sought):
            raise files.empty_cell(positive, place(name, line))
        pair = pairs.setdefault(asked, {"positives": [], "negatives": [], "line": line})
        pair["positives"] += sought
        if negatives:
            pair["negatives"] += several(row[negatives], name, line, negatives)
    for asked, pair in pairs.items():
        positives, others = dict.fromkeys(pair["positives"]), dict.fromkeys(pair["negatives"])
        both = sorted(set(positives) & set(others))
        if both:
            raise UserError(
                f"{place(name, pair['line'])}: {both[0]!r} is in {positive} and in {negatives}"
                " of the same query; decide"
            )
        yield {
            "query": asked,
            "positives": list(positives),
            "negatives": list(others),
            "line": pair["line"],
        }


def several(value: Any, name: str, line: int | str, column: str) -> list[str]:
    """The values of a cell that may hold several: a list, or ``a|b``."""
    if not isinstance(value, list):
        value = files.as_text(value, name, line, column).split(labels.SEPARATOR)
    texts = [files.as_text(part, name, line, column).strip() for part in value]
    return [text for text in texts if text]
