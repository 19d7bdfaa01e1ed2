"""The pictures of the README: docs/schedule.svg and docs/screen.svg.

    python scripts/pictures.py schedule screen [options of fit]

The schedule comes from ftlight's own functions and is always the same. The screen is that of a real
run of configs/quickstart.yaml, in colour: its rows per second are those of the machine.

Both are plain SVG with fonts that are there, opaque, and follow a dark theme.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ftlight.freezing import rates, schedule, unfreeze
from ftlight.freezing.schedule import Stage
from ftlight.utils.format import rate

ROOT = Path(__file__).resolve().parents[1]
SHOWN, STEPS = "gradual", 1000
WIDTH_RATE, WARMUP = 1e-4, 0.1  # ftlight's own, of a backbone 384 wide
LOW, HIGH = 1e-6, 1e-2  # ends of the axis of rates
COLUMNS = 120  # of the screen
LEFT, TOP, WIDE, ROW, GAP = 104, 92, 640, 34, 6
STYLE = """
  text { font: 13px ui-sans-serif, system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 15px } .small { font-size: 11px; fill: #59636e }
  .page { fill: #ffffff; stroke: #d1d9e0 } .frozen { fill: #eceff2 } .trains { fill: #2f6fde }
  .line { stroke: #818b98; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 }
    .page { fill: #0d1117; stroke: #3d444d } .frozen { fill: #21262d } .trains { fill: #5c9dff }
    .line { stroke: #656c76 }
  }
"""


# The schedule


def sizes() -> dict[str, int]:
    """Parameters of each layer of all-MiniLM-L6-v2, bottom to top, with a head for 16 labels."""
    width, inner, vocabulary, places, layers, labels = 384, 1536, 30522, 512, 6, 16
    norm = 2 * width
    attention = 4 * (width * width + width) + norm
    feed_forward = width * inner + inner + inner * width + width + norm
    body = {f"layer {i}": attention + feed_forward for i in range(layers)}
    return {
        "embeddings": (vocabulary + places + 2) * width + norm,
        **body,
        "head": (width + 1) * labels,
    }


def stages(word: str, numel: dict[str, int]) -> tuple[list[Stage], list[set[str]]]:
    """The stages of a word that take steps, and the layers that train in each."""
    layers = {name: [name] for name in numel}  # a parameter for each layer
    parameters = unfreeze.Parameters(layers, numel, set(), set(numel))
    defaults = {"warmup": WARMUP, "lr_over": "run"}
    given = {"lr": WIDTH_RATE, "lr_given": False, "monitor": "val/f1"}
    plan, trained = unfreeze.resolve(word, parameters, defaults, **given, solves=True)
    stepped = [i for i, stage in enumerate(plan) if not stage.solved]
    return [plan[i] for i in stepped], [trained[i] for i in stepped]


def spans(plan: list[Stage]) -> list[tuple[int, int]]:
    """First step of each stage, and of what follows it."""
    first = schedule.starts([stage.length(STEPS, STEPS) for stage in plan], STEPS)
    return list(zip(first, [*first[1:], STEPS], strict=True))


def area(plan: list[Stage], number: int, trained: list[bool], depth: int, bottom: float) -> str:
    """A filled curve of a layer's rate in a stage, on an axis of powers of ten."""
    points = []
    starts = [begin for begin, _ in spans(plan)][: number + 1]
    begin, end = spans(plan)[number]
    for step in range(begin, end + 1, 2):
        now = min(step, end - 1)
        value = rates.lr_in_run(plan, starts, trained, depth, now, end - begin, STEPS)
        height = math.log10(max(value, LOW) / LOW) / math.log10(HIGH / LOW)
        points.append(f"{LEFT + WIDE * step / STEPS:.1f},{bottom - height * ROW:.1f}")
    left, right = LEFT + WIDE * begin / STEPS, LEFT + WIDE * end / STEPS
    around = [f"{left:.1f},{bottom}", *points, f"{right:.1f},{bottom}"]
    return f'<polygon class="trains" points="{" ".join(around)}"/>'


def words(x: float, y: float, said: str, anchor: str = "start", kind: str = "") -> str:
    """A line of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


def box(kind: str, x: float, y: float, width: float, height: float) -> str:
    """A filled rectangle."""
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"/>'


def heads(plan: list[Stage], bottom: int) -> Iterator[str]:
    """What trains in each stage and at which rate, over the picture, and a line between stages."""
    for stage, (begin, end) in zip(plan, spans(plan), strict=True):
        left, middle = (LEFT + WIDE * step / STEPS for step in (begin, (begin + end) / 2))
        yield words(middle, TOP - 28, stage.train[0], "middle")
        yield words(middle, TOP - 12, f"lr {rate(stage.lr)}", "middle", "small")
        if begin:
            ends = f'x1="{left:.1f}" y1="{TOP - 40}" x2="{left:.1f}" y2="{bottom}"'
            yield f'<line class="line" {ends}/>'


def axes(bottom: int) -> Iterator[str]:
    """Ends of the axis of rates, and shares of the run."""
    for value, y in ((HIGH, TOP + 8), (LOW, TOP + ROW)):
        yield words(LEFT + WIDE + 8, y, rate(value), kind="small")
    for share in range(0, 101, 25):
        yield words(LEFT + WIDE * share / 100, bottom + 14, f"{share} %", "middle", "small")


def legend(y: int) -> Iterator[str]:
    """What the colours mean."""
    yield box("trains", LEFT, y - 11, 14, 12)
    yield words(LEFT + 20, y, "trains; height is its rate, in powers of ten", kind="small")
    yield box("frozen", LEFT + 320, y - 11, 14, 12)
    said = "frozen: not trained, and not run again if that saves time"
    yield words(LEFT + 340, y, said, kind="small")


def draw_schedule() -> str:
    """The rate of each layer over a run, as SVG."""
    numel = sizes()
    plan, trained = stages(SHOWN, numel)
    bottom = TOP + len(numel) * (ROW + GAP)
    parts = [words(20, 32, f"unfreeze: {SHOWN}, once the head is solved", kind="title")]
    for row, name in enumerate(reversed(numel)):
        top = TOP + row * (ROW + GAP)
        parts.append(box("frozen", LEFT, top, WIDE, ROW))
        parts.append(words(LEFT - 10, top + ROW / 2 + 5, name, "end"))
        trains = [name in chosen for chosen in trained]
        numbers = [number for number, does in enumerate(trains) if does]
        parts += [area(plan, number, trains, row, top + ROW) for number in numbers]
    parts += [*heads(plan, bottom), *axes(bottom), *legend(bottom + 42)]
    return page(LEFT + WIDE + 56, bottom + 60, "Rate of each layer over a run", parts)


def page(width: int, height: int, title: str, parts: list[str]) -> str:
    """A whole SVG."""
    size = f'viewBox="0 0 {width} {height}" width="{width}"'
    edge = f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>'
    start = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">']
    return "\n".join(
        [*start, f"<title>{title}</title>", f"<style>{STYLE}</style>", edge, *parts, "</svg>", ""]
    )


# The screen


def lines_of_a_run(words: list[str]) -> str:
    """Runs a command in a folder that is removed again. Returns its screen, with colours."""
    from ftlight.__main__ import main
    from ftlight.run import console

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["FTLIGHT_CACHE"] = f"{folder}/cache"
        Path("configs").symlink_to(ROOT / "configs")
        console.console.record, console.console.width = True, COLUMNS
        if main(words):
            sys.exit("the run failed")
        shown: str = console.console.export_text(styles=True)
        for home, told in ((f"{folder}/cache", "~/.cache/ftlight"), (f"{folder}/", "")):
            shown = shown.replace(home, told)
        return shown


def draw_screen(options: list[str]) -> str:
    """The screen of a run, as SVG in fonts that are there."""
    from rich.console import Console
    from rich.text import Text

    words = ["fit", "-c", "configs/quickstart.yaml", *options]
    shown = f"$ python -m ftlight {shlex.join(words)}\n{lines_of_a_run(words)}"
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    drawn = console.export_svg(title="ftlight", unique_id="screen")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def main() -> None:
    """Draws what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="+", choices=["schedule", "screen"])
    arguments, options = parser.parse_known_args()
    if "schedule" in arguments.pictures:
        (ROOT / "docs" / "schedule.svg").write_text(draw_schedule(), encoding="utf-8")
    if "screen" in arguments.pictures:
        (ROOT / "docs" / "screen.svg").write_text(draw_screen(options), encoding="utf-8")


if __name__ == "__main__":
    main()
