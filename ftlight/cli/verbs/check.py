"""``check``: audits the data of a config or run."""

from __future__ import annotations

from pathlib import Path

from ftlight.cli.command import Words
from ftlight.data import findings
from ftlight.data.findings import LEVELS
from ftlight.data.module import DataModule
from ftlight.run import console as screen
from ftlight.run import outputs
from ftlight.utils.atomic import writing
from ftlight.utils.errors import UserError, join_limited


class Unsound(UserError):
    """A finding for which no model should be trained on the data."""

    status = 1


def run(words: Words, data: DataModule) -> None:
    """Prints what an audit found, the gravest first, and writes it with all lines to a file.

    Raises:
        Unsound: a finding says stop.
        UserError: the file could not be written.
    """
    out = words.own.get("out")
    if out is not None:
        outputs.check(Path(out))
    data.check = "fast"
    found = data.audited.findings
    if out is not None:
        with writing(Path(out)):
            findings.write(Path(out), found)
    for level in LEVELS:
        screen.table(_rows(level, findings.notes(found, level)))
    stops = dict.fromkeys(finding.kind for finding in found if finding.level == "stop")
    if stops:
        raise Unsound(f"no model should be trained on these data: {join_limited(stops)}")
    data.setup("fit")  # reads labels and lengths: what is wrong with them is an error
    others = [note for note in data.notes if note not in findings.notes(found)]
    screen.table(_rows("read", others))


def _rows(word: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(word if i == 0 else "", line) for i, line in enumerate(lines)]
