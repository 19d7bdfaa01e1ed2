r"""Does an exported ONNX folder say what `predict` says, and what do 8 bits cost?

    python -m venv bare && bare/bin/pip install onnxruntime numpy tokenizers pillow
    python scripts/bench/exported.py RUN… --python bare/bin/python --rows 200 --int8

Each run is exported with `--format onnx`, and with `--int8` if that is asked for. Its predict.py
then reads rows of the run's test data (else validation), evenly spread, at batches of 1, 7 and 32,
in an environment that has neither torch nor ftlight; labels and scores are compared with those of
`predict`. The last column counts its lines that are not blank. A second table is of 8 bits: the
share of right labels before and after, if rows have a label, the size of the file, and the
milliseconds that `export` prints, of the model alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ftlight

BATCHES = (1, 7, 32)
Row = dict[str, Any]


def rows_of(run: str, most: int) -> tuple[list[Row], list[Row]]:
    """Rows of a run's test data, and what `predict` answers."""
    predictor = ftlight.load(run)
    data = predictor.data
    split = "test" if data.has("test") else "validation"
    count = len(data.load_split(split))
    numbers = sorted({i * count // most for i in range(most)})
    rows = [_plain(data.usable(row)) for row in data.rows_to_predict(split, numbers)]
    return rows, predictor.predict(rows)


def _plain(row: Row) -> Row:
    """The columns of a row, without what ftlight adds."""
    return {name: value for name, value in row.items() if not name.startswith("__")}


def export(run: str, out: Path, *options: str) -> dict[str, list[float]] | str:
    """Exports a run; returns milliseconds by the form of the model, or why it was refused."""
    command = [sys.executable, "-m", "ftlight", "export", run, "--format", "onnx"]
    command += ["--out", str(out), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    lines = re.findall(
        r"^(torch|onnx|onnx, int8) +(?:\S+ [kMG]?B)? +(\S+) +(\S+) *$", done.stdout, re.M
    )
    return {name: [float(one), float(many)] for name, one, many in lines}


def answers(python: str, folder: Path, rows: list[Row], batch: int) -> list[Row]:
    """What predict.py says of rows."""
    given = "".join(json.dumps(row) + "\n" for row in rows)
    command = [python, "-I", str(folder / "predict.py"), str(batch)]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def label(answer: Row) -> Any:
    """The prediction without scores; of a number that it is one."""
    value = answer["prediction"]
    if isinstance(value, float):
        return "a number"
    if isinstance(value, list):
        return [(span["type"], span["start"], span["end"]) for span in value]
    return value


def apart(one: Any, other: Any) -> float:
    """The largest difference of two numbers in the same place, as a share of those above 1."""
    if isinstance(one, float):
        return abs(one - other) / max(1.0, abs(one))
    if isinstance(one, dict):
        return max((apart(one[key], other[key]) for key in one.keys() & other.keys()), default=0.0)
    if isinstance(one, list) and isinstance(other, list):
        return max(map(apart, one, other), default=0.0)
    return 0.0


def compared(wanted: list[Row], found: list[Row]) -> tuple[int, float]:
    """How many rows have the same label, and the largest difference of their scores."""
    same = [label(a) == label(b) for a, b in zip(wanted, found, strict=True)]
    off = [apart(a, b) for a, b, is_same in zip(wanted, found, same, strict=True) if is_same]
    return sum(same), max(off)


def right(rows: list[Row], found: list[Row], column: str) -> str:
    """Share of right labels, if the rows have them as text."""
    if any(column not in row for row in rows):
        return ""
    hits = [row[column] == a["prediction"] for row, a in zip(rows, found, strict=True)]
    return f"{sum(hits) / len(hits):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--python", required=True, help="of an environment without torch")
    parser.add_argument("--int8", action="store_true", help="export in 8 bits, too")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--label", default="label", help="column of the label in the rows")
    options = parser.parse_args()
    eights = []
    print("| run | rows | same labels at 1, 7, 32 | largest difference | lines |")
    print("|---|---|---|---|---|")
    for run in options.runs:
        with tempfile.TemporaryDirectory() as made:
            plain, eight = Path(made) / "plain", Path(made) / "eight"
            speed = export(run, plain)
            if isinstance(speed, str):
                print(f"| {run} | {speed} | | | |", flush=True)
                continue
            rows, wanted = rows_of(run, options.rows)
            fp32 = [answers(options.python, plain, rows, batch) for batch in BATCHES]
            same, off = zip(*(compared(wanted, found) for found in fp32), strict=True)
            lines = sum(map(bool, (plain / "predict.py").read_text().splitlines()))
            counts = ", ".join(map(str, same))
            print(f"| {run} | {len(rows)} | {counts} | {max(off):.1e} | {lines} |", flush=True)
            if not options.int8:
                continue
            speed = export(run, eight, "--int8")
            if isinstance(speed, str):
                eights.append(f"| {run} | {speed} | | | |")
                continue
            found = answers(options.python, eight, rows, 32)
            of_label = [right(rows, some, options.label) for some in (wanted, found)]
            size = (eight / "model.onnx").stat().st_size / (plain / "model.onnx").stat().st_size
            times = "; ".join(f"{name} {a:.3g}, {b:.3g}" for name, (a, b) in speed.items())
            share = f"{compared(wanted, found)[0]} of {len(rows)}"
            eights.append(f"| {run} | {share} | {' → '.join(of_label)} | {size:.0%} | {times} |")
    if not eights:
        return
    print("\n| run | same labels in 8 bits | right labels | file | ms of 1 row, of 32 |")
    print("|---|---|---|---|---|")
    print("\n".join(eights))


if __name__ == "__main__":
    main()
