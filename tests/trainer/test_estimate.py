"""What a run says that it will cost, before its first step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from resuming import differences, everything, run

from ftlight import TextClassification
from ftlight.__main__ import main
from ftlight.trainer import estimate
from ftlight.training.plan import Leg, Rate
from ftlight.training.progress import Report

LONG = ("--trainer.max_steps", "200", "--trainer.patience", "0")


@pytest.mark.run
def test_a_run_says_its_time_memory_and_disk_before_it_trains(
    fit: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fit(*LONG, epochs=100)
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("cost"))
    found = re.fullmatch(r"cost +about .*\ds, peak [\d.]+ [GM]B, (\d+) MB on disk *", line)
    assert found, line
    written = sum(path.stat().st_size for path in (folder / "checkpoints").glob("*.ckpt"))
    assert int(found[1]) == pytest.approx(written / 1e6, abs=1)


@pytest.mark.run
@pytest.mark.parametrize("how", ["all", "gradual", "a solved head", "average", "workers"])
def test_a_forecast_leaves_no_trace(
    how: str, drops: str, rows: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    hows: dict[str, dict[str, Any]] = {
        "all": {"model": {"unfreeze": "all"}},
        "gradual": {"model": {"unfreeze": "gradual", "cache": True}},
        "a solved head": {"model": {"unfreeze": [{"train": "head"}, {"train": "last:1"}]}},
        "average": {"ema": True},
        "workers": {"data": {"workers": 1}},
    }
    said = []
    for name, least in (("with", 1), ("without", 10**9)):
        monkeypatch.setattr(estimate, "LEAST", least)
        trainer = run(drops, rows, tmp_path / name, hows[how])
        report = next(c for c in trainer.callbacks if isinstance(c, Report))
        said.append(report.rest is not None)
    assert said == [True, False]
    assert differences(everything(tmp_path / "with"), everything(tmp_path / "without")) == []


@pytest.mark.run
def test_a_lack_of_memory_of_a_later_stage_is_said_before_the_first_step(
    drops: str, toy: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    step = TextClassification.step

    def lacks(task: TextClassification, batch: Any) -> Any:
        if all(parameter.requires_grad for parameter in task.model.parameters()):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(task, batch)

    monkeypatch.setattr(TextClassification, "step", lacks)
    words = ["--model", "TextClassification", "--model.backbone", drops, "--data.train", toy]
    assert main(["fit", *words, *LONG, "--run", "r"]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"ftlight: error: stage \d of the schedule: not enough memory; ways out", said)
    assert not Path("r/metrics.csv").exists()


def test_what_is_left_is_as_much_slower_than_forecast_as_what_is_done() -> None:
    report = Report()
    report.first_step = 0
    assert report._left(spent=10.0, done=50, total=200) == 30.0
    legs = [Leg(50, work=1.0), Leg(150, work=3.0)]
    report.rest = estimate.Forecast(Rate(0.1, 0.0, 1000), legs, 0.0).rest
    assert report._left(spent=10.0, done=50, total=200) == pytest.approx(90.0)
