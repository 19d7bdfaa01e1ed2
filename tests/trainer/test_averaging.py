"""The mean of the weights over the last steps is what it says, and kept only if it is better."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from conftest import each
from resuming import differences, everything, run
from torch import nn

from ftlight.trainer import averaging
from ftlight.trainer.averaging import Averaging
from ftlight.trainer.best import Best
from ftlight.training import checkpoint
from ftlight.training.lightning_internals import callbacks_of
from ftlight.training.signals import RunInterrupted
from ftlight.utils.errors import UserError

pytestmark = pytest.mark.run
THAW = [{"train": "head", "steps": 2}, {"train": "last:1", "steps": 2}, {"train": "all"}]


class Noting(L.Callback):
    """Notes the weights after each step, and says in the end how good the best ones were."""

    def __init__(self, best: float | None = None) -> None:
        self.best, self.weights = best, {}

    def on_train_batch_end(self, trainer: Any, task: Any, *batch: Any) -> None:
        state = {n: v.detach().clone() for n, v in task.state_dict().items()}
        self.weights[trainer.global_step] = state

    def on_train_end(self, trainer: Any, *rest: Any) -> None:
        if self.best is not None:
            callbacks_of(trainer, Best)[0].chosen = self.best


def test_the_mean_is_that_of_the_last_steps_and_the_run_is_as_without(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    def check(name: str, how: dict[str, Any], steps: int, share: float, count: int) -> None:
        noting = Noting(best=-1.0)
        trainer = run(drops, rows, tmp_path / f"{name} without", how)
        assert trainer.global_step == steps
        with_mean = {**how, "trainer": {**how.get("trainer", {}), "average_last": share}}
        trainer = run(drops, rows, tmp_path / name, with_mean, noting)
        averaged = callbacks_of(trainer, Averaging)[0]
        assert averaged.count == count
        last = [noting.weights[step] for step in range(steps - count + 1, steps + 1)]
        found, plain = everything(tmp_path / name), everything(tmp_path / f"{name} without")
        for key, weight in found["best"].items():
            wanted = torch.stack([state[key].float() for state in last]).mean(0)
            assert torch.allclose(weight.float(), wanted, atol=1e-6), key
        for key in ("state_dict", "optimizer_states", "global_step"):
            assert differences(plain["last"][key], found["last"][key]) == []
        lines = [[x for x in run["metrics"] if "test/" not in x] for run in (plain, found)]
        assert lines[0] == lines[1]

    each(
        [
            ("plain", {}, 6, 0.5, 3),
            ("stages", {"model": {"unfreeze": THAW, "cache": True}}, 6, 0.7, 4),
            ("accumulated", {"trainer": {"accumulate_grad_batches": 2}}, 4, 0.5, 2),
        ],
        check,
    )


def test_it_is_kept_if_it_validates_better(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(best: float, is_kept: bool) -> None:
        folder = tmp_path / f"{best}"
        how = {"trainer": {"average_last": 0.5}}
        trainer = run(bert, rows, folder, how, Noting(best))
        said = " ".join(capsys.readouterr().out.split())
        assert ("kept the mean of the last 3 steps: val/f1" in said) == is_kept
        assert ("not better than the best weights" in said) != is_kept
        means = callbacks_of(trainer, Averaging)[0].means
        kept = checkpoint.load(folder / "checkpoints" / "best.ckpt")["state_dict"]
        assert all(torch.equal(kept[f"model.{n}"], m) for n, m in means.items()) == is_kept
        last = checkpoint.load(folder / "checkpoints" / "last.ckpt")
        assert last["callbacks"]["Best"]["averaged"] == (3 if is_kept else 0)
        # one that goes on counts anew
        how = {"trainer": {"average_last": 0.5, "max_epochs": 4}}
        trainer = run(bert, rows, folder, how, resume=True)
        assert callbacks_of(trainer, Averaging)[0].count == 6

    each([(-1.0, True), (2.0, False)], check)


def test_a_signal_in_its_validation_leaves_the_weights_of_the_run(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    class Stopping(L.Callback):
        def on_validation_batch_start(self, trainer: Any, *rest: Any) -> None:
            if trainer.state.fn == "validate":
                trainer._signal_connector.received = signal.SIGTERM

    how = {"trainer": {"average_last": 0.5}}
    run(drops, rows, tmp_path / "whole", how)
    with pytest.raises(RunInterrupted):
        run(drops, rows, tmp_path / "stopped", how, Stopping())
    run(drops, rows, tmp_path / "stopped", how, resume=True)
    whole, stopped = (everything(tmp_path / name) for name in ("whole", "stopped"))
    assert differences(whole, stopped) == []


def test_steps_that_are_taken_back_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    task = SimpleNamespace(model=nn.Linear(1, 1, bias=False))
    progress = SimpleNamespace(stage_starts=[10], total=10)
    schedule = SimpleNamespace(progress=progress, trainable_params=[{"weight"}])
    monkeypatch.setattr(averaging.freezing, "of", lambda trainer: schedule)
    made = Averaging(0.4)
    for step in [15, 16, 17, 18, 16, 17, 17, 18]:  # a batch that only adds to a gradient
        nn.init.constant_(task.model.weight, step)
        made.on_train_batch_end(SimpleNamespace(global_step=step), task)  # type: ignore[arg-type]
    assert (made.count, made.means["weight"].item()) == (2, 17.5)


def test_what_cannot_be_is_said_in_a_line(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(line: str, how: dict[str, Any]) -> None:
        how["trainer"] = {"average_last": 0.5, **how.get("trainer", {})}
        folder = tmp_path / f"r{len(list(tmp_path.iterdir()))}"
        with pytest.raises(UserError, match=f"trainer.average_last.*{line}"):
            run(bert, rows, folder, how)

    unlimited = {"max_epochs": -1, "max_time": None, "limit_train_batches": 2}
    each(
        [
            ("there is none", {"data": {"validation": None, "validation_split": 0.0}}),
            ("there is none", {"trainer": {"enable_checkpointing": False}}),
            ("averages the weights already", {"ema": True}),
            ("FSDP2 divides the weights", {"trainer": {"strategy": "fsdp2"}}),
            ("needs trainer.max_epochs", {"trainer": unlimited, "model": CONSTANT}),
        ],
        check,
    )
    run(bert, rows, tmp_path / "early", {"trainer": {"average_last": 0.01}})
    assert "the run ended before the steps that it averages" in " ".join(
        capsys.readouterr().out.split()
    )


CONSTANT = {"lr_schedule": "constant"}
