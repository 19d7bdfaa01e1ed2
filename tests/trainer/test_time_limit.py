"""A run with a time limit is planned before its first step, ends cooled, and can be repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import yaml
from conftest import Run, each, toy_rows, write_csv
from resuming import SignalAt, differences, everything, run
from tiny.image_classification import write_zip
from together import together

from ftlight.__main__ import main
from ftlight.freezing import auto
from ftlight.run.budget import Budget
from ftlight.trainer import rehearsal
from ftlight.training.signals import RunInterrupted

HOUR = {"trainer": {"max_time": "1h", "max_epochs": None, "patience": 0}}
FLAT = {**HOUR, "model": {"unfreeze": "all"}}  # steps that all cost the same
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
    "auto": {"model": {"unfreeze": "auto"}},
    "patience": {"trainer": {"patience": 1}, "model": {"lr": 1e-9}},
    "average": {"ema": True},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "validations within": {"trainer": {"val_check_interval": 2}},
    "workers": {"data": {"workers": 1}},
    "bf16 weights": {"trainer": {"precision": "bf16-master"}},
}


@pytest.mark.run
@pytest.mark.parametrize("name", HOWS)
def test_it_is_the_run_of_the_planned_steps_to_the_bit(
    name: str, drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any, monkeypatch: Any
) -> None:
    steps_fit(6)
    if name == "auto":
        monkeypatch.setattr(auto, "LEAST_ROWS", 1)
        monkeypatch.setattr(auto, "LEAST_STEPS", 2)
    rates = Rates()
    trainer = run(drops, rows, tmp_path / "time", merged(HOWS[name]), rates)
    budget = trainer.run.budget
    assert len(budget.totals) == 1
    assert budget.total >= (6 if name == "auto" else 9)
    ends_before = name in ("a head solved at the end", "patience", "auto")
    if not ends_before:
        assert trainer.global_step == budget.total
        assert 0 < rates.seen[-1] <= 0.5 * max(rates.seen)
    fixed = merged(HOWS[name], max_time=None, max_steps=budget.total)
    run(drops, rows, tmp_path / "steps", fixed)
    assert differences(left(tmp_path / "time"), left(tmp_path / "steps")) == []


class Clock:
    """A clock of a run that moves by minutes with each step and each validation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, validation: float) -> None:
        self.minutes, self.step, self.validation = 0.0, step, validation
        monkeypatch.setattr(Budget, "used", property(lambda budget: self.now(budget)))

    def now(self, budget: Budget) -> float:
        return budget.before + 60 * self.minutes


class Ticks(L.Callback):
    """Moves a clock, and keeps the totals that held after each step."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.totals = clock, []

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        self.totals.append(trainer.run.budget.total)

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        self.clock.minutes += self.clock.step

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        self.clock.minutes += self.clock.validation


@pytest.mark.run
def test_what_takes_longer_lowers_the_plan_and_it_ends_cooled_and_resumes_exactly(
    drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any, monkeypatch: Any, capsys: Any
) -> None:
    steps_fit(3)
    clock = Clock(monkeypatch, 5, 0)
    rates, ticks = Rates(), Ticks(clock)
    trainer = run(drops, rows, tmp_path / "whole", FLAT, ticks, rates)
    totals = [total for _, total in trainer.run.budget.totals]
    assert len(totals) > 1
    assert totals == sorted(totals, reverse=True)
    assert ticks.totals == sorted(ticks.totals, reverse=True)
    assert trainer.global_step == totals[-1] <= 12
    assert clock.minutes <= 62
    assert 0 < rates.seen[-1] <= 0.2 * max(rates.seen)
    assert f"1h: {totals[1]} steps instead of {totals[0]}: " in " ".join(
        capsys.readouterr().out.split()
    )
    facts = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert facts["planned"] == trainer.run.budget.totals

    def check(at: int) -> None:
        folder = tmp_path / f"stopped at {at}"
        clock.minutes = 0.0
        with pytest.raises(RunInterrupted):
            run(drops, rows, folder, FLAT, Ticks(clock), SignalAt(at))
        clock.minutes = 0.0  # what was used before is in the checkpoint
        again = run(drops, rows, folder, FLAT, Ticks(clock), resume=True)
        assert again.run.budget.totals == trainer.run.budget.totals
        assert differences(left(tmp_path / "whole"), left(folder)) == []

    each([4, totals[-1] - 1], check)  # once it is lowered


@pytest.mark.run
def test_a_run_with_less_time_than_its_plan_needs_says_so_when_it_resumes(
    drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any, monkeypatch: Any, capsys: Any
) -> None:
    steps_fit(3)
    clock = Clock(monkeypatch, 3, 0)
    with pytest.raises(RunInterrupted):
        run(drops, rows, tmp_path / "r", FLAT, Ticks(clock), SignalAt(4))
    clock.minutes = 20.0  # that it takes to begin again
    capsys.readouterr()
    trainer = run(drops, rows, tmp_path / "r", FLAT, Ticks(clock), resume=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "32m of 1h are used; the plan was 18 steps" in said
    assert "steps instead of 18: what came before the steps took longer" in said
    assert trainer.global_step == trainer.run.budget.total < 18


@pytest.mark.run
def test_a_longer_limit_goes_on_with_a_run_that_has_ended(
    drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any
) -> None:
    steps_fit(6)
    first = run(drops, rows, tmp_path / "r", HOUR)
    again = run(drops, rows, tmp_path / "r", HOUR, resume=True)
    assert again.global_step == first.global_step
    longer = run(drops, rows, tmp_path / "r", merged({}, max_time="2h"), resume=True)
    assert longer.global_step == longer.run.budget.total > first.global_step


@pytest.mark.run
def test_a_smaller_number_of_epochs_or_steps_wins(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    """With a rehearsal as it is: an hour leaves room for far more."""

    def check(limits: dict[str, int], steps: int) -> None:
        name = " ".join(limits)
        trainer = run(drops, rows, tmp_path / name, merged({}, **limits))
        run_facts = json.loads((tmp_path / name / "run.json").read_text())
        assert trainer.global_step == run_facts["steps"] == steps
        assert run_facts["planned"] == [[0, steps]]

    each([({"max_epochs": 2}, 6), ({"max_steps": 4}, 4)], check)


@pytest.mark.run
def test_a_head_that_is_solved_takes_no_step(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    how = {"model": {"unfreeze": "head", "lr": None}}
    trainer = run(bert, rows, tmp_path / "r", merged(how))
    assert trainer.global_step == 0
    assert "the head is solved on 24 rows" in capsys.readouterr().out
    assert (tmp_path / "r" / "test_metrics.json").is_file()


@pytest.mark.run
def test_a_run_from_another_ones_checkpoint_has_all_of_its_time(
    drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any
) -> None:
    steps_fit(6)
    first = run(drops, rows, tmp_path / "first", HOUR)
    last = str(tmp_path / "first" / "checkpoints" / "last.ckpt")
    two_hours = merged({}, max_time="2h")
    other = run(drops, rows, tmp_path / "other", two_hours, ckpt=last)
    assert other.global_step == other.run.budget.total == first.global_step + 18


@pytest.mark.run
def test_augmented_images_are_planned_too(resnet: str, tmp_path: Path, steps_fit: Any) -> None:
    steps_fit(6)
    words = ["fit", "--model", "ImageClassification", "--model.backbone", resnet]
    squares = write_zip(tmp_path / "squares.zip", {"train": 24, "validation": 8, "test": 8})
    words += ["--data.train", squares, "--data.batch_size", "4"]
    words += ["--model.unfreeze", "gradual", "--trainer.accelerator", "cpu", "--run", "r"]
    assert main([*words, "--budget", "1h", "--trainer.patience", "0"]) == 0
    facts = json.loads(Path("r/run.json").read_text())
    assert facts["steps"] == facts["planned"][0][1]


@pytest.mark.processes
def test_two_processes_have_one_plan(drops: str, rows: dict[str, str], tmp_path: Path) -> None:
    two = {"devices": 2, "strategy": "ddp", "max_epochs": 3, "patience": 3}
    limits = {"time": {**two, "max_time": "1h"}, "epochs": two}
    jobs = [
        {"folder": tmp_path / name, "how": {"model": {"unfreeze": "lp_ft"}, "trainer": limit}}
        for name, limit in limits.items()
    ]
    found = together(tmp_path, drops, rows, jobs)
    assert [[one["code"] for one in codes] for codes in found] == [[0, 0], [0, 0]]
    facts = json.loads((tmp_path / "time" / "run.json").read_text())
    assert facts["planned"] == [[0, facts["steps"]]]
    assert differences(left(tmp_path / "time"), left(tmp_path / "epochs")) == []


@pytest.mark.run
def test_a_founders_three_commands_with_a_time_limit(
    bert: str, tmp_path: Path, capsys: Any
) -> None:
    """No file is edited: a data file, a config, a run that ends in time, its predictions."""
    write_csv(tmp_path / "messages.csv", toy_rows(120))
    write_csv(tmp_path / "new.csv", [(text,) for text, _ in toy_rows(7)], header=("text",))
    capsys.readouterr()
    commands = [
        ["init", "messages.csv"],
        ["fit", "-c", "messages.yaml", "--budget", "20s", "--model.backbone", bert],
        ["predict", "runs/messages/latest", "new.csv", "--out", "answers.csv"],
    ]
    assert main(commands[0]) == 0
    (tmp_path / "messages.yaml").write_text(capsys.readouterr().out)  # > messages.yaml
    for command in commands[1:]:
        assert main(command) == 0, capsys.readouterr().err
    folder = tmp_path / "runs" / "messages" / "latest"
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "done"
    said = " ".join(capsys.readouterr().out.split())
    assert f"20s: {facts['planned'][0][1]:,} step" in said
    # 10 validation rows: their scores are chance and end no run
    assert "10 validation rows are too few to stop it early" in said
    assert facts["steps"] == facts["planned"][-1][1]
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["patience"] == 0
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert (tmp_path / "answers.csv").read_text().count("\n") == 8


def test_times_that_are_none_are_refused_in_a_line(capsys: Any, bert: str, toy: str) -> None:
    words = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]

    def check(time: str) -> None:
        assert main([*words, "--budget", time]) == 2
        said = capsys.readouterr().err
        assert "trainer.max_time" in said
        assert "90s, 10m, 2h" in said
        assert said.count("\n") == 1

    each(["soon", "10", "0s", "00:00:00:00", "-5m"], check)


@pytest.mark.run
def test_stopped_within_its_plan_and_resumed_it_ends_the_same(
    drops: str, rows: dict[str, str], tmp_path: Path, steps_fit: Any
) -> None:
    steps_fit(6)
    run(drops, rows, tmp_path / "whole", HOUR)

    def check(hook: str, step: int) -> None:
        folder = tmp_path / f"{hook} {step}"
        with pytest.raises(RunInterrupted):
            run(drops, rows, folder, HOUR, SignalAt(step, hook))
        run(drops, rows, folder, HOUR, resume=True)
        assert differences(left(tmp_path / "whole"), left(folder)) == []

    each([("on_train_batch_start", 1), ("on_validation_batch_start", 3)], check)


@pytest.mark.run
def test_the_command_that_it_names_repeats_it(fit: Run, tmp_path: Path, capsys: Any) -> None:
    folder = fit("--budget", "1h", "--data.test", "toy.csv", epochs=2)
    said = " ".join(capsys.readouterr().out.split())
    steps = json.loads((folder / "run.json").read_text())["steps"]
    words = f"fit -c run/config.yaml --budget null --trainer.max_steps {steps}"
    assert f"python -m ftlight {words} " in said
    assert main([*words.split(), "--run", "again"]) == 0
    assert differences(left(folder), left(tmp_path / "again")) == []
