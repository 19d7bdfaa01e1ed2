"""How time and memory of training grow with tokens per row, rows per batch and layers trained.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/scaling.py [--plot scaling.svg]

A classifier on the backbone (MiniLM) trains on made-up texts that all have the same number of
tokens, with ftlight.Trainer, without cache. One of the three is varied at a time, the others are
--length, --batch and all layers. All points are measured in one process, in ROUNDS turns over all
of them; a turn is one epoch of WARM + STEPS batches, of which the first WARM are not timed. Rates
are medians of the turns. Peak bytes are those of scripts/bench/memory.py: weights, and all that
torch allocates over two steps.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import random
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from memory import Peak
from overhead import PRECISION, Clock

import ftlight
from ftlight.models import loading
from ftlight.run import console as screen

WARM = 2  # batches of a turn that are not timed
LENGTHS, BATCHES, LAYERS = (32, 64, 128, 256, 512), (8, 16, 32, 64, 128), (0, 1, 2, 3, 4, 5, 6)
WIDTH, HEIGHT, LEFT = 250, 170, 60  # of a panel of the plot


class Point(NamedTuple):
    """What is measured: the axis it lies on, its value there, and all three."""

    axis: str
    value: int
    length: int
    batch: int
    layers: int


def points(options: argparse.Namespace) -> list[Point]:
    """All points, axis by axis."""
    length, batch, most = options.length, options.batch, max(LAYERS)
    made = [Point("tokens per row", n, n, batch, most) for n in LENGTHS if n <= options.longest]
    made += [Point("rows per batch", n, length, n, most) for n in BATCHES]
    return made + [Point("layers trained", n, length, batch, n) for n in LAYERS]


def make(
    options: argparse.Namespace, point: Point, steps: int
) -> tuple[ftlight.TextClassification, ftlight.TextData]:
    """Task and data of a point."""
    unfreeze = (
        "head"
        if not point.layers
        else "all"
        if point.layers == max(LAYERS)
        else f"last:{point.layers}"
    )
    shared = {
        "tokenizer": options.backbone,
        "max_length": point.length,
        "batch_size": point.batch,
        "validation_split": 0,
    }
    data = ftlight.TextData(str(write(options, point.batch * steps)), kind="single", **shared)
    data.setup("fit")
    assert set(data.sets["train"]["length"]) == {point.length}
    torch.manual_seed(0)
    return ftlight.TextClassification(
        options.backbone, pooling="mean", labels=data.labels, unfreeze=unfreeze, cache=False
    ), data


def unlimited(folder: str | Path, name: str) -> str:
    """Copies a backbone and lifts its limit of tokens to its positions; returns its folder."""
    shutil.copytree(
        loading.locate(name), folder, ignore=shutil.ignore_patterns("sentence_bert_config.json")
    )
    return str(folder)


def write(options: argparse.Namespace, rows: int) -> Path:
    """Writes made-up texts longer than any row is."""
    path = Path(options.folder, f"{rows}.csv")
    if not path.is_file():
        rng = random.Random(rows)
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            table.writerows(
                [
                    " ".join(
                        rng.choices("the a my is was not and to of for in on it".split(), k=600)
                    ),
                    "xy"[i % 2],
                ]
                for i in range(rows)
            )
    return path


def fit(
    options: argparse.Namespace,
    task: ftlight.TextClassification,
    data: ftlight.TextData,
    callback: Any,
) -> None:
    """Trains an epoch."""
    only = {
        "max_epochs": 1,
        "test": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    with tempfile.TemporaryDirectory() as run, contextlib.redirect_stdout(io.StringIO()):
        trainer = ftlight.Trainer(
            run=f"{run}/run",
            precision=options.ours or PRECISION[options.precision],
            callbacks=[callback],
            **only,
        )
        trainer.fit(task, datamodule=data)


def rate(options: argparse.Namespace, point: Point) -> float:
    """Rows per second."""
    clock = Clock(skip=WARM)
    fit(options, *make(options, point, WARM + options.steps), clock)
    return point.batch * options.steps / clock.seconds


def gigabytes(options: argparse.Namespace, point: Point) -> float:
    """Peak bytes of tensors, in GB."""
    peak = Peak(2)
    fit(options, *make(options, point, 2), peak)
    return peak.found["peak"] / 1e9


def panel(x: float, y: float, title: str, names: list[int], values: list[float]) -> list[str]:
    """A line over named places, as elements of an SVG."""
    top = max(values) * 1.1
    width, height = WIDTH - LEFT - 20, HEIGHT - 60
    at = [
        (x + LEFT + i * width / (len(values) - 1), y + 30 + height * (1 - v / top))
        for i, v in enumerate(values)
    ]
    floor = y + 30 + height
    made = [f'<text x="{x + LEFT}" y="{y + 18}" font-weight="bold">{title}</text>']
    made += [
        f'<path d="M{x + LEFT} {y + 30}V{floor}H{x + LEFT + width}" fill="none" stroke="#888"/>'
    ]
    for share in (0, 0.5, 1):
        made.append(
            f'<text x="{x + LEFT - 6}" y="{floor - share * height + 4:.0f}" '
            f'text-anchor="end">{top * share:.3g}</text>'
        )
    made += [
        f'<text x="{a:.0f}" y="{floor + 16}" text-anchor="middle">{n}</text>'
        for (a, _), n in zip(at, names, strict=True)
    ]
    made += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="#1f77b4"/>' for a, b in at]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    made.append(f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="2"/>')
    return made


def plot(found: dict[Point, tuple[float, float]]) -> str:
    """Rates above, bytes below, an axis beside the other, as an SVG."""
    axes = list(dict.fromkeys(p.axis for p in found))
    size = f'width="{WIDTH * len(axes)}" height="{HEIGHT * 2}"'
    made = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    ]
    made += ['<rect width="100%" height="100%" fill="white"/>']
    for column, axis in enumerate(axes):
        chosen = [p for p in found if p.axis == axis]
        for row, unit in enumerate(("rows/s", "peak GB")):
            names, values = [p.value for p in chosen], [found[p][row] for p in chosen]
            made += panel(column * WIDTH, row * HEIGHT, f"{unit} by {axis}", names, values)
    return "\n".join([*made, "</svg>\n"])


def main() -> None:
    """Measures all points, prints the table and writes the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbone",
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="hub id or folder of six layers",
    )
    parser.add_argument("--plot", help="SVG file to write")
    for name, value in {"length": 64, "batch": 16, "longest": 512, "steps": 4, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    parser.add_argument("--precision", choices=PRECISION, default="bf16")
    parser.add_argument(
        "--ours", help="precision of ftlight, such as bf16-master (that of --precision)"
    )
    options = parser.parse_args()
    screen.silence_libraries()
    with tempfile.TemporaryDirectory() as options.folder:
        options.backbone = unlimited(Path(options.folder, "backbone"), options.backbone)
        rates: dict[Point, list[float]] = {p: [] for p in points(options)}
        for point in [*rates] * options.rounds:
            rates[point].append(rate(options, point))
        found = {p: (statistics.median(made), gigabytes(options, p)) for p, made in rates.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    kind = " and ".join({options.precision, options.ours or options.precision})
    print(f"{device}, {os.cpu_count()} cores, {threads} threads, {kind}, torch {torch.__version__}")
    print(
        f"{options.rounds} turns of {options.steps} steps; else {options.length} tokens, "
        f"batches of {options.batch}, all layers\n"
    )
    print(f"{'axis':16}{'value':>6}{'rows/s':>10}{'tokens/s':>11}{'peak GB':>9}")
    for point, (speed, memory) in found.items():
        print(
            f"{point.axis:16}{point.value:6}{speed:10.1f}{speed * point.length:11.0f}{memory:9.3f}"
        )
    if options.plot:
        Path(options.plot).write_text(plot(found), encoding="utf-8")


if __name__ == "__main__":
    main()
