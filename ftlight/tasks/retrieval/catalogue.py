"""What can be found: the items of a search or recommendation, and pairs of a query with what it seeks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files, labels
from ftlight.data.sources import open_rows
from ftlight.utils.errors import UserError, did_you_mean


class Catalogue(NamedTuple):
    """Items in order; an item is a number, its place here.

    Attributes:
        ids: id of each item; without a table of items its text.
        texts: text of each item.
        counts: how often it was sought in training.
        named: whether the ids are others than the texts.
    """

    ids: list[str]
    texts: list[str]
    counts: list[int]
    named: bool

    def item(self, number: int, score: float) -> dict[str, Any]:
        """An item as a person reads it."""
        about = {"id": self.ids[number]} if self.named else {}
        return {**about, "text": self.texts[number], "score": score}


def of_texts(texts: Iterable[str]) -> Catalogue:
    """A catalogue of distinct texts, in the order in which they first appear."""
    distinct = list(dict.fromkeys(texts))
    return Catalogue(distinct, distinct, [0] * len(distinct), False)


def read_items(name: str, column: str, text: Sequence[str], encoding: str) -> Catalogue:
    """Reads a table of items.

    Args:
        name: file, or hub data set.
        column: column of the id.
        text: columns of the text, joined by a comma.
        encoding: encoding of a text file.

    Raises:
        UserError: an item has no id or no text, or its id stands twice.
    """
    lines: dict[str, int] = {}
    texts: list[str] = []
    for row in open_rows(name, "train", [column, *text], encoding):
        line = row[files.LINE]
        key = files.as_text(row[column], name, line, column).strip()
        said = ", ".join(filter(None, (files.as_text(row[c], name, line, c).strip() for c in text)))
        if not key or not said:
            raise UserError(
                f"{name}:{line}: the item has no {'text' if key else f'id in column {column}'}; fill it in or take the row out"
            )
        if key in lines:
            raise UserError(
                f"{name}:{line}: item {key} stands in line {lines[key]} too; take one out"
            )
        lines[key] = line
        texts.append(said)
    return Catalogue(list(lines), texts, [0] * len(texts), True)


def number(numbers: dict[str, int], item: str, place: str, items: str) -> int:
    """The number of an item.

    Args:
        numbers: id to number.
        item: the id.
        place: where it was read.
        items: what the catalogue was read from.

    Raises:
        UserError: there is no such item.
    """
    if item not in numbers:
        raise UserError(
            f"{place}: item {item} is not in {items}{did_you_mean(item, list(numbers)[:10000])}; add it there or take the row out"
        )
    return numbers[item]


def save(found: Catalogue, path: Path) -> None:
    """Writes a catalogue as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for key, text, count in zip(found.ids, found.texts, found.counts, strict=True):
            row = {**({"id": key} if found.named else {}), "text": text, "count": count}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def load(path: Path) -> Catalogue:
    """Reads what :func:`save` wrote."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [row["text"] for row in rows]
    return Catalogue(
        [row.get("id", row["text"]) for row in rows],
        texts,
        [row["count"] for row in rows],
        bool(rows) and "id" in rows[0],
    )


def read_pairs(
    name: str,
    split: str,
    query: str,
    positive: str,
    negatives: str | None,
    encoding: str,
    digest: str,
) -> Iterator[files.Row]:
    """Rows of pairs, those of one query together: ``query``, ``positives``, ``negatives`` and the first ``line``.

    Args:
        name: file, or hub data set.
        split: train, validation or test.
        query: column of the query.
        positive: column of what it seeks: a text, or a list of them.
        negatives: column of what it does not seek, though it looks like it: a list, or ``a|b``.
        encoding: encoding of a text file.
        digest: what tells the content.

    Raises:
        UserError: a row has no query or nothing that it seeks, or an item is both.
    """
    found: dict[str, files.Row] = {}
    for row in open_rows(
        name, split, [query, positive, *([negatives] if negatives else [])], encoding
    ):
        line = row[files.LINE]
        asked = files.as_text(row[query], name, line, query).strip()
        value = row[positive]
        sought = (
            several(value, name, line, positive)
            if isinstance(value, list)
            else [files.as_text(value, name, line, positive).strip()]
        )
        if not asked or not any(sought):
            raise UserError(
                f"{name}:{line}: column {positive if asked else query} is empty; fill it in or take the row out"
            )
        mine = found.setdefault(
            asked, {"query": asked, "positives": [], "negatives": [], "line": line}
        )
        mine["positives"] += sought
        mine["negatives"] += several(row[negatives], name, line, negatives) if negatives else []
    for mine in found.values():
        both = set(mine["positives"]) & set(mine["negatives"])
        if both:
            raise UserError(
                f"{name}:{mine['line']}: {sorted(both)[0]!r} is in {positive} and in {negatives} of the same query; decide"
            )
        yield {
            **mine,
            "positives": list(dict.fromkeys(mine["positives"])),
            "negatives": list(dict.fromkeys(mine["negatives"])),
        }


def several(value: Any, name: str, line: int, column: str) -> list[str]:
    """The values of a cell that may hold several: a list, or ``a|b``."""
    parts = (
        value
        if isinstance(value, list)
        else files.as_text(value, name, line, column).split(labels.SEPARATOR)
    )
    return [said for part in parts if (said := files.as_text(part, name, line, column).strip())]
