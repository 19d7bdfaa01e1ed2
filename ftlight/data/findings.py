"""What an audit of the data found: one finding for each fault, with its rows and the way out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ftlight.run import records
from ftlight.utils.errors import UserError
from ftlight.utils.json_file import Shape, is_there, misfit, parse
from ftlight.utils.paths import places

Level = Literal["stop", "look", "know"]
LEVELS: tuple[Level, ...] = ("stop", "look", "know")
SHOWN = 3  # lines named in a message
SHAPE: Shape = {
    **dict.fromkeys(("kind", "split", "message", "example", "option"), str),
    "level": set(LEVELS),
    "rows": int,
    "lines": list,
}


class Rows(NamedTuple):
    """The rows of a split, as an audit sees them.

    Attributes:
        places: where each row was read: a line of the file, or the name of an image.
        file: file of the split, if it has one of its own.
        parts: texts of each row's input, one sequence ``[rows]`` a part; None if it has no text.
        keys: key of each row's input, empty for a row without one; None if inputs have none.
        answers: value of each row on which rows with the same input should agree, if any.
        labels: classes of each row; None if it has none.
        values: number of each row, if that is what is learned.
        groups: values of each row in the columns that name groups, by column.
    """

    places: Sequence[Any]
    file: str | None = None
    parts: Sequence[Sequence[str]] | None = None
    keys: Sequence[str] | None = None
    answers: Sequence[Any] | None = None
    labels: Sequence[Sequence[str]] | None = None
    values: Sequence[float] | None = None
    groups: Mapping[str, Sequence[str]] = {}

    def lines(self, rows: Iterable[int]) -> list[Any]:
        """Places of rows."""
        return [self.places[row] for row in rows]


class Finding(NamedTuple):
    """A fault of the data, or a fact that one should know.

    Attributes:
        level: stop if scores would mean nothing, look if something should be decided, else know.
        kind: what it is, in a word.
        split: the split that it is about, if it is about one.
        message: what it is, in a sentence without the split.
        rows: number of rows that it is about.
        lines: their places, as far as they are known.
        example: one of them in words.
        option: what mends it.
    """

    level: Level
    kind: str
    split: str
    message: str
    rows: int
    lines: Sequence[Any] = ()
    example: str = ""
    option: str = ""

    @property
    def line(self) -> str:
        """The finding in a line.

        >>> Finding("look", "empty", "train", "2 of 9 rows have no text", 2, [3, 8]).line
        'train: 2 of 9 rows have no text (lines 3, 8)'
        """
        where = self.example and f"for example {self.example}"
        if self.lines and not where:
            where = places(self.lines, SHOWN)
        split = f"{self.split}: " if self.split else ""
        what = f"{split}{self.message}" + (f" ({where})" if where else "")
        return f"{what}; {self.option}" if self.option else what


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by level, those of a level as they came."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def notes(findings: Iterable[Finding], level: Level = "look") -> list[str]:
    """Lines of the findings of a level; what mends several stands with the first."""
    lines, told = [], set[str]()
    for finding in findings:
        if finding.level == level:
            is_told = finding.option in told
            lines.append((finding._replace(option="") if is_told else finding).line)
            told.add(finding.option)
    return lines


def remarks(lines: Iterable[str], findings: Sequence[Finding]) -> list[Finding]:
    """What readers remarked, as findings; lines of the findings themselves are left out.

    Args:
        lines: notes about the data.
        findings: what an audit found.
    """
    told = set(notes(findings))
    return [Finding("know", "read", "", line, 0) for line in lines if line not in told]


def to_json(finding: Finding) -> str:
    """A finding as a line of JSON."""
    return json.dumps(finding._asdict(), ensure_ascii=False)


def write(path: Path, findings: Iterable[Finding]) -> None:
    """Writes findings as JSON lines."""
    lines = [f"{to_json(finding)}\n" for finding in findings]
    path.write_text("".join(lines), encoding="utf-8")


def read(path: Path) -> list[Finding]:
    """Reads the findings of a run; none without the file.

    Raises:
        UserError: the file is damaged.
    """
    if not is_there(path):
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = parse(line)
            if wrong := misfit(value, SHAPE):
                raise ValueError(wrong)
            found.append(Finding(**{key: value[key] for key in Finding._fields if key in value}))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}:{number}: {error}; {records.WAY}") from None
    return found


def from_json(line: str) -> Finding:
    """The finding in a line of JSON."""
    return Finding(**json.loads(line))


def count_of(part: int, rows: int) -> str:
    """How many of the rows, in words.

    >>> count_of(1200, 3000)
    '1,200 of 3,000 rows'
    """
    return f"{part:,} of {rows:,} rows"
