"""Questions with answers in a context: readers of SQuAD and of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ftlight.data import files, json_rows
from ftlight.data.sources import Source
from ftlight.utils.errors import UserError

Missing = Literal["error", "skip"]
# How an answer was placed if not as given: at the first of several occurrences, or at another one.
FIRST, MOVED = 1, 2
NEAR = 100  # characters that answer_start may be off if the answer occurs more than once
ID = "id"


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
    if source.suffix != ".json":
        return None
    try:
        lines = files.text_lines(source.path, source.encoding)
        content = json_rows.whole(json.loads("\n".join(line for _, line in lines)))
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
                yield {**row, files.LINE: number}


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


def golds(
    row: Mapping[str, Any], answer: str, answer_start: str, where: str
) -> list[tuple[str, int | None]]:
    """The correct answers of a row, each with its first character if given; none if unanswerable.

    Args:
        row: a row with a column ``answer``: a text, several, or texts with starts as in SQuAD.
        answer: name of that column.
        answer_start: name of the column of the answer's first character.
        where: file and line, for errors.

    >>> golds({"answers": {"text": ["Rome"], "answer_start": [3]}}, "answers", "answer_start", "")
    [('Rome', 3)]
    >>> golds({"answer": "Rome", "answer_start": "3"}, "answer", "answer_start", "")
    [('Rome', 3)]
    """
    golds = []
    for text, start in _pairs(row, answer, answer_start, where):
        if isinstance(text, (list, dict)):
            raise UserError(f"{where}: column {answer} holds {type(text).__name__}, expected text")
        if text is not None and text == text and str(text).strip():  # NaN is missing too
            golds.append(_stripped(str(text), _number(start, where, answer_start)))
    return golds


def _pairs(
    row: Mapping[str, Any], answer: str, answer_start: str, where: str
) -> list[tuple[Any, Any]]:
    """Texts and starts of a row's answers as they are given."""
    value = row[answer]
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        unequal = starts is not None and (
            not isinstance(starts, list) or not isinstance(texts, list) or len(starts) != len(texts)
        )
        if not isinstance(texts, list) or unequal:
            raise UserError(
                f'{where}: column {answer}: expected {{"text": [...], "answer_start": [...]}}'
                " with lists of one length"
            )
        return list(zip(texts, starts or [None] * len(texts), strict=True))
    if not isinstance(value, list):
        return [(value, row.get(answer_start))]
    pairs = []
    for item in value:
        nested = isinstance(item, Mapping)
        pairs.append((item.get("text"), item.get("answer_start")) if nested else (item, None))
    return pairs


def _number(value: Any, where: str, column: str) -> int | None:
    if value is None or value != value or str(value).strip() in ("", "-1"):
        return None
    try:
        number = value if isinstance(value, int) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise UserError(
            f"{where}: {column} {value!r} is not a place in the context;"
            " give the number of the answer's first character, from 0"
        )
    return number


def _stripped(text: str, start: int | None) -> tuple[str, int | None]:
    return text.strip(), None if start is None else start + len(text) - len(text.lstrip())


def locate(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where an answer is in its context, and how it was found: 0, :data:`FIRST` or :data:`MOVED`.

    A start at which the text is not is moved to where it is, if that is near or the only place.

    Returns:
        Its first character, and how it was found; None if the context does not hold it.

    >>> locate("to be or not to be", "be", 16), locate("to be or not to be", "be", None)
    ((16, 0), (3, 1))
    >>> locate("to be or not to be", "be", 14)
    (16, 2)
    """
    if start is not None and context.startswith(text, start):
        return start, 0
    places = []
    at = context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    if not places:
        return None
    if start is None:
        return places[0], FIRST if len(places) > 1 else 0
    nearest = min(places, key=lambda p: abs(p - start))
    return (nearest, MOVED) if len(places) == 1 or abs(nearest - start) <= NEAR else None


def _open(source: Source, names: Names) -> Iterator[files.Row]:
    """Rows with the user's names of question and context, and answers as they are given."""
    content = document(source)
    if content is None:
        optional = [names.answer, "answers", names.answer_start, ID]
        yield from source.rows([names.question, names.context], optional)
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
        ``line``, ``__placed`` (how answers were found, see :func:`locate`) and ``__skipped`` (rows
        left out around it).

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
    where = f"{name}: question {row[ID]}" if "title" in row and ID in row else f"{name}:{line}"
    texts = {c: files.cell(row, c, name) for c in (names.question, names.context)}
    for column, text in texts.items():
        if not text.strip():
            raise files.empty_cell(column, where)
    answer = names.answer if names.answer in row or "answers" not in row else "answers"
    files.need(row, [answer], name)
    answers, starts, placed = [], [], 0
    for text, start in golds(row, answer, names.answer_start, where):
        place = locate(texts[names.context], text, start)
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
