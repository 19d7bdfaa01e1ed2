"""Regularisers of classification: trained, in every kind of labels."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from conftest import Run, each, toy_rows, write_csv
from resuming import differences, everything, run

from ftlight import TextClassification
from ftlight.utils.errors import UserError

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

    each([(kind, option) for kind in WORDS for option in ("mixup", "r_drop")], check)


@pytest.mark.run
def test_two_passes_without_dropout_are_one_and_a_line_says_so(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"dropout": 0.0}
    run(bert, rows, tmp_path / "once", {"model": still})
    assert "r_drop" not in capsys.readouterr().out
    run(bert, rows, tmp_path / "twice", {"model": {**still, "r_drop": 5.0}})
    assert capsys.readouterr().out.count("model.r_drop does nothing") == 1
    once, twice = (everything(tmp_path / name) for name in ("once", "twice"))
    assert differences(once["best"], twice["best"]) == []
    assert differences(once["predictions"], twice["predictions"]) == []


@pytest.mark.run
def test_two_passes_from_kept_activations_are_those_of_the_whole_model(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    how = {"unfreeze": "last:1", "dropout": 0.2, "r_drop": 1.0}
    for cache in (True, False):
        run(drops, rows, tmp_path / f"{cache}", {"model": {**how, "cache": cache}})
    kept, live = (everything(tmp_path / name)["best"] for name in ("True", "False"))
    for name, weight in kept.items():
        torch.testing.assert_close(weight, live[name], atol=1e-5, rtol=0)


def test_what_does_not_go_together_is_refused(bert: str) -> None:
    def check(options: dict[str, float], line: str) -> None:
        with pytest.raises(UserError, match=line):
            TextClassification(bert, labels=["a", "b"], **options)

    each(
        [
            ({"mixup": 0.2, "r_drop": 1.0}, "model.mixup and model.r_drop"),
            ({"contrastive": 1.0, "r_drop": 1.0}, "model.contrastive and model.r_drop"),
        ],
        check,
    )
