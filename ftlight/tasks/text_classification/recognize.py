"""Which column of a table is the text and which the label, as ``init`` asks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from ftlight.data import documents, files, label_forms, label_survey, numerals
from ftlight.data.label_columns import label_text
from ftlight.data.recognition import LABELS, Content, Look, Options, Shape
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.tasks.text_classification.readers import read_rows
from ftlight.utils.errors import UserError, join_limited

# Two columns of which a model compares the texts.
PAIRS = (
    *(("premise", "hypothesis"), ("question", "answer"), ("query", "document")),
    *(("query", "passage"), ("text", "text_pair")),
)
NUMBERED = re.compile(r"(.+?)[ _-]?(?:1|a)", re.IGNORECASE)


def recognize(look: Look) -> Shape | None:
    """A text and a label in each row; None if the file is no table.

    Raises:
        UserError: it has no text column, or which is the label cannot be told.
    """
    if look.source.is_tree and documents.names(Path(look.source.name))[0]:
        return _folder(look)
    if not look.rows:
        return None
    place = look.source.name
    columns = [c for c in look.first if not _holds_objects(look, c)]
    if look.label is not None:
        files.need(look.rows[0], [look.label], place)
    label = look.label or label_column(look, columns)
    taken = [label] if isinstance(label, str) else label
    texts = [c for c in columns if c not in taken and c]
    if not texts:
        names = join_limited(columns)
        raise UserError(
            f"{place} has no text column beside {join_limited(taken)} (columns: {names})"
        )
    texts.sort(key=lambda c: -sum(len(str(v)) for v in look.values(c)))
    pair = _pair(texts)
    options = {"text": pair[0], "text_pair": pair[1]} if pair else {"text": texts[0]}
    others = [c for c in texts if c not in options.values()]
    comments = {"label": f"others: {join_limited(others) or 'none'}"}
    if others and not pair:
        both = f"[{texts[0]}, {others[0]}]"
        comments["text"] = f"or several that are joined: {both}; or text_pair: {others[0]}"
    return Shape({**options, "label": label}, "", comments)


def _folder(look: Look) -> Shape | None:
    """A folder of documents with one for each label; None if they lie in no folder of a label."""
    with collected(), contextlib.suppress(UserError):
        first = next(read_rows(look.source, ("text",), None, "label", ""), None)
        if first is not None and first["label"]:
            return Shape({}, "a folder of documents for each label")
    return None


def _holds_objects(look: Look, column: str) -> bool:
    return any(isinstance(value, (dict, bytes)) for value in look.values(column))


def _pair(texts: Sequence[str]) -> tuple[str, str] | None:
    """Two columns that are named as a pair, such as text_a and text_b."""
    names = {text.lower(): text for text in texts}
    for first, second in PAIRS:
        if first in names and second in names:
            return names[first], names[second]
    for name in names:
        match = NUMBERED.fullmatch(name)
        other = {"1": "2", "a": "b"}[name[-1]] if match else ""
        if match and (second := name[:-1] + other) in names:
            return names[name], names[second]
    return None


def label_column(look: Look, columns: Sequence[str]) -> str | list[str]:
    """The column of lists or named like a label, else that of the fewest and shortest values.

    Several columns of 0 and 1 are a label each; where nothing repeats, the only column of numbers
    with fractions is one.

    Raises:
        UserError: none has values that repeat, or a name.
    """
    named = look.named(LABELS)
    if lists := [c for c in columns if any(isinstance(v, list) for v in look.values(c))]:
        return lists[0]
    if named and named in columns:
        return named
    place = look.source.name
    cells = {c: [label_text(v, place, 0, c) for v in look.values(c)] for c in columns if c}
    if not cells:
        raise UserError(f"{place} has no column with a name")
    bits = [c for c, v in cells.items() if v and all(map(label_forms.BIT.fullmatch, v))]
    if len(bits) > 1 and len(bits) < len(cells):
        return bits
    filled = [c for c, v in cells.items() if v] or list(cells)
    fewest = min(filled, key=lambda c: (len(set(cells[c])), sum(map(len, cells[c]))))
    if len(set(cells[fewest])) * 2 > len(look.rows):
        numbers = [c for c in filled if _are_measured(cells[c])]
        if len(numbers) == 1:
            return numbers[0]
        names = join_limited(columns, 20)
        raise UserError(f"which column is the label? Give --label COLUMN (columns: {names})")
    return fewest


def _are_measured(values: Sequence[str]) -> bool:
    """Whether all are numbers and some have a fraction, as no numbers of rows have."""
    return all(map(numerals.is_number, values)) and any("." in numerals.whole(v) for v in values)


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read, or has labels that train has not.
    """
    label = options.get("label", "label")
    column = label if isinstance(label, str) else tuple(label)
    rows = list(
        read_rows(source, (options.get("text", "text"),), options.get("text_pair"), column, "")
    )
    cells, lines = [row["label"] for row in rows], [row["line"] for row in rows]
    found = label_survey.survey(cells, lines, source.name, label, train)
    empty = sum(not row["text"].strip() for row in rows)
    if empty:
        found = found._replace(notes=[*found.notes, f"{empty:,} rows have no text"])
    if source.holds_documents:
        found = found._replace(splits=documents.splits(Path(source.name)))
    return found
