"""A run with a time limit: it is planned before its first step, ends cooled, and can be repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import each, toy_rows, write_csv
from resuming import SignalAt, differences, everything, run

from ftlight import Trainer
from ftlight.__main__ import main
from ftlight.freezing import callback
from ftlight.run.budget import Budget
from ftlight.trainer import rehearsal
from ftlight.training import checkpoint
from ftlight.training.signals import RunInterrupted
from ftlight.utils.errors import UserError

HOUR = {"trainer": {"max_time": "1h", "max_epochs": None, "patience": 0}}
LIST = [
    {"train": "head", "epochs": 1},
    {"train": "last:1", "steps": 2},
    {"train": "last:2", "fraction": 0.2},
    {"train": "all"},
]


def merged(how: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    return {**how, "trainer": {**HOUR["trainer"], **how.get("trainer", {}), **trainer}}


@pytest.fixture
def steps_fit(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """After a rehearsal as it is, has a step and a validation take so many minutes."""
    real = rehearsal.rehearse

    def fit(step: float, validation: float = 0.0) -> None:
        def rehearse(*arguments: Any) -> rehearsal.Measured:
            real(*arguments)
            return rehearsal.Measured(60 * step, 60 * validation, 0.0, 0.0)

        monkeypatch.setattr(rehearsal, "rehearse", rehearse)

    return fit


class Rates(L.Callback):
    """The learning rate of the head at each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        groups = [g for g in optimizer.param_groups if g["layer"] == "head"]
        self.seen.append(groups[0]["lr"])


def left(folder: Path) -> dict[str, Any]:
    """What a run leaves, but for its clock."""
    found = everything(folder)
    found["last"]["callbacks"].pop("Timer", None)
    return found


HOWS: dict[str, dict[str, Any]] = {
    "all": {},
    "last:2": {"model": {"unfreeze": "last:2"}},
    "lp_ft": {"model": {"unfreeze": "lp_ft"}},
    "gradual, stored": {"model": {"unfreeze": "gradual", "cache": True}},
    "a list": {"model": {"unfreeze": LIST}},
    "over each stage": {"model": {"unfreeze": "lp_ft", "lr_over": "stage"}},
    "a head solved at the end": {
        "model": {"unfreeze": [{"train": "all", "fraction": 0.8}, {"train": "head"}]}
    },
    "auto, with few rows": {"model": {"unfreeze": "auto"}},
    "average": {"ema": True},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "validations within": {"trainer": {"val_check_interval": 2}},
    "workers": {"data": {"workers": 1}},
    "bf16 weights": {"trainer": {"precision": "bf16-master"}},
}


@pytest.mark.run
@pytest.mark.parametrize("name", HOWS)
def test_it_is_the_run_of_the_planned_steps_to_the_bit(
    name: str, drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any
) -> None:
    steps_fit(6)
    rates = Rates()
    trainer = run(drops, rows, tmp_path / "time", merged(HOWS[name]), rates)
    budget = trainer.run.budget
    assert len(budget.totals) == 1
    assert budget.total >= 9
    if "solved" not in name:
        assert trainer.global_step == budget.total
    if "stage" not in name:
        assert 0 < rates.seen[-1] <= 0.4 * max(rates.seen)
    fixed = merged(HOWS[name], max_time=None, max_steps=budget.total)
    run(drops, rows, tmp_path / "steps", fixed)
    assert differences(left(tmp_path / "time"), left(tmp_path / "steps")) == []
