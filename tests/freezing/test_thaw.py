"""``unfreeze: auto`` while it trains: what is kept, what is taken back, stopped and resumed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import each, make_bert, same, toy_rows, write_csv
from torch import Tensor

from ftlight import TextClassification, TextData, Trainer
from ftlight.freezing import auto
from ftlight.freezing import callback as freezing
from ftlight.freezing.thaw import Thawing
from ftlight.training import checkpoint
from ftlight.utils.errors import UserError

pytestmark = pytest.mark.run
STEPS = 3  # of a depth


class Decided(TextClassification):
    """Says of each stage whether it is better than what was best, as ``better`` has it."""

    better = (0,)

    def row_scores(self, result: Any, rows: Any) -> Tensor:
        stage = freezing.of(self.trainer).stage
        score = float(stage) if stage in self.better else -1.0
        return torch.full((len(result.outputs),), score)


@pytest.fixture(scope="session")
def four(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sentence encoder of four layers with dropout."""
    return str(make_bert(tmp_path_factory.mktemp("four"), num_hidden_layers=4))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows decide, after few steps."""
    monkeypatch.setattr(auto, "LEAST_ROWS", 5)
    monkeypatch.setattr(auto, "trial_steps", lambda per_epoch: STEPS)


class Watch(L.Callback):
    """Each step of the run: its number, its stage, the lowest rate, the weights before it.

    Of each control the weights that it reached.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []
        self.weights: list[dict[str, Tensor]] = []
        self.controls: list[dict[str, Tensor]] = []

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        search = freezing.of(trainer).search
        if search and search.pending == "control":
            state = task.model.state_dict().items()
            self.controls.append({name: value.detach().clone() for name, value in state})

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        lowest = min(rate for rate in rates if rate)
        self.steps.append((trainer.global_step, freezing.of(trainer).stage, lowest))
        state = {name: value.detach().clone() for name, value in task.model.state_dict().items()}
        self.weights.append(state)


def run(
    backbone: str,
    folder: Path,
    better: tuple[int, ...],
    *callbacks: L.Callback,
    resume: bool = False,
    trainer: dict[str, Any] | None = None,
    **model: Any,
) -> tuple[Any, Any]:
    """Trains 30 steps at most."""
    write_csv(Path("toy.csv"), toy_rows(60))
    L.seed_everything(0, verbose=False)
    data = TextData(train="toy.csv", tokenizer=backbone, batch_size=8, validation_split=0.2)
    kind = type("Decided", (Decided,), {"better": better, "__module__": __name__})
    options = {"lr": 1e-3, "unfreeze": "auto", "head_fit": "step", **model}
    task = kind(backbone, labels=data.labels, kind=data.kind, **options)
    given = {"max_steps": 30, "accelerator": "cpu", "precision": "32-true", "patience": 0}
    made = Trainer(
        run=str(folder),
        resume=resume,
        enable_progress_bar=False,
        callbacks=list(callbacks),
        **{**given, **(trainer or {})},
    )
    made.fit(task, datamodule=data)
    return task, made


CASES = {
    "first": (0, 1),
    "second": (0, 2),
    "all kept": (0, 1, 2, 3, 4, 5),
    "none": (0,),
    "between": (0, 1, 3),
}


def test_what_is_not_kept_leaves_no_trace(four: str, tmp_path: Path) -> None:
    def check(name: str) -> None:
        better, seen = CASES[name], Watch()
        task, trainer = run(four, tmp_path / name, better, seen)
        search = freezing.of(trainer).search
        assert search is not None
        assert search.over
        assert search.best == max(s for s in better if s <= max(search.stage, 0))
        assert trainer.global_step == 30
        tried = [int(stage) for stage, *_ in search.compared]
        kept = [stage for stage in tried if stage in better]
        controlled = [stage for stage in tried if kept and stage > kept[0]]
        lost = [stage for stage in tried if stage not in (*kept, *controlled)]
        assert search.in_vain == STEPS * len(controlled + lost)
        assert len(seen.steps) == 30 + search.in_vain
        assert len(seen.controls) == len(controlled)

        def begins(stage: int, steps: int) -> tuple[int, dict[str, Tensor]]:
            """The number and the weights of a step, so many after the first one of a stage."""
            first = min(i for i, (_, s, _) in enumerate(seen.steps) if s == stage)
            return seen.steps[first + steps][0], seen.weights[first + steps]

        def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
            return all(torch.equal(value, other[name]) for name, value in one.items())

        for stage in lost:  # what follows begins as it did
            (step, before), (then, after) = begins(stage, 0), begins(stage, STEPS)
            assert step == then
            assert equal(before, after), stage
        for stage, control in zip(controlled, seen.controls, strict=True):
            # it begins as its control did, and what follows goes on with the better one
            (step, before), (then, after) = begins(stage, -STEPS), begins(stage, 0)
            assert step == then
            assert equal(before, after), stage
            then, after = begins(stage, STEPS)
            assert then == step + STEPS
            assert stage in better or equal(control, after), stage
        with_state = {
            n for n, p in task.model.named_parameters() if trainer.optimizers[0].state.get(p)
        }
        assert with_state == freezing.of(trainer).trainable_params[search.best]

    each(CASES, check)


def test_the_rate_falls_once_over_the_kept_steps(four: str, tmp_path: Path) -> None:
    seen = Watch()
    _, trainer = run(four, tmp_path / "run", (0, 1), seen, trainer={"max_steps": 40})
    schedule = freezing.of(trainer)
    rate = schedule.progress.stages[1].lr
    last = {step: lr / rate for step, stage, lr in seen.steps if stage == 1}
    for step in range(20, 40):
        assert last[step] == pytest.approx((40 - step) / 40)
    first = [lr / rate for _, stage, lr in seen.steps if stage == 1][:STEPS]
    assert first == pytest.approx([37 / 40, 36 / 40, 35 / 40])  # at steps 3, 4 and 5


def test_stopped_anywhere_and_resumed_it_ends_the_same(four: str, tmp_path: Path) -> None:
    class Stop(L.Callback):
        """Stops the run before its n-th batch."""

        def __init__(self, batch: int) -> None:
            self.batch = batch

        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            self.batch -= 1
            if self.batch < 0:
                raise RuntimeError("stopped")

    whole, reference = run(four, tmp_path / "whole", CASES["between"], trainer={"save_every": 1})
    search = freezing.of(reference).search
    assert search is not None

    def check(batch: int) -> None:
        folder = tmp_path / f"stopped {batch}"
        with pytest.raises(RuntimeError, match="stopped"):
            run(four, folder, CASES["between"], Stop(batch), trainer={"save_every": 1})
        again, trainer = run(four, folder, CASES["between"], resume=True, trainer={"save_every": 1})
        same(whole, again)
        assert freezing.of(trainer).search.state_dict() == search.state_dict()
        assert (folder / "metrics.csv").read_text() == (
            tmp_path / "whole" / "metrics.csv"
        ).read_text()

    each(range(2, 30 + search.in_vain, 3), check)


def test_stopped_within_the_validation_that_decides(four: str, tmp_path: Path) -> None:
    from resuming import SignalAt

    from ftlight.training.signals import RunInterrupted

    whole, reference = run(four, tmp_path / "whole", CASES["between"])

    def check(step: int) -> None:
        folder = tmp_path / f"stopped {step}"
        with pytest.raises(RunInterrupted):
            run(four, folder, CASES["between"], SignalAt(step, hook="on_validation_batch_start"))
        again, trainer = run(four, folder, CASES["between"], resume=True)
        same(whole, again)
        assert np.array_equal(
            freezing.of(trainer).search.scores, freezing.of(reference).search.scores
        )

    each([3, 6, 9, 12], check)


def test_head_that_no_depth_betters_ends_the_run(four: str, tmp_path: Path) -> None:
    seen = Watch()
    task, trainer = run(four, tmp_path / "run", (0, 1), seen, head_fit="solve")
    schedule = freezing.of(trainer)
    assert (schedule.search.start, schedule.search.best) == (1, 1)
    assert (schedule.search.in_vain, trainer.global_step) == (2 * STEPS, STEPS)
    solved = schedule.solved["weights"]
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, solved.get(name, seen.weights[0][name])), name
        assert torch.equal(value, last["state_dict"][f"model.{name}"]), name
    for name, value in solved.items():
        assert not torch.equal(value, seen.weights[0][name]), name


def test_depths_start_from_a_head_with_few_steps(four: str, tmp_path: Path) -> None:
    from resuming import SignalAt

    from ftlight.training.signals import RunInterrupted

    seen, fresh = Watch(), Watch()
    whole, trainer = run(four, tmp_path / "run", (0, 1, 2), seen, head_fit="solve")
    assert freezing.of(trainer).search.best == 2
    assert [stage for _, stage, _ in seen.steps[:STEPS]] == [1] * STEPS
    run(four, tmp_path / "other", (0,), fresh, head_fit="step", trainer={"max_steps": 9})
    for name, value in fresh.weights[0].items():
        assert torch.equal(value, seen.weights[0][name]), name
    # stopped within the validation of the solved head it is solved again, from where it began
    signal = SignalAt(0, hook="on_validation_batch_start")
    with pytest.raises(RunInterrupted):
        run(four, tmp_path / "stopped", (0, 1, 2), signal, head_fit="solve")
    again, _ = run(four, tmp_path / "stopped", (0, 1, 2), resume=True, head_fit="solve")
    same(whole, again)


def test_too_little_to_decide_by_takes_another_schedule(
    four: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def check(name: str, change: dict[str, Any], why: str) -> None:
        with monkeypatch.context() as patch:
            if name == "rows":
                patch.setattr(auto, "LEAST_ROWS", 200)
            caplog.clear()
            _, trainer = run(four, tmp_path / name, (0,), **change)
            assert why in caplog.text
            schedule = freezing.of(trainer)
            assert isinstance(schedule, Thawing)
            assert schedule.search is None
            assert schedule.progress.is_last
            assert schedule.progress.current.train == ("all",)
            steps = {"max_steps": trainer.global_step + 2}
            _, trainer = run(four, tmp_path / name, (0,), resume=True, trainer=steps)
            assert trainer.global_step == steps["max_steps"]

    each(
        [
            ("rows", {}, "12 validation rows decide nothing (at least 200); it is gradual instead"),
            ("steps", {"trainer": {"max_steps": 8}}, "8 steps are too few to try depths for 3"),
        ],
        check,
    )


def test_what_cannot_be_searched_is_refused(four: str, tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    class Silent(TextClassification):
        def row_scores(self, result: Any, rows: Any) -> None:
            return None

    data = TextData(train="toy.csv", tokenizer=four, batch_size=8, validation_split=0.0)
    write_csv(Path("toy.csv"), toy_rows(60))

    def check(words: str, make: Any, held: float, *callbacks: L.Callback) -> None:
        data = TextData(train="toy.csv", tokenizer=four, batch_size=8, validation_split=held)
        task = make(four, labels=data.labels, unfreeze="auto")
        trainer = Trainer(
            run=str(tmp_path / words[:9]), max_steps=30, accelerator="cpu", callbacks=[*callbacks]
        )
        with pytest.raises(UserError, match=words):
            trainer.fit(task, datamodule=data)

    del data
    each(
        [
            ("there is no validation data", TextClassification, 0.0),
            ("Silent.row_scores", Silent, 0.2),
            ("in an average of the weights", TextClassification, 0.2, EMAWeightAveraging()),
        ],
        check,
    )


TWO = """
import json, sys, torch, lightning as L
from ftlight import TextClassification, TextData, Trainer
from ftlight.freezing import auto, callback as freezing
auto.LEAST_ROWS, auto.trial_steps = 5, lambda per_epoch: 4
class Scored(TextClassification):
    def row_scores(self, result, rows):
        good = torch.log_softmax(result.outputs.double(), 1)[range(len(rows)), result.targets]
        stage = freezing.of(self.trainer).stage
        return good + (9 * stage if stage in BETTER else -9)
class Check(L.Callback):
    def on_train_batch_end(self, trainer, task, *rest):
        mine = torch.cat([p.detach().flatten() for p in task.parameters()])
        everyone = task.all_gather(mine).reshape(-1, len(mine))
        assert (everyone == everyone[0]).all(), freezing.of(trainer).stage
if __name__ == "__main__":
    backbone, train, folder, processes, better = sys.argv[1:6]
    BETTER, n = json.loads(better), int(processes)
    L.seed_everything(0, verbose=False)
    data = TextData(train=train, tokenizer=backbone, batch_size=8 // n, validation_split=0.25)
    options = {"unfreeze": "auto", "pooling": "native", "lr": 1e-4}
    task = Scored(backbone, labels=data.labels, **options)
    trainer = Trainer(
        max_steps=40, accelerator="cpu", devices=n, strategy="ddp" if n > 1 else "auto",
        precision="32-true", run=folder, callbacks=[Check()], enable_progress_bar=False, patience=0,
    )
    trainer.fit(task, datamodule=data)
"""


@pytest.mark.processes
def test_two_processes_decide_as_one(still: str, tmp_path: Path) -> None:
    """No depth is better, all are, some are; the stores are filled together."""
    rows = toy_rows(79)  # one process has a row fewer
    names = ("good", "bad", "late")
    rows = [(text, names[i // 3 % 3] if i % 3 else label) for i, (text, label) in enumerate(rows)]
    train = write_csv(tmp_path / "train.csv", rows)  # which no head fits: gradients are no noise
    (tmp_path / "two.py").write_text(TWO)

    def fit(processes: int, better: list[int]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        folder = tmp_path / f"{processes} {better}"
        words = [still, train, str(folder), str(processes), json.dumps(better)]
        set_by = ("MASTER_", "PL_", "LOCAL_", "NODE_", "WORLD_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(set_by)}
        clean["FTLIGHT_CACHE"] = f"{folder} cache"
        done = subprocess.run(
            [sys.executable, "two.py", *words],
            env=clean,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        kept = checkpoint.load(folder / "checkpoints" / "last.ckpt")
        return kept["callbacks"]["Freezing"]["search"], kept["state_dict"]

    def check(better: list[int], in_vain: int) -> None:
        (one, weights), (two, others) = fit(1, better), fit(2, better)
        for key in ("stage", "began", "best", "misses", "in_vain", "over"):
            assert one[key] == two[key], key

        assert np.allclose(one["compared"][0], two["compared"][0], atol=1e-3)
        assert [c[0] for c in one["compared"]] == [c[0] for c in two["compared"]]
        for name, value in weights.items():
            assert torch.allclose(value, others[name], atol=1e-3), name

        assert one["best"] == max(better)
        assert one["in_vain"] == in_vain

    each([([0, 1], 8), ([0, 1, 2, 3, 4, 5, 6], 16), ([0, 1, 3], 12)], check)
