"""What a person should know of how entities were read."""

from __future__ import annotations

from collections.abc import Sequence

import datasets

from ftlight.tasks.token_classification import tags as spans
from ftlight.utils.errors import UserError


def of_rows(
    table: datasets.Dataset, gold: Sequence[list[spans.Span]], split: str, place: str
) -> list[str]:
    """Says how tags were read, and which spans are not as the file has them.

    Args:
        table: rows as read.
        gold: entities of each row, in words.
        split: name of the split.
        place: its file.

    Raises:
        UserError: tags with and without a letter are mixed.
    """
    tags = [row for row in table["__tags"] if row]
    notes = _of_scheme(tags, split, place) if tags else []
    moved, lost = sum(table["__moved"][:]), sum(table["__lost"][:])
    over = sum(len(row) - len(spans.apart(row)) for row in gold)
    counts = {
        "entities begin or end inside a word and take the whole word": moved,
        "entities touch no word and are left out": lost,
        "entities overlap longer ones: they are not trained on, but count as missed in the"
        " metrics": over,
    }
    return notes + [f"{split}: {count} {what}" for what, count in counts.items() if count]


def _of_scheme(tags: list[list[str]], split: str, place: str) -> list[str]:
    scheme = spans.scheme(tags)
    if scheme == "plain":
        lettered = [t for row in tags for t in row if t != "O" and spans.is_tag(t)]
        if lettered:
            raise UserError(
                f"{place}: tags with and without a letter are mixed"
                f" (for example {lettered[0]}); write all as B-TYPE, I-TYPE"
            )
    odd = sum(spans.write(spans.find(row), len(row), scheme) != row for row in tags)
    if not odd and split != "train":
        return []
    note = f"{split}: tags are {'types without letters' if scheme == 'plain' else scheme}"
    if odd:
        note += (
            f", {odd} of {len(tags)} rows not quite: an I- that follows nothing starts an entity"
        )
    return [note + ("" if scheme == "IOB2" else "; trained on as IOB2")]


def of_windows(counts: Sequence[int], max_length: int, stride: int, split: str) -> list[str]:
    """Says how many rows are read in several windows.

    Args:
        counts: windows of each row.
        max_length: most tokens of a window.
        stride: tokens that two windows share.
        split: name of the split.
    """
    long = sum(count > 1 for count in counts)
    if not long:
        return []
    return [
        f"{split}: {long} of {len(counts)} rows are longer than {max_length}"
        f" tokens and read in windows that share {stride}"
        f" (at most {max(counts)} of a row); nothing is cut"
    ]
