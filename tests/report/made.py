"""Runs as folders of files, written by hand: any number of classes and rows, any text in them."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftlight.explain.explanation import (
    Cell,
    Check,
    Explained,
    Explanation,
    Neighbour,
    Picture,
    Side,
    Word,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{% include 'x' %}${7*7}",
    "</bdi></td></table><!--",
    "\u202egnp.exe\u2066",
    "nul\x00bell\x07escape\x1b[31m",
    "javascript:alert(1)",
    "&lt;b&gt;&#x3c;",
    "\ud800half",
)
ORDERS = {"way": "processor seconds at 10 W a core, which is assumed"}


def label_of(i: int, hostile: bool) -> str:
    """A label, as bad as can be if asked for."""
    return f"{HOSTILE[i % len(HOSTILE)]} {i}" if hostile else f"card_payment_not_recognised_{i}"


def dump(path: Path, value: Any) -> None:
    """Writes JSON with any text in it."""
    path.write_text(json.dumps(value), encoding="utf-8")


def make_run(
    folder: Path, classes: int = 8, rows: int = 200, hostile: bool = False, seed: int = 0
) -> Path:
    """Writes the files of a run. Returns its folder.

    Args:
        folder: where.
        classes: number of labels.
        rows: rows of the test.
        hostile: whether texts, labels and columns are as bad as can be.
        seed: of all that is drawn.
    """
    draw = random.Random(seed)
    folder.mkdir(parents=True)
    labels = [label_of(i, hostile) for i in range(classes)]
    truths = [labels[i % classes] for i in range(rows)]
    said = [t if draw.random() < 0.9 else draw.choice(labels) for t in truths]
    text = HOSTILE[0] if hostile else "my card was charged twice"
    column = HOSTILE[2] if hostile else "message"
    config = {"train": f"data/{HOSTILE[0]}.csv" if hostile else "train.csv", "label": "label"}
    dump(folder / "config.yaml", {"data": {"class_path": "ftlight.TextData", "init_args": config}})
    dump(folder / "run.json", facts(text if hostile else "train.csv", seed))
    dump(folder / "verdict.json", verdict(text if hostile else "no fault found"))
    dump(folder / "test_metrics.json", metrics(labels, truths, said, hostile))
    dump(folder / "calibration.json", CALIBRATION)
    dump(folder / "baselines.json", baselines(rows, hostile))
    findings = [finding(level, text if hostile else "12 rows") for level in LEVELS]
    (folder / "findings.jsonl").write_text("".join(f"{json.dumps(f)}\n" for f in findings))
    write_logs(folder)
    table = [
        {column: f"{text} {i}", "label": truth, "line": str(i + 2), "prediction": p, "score": "0.9"}
        for i, (truth, p) in enumerate(zip(truths, said, strict=True))
    ]
    write_table(folder / "test_predictions.csv", table)
    wrong = [row for row in table if row["label"] != row["prediction"]]
    marked = [{"why": "wrong", **row} for row in wrong]
    marked += [{"why": "doubtful", **row} for row in table[:20]]
    write_table(folder / "wrong.csv", marked)
    right = np.array([float(t == p) for t, p in zip(truths, said, strict=True)])
    keys = np.array([f"{i:016x}".encode() for i in range(rows)])
    sure = right * 0.3 + np.linspace(0.2, 0.7, rows)
    kept = {"scores": right, "rows": np.arange(rows), "keys": keys, "sure": sure}
    for split in ("test", "validation"):
        np.savez(folder / f"outcomes-{split}.npz", **kept)
    return folder


def facts(text: str, seed: int) -> dict[str, Any]:
    """What run.json says."""
    rates = [[i, 1e-4 * math.sin(math.pi * i / 1000)] for i in range(0, 1000, 10)]
    stages = [
        {"train": ["head"], "begins": 0, "lr": None, "stored": True},
        {"train": ["head", "last:1"], "begins": 0, "lr": 1e-4, "stored": True},
        {"train": ["all"], "begins": 400, "lr": 5e-5, "stored": False},
    ]
    return {
        "status": "done",
        "command": ["ftlight", "fit", "-c", text],
        "started": "2026-01-02T03:04:05+0000",
        "git": {"commit": "0123abc", "dirty": True},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "machine": {"cores": 2, "system": "Linux"},
        "seed": seed,
        "data_sha256": {"train": "ab" * 32},
        "backbone": text,
        "epochs": 10,
        "steps": 1000,
        "weights": 3_580_000,
        "memory": 990_000_000,
        "best": {"val/f1": 0.91},
        "cost": {"seconds": 510.8, "processor": 87.6, "joules": 876.0, **ORDERS},
        "learning": {
            "monitor": "val/f1",
            "mode": "max",
            "rows": {"train": 9003, "validation": 1000},
            "labels": 77,
            "kept_step": 900,
            "stages": stages,
            "rates": rates,
        },
    }


def verdict(text: str) -> dict[str, Any]:
    """What verdict.json says."""
    option = "look at the labels and the columns: python -m ftlight check runs/x --full"
    return {"kind": "fine", "sentence": f"fine: {text}", "evidence": {"p": 0.5}, "option": option}


def metrics(
    labels: Sequence[str], truths: Sequence[str], said: Sequence[str], hostile: bool
) -> dict[str, Any]:
    """What test_metrics.json says, with two groups."""
    pairs = [(t, p) for t, p in zip(truths, said, strict=True)]
    cells: dict[tuple[str, str], int] = {}
    for pair in pairs:
        cells[pair] = cells.get(pair, 0) + 1
    report = {}
    for i, label in enumerate(labels):
        f1 = 1.0 - i / (2 * len(labels))
        support = truths.count(label)
        report[label] = {"precision": f1, "recall": f1, "f1": f1, "support": support}
    share = sum(t == p for t, p in pairs) / len(pairs)
    group = {"f1": share, "low": share - 0.02, "high": share + 0.02, "rows": 50, "p": 0.01}
    name = HOSTILE[3] if hostile else "region"
    return {
        "test/f1": share,
        "test/f1_low": share - 0.01,
        "test/f1_high": share + 0.01,
        "test/loss": 0.3,
        "test/calibration_error": 0.012,
        "test/calibration_floor": 0.011,
        "test/rows": len(truths),
        "classes": report,
        "confusion": [[t, p, n] for (t, p), n in cells.items()],
        "groups": {
            name: {
                "metric": "f1",
                "by_group": {"south": {**group, "f1": share - 0.2}, HOSTILE[1]: group},
                "difference": 0.2,
                "ratio": 0.8,
            }
        },
        "swaps": {"rows": 88, "changed": 4},
    }


CALIBRATION = {
    "temperature": 1.31,
    "rows": 500,
    "apart": True,
    "error_before": 0.05,
    "error": 0.012,
    "floor": 0.011,
    "unit": "rows",
    "in_train": 0,
    "at_least": {
        "0.9": {"threshold": 0.31, "answered": 0.98},
        "0.98": {"threshold": 0.84, "answered": 0.73},
        "0.99": None,
    },
    "coverage": {"0.9": 0.41, "0.99": None},
}
LEVELS = ("stop", "look", "know")


def finding(level: str, text: str) -> dict[str, Any]:
    """A line of findings.jsonl."""
    option = "data.on_leak: drop" if level == "look" else ""
    about = {"lines": [3, 8, 9, 10, 11, 12], "example": "", "option": option}
    return {"level": level, "kind": "x", "split": "train", "message": text, "rows": 6, **about}


def baselines(rows: int, hostile: bool) -> dict[str, Any]:
    """What baselines.json says."""
    above = {"gain": 0.0156, "low": 0.0065, "high": 0.0247, "p": 0.0017, "p_holm": 0.003}
    spent = {"seconds": 40.8, "processor": 5.1, "joules": 51.0, **ORDERS}
    tfidf = {"name": HOSTILE[4] if hostile else "TF-IDF + LinearSVC", "cheap": True}
    tfidf |= {"train_rows": 9003, "score": 0.8843, "low": 0.87, "high": 0.9}
    tfidf |= {"weights": 3_150_000, "spent": spent, "run_above": above}
    own = {**tfidf, "name": "this run", "cheap": False, "score": 0.9, "low": 0.89, "high": 0.91}
    twice = {"value": 0.008, "low": 0.002, "high": 0.014}
    return {
        "split": "test",
        "rows": rows,
        "score": "accuracy",
        "verdict": ["fine-tuning paid: 0.9000, and the best cheap model 0.8843"],
        "models": [tfidf, {**own, "run_above": None}],
        "learning_curve": {
            "scores": {"1000": [0.8, 0.81], "2000": [0.85, 0.86], "4000": [0.9]},
            "forecast": {"rows": 4000, "twice": twice, "last": twice, "helps": True},
        },
    }


def write_logs(folder: Path) -> None:
    """Writes metrics.csv and epochs.csv of ten epochs."""
    lines, epochs = ["step,epoch,name,value"], ["epoch,step,rows,seconds,validation_seconds"]
    epochs[0] += ",rows_per_second"
    for epoch in range(10):
        step = 100 * epoch + 99
        for name, value in (
            ("train/loss", 2 * math.exp(-epoch / 3) + 0.1),
            ("val/loss", 2 * math.exp(-epoch / 3) + 0.3 + epoch / 50),
            ("val/f1", 0.92 - 0.6 * math.exp(-epoch / 2)),
        ):
            lines.append(f"{step},{epoch},{name},{value!r}")
        epochs.append(f"{epoch + 1},{step + 1},9003,21.5,0.4,{400 - 20 * epoch}")
    (folder / "metrics.csv").write_text("\n".join([*lines, ""]))
    (folder / "epochs.csv").write_text("\n".join([*epochs, ""]))


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes rows as CSV, whatever is in them."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def explained(number: int, text: str, holds: bool = True) -> Explained:
    """A row whose words are explained, with a check and the nearest rows."""
    words, start = [], 0
    for i, word in enumerate(text.split(" ")):
        weight = (0.61, -0.1, 0.02, 0.3, 0.0)[i % 5]
        words.append(Word(start, start + len(word), weight))
        start += len(word) + 1
    check = Check(2, 10, 0.61 if holds else 0.1, 0.22)
    near = [Neighbour(HOSTILE[0], "late", 0.93, "17")]
    why = Explanation("late", 0.92, "p", [Side("message", text, words)], None, check, near)
    return Explained(number, {"message": text}, {"prediction": "late"}, [why])


def explained_picture(number: int, jpeg: bytes) -> Explained:
    """A row whose picture is explained."""
    cells = [
        Cell(x / 7, y / 7, (x + 1) / 7, (y + 1) / 7, (x * y - 6) / 30)
        for x in range(7)
        for y in range(7)
    ]
    why = Explanation("glass", 0.8, picture=Picture(jpeg, cells), check=Check(10, 49, 0.5, 0.1))
    return Explained(number, {"image": "a.jpg"}, {"prediction": "glass"}, [why])
