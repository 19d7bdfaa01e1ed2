"""Tags that are written in another way than B-LOC."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftlight.tasks.token_classification.tags import LETTERS

_LETTER = f"[{''.join(LETTERS)}{''.join(LETTERS).lower()}]"
_BEFORE = re.compile(rf"({_LETTER})[-_:./| ](.+)", re.DOTALL)
_BEHIND = re.compile(rf"(.+)[-_:./| ]({_LETTER})", re.DOTALL)
_OUTSIDE = ("O", "o", "")


def standard(tags: Iterable[str]) -> dict[str, str]:
    """How each tag of a file would be in the form B-LOC, if all have another form in common.

    That is a letter before the type with another separator, a letter behind the type, or letters in
    lower case. A file whose types only look alike (``E_MAIL`` beside ``PER``) is left as it is:
    every tag must have the form, and the letters must be those of a scheme.

    Args:
        tags: all tags of a file, at least once.

    Returns:
        Tag to tag, of those that change.

    >>> standard(["O", "B_LOC", "I_LOC"])
    {'B_LOC': 'B-LOC', 'I_LOC': 'I-LOC'}
    >>> standard(["LOC-B", "LOC-I", "o"])
    {'LOC-B': 'B-LOC', 'LOC-I': 'I-LOC', 'o': 'O'}
    >>> standard(["B-LOC", "O"]), standard(["E_MAIL", "PER"])
    ({}, {})
    """
    distinct = list(dict.fromkeys(tag for tag in tags if tag))
    inside = [tag for tag in distinct if tag not in _OUTSIDE]
    for pattern, letter, kind in ((_BEFORE, 1, 2), (_BEHIND, 2, 1)):
        found = [pattern.fullmatch(tag) for tag in inside]
        matches = [match for match in found if match is not None]
        if not inside or len(matches) < len(inside):
            continue
        letters = [match[letter] for match in matches]
        # a type may end in -I, as a Roman number, but hardly do all and none in another letter
        if _is_scheme(letters) and (pattern is _BEFORE or set(letters) - {"I", "i"}):
            pairs = {m.string: f"{m[letter].upper()}-{m[kind]}" for m in matches}
            pairs |= {tag: "O" for tag in distinct if tag in _OUTSIDE}  # behind, as no example
            return {tag: new for tag, new in pairs.items() if tag != new}
    return {}


def _is_scheme(letters: Sequence[str]) -> bool:
    """Whether letters can be those of a scheme, in one case: with a B, or I alone."""
    upper = {letter.upper() for letter in letters}
    return ("B" in upper or upper == {"I"}) and len({c.isupper() for c in letters}) == 1
