"""Losses and gradients that are not finite: kept from the weights, reported with their rows."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from conftest import still_bert, toy_rows, write_csv
from torch.utils._python_dispatch import TorchDispatchMode

from ftlight import TextClassification, TextData
from ftlight.task import Step
from ftlight.training.nonfinite import IN_A_ROW, Fault, Guard
from ftlight.utils.errors import UserError


class Odd(TextClassification):
    """Goes wrong at some batches, counted from 0."""

    bad: tuple[int, ...] = (3,)
    wrong = "nan"
    fused = True

    def on_train_start(self) -> None:
        super().on_train_start()
        self.seen = 0

    def step(self, batch: dict[str, Any]) -> Step:
        made = super().step(batch)
        if not self.training:
            return made
        now, self.seen = self.seen, self.seen + 1
        if now not in self.bad:
            return made
        weight = next(p for p in self.model.parameters() if p.requires_grad)
        spoiled = {
            "nan": made.loss * math.nan,
            "inf": made.loss + math.inf,
            "nan beside the weights": made.loss + math.nan,  # whose gradients are finite
            "nan gradient": made.loss + (weight * 0).sum().sqrt(),
            "norm too large": made.loss * 1e32,
        }
        return made._replace(loss=spoiled[self.wrong])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        made = super().configure_optimizers()
        return made if self.fused else torch.optim.AdamW(made.param_groups, fused=False)


class Steps(L.Callback):
    """Notes weights and the optimizer's state after every batch."""

    def __init__(self) -> None:
        self.states: list[list[torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, task: Any, *rest: Any) -> None:
        state = trainer.optimizers[0].state
        kept = [
            state[p][k]
            for p in task.parameters()
            for k in ("exp_avg", "exp_avg_sq", "step")
            if p in state
        ]
        self.states.append([t.detach().clone() for t in [*task.parameters(), *kept]])


KINDS = ["nan", "inf", "nan beside the weights", "nan gradient", "norm too large"]


def run(
    folder: Path,
    task_class: type = Odd,
    bad: tuple[int, ...] = (3,),
    kind: str = "nan",
    **options: Any,
) -> tuple[Any, Steps]:
    """Trains two epochs of seven batches."""
    settings = {"nonfinite": options.pop("nonfinite")} if "nonfinite" in options else {}
    settings["unfreeze"] = "all"
    fused = options.pop("fused", True)
    bert = folder / "bert"
    backbone = str(bert) if bert.is_dir() else still_bert(bert)
    L.seed_everything(0, verbose=False)
    data = TextData(
        train=write_csv(folder / "toy.csv", toy_rows(60)), tokenizer=backbone, batch_size=8
    )
    task = task_class(backbone, labels=data.labels, kind=data.kind, lr=1e-3, warmup=0.0, **settings)
    task.bad, task.wrong, task.fused = bad, kind, fused
    steps = Steps()
    given = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "precision": "32-true",
        "enable_progress_bar": False,
        "logger": False,
        **options,
    }
    trainer = L.Trainer(
        callbacks=[steps],
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **given,
    )
    trainer.fit(task, datamodule=data)
    return task, steps


def alike(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.run
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_skip_leaves_the_step_out(
    kind: str, fused: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="ftlight"):
        task, steps = run(tmp_path, kind=kind, nonfinite="skip", fused=fused, gradient_clip_val=1.0)
    assert alike(steps.states[2], steps.states[3])
    assert not alike(steps.states[3], steps.states[4])
    assert all(t.isfinite().all() for t in steps.states[-1])
    assert task.trainer.callback_metrics["train/loss"].isfinite()
    first, last = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert first.startswith("step 4: the ")
    cited = re.search(r'\((\S+/toy.csv):(\d+) "parcel my good"; ', first)
    assert cited is not None
    assert Path(cited[1]).read_text().splitlines()[int(cited[2]) - 1].startswith("parcel my good ")
    assert last == "1 optimizer steps were left out: their loss or gradient was not finite"


@pytest.mark.run
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize(
    ("kind", "said"),
    [("nan", "the loss is nan in "), ("norm too large", "the norm of the gradients is inf, at")],
)
def test_stop_names_the_rows(kind: str, said: str, clip: float | None, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Watched(Odd):
        def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            seen.append((batch["index"], [p.detach().clone() for p in self.parameters()]))
            tasks.append(self)
            return super().training_step(batch, batch_idx)

    tasks: list[Any] = []
    with pytest.raises(UserError) as error:
        run(tmp_path, Watched, kind=kind, gradient_clip_val=clip)
    message = str(error.value)
    assert message.startswith(f"step 4: {said}")
    rows, before = seen[-1]
    row = TextData(train=str(tmp_path / "toy.csv"), tokenizer=str(tmp_path / "bert")).load_split(
        "train"
    )[rows[0]]
    assert (
        f"rows {', '.join(map(str, rows))} of train"
        f' ({tmp_path / "toy.csv"}:{row["line"]} "{row["text"].strip()}"; ' in message
    )
    assert message.endswith("or leave such steps out with model.nonfinite: skip")
    assert "\n" not in message
    assert alike(before, list(tasks[-1].parameters()))
    assert len(seen) == 4


@pytest.mark.run
@pytest.mark.parametrize("fused", [True, False])
def test_accumulated_batches_are_left_out_together(fused: bool, tmp_path: Path) -> None:
    task, steps = run(tmp_path, nonfinite="skip", bad=(2,), fused=fused, accumulate_grad_batches=2)
    assert alike(steps.states[1], steps.states[3])  # batches 2 and 3 are one step
    assert not alike(steps.states[3], steps.states[5])
    assert task.guard.left_out == 1


@pytest.mark.run
def test_healthy_training_is_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clip in (None, 0.5):
        guarded = run(tmp_path, bad=(), gradient_clip_val=clip)[1].states
        with monkeypatch.context() as patch:
            patch.setattr(Guard, "watch", lambda self, step, batch, loss: loss)
            patch.setattr(Guard, "hold", lambda self, step, optimizer, norm: None)
            assert alike(guarded[-1], run(tmp_path, bad=(), gradient_clip_val=clip)[1].states[-1])


class NoSync(TorchDispatchMode):
    """Refuses to read a number from the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "local_scalar" not in str(func), "a number was read from the device"
        assert "nonzero" not in str(func)
        return func(*args, **(kwargs or {}))


def test_a_fused_optimizer_is_kept_back_without_reading_from_the_device() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    guard = Guard("skip")
    for step, factor in enumerate((1.0, math.nan, 1.0), 1):
        before = weight.detach().clone()
        with NoSync():
            guard.watch(step, {"index": [step]}, weight.sum() * factor).backward()
            guard.hold(step, optimizer, torch.nn.utils.get_total_norm([weight.grad]))
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(before, weight) == math.isnan(factor)
    assert weight.isfinite().all()
    assert float(optimizer.state[weight]["step"]) == 2
    with pytest.raises(AssertionError, match="was read"), NoSync():
        float(weight.sum())
    (fault,), steps = guard.faults()
    assert (fault.step, fault.rows, steps) == (2, [2], 3)
    assert guard.faults() == ([], 0)


@pytest.mark.run
def test_faults_are_found_where_they_are_looked_for_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: every few steps, and at the end of an epoch; the weights are safe anyway."""
    settled: list[int] = []
    settle = Guard.settle

    def seldom(self: Guard, trainer: Any, data: Any) -> None:
        if (
            trainer.global_step + 1
        ) % 5 == 0 or trainer.global_step == 7:  # 7 batches an epoch: the last two at its end
            settled.append(trainer.global_step)
            settle(self, trainer, data)

    monkeypatch.setattr(Guard, "settle", seldom)
    with pytest.raises(UserError, match=r"^step 4: the loss is nan"):
        run(tmp_path, bad=(3,))
    assert settled == [4]
    task, steps = run(tmp_path, bad=(3, 6), nonfinite="skip")
    assert alike(steps.states[2], steps.states[3])
    assert task.guard.left_out == 2


@pytest.mark.run
def test_skipping_ends_where_nothing_else_happens(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^step {IN_A_ROW}: .*; {IN_A_ROW} steps in a row could not be taken"
    ):
        run(tmp_path, bad=tuple(range(1000)), nonfinite="skip", max_epochs=20)


def test_a_word_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.nonfinite: pass is not known"):
        Guard("pass")  # type: ignore[arg-type]


MODULE = """
import math
from ftlight import TextClassification

class OneRank(TextClassification):
    '''Goes wrong on the second process alone.'''
    def step(self, batch):
        made = super().step(batch)
        if self.training and self.global_rank == 1 and self.trainer.global_step == 1:
            return made._replace(loss=made.loss * math.nan)
        return made
"""


@pytest.mark.processes
@pytest.mark.parametrize("mode", ["skip", "stop"])
def test_processes_agree(mode: str, bert: str, toy: str, tmp_path: Path) -> None:
    (tmp_path / "one_rank.py").write_text(MODULE)
    model = f"{{task: one_rank.OneRank, backbone: {bert}, nonfinite: {mode}}}"
    (tmp_path / "c.yaml").write_text(f"model: {model}\ndata: {{train: {toy}, batch_size: 8}}\n")
    options = [
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
        "--trainer.accelerator",
        "cpu",
        "--trainer.max_epochs",
        "1",
    ]
    command = [
        sys.executable,
        "-m",
        "ftlight",
        "fit",
        "-c",
        "c.yaml",
        "--run",
        "r",
        *options,
        "--trainer.precision",
        "32-true",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env=os.environ, cwd=tmp_path
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert "step 2: the loss is nan in row" in said
    if mode == "stop":
        assert done.returncode == 2, said
        assert "Traceback" not in said
        return
    assert done.returncode == 0, said
    assert said.count("this step is left out") == 1
    weights = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    assert all(v.isfinite().all() for v in weights.values())


def test_the_option_reaches_the_task(
    bert: str, toy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from ftlight.__main__ import main

    data = TextData(train=toy, tokenizer=bert)
    task = TextClassification(bert, labels=data.labels, kind=data.kind, nonfinite="skip")
    assert task.guard.mode == "skip"
    assert (
        main(
            [
                "fit",
                "--model",
                "TextClassification",
                "--model.backbone",
                bert,
                "--data.train",
                toy,
                "--model.nonfinite",
                "skp",
            ]
        )
        == 2
    )
    assert (
        'model.nonfinite: expected one of stop, skip, got skp; did you mean "skip"?'
        in capfd.readouterr().err
    )


@pytest.mark.parametrize(("here", "elsewhere"), [(True, False), (False, True), (False, False)])
def test_processes_vote_where_no_norm_is_known(
    here: bool, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under fp16's scaler, which skips such steps: one process alone may see it, all must stop."""
    other = Fault(1, math.nan, math.nan, [7])
    monkeypatch.setattr(
        "torch.distributed.all_gather_object",
        lambda everyone, mine: everyone.__setitem__(slice(None), [mine, [other] * elsewhere]),
    )

    class Strategy:
        asked: ClassVar[list[bool]] = []

        def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
            self.asked.append(decision)
            return decision or elsewhere

    trainer = types.SimpleNamespace(strategy=Strategy(), world_size=2, is_global_zero=True)
    guard = Guard("stop")
    guard.watch(1, {"index": [3]}, torch.tensor(math.inf if here else 1.0))
    if here or elsewhere:
        with pytest.raises(
            UserError,
            match=rf"^step 1: the loss is {'inf in row 3' if here else 'nan in row 7'} of train; ",
        ):
            guard.settle(trainer, None)
    else:
        guard.settle(trainer, None)
    assert Strategy.asked == [here]


@pytest.mark.run
@pytest.mark.parametrize(("lr", "decay"), [("1", "1e39"), ("1e30", "0")])
def test_weights_that_overflow_in_a_step_are_not_saved(
    lr: str, decay: str, bert: str, toy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The gradients are finite: only the step makes the weights infinite, or the next loss nan."""
    from ftlight.__main__ import main
    from ftlight.training.checkpoint import load

    words = f"--model.lr {lr} --model.weight_decay {decay} --model.lr_schedule constant"
    words += f" --model.warmup 0 --model.backbone {bert} --data.train {toy} --run run"
    words += " --trainer.max_steps 2 --trainer.save_every 1 --trainer.accelerator cpu"
    assert main(["fit", "--model", "TextClassification", *words.split()]) == 2
    fault = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"ftlight: error: step \d: the (weights are no longer finite|loss is)", fault)
    for file in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        assert all(v.isfinite().all() for v in load(file)["state_dict"].values())
