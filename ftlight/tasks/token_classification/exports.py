"""Predicted entities as files for what comes next: spreadsheets, CoNLL, doccano, Label Studio."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.data.files import LINE
from ftlight.run.predictions import TABLES, Table
from ftlight.tasks.token_classification import label_studio, marks
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.layout import Layout

CONLL = (".conll", ".bio", ".iob2")
SUFFIXES = (*TABLES, ".jsonl", ".json", *CONLL)
FIELDS = ("document", "type", "text", "start", "end", "score")


class Predicted(NamedTuple):
    """A document with its entities.

    Attributes:
        row: the row as it was given.
        text: its text.
        words: the characters of its words.
        answer: the prediction: ``prediction``, a list of entities, and ``score``.
    """

    row: Mapping[str, Any]
    text: str
    words: Sequence[spans.Range]
    answer: Mapping[str, Any]

    @property
    def sure(self) -> list[Mapping[str, Any]]:
        """The entities that are not marked as unsure."""
        return [entity for entity in self.answer["prediction"] if not entity.get("unsure")]


def content(
    suffix: str,
    found: Sequence[Predicted],
    layout: Layout,
    config: label_studio.Config = label_studio.UNKNOWN,
) -> str | Table | None:
    """A file of entities in the form of its suffix; None if there is no such form.

    A table (.csv, .tsv, .xlsx) has a row for each entity, .conll a word and its tag in each line.
    A .jsonl has a row for each document, which doccano takes as pre-annotated text: what else is in
    it becomes metadata there. A .json is tasks of Label Studio with predictions. Unsure entities
    are marked in tables and in ``prediction`` of .jsonl, and left out elsewhere.

    Args:
        suffix: suffix of the file.
        found: documents with their entities.
        layout: columns of the rows.
        config: the labelling config of Label Studio that the run was trained on, if it was.
    """
    if suffix in TABLES:
        return _table(found, layout)
    if suffix == ".jsonl":
        return "".join(f"{_json(_doccano(item, layout))}\n" for item in found)
    if suffix == ".json":
        own = label_studio.config_of((item.row for item in found), layout)
        config = own if own.tags else config
        tasks = (_task(item, number, layout, config) for number, item in enumerate(found, 1))
        return "[\n" + ",\n".join(map(_json, tasks)) + "\n]\n"
    return "\n".join(_sentence(item) for item in found if item.words) if suffix in CONLL else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that a person reads."""
    return {
        name: value
        for name, value in row.items()
        if not name.startswith("__") and not isinstance(value, bytes)
    }


# A row for each entity


def _table(found: Sequence[Predicted], layout: Layout) -> Table:
    """Entities with the place of their document and its other columns that are no lists."""
    rows = [row for number, item in enumerate(found, 1) for row in _entities(item, number, layout)]
    names = dict.fromkeys(FIELDS) | dict.fromkeys(name for row in rows for name in row)
    return Table(list(names), rows)


def _entities(item: Predicted, number: int, layout: Layout) -> Iterator[dict[str, Any]]:
    place = item.row.get(LINE, number)
    others = {
        f"{name}_" if name in (*FIELDS, "unsure") else name: value
        for name, value in _columns(item.row).items()
        if name != layout.text
        and not isinstance(value, list | dict)
        and (name, value) != ("file", place)
    }
    for entity in item.answer["prediction"]:
        yield {"document": place, **entity, **others}


# CoNLL


def _sentence(item: Predicted) -> str:
    """Words and tags in IOB2; blanks within a word, which a list may hold, are spaces."""
    given = [(entity["type"], entity["start"], entity["end"]) for entity in item.sure]
    tags = spans.write(spans.align(given, item.words).spans, len(item.words))
    words = (re.sub(r"\s", " ", item.text[start:end]) for start, end in item.words)
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))


# Tools for annotation


def _others(row: Mapping[str, Any], text: str, layout: Layout) -> dict[str, Any]:
    """The columns of a row beside its text.

    One by which readers would find other words or entities than those predicted gets an underscore.
    """
    read = {"text", "prediction", "score", layout.tokens, *layout.tags, *layout.spans, *marks.READ}
    return {
        f"{name}_" if name in read else name: value
        for name, value in _columns(row).items()
        if (name, value) != ("text", text)
    }


def _doccano(item: Predicted, layout: Layout) -> dict[str, Any]:
    """A line of doccano's JSONL. Offsets are characters (code points), as doccano counts."""
    others = _others(item.row, item.text, layout)
    label = [[entity["start"], entity["end"], entity["type"]] for entity in item.sure]
    return {"text": item.text, "label": label, **others, **item.answer}


def _task(
    item: Predicted, number: int, layout: Layout, config: label_studio.Config
) -> dict[str, Any]:
    """A task of Label Studio with predictions, named as in the config, else as in the template.

    Offsets are code points, as Label Studio counts since its version 1.4.
    """
    row = marks.plain(item.row, layout)
    column = marks.text_column(item.row, layout)
    is_task = marks.is_task(item.row)
    others = {
        name: value
        for name, value in _others(row, item.text, layout).items()
        if name not in (column, layout.text) or value != item.text
    }
    results = []
    for place, entity in enumerate(item.sure, 1):
        tag = config.tag(entity["type"])
        span = {name: entity[name] for name in ("start", "end", "text")}
        value = {**span, tag.type: [entity["type"]]}
        result = {"id": f"{number}-{place}", **tag._asdict(), "value": value}
        results.append({**result, "score": entity["score"]})
    prediction = {"model_version": "ftlight", "score": item.answer["score"], "result": results}
    numbered = {"id": item.row["id"]} if is_task and "id" in item.row else {}
    key = (column if is_task else "") or config.text or "text"
    data = {key: item.text, **{name: value for name, value in others.items() if name != key}}
    return {**numbered, "data": data, "predictions": [prediction]}
