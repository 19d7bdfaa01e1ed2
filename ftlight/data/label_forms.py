"""How a column writes its labels: as a word, a|b, a list, joined by a comma, as 0 and 1."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from ftlight.data import numerals
from ftlight.utils.errors import UserError, join_limited

SEPARATOR = "|"
JOINS = (",", ";")  # taken for separators if the labels show it
OTHER_JOINS = ("/", "+", "&", " ")  # only pointed out: words hold them too
BRACKETS = {"[": "]", "(": ")", "{": "}"}
RECUR = 0.8  # share of the parts of joined labels that also stand elsewhere
BIT = re.compile(r"[01](?:\.0*)?|true|false", re.IGNORECASE)


class Form(NamedTuple):
    """How the cells of a label column are written.

    Attributes:
        name: ``word`` for a single label or number, ``joined`` for several, ``list`` for text
            that looks like a list, ``vector`` for a 0 or 1 for each label.
        separator: what joins them.
        labels: labels of a vector.
        decimal: the decimal sign of numbers, if it is not a point.
        thousands: what stands between their thousands.
        whole: whether decimals of whole numbers are dropped.
    """

    name: Literal["word", "joined", "list", "vector"] = "word"
    separator: str = SEPARATOR
    labels: Sequence[str] = ()
    decimal: str = "."
    thousands: str = ""
    whole: bool = False

    def members(self, cell: str) -> list[str]:
        """The labels in a cell that holds several.

        >>> Form("list").members("['joy', 'fear']"), Form("joined", ",").members("a, b")
        (['joy', 'fear'], ['a', 'b'])
        >>> Form("vector", labels=["joy", "fear"]).members("[0 1]")
        ['fear']
        """
        if self.name == "vector":
            marks = _marks(cell)
            if marks is None or len(marks) != len(self.labels):
                return [cell]  # an unknown label, whose error names the line
            return [label for label, mark in zip(self.labels, marks, strict=True) if mark]
        listed = read_list(cell) if self.name == "list" else None
        if listed is not None:
            return listed
        return [part.strip() for part in cell.split(self.separator) if part.strip()]

    def text(self, cell: str) -> str:
        """A cell as this package writes it: several labels as ``a|b|``, numbers as in Python."""
        if not cell or self.name == "word":
            return self._word(cell)
        if self.name == "joined" and self.separator == SEPARATOR and not self.whole:
            return cell
        members = dict.fromkeys(self._word(member) for member in self.members(cell))
        return "".join(f"{member}{SEPARATOR}" for member in members) or SEPARATOR

    def _word(self, value: str) -> str:
        if self.whole:
            return numerals.whole(value)
        if self.thousands or self.decimal != ".":
            return numerals.Notation(self.decimal, self.thousands).plain(value)
        return value


def read_list(cell: str) -> list[str] | None:
    """The members of text that looks like a list, as Python, JSON or numpy write it.

    >>> read_list('["a", "b, c"]'), read_list("['a' 'b']"), read_list("[joy, fear]"), read_list("a")
    (['a', 'b, c'], ['a', 'b'], ['joy', 'fear'], None)
    """
    cell = cell.strip()
    if len(cell) < 2 or BRACKETS.get(cell[0]) != cell[-1]:
        return None
    inside = cell[1:-1].strip()
    quoted = re.findall(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", inside)
    if quoted and not re.sub(r"[\s,]", "", _without(inside, quoted)):
        return [_unquoted(word) for word in quoted]
    if inside and cell[0] != "[":  # words in other brackets are words
        return None
    parts = inside.split(",") if "," in inside else inside.split()
    return [part.strip() for part in parts if part.strip()]


def _without(text: str, parts: Sequence[str]) -> str:
    for part in parts:
        text = text.replace(part, "", 1)
    return text


def _unquoted(word: str) -> str:
    try:
        return str(ast.literal_eval(word)).strip()
    except (ValueError, SyntaxError):
        return word[1:-1].strip()


def _marks(cell: str) -> list[bool] | None:
    """The 0 and 1 in a cell; None if it holds anything else, or fewer than two."""
    words = [word for word in re.split(r"[\s,;|]+", cell.strip().strip("[](){}")) if word]
    if len(words) < 2 or not all(BIT.fullmatch(word) for word in words):
        return None
    return [word[0] in "1tT" for word in words]


def find(counts: Mapping[str, int], separator: str | None, several: bool, place: str) -> Form:
    """How a column writes its labels, by all that it holds.

    Args:
        counts: cell to rows, without empty cells.
        separator: what joins labels, if that is given.
        several: whether rows are known to have several labels.
        place: file and column, for errors.

    Raises:
        UserError: a row holds several numbers.
    """
    cells = list(counts)
    width = _vector_width(cells)
    if width:
        return Form("vector", labels=[f"class_{i}" for i in range(width)])
    lists = [read_list(cell) for cell in cells]
    read = [members for members in lists if members is not None]
    if read and len(read) * 2 > len(cells):
        _refuse_numbers(read, cells, place)
        return Form("list", separator or SEPARATOR)
    if separator is not None:
        return Form("joined", separator)
    if any(SEPARATOR in cell for cell in cells):
        _refuse_numbers([cell.split(SEPARATOR) for cell in cells], cells, place)
        return Form("joined")
    for join in JOINS:
        there = any(join in cell for cell in cells)
        if there and (several or are_joined(cells, join)):
            return Form("joined", join)
    return Form("joined") if several else Form()


def _vector_width(cells: Collection[str]) -> int:
    """Labels of a column in which every row has a 0 or 1 for each; 0 if it is no such column."""
    marks = [_marks(cell) for cell in cells]
    widths = {len(m) if m else 0 for m in marks}
    if len(widths) != 1:
        return 0
    width = widths.pop()
    # "0,1" could be a number with a decimal comma
    bare = any("," in cell and cell.strip()[:1] not in BRACKETS for cell in cells)
    return 0 if width == 2 and bare else width


def _refuse_numbers(rows: Sequence[list[str]], cells: Sequence[str], place: str) -> None:
    """Refuses lists of equal length whose members are numbers with fractions.

    Raises:
        UserError: they are.
    """
    members = [[part.strip() for part in row if part.strip()] for row in rows]
    values = [value for row in members for value in row]
    same = {len(row) for row in members}
    fractions = any(numerals.whole(v) == v and not v.lstrip("+-").isdigit() for v in values)
    if len(same) == 1 and min(same) > 1 and fractions and all(map(numerals.is_number, values)):
        raise UserError(
            f"{place}: rows hold several numbers, such as {cells[0]!r}; a model learns one number:"
            " make a column of each, and name one as data.label"
        )


def are_joined(cells: Collection[str], join: str) -> bool:
    """Whether labels are several joined by a sign: their parts stand elsewhere, too.

    >>> are_joined(["joy", "joy,fear", "fear,anger", "anger"], ",")
    True
    >>> are_joined(["Books, new", "Books, used", "Paris, France"], ",")
    False
    """
    uses = Counter[str]()
    there = set[str]()
    for cell in cells:
        parts = {part.strip() for part in cell.split(join) if part.strip()}
        uses.update(parts)
        if join in cell:
            there |= parts
    again = sum(uses[part] > 1 for part in there)
    return len(uses) < len(cells) and again >= RECUR * max(len(there), 1)


def named(form: Form, names: Sequence[str] | None, column: str) -> Form:
    """A form in which a vector has the names that were given.

    Raises:
        UserError: they are more or fewer than a row has.
    """
    if form.name != "vector" or names is None:
        return form
    if len(names) != len(form.labels):
        raise UserError(
            f"data.labels: {len(names)} names, but {column} holds 0 or 1 for each of"
            f" {len(form.labels)}"
        )
    return form._replace(labels=names)


def hints(cells: Collection[str], column: str) -> list[str]:
    """A line if single labels may be several: which sign joins them, and what to set."""
    for join in (*JOINS, *OTHER_JOINS):
        with_it = sorted(cell for cell in cells if join in cell.strip())
        if not with_it or not (join in JOINS or are_joined(cells, join)):
            continue
        shown = join_limited(map(repr, with_it), 2)
        return [
            f"{column}: labels such as {shown} are a class each;"
            f" if they are several, set data.label_separator: {join!r}"
        ]
    lists = sorted(cell for cell in cells if read_list(cell) is not None and cell[0] == "[")
    if lists:
        return [
            f"{column}: labels such as {join_limited(map(repr, lists), 2)} look like lists, but"
            " most are none; each is a class (data.kind: multi reads lists)"
        ]
    return []


def describe(form: Form, cells: Collection[str]) -> str:
    """What a form does that a person should know, with an example; empty for plain ones."""
    example = max(cells, key=len, default="")
    if form.name == "list":
        return f"lists such as {example!r}"
    if form.name == "vector":
        return (
            f"0 or 1 for each of {len(form.labels)} labels ({join_limited(form.labels, 4)});"
            " data.labels names them"
        )
    if form.name == "joined" and form.separator != SEPARATOR:
        return f"labels joined by {form.separator!r} such as {example!r} (data.label_separator)"
    if form.decimal != "." or form.thousands:
        odd = next(cell for cell in cells if not numerals.is_number(cell))
        value = numerals.Notation(form.decimal, form.thousands).plain(odd)
        return f"numbers such as {odd!r} are read as {value}"
    if form.whole:
        odd = next((c for c in cells if numerals.whole(c) != c), "")
        return f"{odd} is class {numerals.whole(odd)}; numbers need data.kind: regression"
    return ""
