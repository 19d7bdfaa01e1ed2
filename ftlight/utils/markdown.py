"""Texts of others made fit for Markdown: none of them is markup, HTML, a link or ends a cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftlight.utils import secrets
from ftlight.utils.errors import shortened
from ftlight.utils.printable import printable

MOST = 300  # characters of a text that are shown
_MARKUP = re.compile(
    r"[\\`*\[\]~$|]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it marks nothing
    r"|^[#+=-]|(?<=^\d)[.)](?= |$)|(?<=^\d\d)[.)](?= |$)"  # headings, lists
    r"|:(?=//)|(?<=www)\.",  # what becomes a link by itself
    re.IGNORECASE,
)
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def inline(text: str, most: int = MOST) -> str:
    r"""A text as one line that any Markdown shows as it is, and no HTML takes for a tag.

    What cannot be seen is shown as a sign, what is long is cut.

    Args:
        text: any text.
        most: characters that are kept, at least 1.

    >>> print(inline("<img onerror=x> a|b *c* card_type `d`\n# e\u202e"))
    &lt;img onerror=x&gt; a\|b \*c\* card_type \`d\` # e�
    """
    line = " ".join(printable(shortened(text, most)).split())
    return _MARKUP.sub(r"\\\g<0>", line).translate(_ENTITIES)


def told(value: object, most: int = MOST) -> str:
    """A value of others for Markdown, without the secrets in it.

    Args:
        value: any value.
        most: characters that are kept, at least 1.
    """
    return inline(str(secrets.redact(str(value))), most)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"|{'|'.join(line)}|" if i == 1 else _row(line) for i, line in enumerate(lines)
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
