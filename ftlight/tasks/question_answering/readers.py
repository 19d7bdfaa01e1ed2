"""Questions with answers in a context: readers of SQuAD and of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ftlight.data import files
from ftlight.data.hub import load_hub
from ftlight.data.sources import open_rows
from ftlight.utils.errors import UserError

Missing = Literal["error", "skip"]
FIRST, MOVED = (
    1,
    2,
)  # how an answer was placed where not as given: at the first of several occurrences, at another one nearby
NEAR = 100  # characters that an offset may be wrong by where the answer occurs more than once
ID = "id"


def document(name: str, encoding: str = "utf-8") -> dict[str, Any] | None:
    """The content of a file in the layout of SQuAD; None for any other.

    Raises:
        UserError: the file cannot be read.
    """
    if name.startswith("hf:") or files.suffix(path := files.check(name)) != ".json":
        return None
    try:
        found = json.loads("\n".join(line for _, line in files.text_lines(path, encoding)))
    except json.JSONDecodeError:  # JSON lines
        return None
    return found if isinstance(found, dict) and isinstance(found.get("data"), list) else None


def flat(content: Mapping[str, Any], name: str, gold: bool = True) -> Iterator[files.Row]:
    """Rows of SQuAD's nested layout: ``id, title, question, context`` and with ``gold`` also ``answers``, in the layout of the hub.

    Raises:
        UserError: a part is missing; names the question where it has an id.
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
            f"{where} has no {key} ({'text' if kind is str else kind.__name__}); SQuAD nests data, paragraphs, qas"
        )
    return value[key]


def _answers(qa: Mapping[str, Any], where: str) -> list[Any]:
    given, impossible = qa.get("answers"), bool(qa.get("is_impossible"))
    if given is None and not impossible:
        raise UserError(
            f"{where}: no answers; a question without an answer has is_impossible: true or answers: []"
        )
    if given and impossible:
        raise UserError(f"{where}: is_impossible, but has answers; take one of both out")
    return given or []


def golds(
    row: Mapping[str, Any], answer: str, answer_start: str, where: str
) -> list[tuple[str, int | None]]:
    """The right answers of a row with their places, where these are given; none for a question without an answer.

    Args:
        row: a row with a column ``answer``: a text, several, or texts with places as in SQuAD.
        answer: name of that column.
        answer_start: name of the column of the place, where the answer is a text.
        where: file and line, for errors.

    >>> golds({"answers": {"text": ["Rome"], "answer_start": [3]}}, "answers", "answer_start", "")
    [('Rome', 3)]
    >>> golds({"answer": "Rome", "answer_start": "3"}, "answer", "answer_start", "")
    [('Rome', 3)]
    """
    value = row[answer]
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or (
            starts is not None and (not isinstance(starts, list) or len(starts) != len(texts))
        ):
            raise UserError(
                f'{where}: column {answer}: expected {{"text": [...], "answer_start": [...]}} with lists of one length'
            )
        pairs = list(zip(texts, starts or [None] * len(texts), strict=True))
    elif isinstance(value, list):
        pairs = [
            (v.get("text"), v.get("answer_start")) if isinstance(v, Mapping) else (v, None)
            for v in value
        ]
    else:
        pairs = [(value, row.get(answer_start))]
    found = []
    for text, start in pairs:
        if isinstance(text, (list, dict)):
            raise UserError(f"{where}: column {answer} holds {type(text).__name__}, expected text")
        if text is not None and text == text and str(text).strip():
            found.append(_stripped(str(text), _number(start, where, answer_start)))
    return found


def _number(value: Any, where: str, column: str) -> int | None:
    if value is None or value != value or str(value).strip() in ("", "-1"):
        return None
    try:
        number = int(float(value)) if not isinstance(value, int) else value
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise UserError(
            f"{where}: {column} {value!r} is not a place in the context; give the number of its first character, from 0"
        )
    return number


def _stripped(text: str, start: int | None) -> tuple[str, int | None]:
    return text.strip(), None if start is None else start + len(text) - len(text.lstrip())


def locate(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where an answer stands in its context, and how that was found: 0, :data:`FIRST` or :data:`MOVED`.

    A place that does not hold the text is moved to where the text occurs, if that is near or the only one.

    Returns:
        Its first character, and how; None where it does not occur there.

    >>> locate("to be or not to be", "be", 16), locate("to be or not to be", "be", None), locate("to be or not to be", "be", 14)
    ((16, 0), (3, 1), (16, 2))
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


def _open(name: str, split: str, columns: Mapping[str, str], encoding: str) -> Iterator[files.Row]:
    """Rows of a file or of the hub, with the user's names of question and context, and gold answers as they are given."""
    question, context = columns["question"], columns["context"]
    content = document(name, encoding)
    if content is not None:
        for row in flat(content, name):
            yield {
                **row,
                question: row["question"],
                context: row["context"],
                columns["answer"]: row["answers"],
            }
        return
    wanted = [question, context]
    if name.startswith("hf:"):
        have = load_hub(name)
        wanted += [
            c
            for c in (columns["answer"], "answers", columns["answer_start"], ID)
            if split in have and c in have[split].column_names
        ]
    yield from open_rows(name, split, wanted, encoding)


def read_rows(
    name: str, split: str, columns: dict[str, str], missing: Missing, encoding: str, digest: str
) -> Iterator[files.Row]:
    """Rows of a split: question and context under the user's names, ``id``, ``answers``, ``answer_starts`` and the ``line``.

    ``__placed`` is how the answers were placed (see :func:`locate`), ``__skipped`` how many rows before it were left out.

    Args:
        name: file or data set.
        split: split of a data set.
        columns: role (question, context, answer, answer_start) to the user's name.
        missing: what to do with an answer that is not in its context.
        encoding: encoding of a text file.
        digest: what tells the content, for the cache.

    Raises:
        UserError: a row cannot be read, or its answer is not in its context.
    """
    held: files.Row | None = None
    skipped = 0
    for row in _open(name, split, columns, encoding):
        made = _row(row, name, columns, missing)
        if made is None:
            skipped += 1
        else:
            if held is not None:
                yield held
            held = made
        if held is not None:
            held["__skipped"], skipped = held["__skipped"] + skipped, 0
    if held is None:
        raise UserError(
            f"{name}: no row has its answer in its context"
            if skipped
            else f"{name} has no questions"
        )
    yield held


def _row(
    row: files.Row, name: str, columns: Mapping[str, str], missing: Missing
) -> files.Row | None:
    line = row[files.LINE]
    where = f"{name}: question {row[ID]}" if "title" in row and ID in row else f"{name}:{line}"
    texts = {
        c: files.as_text(row[c], name, line, c) for c in (columns["question"], columns["context"])
    }
    for column, text in texts.items():
        if not text.strip():
            raise UserError(f"{where}: column {column} is empty; fill it in or take the row out")
    answer = columns["answer"] if columns["answer"] in row or "answers" not in row else "answers"
    files.need(row, [answer], name)
    found, placed = [], 0
    for text, start in golds(row, answer, columns["answer_start"], where):
        place = locate(texts[columns["context"]], text, start)
        if place is None and missing == "skip":
            return None
        if place is None:
            said = "" if start is None else f" near character {start}"
            raise UserError(
                f"{where}: the answer {text[:60]!r} is not in the context{said}; mend it, or leave such rows out with data.missing: skip"
            )
        found.append((text, place[0]))
        placed = max(placed, place[1])
    golden = {"answers": [t for t, _ in found], "answer_starts": [s for _, s in found]}
    return {
        **texts,
        **golden,
        ID: str(row.get(ID) or line),
        "line": line,
        "__placed": placed,
        "__skipped": 0,
    }
