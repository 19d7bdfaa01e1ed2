"""Whether a file holds queries with what they seek, or interactions, as ``init`` asks."""

from __future__ import annotations

import contextlib
from typing import Any

from ftlight.data import files
from ftlight.data.recognition import Content, Look, Options, Shape
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.tasks.retrieval import catalogue, interactions
from ftlight.utils.errors import UserError

USERS = ("user", "user_id", "userid")
ITEMS = ("item", "item_id", "itemid", "movieid", "product_id")
TIMES = ("time", "timestamp", "date")
QUERIES = ("query", "anchor")
NEGATIVES = ("negatives", "negative")
TITLES = ("title", "name", "text", "description")
HELD_OUT = 5  # the default of data.held_out


def recognize(look: Look) -> Shape | None:
    """A query and what it seeks, or a user, an item and a time.

    Raises:
        UserError: there are interactions, but no table with the texts of items.
    """
    user, item, time = look.named(USERS), look.named(ITEMS), look.named(TIMES)
    if user and item and time:
        options = {"user": user, "item": item, "time": time, **_items(look.source, user, item)}
        return Shape(options, "a user, an item and a time in each row")
    query, positive = look.named(QUERIES), look.named(("positive", "positives"))
    if look.asked and not (query and positive):
        texts = look.texts()[::-1]
        query = query or next((c for c in texts if c != positive), "query")
        positive = positive or next((c for c in texts if c != query), "positive")
    if not (query and positive):
        return None
    negatives = look.named(NEGATIVES)
    options = {k: v for k, v in {"query": query, "positive": positive}.items() if k != v}
    if negatives:
        options["negatives"] = negatives
    return Shape(options, f"columns {query} and {positive}")


def _items(source: Source, user: str, item: str) -> dict[str, Any]:
    """The table of items that lies beside interactions, and its columns of texts.

    Raises:
        UserError: there is none.
    """
    folder = source.path.parent
    for path in sorted(p for p in folder.iterdir() if files.suffix(p) in files.SUFFIXES):
        with contextlib.suppress(UserError, OSError), collected():
            first = next(files.read(path, source.encoding), {})
            texts = [c for c in first if c.lower() in TITLES and isinstance(first[c], str)]
            if path != source.path and item in first and user not in first and texts:
                return {"items": str(path), "text": texts[0] if len(texts) == 1 else texts}
    raise UserError(
        f"{source.name} holds users, items and times: put a table of items beside it, with the"
        f" column {item} and a title or text of each ({', '.join(TITLES)})"
    )


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read, or an item is not in the table of items.
    """
    if "user" in options:
        return _of_interactions(source, options)
    query, positive = options.get("query", "query"), options.get("positive", "positive")
    rows = list(catalogue.read_pairs(source, query, positive, options.get("negatives"), ""))
    pairs = sum(len(row["positives"]) for row in rows)
    notes = [f"{pairs:,} pairs of a query and what it seeks"] if pairs != len(rows) else []
    return Content(len(rows), "queries", notes=notes)


def _of_interactions(source: Source, options: Options) -> Content:
    columns = interactions.Columns(options["user"], options["item"], options["time"])
    histories = interactions.read(source, columns, source.digest())
    text = options["text"]
    table = Source(options["items"], "train", source.encoding, option="data.items")
    items = catalogue.read_items(table, columns.item, (text,) if isinstance(text, str) else text)
    numbers = {key: i for i, key in enumerate(items.ids)}
    count = 0
    for had in histories.users.values():
        count += len(had)
        for item, line in had:
            catalogue.number(numbers, item, f"{source.name}:{line}", options["items"])
    held_out = _most_held_out(histories, source.name)
    notes = [f"{len(histories.users):,} users, {len(items.ids):,} items"]
    return Content(
        rows=count,
        unit="interactions",
        options={} if held_out == HELD_OUT else {"held_out": held_out},
        notes=notes + interactions.survey(histories, held_out),
        splits=("validation", "test"),
    )


def _most_held_out(histories: interactions.Histories, name: str) -> int:
    """The most items to hold out of each user, up to the default.

    Raises:
        UserError: users have too few.
    """
    for held_out in range(HELD_OUT, 0, -1):
        try:
            for split in ("train", "validation", "test"):
                interactions.check_lengths(histories, name, split, held_out)
        except UserError:
            if held_out == 1:
                raise
        else:
            return held_out
    raise AssertionError
