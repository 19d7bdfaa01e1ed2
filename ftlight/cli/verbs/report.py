"""``report``: one page that shows a run to others, or several side by side."""

from __future__ import annotations

from pathlib import Path

from ftlight.cli import reporting
from ftlight.cli.command import Words
from ftlight.evidence import comparing
from ftlight.report import page, tuned
from ftlight.run import outputs
from ftlight.run.folder import short
from ftlight.utils.errors import UserError
from ftlight.utils.printable import say


def run(words: Words) -> str:
    """Makes the page. Returns where it is.

    Raises:
        UserError: there is no run, or the page cannot be written there.
    """
    if not words.alone:
        raise UserError("report needs a run: python -m ftlight report RUN")
    if len(words.alone) == 1 and (tune := _tune(words.alone[0])) is not None:
        out = outputs.named(words.own["out"]) if "out" in words.own else tune / page.NAME
        outputs.check(out)
        page.check(out)
        page.write(out, page.of_tune(tune))
        return f"{short(out)}: {out.stat().st_size / 1000:,.0f} kB"
    runs = [folder for path in words.alone for folder in comparing.runs_of(path)]
    rows = int(words.own.get("rows", page.SHOWN))
    out = _out(words, runs)
    outputs.check(out)
    page.check(out)
    if words.own.get("follow") == "true":
        say(f"follows {short(runs[0])}: open {short(out)}")
        reporting.follow(runs, out, rows)
    else:
        reporting.make(runs, out, rows, trust=words.own.get("trust") == "true")
    return f"{short(out)}: {out.stat().st_size / 1000:,.0f} kB"


def _tune(path: str) -> Path | None:
    """The folder of a tune; None if it is none."""
    folder = Path(path).expanduser()
    return folder if (folder / tuned.FILE).is_file() else None


def _out(words: Words, runs: list[Path]) -> Path:
    """The file to write: in the run, or of several in the working folder."""
    if "out" in words.own:
        return outputs.named(words.own["out"])
    return (outputs.home(runs[0]) if len(runs) == 1 else Path.cwd()) / page.NAME
