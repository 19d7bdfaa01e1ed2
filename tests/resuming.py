"""Tiny trainings to be stopped and resumed, and what they leave, for the tests of several files."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from ftlight import Trainer
from ftlight.tasks.text_classification.data import TextData
from ftlight.tasks.text_classification.task import TextClassification
from ftlight.training import checkpoint
from ftlight.training.signals import RunInterrupted


class SignalAt(L.Callback):
    """A signal at a step, before it or in the validation after it; counts the rows of the steps."""

    def __init__(self, step: int = -1, hook: str = "on_train_batch_start") -> None:
        self.step, self.seen, self.validated = step, [], []
        if step >= 0:
            setattr(self, hook, self.send)

    def send(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer._signal_connector.received = signal.SIGTERM

    def on_validation_end(self, trainer: Any, *rest: Any) -> None:
        self.validated.append(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append((trainer.current_epoch, batch["index"]))


def run(
    backbone: str,
    rows: dict[str, str],
    folder: Path,
    how: dict[str, Any],
    *callbacks: L.Callback,
    resume: bool = False,
    ckpt: str | None = None,
) -> Any:
    """Trains, and tests at the end."""
    L.seed_everything(3, verbose=False)
    data = TextData(**{**rows, "tokenizer": backbone, "batch_size": 8, **how.get("data", {})})
    task = TextClassification(backbone, labels=data.labels, **{"lr": 1e-3, **how.get("model", {})})
    options = {
        "max_epochs": 2,
        "precision": "32-true",
        "log_every_n_steps": 1,
        **how.get("trainer", {}),
    }
    given = [*callbacks, *([EMAWeightAveraging(decay=0.8)] if how.get("ema") else [])]
    trainer = Trainer(
        run=str(folder),
        resume=resume,
        accelerator="cpu",
        callbacks=given,
        enable_progress_bar=False,
        **options,
    )
    trainer.fit(task, datamodule=data, ckpt_path=ckpt)
    return trainer


def everything(folder: Path) -> dict[str, Any]:
    """What a run leaves: its last checkpoint but names of files, best weights, metrics and test."""
    last = checkpoint.load(folder / "checkpoints" / "last.ckpt")
    last["callbacks"].pop("Best", None)
    best = checkpoint.load(folder / "checkpoints" / "best.ckpt")
    return {
        "last": {
            k: last[k]
            for k in ("state_dict", "optimizer_states", "callbacks", "global_step", "epoch")
        },
        "average": last.get("current_model_state", {}),
        "best": best["state_dict"],
        "metrics": (folder / "metrics.csv").read_text().splitlines(),
        "test": (folder / "test_metrics.json").read_text(),
        "predictions": (folder / "test_predictions.csv").read_text(),
        "status": json.loads((folder / "run.json").read_text())["status"],
    }


def stopped_and_whole(
    backbone: str, rows: dict[str, str], folder: Path, how: dict[str, Any]
) -> list[dict[str, Any]]:
    """What a run leaves that is stopped at its fourth step and resumed, and one that is not."""
    with pytest.raises(RunInterrupted):
        run(backbone, rows, folder / "stopped", how, SignalAt(4))
    run(backbone, rows, folder / "stopped", how, resume=True)
    run(backbone, rows, folder / "whole", how)
    return [everything(folder / name) for name in ("stopped", "whole")]


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Places where two nested results are not the same to the bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = dict.fromkeys((*a, *b))
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{where}.{k}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differences(x, y, f"{where}.{i}")
        ]
    same = (
        torch.equal(a, b)
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
        else a == b or (a != a and b != b)
    )
    if same:
        return []
    shown = ["tensor" if isinstance(x, torch.Tensor) else x for x in (a, b)]
    return [f"{where}: {shown[0]} | {shown[1]}"]
