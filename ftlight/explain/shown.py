"""Explanations on the screen: words shaded by their weight, or in brackets without colours."""

from __future__ import annotations

from rich.text import Text

from ftlight.explain.explanation import Check, Explanation, Picture, Side
from ftlight.utils.format import number
from ftlight.utils.printable import printable

STRONG, WEAK = 0.5, 0.15  # shares of the heaviest weight
STYLES = {2: "black on bright_yellow", 1: "black on yellow", -1: "white on blue"}
BRACKETS = {2: ("[[", "]]"), 1: ("[", "]"), -1: ("(", ")")}
AROUND = 60  # characters that are shown on both sides of such a word in a long text
LONG = 600  # characters of a text that is shown in parts


def level(weight: float, heaviest: float) -> int:
    """How much a weight counts: 2 much, 1 some, 0 hardly, -1 against the answer."""
    share = weight / heaviest if heaviest > 0 else 0.0
    if share >= STRONG:
        return 2
    if share >= WEAK:
        return 1
    return -1 if share <= -WEAK else 0


def heaviest(why: Explanation) -> float:
    """The largest weight of a word or a part of a picture, of either sign."""
    words = [abs(word.weight) for side in why.sides for word in side.words]
    cells = [abs(cell.weight) for cell in why.picture.cells] if why.picture else []
    return max([*words, *cells], default=0.0)


def text_of(side: Side, most: float, in_colour: bool) -> Text:
    """A text with its words shaded.

    Args:
        side: the text.
        most: the heaviest weight of the explanation.
        in_colour: whether there are colours; else words are put into brackets.
    """
    marked = [(word, level(word.weight, most)) for word in side.words]
    marked = [(word, degree) for word, degree in marked if degree]
    whole, last = Text(), 0
    for word, degree in marked:
        whole.append(_gap(side.text, last, word.start, len(side.text) > LONG))
        before, after = ("", "") if in_colour else BRACKETS[degree]
        shown = one_line(side.text[word.start : word.end])
        whole.append(f"{before}{shown}{after}", STYLES[degree] if in_colour else "")
        last = word.end
    whole.append(_gap(side.text, last, len(side.text), len(side.text) > LONG))
    return whole


def _gap(text: str, start: int, end: int, is_long: bool) -> str:
    """What stands between two words; of a long text only what is near to them."""
    if not is_long or end - start <= 2 * AROUND:
        return one_line(text[start:end])
    before = "" if start == 0 else text[start : start + AROUND]
    after = "" if end == len(text) else text[end - AROUND : end]
    return one_line(f"{before} … {after}")


def one_line(text: str) -> str:
    """A text whose control characters are blanks."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def check_line(check: Check, unit: str, what: str) -> str:
    """What the check of an explanation found, in words.

    Args:
        check: the check.
        unit: what the score is: p, cosine or value.
        what: what was removed: words or parts.

    >>> check_line(Check(2, 10, 0.61, 0.22), "p", "words")
    'removing the top 20 % of the words lowers p by 0.61; at random by 0.22'
    """
    name = "the value" if unit == "value" else unit
    share = f"the top {check.removed / check.of:.0%}".replace("%", " %")
    falls = f"{number(check.fall)}; at random by {number(check.by_chance)}"
    return f"removing {share} of the {what} lowers {name} by {falls}"


def average(held: int, rows: int, fall: float, by_chance: float, unit: str) -> str:
    """Whether the weights of many rows are to be trusted, in words.

    >>> average(48, 50, 0.6, 0.2, "p")
    'removing the top 20 % lowers p by 0.6 on average, at random by 0.2; better in 48 of 50'
    """
    name = "the value" if unit == "value" else unit
    means = f"{number(fall)} on average, at random by {number(by_chance)}"
    return f"removing the top 20 % lowers {name} by {means}; better in {held:,} of {rows:,}"


def lines(why: Explanation, in_colour: bool) -> list[Text]:
    """An explanation as lines."""
    most = heaviest(why)
    sides = [text_of(side, most, in_colour) for side in why.sides]
    head = Text(f"{one_line(why.answer)}  {why.unit} {number(why.score)}", "bold")
    found = [head]
    for side, shown in zip(why.sides, sides, strict=True):
        name = f"{side.name}: " if len(sides) > 1 else ""
        found.append(Text(f"  {name}").append_text(shown))
    if why.picture is not None:
        found.append(Text(f"  {_places(why.picture, most)}"))
    what = "words" if why.picture is None else "parts"
    if why.check is None:
        found.append(Text(f"  too few {what} to weigh"))
    else:
        found.append(Text(f"  {check_line(why.check, why.unit, what)}"))
        if not why.check.holds:
            found.append(Text(f"  these {what} explain no better than any", "bold"))
    for near in why.neighbours:
        label = f", {near.label}" if near.label else ""
        place = one_line(f"{near.likeness:.2f}{label}, {near.place}: {near.text[:100]}")
        found.append(Text(f"  like  {place}"))
    return found


def _places(picture: Picture, most: float) -> str:
    """Where in a picture the parts are that decide, in words."""
    strong = [cell for cell in picture.cells if level(cell.weight, most) == 2]
    names = dict.fromkeys(_place((c.top + c.bottom) / 2, (c.left + c.right) / 2) for c in strong)
    return f"decided by: {', '.join(names) or 'no part alone'}"


def _place(down: float, right: float) -> str:
    """A place of a picture in words.

    >>> _place(0.1, 0.5), _place(0.5, 0.5), _place(0.9, 0.9)
    ('top', 'middle', 'bottom right')
    """
    rows, columns = ("top", "", "bottom"), ("left", "", "right")
    name = f"{rows[min(2, int(down * 3))]} {columns[min(2, int(right * 3))]}".strip()
    return name or "middle"
