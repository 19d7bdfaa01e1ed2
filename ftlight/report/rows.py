"""The sections of rows: errors, doubtful ones, the worst, and texts that were written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.explain.explanation import Explained
from ftlight.report.clean import CELL, clean
from ftlight.report.numbers import number
from ftlight.report.reading import Files
from ftlight.report.shades import Shaded, shaded

DOUBT = 3  # of so many rows one is a doubtful one
PICTURES = 1_500_000  # bytes of all pictures together
WRITTEN = ("bleu", "rouge", "chrf")  # metrics of texts that a model writes
OURS = ("why", "line", "score", "prediction", "prediction_", "score_")
TITLES = {"wrong": "Wrong", "doubtful": "Right, but doubtful", "worst": "Among the worst"}
ITEMS = 8  # of a list that are shown


class RowView(NamedTuple):
    """A row to look at.

    Attributes:
        why: wrong, doubtful or worst.
        title: the same in words.
        place: its line or file.
        truth: its label, or what else is right; empty if the columns do not tell.
        prediction: what the model says.
        score: how sure it is.
        columns: its other columns and what they hold.
        reasons: why the model says so.
    """

    why: str
    title: str
    place: str
    truth: str
    prediction: str
    score: str
    columns: Sequence[tuple[str, str]]
    reasons: Sequence[Shaded]


class Rows(NamedTuple):
    """Rows to look at.

    Attributes:
        rows: the rows.
        of: number of rows in wrong.csv.
        truths: name of the column that is right.
        no_pictures: pictures that were left out for their size.
    """

    rows: Sequence[RowView]
    of: int
    truths: str
    no_pictures: int


class Text(NamedTuple):
    """A text that a model wrote.

    Attributes:
        given: what it was given.
        written: what it wrote.
        references: what it should have written.
        place: line of the row.
    """

    given: str
    written: str
    references: Sequence[str]
    place: str


def choose(rows: Sequence[Mapping[str, str]], most: int) -> list[Mapping[str, str]]:
    """The rows of wrong.csv that are shown: errors, the surest first, then doubtful ones.

    Args:
        rows: rows of wrong.csv.
        most: number of rows.

    >>> [row["why"] for row in choose([{"why": "wrong"}] * 9 + [{"why": "doubtful"}] * 9, 6)]
    ['wrong', 'wrong', 'wrong', 'wrong', 'doubtful', 'doubtful']
    """
    doubtful = [row for row in rows if row.get("why") == "doubtful"]
    others = [row for row in rows if row.get("why") != "doubtful"]
    room = most - min(len(doubtful), most // DOUBT)
    others = others[:room]
    return [*others, *doubtful[: most - len(others)]]


def rows(run: Files, most: int, explained: Sequence[Explained] = ()) -> Rows | None:
    """The rows to look at; None if there are none.

    Args:
        run: the run.
        most: number of rows that are shown.
        explained: what explains them; its numbers are those of :func:`choose`'s rows.
    """
    chosen = choose(run.wrong, most)
    if not chosen:
        return None
    by_row = {found.number: found for found in explained}
    truths = truth_of(run)
    views = [
        _view(row, truths, [] if i not in by_row else [shaded(w) for w in by_row[i].why])
        for i, row in enumerate(chosen)
    ]
    views, left_out = _within(views)
    return Rows(views, len(run.wrong), truths, left_out)


def truth_of(run: Files) -> str:
    """Name of the column that holds what is right; empty if no option tells."""
    first = run.wrong[0] if run.wrong else {}
    options = (run.data.get(key) for key in ("label", "target", "spans", "answers"))
    names = [str(name) for name in options if isinstance(name, str)]
    known = [*names, "label", "spans", "answers", "references", "positives"]
    return next((name for name in known if name in first), "")


def _view(row: Mapping[str, str], truths: str, reasons: Sequence[Shaded]) -> RowView:
    shown = {side.name for reason in reasons for side in reason.texts}
    skipped = {*OURS, truths, *shown}
    columns = [(name, words(value)) for name, value in row.items() if name not in skipped and value]
    return RowView(
        row.get("why", ""),
        TITLES.get(row.get("why", ""), row.get("why", "")),
        place_of(row),
        words(row.get(truths, "")),
        words(row.get("prediction_", row.get("prediction", ""))),
        score_of(row),
        columns,
        reasons,
    )


def place_of(row: Mapping[str, str]) -> str:
    """Where a row was read, in words.

    >>> place_of({"line": "7"}), place_of({"line": "row 5 (id q4)"})
    ('line 7', 'row 5 (id q4)')
    """
    place = row.get("line", "")
    return f"line {place}" if place.isdigit() else place


def score_of(row: Mapping[str, str]) -> str:
    """How sure the answer is, with three digits; empty if it is no number."""
    value = row.get("score_", row.get("score", ""))
    try:
        return number(float(f"{float(value):.3g}"))
    except ValueError:
        return ""


def words(value: str) -> str:
    """A cell in words; a list or an object in JSON is written without its signs.

    >>> words('[{"type": "SIZE", "text": "small red", "start": 28}]'), words("late")
    ('SIZE: small red', 'late')
    >>> words('["the card is red", "it is a red card ."]')
    'the card is red · it is a red card .'
    """
    found = parsed(value)
    if found is None:
        return value
    items = found if isinstance(found, list) else [found]
    shown = [_item(item) for item in items[:ITEMS]]
    more = [f"and {len(items) - ITEMS:,} more"] if len(items) > ITEMS else []
    return " · ".join([*shown, *more])


def parsed(value: str) -> Any:
    """The value of a cell that holds a list or an object in JSON; None of any other."""
    if value[:1] not in ("[", "{") or len(value) > 1_000_000:
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _item(item: Any) -> str:
    """An item of a list: what it is and its text."""
    if isinstance(item, dict):
        kind, text = item.get("type", item.get("id")), item.get("text", item.get("label"))
        if text is not None:
            return clean(f"{kind}: {text}" if kind is not None else str(text), CELL)
        return clean(", ".join(f"{key} {value}" for key, value in item.items()), CELL)
    if isinstance(item, list):
        return clean(": ".join(str(part) for part in item if not isinstance(part, bool)), CELL)
    return clean(str(item), CELL)


def _within(views: Sequence[RowView]) -> tuple[list[RowView], int]:
    """Rows without the pictures for which a page has no room, and the number of those."""
    room, kept, left_out = PICTURES, list[RowView](), 0
    for view in views:
        reasons = []
        for reason in view.reasons:
            size = 0 if reason.picture is None else reason.picture.size
            fits = size <= room
            room -= size if fits else 0
            left_out += not fits
            reasons.append(reason if fits else reason._replace(picture=None))
        kept.append(view._replace(reasons=reasons))
    return kept, left_out


def writes(run: Files) -> bool:
    """Whether the model writes texts, by the metrics of its test."""
    return any(name.removeprefix("test/").startswith(WRITTEN) for name in run.test)


def texts(run: Files) -> list[Text]:
    """Texts that a model wrote beside their references; none if it writes none."""
    return [_written(run, row) for row in run.predicted] if writes(run) else []


def _written(run: Files, row: Mapping[str, str]) -> Text:
    written = row.get("prediction_", row.get("prediction", ""))
    place = place_of(row)
    turns = parsed(row.get("messages", ""))
    if isinstance(turns, list) and turns and all(isinstance(t, list) and t for t in turns):
        before = [words(json.dumps([turn], ensure_ascii=False)) for turn in turns[:-1]]
        return Text("\n".join(before), written, [_said(turns[-1])], place)
    target = str(run.data.get("target", ""))
    many = parsed(row.get("references", ""))
    references = [str(one) for one in many] if isinstance(many, list) else []
    references = references or ([row[target]] if target in row else [])
    skipped = {*OURS, target, "references"}
    given = [value for name, value in row.items() if name not in skipped and not _is_number(value)]
    return Text("\n".join(given), written, references[:4], place)


def _said(turn: Sequence[Any]) -> str:
    return str(turn[1]) if len(turn) > 1 else str(turn[0])


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return not value
