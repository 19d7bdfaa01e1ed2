"""Regularisers of classification: trained, in every kind of labels."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from conftest import Run, each, toy_rows, write_csv

WORDS = {"single": "{}", "multi": "{}|any", "regression": "{}"}
NUMBERS = {"good": "5", "bad": "3", "late": "1"}


def train_losses(folder: Path) -> list[float]:
    lines = csv.DictReader((folder / "metrics.csv").open())
    return [float(line["value"]) for line in lines if line["name"] == "train/loss"]


@pytest.mark.run
def test_every_kind_of_labels_trains(fit: Run, tmp_path: Path) -> None:
    def check(kind: str, option: str) -> None:
        made = [(t, NUMBERS[x] if kind == "regression" else x) for t, x in toy_rows(60)]
        rows = [(text, WORDS[kind].format(label)) for text, label in made]
        train = write_csv(tmp_path / f"{kind}.csv", rows)
        words = ("--data.kind", kind, "--model.lr", "3e-3", f"--model.{option}", "1")
        losses = train_losses(fit(*words, train=train, epochs=4, name=f"{kind}{option}"))
        assert len(losses) == 4
        assert losses[-1] < losses[0] < math.inf

    each([(kind, option) for kind in WORDS for option in ("mixup",)], check)
