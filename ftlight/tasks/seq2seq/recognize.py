"""Whether a file holds texts to write from others, as ``init`` asks."""

from __future__ import annotations

from collections.abc import Mapping

from ftlight.data.numerals import is_number
from ftlight.data.recognition import Content, Look, Options, Shape
from ftlight.data.sources import Source
from ftlight.tasks.seq2seq.readers import read_pairs
from ftlight.utils.errors import join_limited

SOURCES = (
    *("source", "src", "document", "dialogue", "dialog", "article", "input", "mr"),
    *("original", "content", "body", "text"),
)
TARGETS = (
    *("target", "tgt", "summary", "highlights", "abstract", "headline", "translation"),
    *("output", "ref", "reference", "simplified", "paraphrase", "correction"),
)
SEVERAL = ("targets", "summaries", "references", "refs", "translations")


def recognize(look: Look) -> Shape | None:
    """A text and one that is written from it: few different targets, or numbers, are labels."""
    pair = _nested(look)
    if pair is not None:
        return Shape(dict(zip(("source", "target"), pair, strict=True)), f"nested {pair[0]}")
    source, target = look.named(SOURCES), look.named((*TARGETS, *SEVERAL))
    if look.asked and not (source and target):
        texts = look.texts()
        source = source or next((c for c in texts if c != target), "source")
        target = target or next((c for c in texts if c != source), "target")
    elif not (source and target and _are_texts(look, target)):
        return None
    names = {"source": source, "target": target}
    return Shape(names, f"columns {join_limited([source, target])}")


def _are_texts(look: Look, column: str) -> bool:
    """Whether most values of a column differ, and are no numbers."""
    values = [str(value) for value in look.values(column)]
    return len(set(values)) * 2 > len(look.rows) and not all(map(is_number, values))


def _nested(look: Look) -> tuple[str, str] | None:
    """The dotted columns of the first two texts in an object, such as translation.en."""
    for column, value in look.first.items():
        if isinstance(value, Mapping) and len(look.first) <= 2:
            texts = [key for key, text in value.items() if isinstance(text, str)]
            if len(texts) == 2:
                return f"{column}.{texts[0]}", f"{column}.{texts[1]}"
    return None


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read.
    """
    inputs, targets = options["source"], options["target"]
    columns = (targets,) if isinstance(targets, str) else tuple(targets)
    further = {}
    if train is not None:  # other files may name their references otherwise
        row = next(source.read([inputs], columns), {})
        there = {name.lower(): name for name in row}
        if not any(column in row for column in columns):
            more = [there[name] for name in (*TARGETS, *SEVERAL) if name in there]
            columns = (*columns, *more[:1])
            further = {"target": list(columns)} if more else {}
    rows = list(read_pairs(source, (inputs,), columns, ""))
    groups = [row["source"] for row in rows]
    return Content(len(rows), "pairs", groups=groups, options=further)
