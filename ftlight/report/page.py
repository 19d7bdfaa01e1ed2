"""A page about one run or several: one HTML file without scripts, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ftlight.data.findings import Finding
from ftlight.explain.explanation import Explained
from ftlight.report import about, beside, curves, rows, scores, sureness, tuned, verdicts
from ftlight.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from ftlight.report.clean import cut, printed
from ftlight.report.reading import Files, read
from ftlight.report.shades import shaded
from ftlight.run.provenance import version
from ftlight.utils import look
from ftlight.utils.atomic import atomic_write, writing
from ftlight.utils.errors import UserError

NAME = "report.html"
REFRESH = 5  # seconds after which a page about a running run is read again
MARK = b'<meta name="generator" content="ftlight'
SHOWN = 20  # rows to look at, unless told
PLOT = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP}


def of_runs(
    folders: Sequence[Path],
    most: int = SHOWN,
    explained: Sequence[Explained] = (),
    follows: bool = False,
    texts: bool = True,
) -> str:
    """The page about runs, as HTML.

    Args:
        folders: folder of each run; the others are compared with the first.
        most: rows to look at.
        explained: why the first run says what it says of the rows that :func:`rows.choose` gives.
        follows: whether the page reads itself again while a run trains.
        texts: whether findings say what the data hold; else only what they are and of which rows.

    Raises:
        UserError: a file of a run is damaged.
    """
    found = [read(folder) for folder in folders]
    if not texts:
        found = [run._replace(findings=[bare(f) for f in run.findings]) for run in found]
    refresh = REFRESH if follows and any(run.is_running for run in found) else 0
    if len(found) > 1:
        names = beside.named(found)
        runs = [
            section(run, 0, ()) | {"label": name} for run, name in zip(found, names, strict=True)
        ]
        title = f"{len(found)} runs side by side"
        return _render("beside.html", title, refresh, beside=beside.beside(found), runs=runs)
    return _render("run.html", found[0].name, refresh, **section(found[0], most, explained))


def bare(finding: Finding) -> Finding:
    """A finding without what it quotes of the data."""
    return finding._replace(message=finding.kind, example="")


def section(run: Files, most: int, explained: Sequence[Explained]) -> dict[str, Any]:
    """What a template shows of a run, by name."""
    levels = ("stop", "look", "know")
    said, models = verdicts.sentences(run), verdicts.baselines(run)
    if models is not None:
        lines = [line for line in models.verdict if line not in said]
        models = models._replace(verdict=lines)
    return {
        "name": run.name,
        "headline": verdicts.headline(run),
        "kind": run.verdict.get("kind", ""),
        "sentences": said,
        "ladder": verdicts.ladder(run),
        "baselines": models,
        "steps": verdicts.following(run),
        "findings": [[f for f in run.findings if f.level == level] for level in levels],
        "curves": curves.curves(run),
        "metrics": scores.metrics(run),
        "classes": scores.classes(run),
        "groups": scores.groups(run),
        "swaps": scores.swaps(run),
        "calibration": sureness.calibration(run),
        "rows": rows.rows(run, most, explained),
        "texts": rows.texts(run) if most else [],
        "cost": about.cost(run),
        "about": about.about(run),
    }


def of_tune(folder: Path) -> str:
    """The page about a tune, as HTML.

    Raises:
        UserError: its tune.json is damaged.
    """
    name = folder.resolve().name
    return _render("tune.html", name, 0, **tuned.section(tuned.load(folder), name))


def of_explanations(explained: Sequence[Explained], title: str, notes: Sequence[str] = ()) -> str:
    """A page of explanations alone, as HTML.

    Args:
        explained: the rows with what explains them.
        title: what the page is of.
        notes: lines above them, such as what decides over all rows.
    """
    items = [(found.number, [shaded(why) for why in found.why]) for found in explained]
    return _render("explained.html", title, 0, items=items, notes=notes)


def _render(template: str, title: str, refresh: int, **values: Any) -> str:
    env = _environment()
    css = look.css(Path(__file__).with_name("templates") / "page.css")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    made = env.get_template(template).render(
        title=title,
        refresh=refresh,
        css=Markup(css),
        digest=Markup(digest),
        version=version("ftlight"),
        **values,
    )
    return made.encode("utf-8", "replace").decode("utf-8")


def _environment() -> Environment:
    """The templates: each value is cleaned and escaped, a name that is not given is an error."""
    env = Environment(
        loader=PackageLoader("ftlight.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printed,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["cut"] = cut
    env.globals["plot"] = {**PLOT, "bottom": BOTTOM}
    return env


def check(path: Path) -> None:
    """Refuses to write over a file that is no page of ours.

    Raises:
        UserError: it is none.
    """
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if MARK not in file.read(4096):
                raise UserError(f"--out {path} is there, and is no page of ftlight; give another")


def write(path: Path, html: str) -> None:
    """Writes a page.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path), atomic_write(path) as file:
        file.write(html.encode("utf-8"))
