"""Exports of annotation tools: doccano, Label Studio, Prodigy and spaCy.

A row of any of them becomes a text with marks. What the annotator refused is no row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.remarks import remark
from ftlight.tasks.token_classification.layout import Layout
from ftlight.utils.errors import UserError, did_you_mean, join_limited
from ftlight.utils.format import counted

NOT_ACCEPTED = "left out: their answer is reject or ignore, not accept (Prodigy)"
CANCELLED = "left out: cancelled in Label Studio"
UNANNOTATED = "left out: not annotated yet in Label Studio"
SEVERAL = (
    "with several annotations: the one marked as ground truth is taken, else the first that"
    " was not cancelled"
)
PREDICTED = "with predictions of Label Studio and no annotations, which are read as entities"
RELATIONS = "with relations between entities, which are not used"
# Columns of Prodigy and Label Studio's JSON-MIN, which leave out the spans of a row that has none.
EXPORTED = ("_input_hash", "_task_hash", "annotation_id", "annotator")
# Columns of a task of Label Studio that hold results.
ANSWERS = ("annotations", "completions", "predictions")
# Columns by which an export tells what its rows are.
READ = ("data", *ANSWERS, "answer", "was_cancelled", "relations")
START = ("start", "start_offset", "begin")
END = ("end", "end_offset", "stop")
LABEL = ("label", "type", "labels", "entity_group", "entity", "tag")


class Mark(NamedTuple):
    """A span as a file has it.

    Attributes:
        kind: its type.
        start: where it starts, in characters or another unit (see :mod:`.offsets`).
        end: exclusive end.
        copy: its text, if the file repeats it.
    """

    kind: str
    start: int
    end: int
    copy: str | None = None


def accepted(rows: Iterable[files.Row], layout: Layout, name: str) -> Iterator[files.Row]:
    """Yields the rows that are gold, see :func:`plain`; remarks what is left out.

    Args:
        rows: rows as read.
        layout: which column holds what.
        name: their file.

    Raises:
        UserError: all are left out.
    """
    facts = Counter[str]()
    empty = True
    for row in rows:
        gold, found = _gold(row, layout)
        facts.update(found)
        if gold is not None:
            empty = False
            yield gold
    if empty and facts:
        told = ", ".join(f"{counted(count, 'row')} {fact}" for fact, count in facts.items())
        raise UserError(f"{name} has no row to learn from: {told}")
    for fact, count in facts.items():
        remark(f"{Path(name).name}: {counted(count, 'row')} {fact}")


def _gold(row: files.Row, layout: Layout) -> tuple[files.Row | None, list[str]]:
    """A plain row, or None if it is not gold; and what a person should know of it."""
    if row.get("answer") in ("reject", "ignore"):
        return None, [NOT_ACCEPTED]
    if row.get("was_cancelled") is True:
        return None, [CANCELLED]
    facts = [RELATIONS] if row.get("relations") else []
    given = row.get("annotations", row.get("completions"))
    if not is_task(row):
        return plain(row, layout), facts
    if given is None and row.get("predictions"):
        given, facts = row["predictions"], [*facts, PREDICTED]
    if not isinstance(given, list):
        return plain(row, layout), facts
    several = [a for a in given if isinstance(a, Mapping)]
    kept = [a for a in several if not a.get("was_cancelled")]
    if not kept:
        return None, [CANCELLED if several else UNANNOTATED]
    chosen = next((a for a in kept if a.get("ground_truth")), kept[0])
    facts += [SEVERAL] if len(kept) > 1 else []
    results = chosen.get("result") or []
    if any(item.get("type") == "relation" for item in results):
        facts.append(RELATIONS)
    spans = [_value(item) for item in results if START[0] in item.get("value", {})]
    column = {layout.spans[0]: spans}
    return {**plain({**row, **column}, layout), **column}, facts


def regions(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the results of a task of Label Studio that mark its text, by people or models."""
    lists = [row.get(key) for key in ANSWERS] if is_task(row) else []
    for answers in lists:
        for answer in answers if isinstance(answers, list) else []:
            results = answer.get("result") if isinstance(answer, Mapping) else None
            for item in results if isinstance(results, list) else []:
                value = item.get("value") if isinstance(item, Mapping) else None
                if isinstance(value, Mapping) and START[0] in value:
                    yield item


def _value(item: Mapping[str, Any]) -> dict[str, Any]:
    """The span of one result of Label Studio; its labels stand under the type of the result."""
    value = dict(item["value"])
    return {**value, "labels": value.get("labels", value.get(item.get("type", ""), []))}


def plain(row: Mapping[str, Any], layout: Layout) -> files.Row:
    """A row with its columns side by side, and its text in the column of the layout if it has one.

    A task of Label Studio has its columns under ``data``.
    """
    columns = {**(row["data"] if is_task(row) else row), files.LINE: row.get(files.LINE, 0)}
    name = text_column(row, layout)
    return {**columns, layout.text: columns[name]} if name else columns


def text_column(row: Mapping[str, Any], layout: Layout) -> str:
    """Column of the text of a row; empty if it has none, or words.

    One under another name than the layout's is found if it is the only one that contains the texts
    of all spans, the only one of a task, known from other tasks, or named as in Label Studio's
    template; or ``data`` of older exports of doccano.
    """
    task = is_task(row)
    columns = row["data"] if task else row
    if layout.text in columns or layout.tokens in columns:
        return layout.text if layout.text in columns else ""
    names = [name for name, value in columns.items() if isinstance(value, str)]
    copies = _copies(row, layout)
    if copies:
        names = [name for name in names if all(copy in columns[name] for copy in copies)]
    elif not task:
        names = [name for name in names if name == "data"]
    if task and len(names) != 1:
        names = [name for name in (layout.task_text, "text") if name in names][:1]
    return names[0] if len(names) == 1 else ""


def is_task(row: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio."""
    return isinstance(row.get("data"), Mapping)


def _copies(row: Mapping[str, Any], layout: Layout) -> list[str]:
    """The texts of the spans of a row."""
    lists = [row[name] for name in layout.spans if isinstance(row.get(name), list)]
    spans = [span for items in lists for span in items if isinstance(span, Mapping)]
    spans = spans or [result["value"] for result in regions(row)]
    return [span["text"] for span in spans if isinstance(span.get("text"), str)]


def read(row: Mapping[str, Any], layout: Layout, place: str) -> list[Mark]:
    """The spans of a row.

    Args:
        row: a plain row, see :func:`plain`.
        layout: columns that may hold them.
        place: file and line, for errors.

    Raises:
        UserError: there is no such column, or it holds something else.
    """
    lists = [row[name] for name in layout.spans if isinstance(row.get(name, ""), list | None)]
    exported = row.get("answer") == "accept" or any(name in row for name in EXPORTED)
    if not lists and not exported:
        columns = files.names(row)
        names = " or ".join(layout.spans[:2])
        raise UserError(
            f"{place}: no column {names}{did_you_mean(layout.spans[0], columns)}"
            f" (columns: {join_limited(columns)}); set data.spans"
        )
    items: list[Any] = next((items for items in lists if items), [])
    return [mark for item in items for mark in _marks(item, place)]


def _marks(item: Any, place: str) -> list[Mark]:
    """The spans of an item: one for each of its labels."""
    if isinstance(item, Mapping):
        start, end, kinds = (_first(item, names) for names in (START, END, LABEL))
        copy = item.get("text")
    else:
        start, end, kinds = [*item, None, None, None][:3]
        copy = None
    kinds = kinds if isinstance(kinds, list) else [kinds]
    named = kinds and all(isinstance(kind, str) and kind.strip() for kind in kinds)
    if not named or type(start) is not int or type(end) is not int:
        raise UserError(
            f'{place}: expected a span such as {{"start": 0, "end": 5, "label": "PER"}}'
            f' or [0, 5, "PER"], got {item!r}'
        )
    return [Mark(kind.strip(), start, end, copy) for kind in kinds]


def _first(item: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)
