"""Questions with answers in a context: readers of SQuAD and of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ftlight.data import files, json_rows
from ftlight.data.sources import Source
from ftlight.tasks.question_answering import placement
from ftlight.utils.errors import UserError
from ftlight.utils.paths import ROW

Missing = Literal["error", "skip"]
ID = "id"
START = "answer_start"


class Names(NamedTuple):
    """Names of the columns, as the user calls them."""

    question: str
    context: str
    answer: str
    answer_start: str


def document(source: Source) -> dict[str, Any] | None:
    """The content of a file in the layout of SQuAD; None for any other.

    Raises:
        UserError: the file cannot be read.
    """
    if source.suffix != ".json" or not source.names_rows:
        return None
    try:
        lines = files.text_lines(source.path, source.encoding)
        content = json_rows.whole(json_rows.DECODER.decode("\n".join(line for _, line in lines)))
    except json.JSONDecodeError:  # JSON lines
        return None
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list):
        return None
    flat_rows = bool(data) and all(isinstance(row, dict) and "question" in row for row in data)
    return None if flat_rows else content


def flat(content: Mapping[str, Any], name: str, gold: bool = True) -> Iterator[files.Row]:
    """Yields the questions of SQuAD's nested layout as rows in the layout of the hub.

    Yields:
        ``id``, ``title``, ``question``, ``context``, with ``gold`` also ``answers``.

    Raises:
        UserError: a part is missing; names the question by its id if it has one.
    """
    number = 0
    for a, article in enumerate(content["data"]):
        for p, paragraph in enumerate(_part(article, "paragraphs", list, f"{name}: data[{a}]")):
            where = f"{name}: data[{a}].paragraphs[{p}]"
            context = _part(paragraph, "context", str, where)
            for q, qa in enumerate(_part(paragraph, "qas", list, where)):
                question = _part(qa, "question", str, f"{where}.qas[{q}]")
                number += 1
                row = {
                    ID: str(qa.get("id", number)),
                    "title": str(article.get("title", "")),
                    "question": question,
                    "context": context,
                }
                if gold:
                    row["answers"] = _answers(qa, f"{name}: question {row[ID]}")
                key = f" (id {qa['id']})" if "id" in qa else ""
                yield {**row, files.LINE: f"{ROW}{number}{key}"}


def _part(value: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(key), kind):
        raise UserError(
            f"{where} has no {key} ({'text' if kind is str else kind.__name__});"
            " SQuAD nests data, paragraphs, qas"
        )
    return value[key]


def _answers(qa: Mapping[str, Any], where: str) -> list[Any]:
    answers, impossible = qa.get("answers"), bool(qa.get("is_impossible"))
    if answers is None and not impossible:
        raise UserError(
            f"{where}: no answers; a question without an answer has is_impossible: true"
            " or answers: []"
        )
    if answers and impossible:
        raise UserError(f"{where}: is_impossible, but has answers; take one of both out")
    return answers or []


def _open(source: Source, names: Names) -> Iterator[files.Row]:
    """Rows with the user's names of question and context, and answers as they are given."""
    content = document(source)
    if content is None:
        optional = [names.answer, "answers", names.answer_start, ID]
        rows = source.rows([names.question, names.context], optional)
        given = {} if names.answer_start == START else {"answer_start": names.answer_start}
        yield from files.found_in_some(rows, given, source.name)
        return
    for row in flat(content, source.name):
        named = {names.question: row["question"], names.context: row["context"]}
        yield {**row, **named, names.answer: row["answers"]}


def read_rows(source: Source, names: Names, missing: Missing, digest: str) -> Iterator[files.Row]:
    """Yields the rows of a split.

    Args:
        source: file or data set.
        names: names of the columns.
        missing: what to do with an answer that is not in its context.
        digest: identifies the content, for the cache.

    Yields:
        Question and context under the user's names, ``id``, ``answers``, ``answer_starts``,
        ``line``, ``__placed`` (how answers were found, see :func:`placement.locate`) and
        ``__skipped`` (rows left out around it).

    Raises:
        UserError: a row cannot be read, or its answer is not in its context.
    """
    before: files.Row | None = None  # held back, so that it can count the rows left out behind it
    skipped = 0
    for row in _open(source, names):
        read = _row(row, source.name, names, missing)
        if read is None:
            skipped += 1
        else:
            if before is not None:
                yield before
            before = read
        if before is not None:
            before["__skipped"] += skipped
            skipped = 0
    if before is None:
        why = ": no row has its answer in its context" if skipped else " has no questions"
        raise UserError(f"{source.name}{why}")
    yield before


def _row(row: files.Row, name: str, names: Names, missing: Missing) -> files.Row | None:
    """A row with its answers placed; None if it is to be left out."""
    line = row[files.LINE]
    where = (
        f"{name}: question {row[ID]}" if "title" in row and ID in row else files.place(name, line)
    )
    texts = {c: files.cell(row, c, name) for c in (names.question, names.context)}
    for column, text in texts.items():
        if not text.strip():
            raise files.empty_cell(column, where)
    answer = names.answer if names.answer in row or "answers" not in row else "answers"
    files.need(row, [answer], name)
    answers, starts, placed = [], [], 0
    for text, start in placement.golds(row, answer, names.answer_start, where):
        place = placement.locate(texts[names.context], text, start)
        if place is None and missing == "skip":
            return None
        if place is None:
            near = "" if start is None else f" near character {start}"
            raise UserError(
                f"{where}: the answer {text[:60]!r} is not in the context{near};"
                " correct it, or leave such rows out with data.missing: skip"
            )
        answers.append(text)
        starts.append(place[0])
        placed = max(placed, place[1])
    return {
        **texts,
        "answers": answers,
        "answer_starts": starts,
        ID: str(row.get(ID) or line),
        "line": line,
        "__placed": placed,
        "__skipped": 0,
    }
