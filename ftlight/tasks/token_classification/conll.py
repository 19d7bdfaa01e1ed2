"""CoNLL text: a word per line with its tag, blank lines between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ftlight.data import files
from ftlight.data.remarks import remark
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.layout import Layout
from ftlight.utils.errors import UserError

MULTIWORD = "lines of CoNLL-U hold several words or none (1-2, 1.1) and are left out"
SUFFIXES = (".conll", ".conllu", ".txt", ".bio", ".iob", ".iob2", ".bioes", ".tsv")
CONLLU = 10  # columns of CoNLL-U
FIRST = re.compile(r"1(-\d+)?|0\.1")  # the first number of a sentence of CoNLL-U
SEVERAL = re.compile(r"\d+[-.]\d+")


def sentences(
    lines: Iterable[tuple[int, str]], place: str, layout: Layout, tagged: bool = True
) -> Iterator[files.Row]:
    """Yields the sentences of CoNLL text: a word per line with its tag, blank lines between them.

    Columns are divided by tabs, in a line without one by spaces. Skips ``-DOCSTART-`` and comments:
    lines before a sentence that begin with ``#`` and have no tag (``# id 1``, but neither ``#`` nor
    ``#tag`` with a tag beside it). Of CoNLL-U, whose ten columns begin with the number of the word,
    the word is the second column, and lines of several words (``1-2``), which stand before those of
    each, and of empty nodes (``1.1``) are left out; a tag ``_`` is O.

    Args:
        lines: number and text of each line.
        place: file, for errors.
        layout: columns of word and tag, and the names of the lists.
        tagged: whether there must be tags.

    Yields:
        The list of words, of tags (if there must be any) and the line of the first word.

    Raises:
        UserError: a line has other columns than those before it, or lacks the word's or the tag's.
    """
    words: list[str] = []
    tags: list[str] = []
    token, tag = layout.token, layout.tag
    first = width = 0
    left_out = 0
    numbered = False

    def sentence() -> files.Row:
        row = {layout.tokens: words, files.LINE: first}
        return {**row, layout.tags[0]: tags} if tagged else row

    for number, line in lines:
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                yield sentence()
            words, tags = [], []
            continue
        fields = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if not words and _is_comment(line, fields, width, tag, tagged):
            continue
        _check_width(fields, width, f"{place}:{number}")
        if not width:
            numbered = FIRST.fullmatch(fields[0]) is not None
            token = 1 if numbered and len(fields) == CONLLU and token == 0 else token
            _check_columns(fields, token, tag, tagged, f"{place}:{number}")
        width = len(fields)
        if numbered and token % width != 0 and SEVERAL.fullmatch(fields[0]):
            left_out += 1
            continue
        first = first if words else number
        words.append(fields[token])
        if tagged:
            tags.append(_tag(fields, token, tag, numbered, f"{place}:{number}"))
    if words:
        yield sentence()
    if left_out:
        remark(f"{Path(place).name}: {left_out:,} {MULTIWORD}")


def is_words(path: Path, encoding: str) -> bool:
    """Whether a text file has a word in each line, alone or in columns, rather than running text.

    Columns without a tag are divided by tabs: by spaces they would look like text.
    """
    filled = [line for _, line in files.text_lines(path, encoding) if line.strip()]
    lines = [line for line in filled if not line.startswith(("#", "-DOCSTART-"))]
    words = [line.split() for line in lines]
    columns = all(len(w) == 1 or "\t" in line for w, line in zip(words, lines, strict=True))
    return columns or all(spans.is_tag(w[-1]) for w in words)


def _check_width(fields: Sequence[str], width: int, place: str) -> None:
    """Refuses a line with other columns than those before it, of which there may be none yet."""
    if width and len(fields) != width:
        raise UserError(
            f"{place}: {len(fields)} columns, the lines before have {width};"
            " columns are divided by tabs or spaces"
        )


def _tag(fields: Sequence[str], token: int, tag: int, numbered: bool, place: str) -> str:
    """The tag of a word; in CoNLL-U ``_`` is none."""
    found = fields[tag].strip()
    if not found:
        raise UserError(
            f"{place}: the word {fields[token]!r} has no tag; write O if it is in no entity"
        )
    if not numbered or len(fields) != CONLLU:
        return found
    if tag % CONLLU == CONLLU - 1 and "=" in found and not spans.is_tag(found):
        raise UserError(
            f"{place}: the last column of CoNLL-U holds {found}, which is no tag; set data.tag to"
            " the column of the tags (from 0; 3 for parts of speech)"
        )
    return "O" if found == "_" else found


def _is_comment(line: str, fields: Sequence[str], width: int, tag: int, tagged: bool) -> bool:
    """Whether a line before a sentence is a comment: it begins with ``#`` and has no tag."""
    if not line.startswith("#") or re.match(r"#\s*\S+\s*=", line):
        return line.startswith("#")
    if not tagged and (len(fields) == 1 or fields[0] != "#"):
        return False
    if width and len(fields) != width:
        return True
    column = fields[tag].strip() if -len(fields) <= tag < len(fields) else ""
    return not spans.is_tag(column) and (not width or any("=" in field for field in fields))


def _check_columns(fields: Sequence[str], token: int, tag: int, tagged: bool, place: str) -> None:
    for option, column in (("token", token), *([("tag", tag)] if tagged else [])):
        if not -len(fields) <= column < len(fields):
            raise UserError(
                f"{place}: no column {column}, the lines have {len(fields)};"
                f" set data.{option} (from 0, or -1 for the last)"
            )
    if tagged and token % len(fields) == tag % len(fields):
        raise UserError(
            f"{place}: the word and its tag are both column {token % len(fields)};"
            " set data.token and data.tag"
        )
