"""FSDP2: two real processes with divided weights train as DDP does."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import toy_rows, write_csv
from lightning.pytorch.strategies import ModelParallelStrategy

from ftlight import TextClassification, TextData, Trainer
from ftlight.__main__ import main
from ftlight.errors import UserError

SAVER = "lightning.pytorch.callbacks.ModelCheckpoint"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("MASTER_", "PL_", "LOCAL_", "NODE_", "WORLD_"))}


class Done(NamedTuple):
    folder: Path
    said: str
    losses: list[float]
    last: dict[str, Any]

    def scores(self) -> dict[str, float]:
        return dict(json.loads((self.folder / "test_metrics.json").read_text()))


def torchrun(backbone: str, strategy: str, folder: Path, *words: str) -> Done:
    """Trains with torchrun in two processes, which have batches enough for unequal evaluations."""
    train = write_csv(folder.parent / "train.csv", toy_rows(48))
    test = write_csv(folder.parent / "test.csv", toy_rows(41))
    model = ["--model", "TextClassification", "--model.backbone", backbone, "--model.pooling", "native", "--model.lr", "1e-2"]
    data = ["--data.train", train, "--data.validation", test, "--data.test", test, "--data.batch_size", "4"]
    options = {"max_epochs": "2", "accelerator": "cpu", "devices": "2", "precision": "32-true", "strategy": strategy, "run": str(folder)}
    trainer = [word for name, value in options.items() for word in (f"--trainer.{name}", value)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ftlight", "fit"]
    command = [*launch, *model, *data, *trainer, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=CLEAN, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    with (folder / "metrics.csv").open() as file:
        losses = [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "train/loss"]
    return Done(folder, done.stdout, losses, torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


def difference(one: Done, other: Done) -> float:
    """The largest of all weights and optimizer states, whose names are the same."""
    pairs = [(one.last["state_dict"], other.last["state_dict"])]
    states = [run.last["optimizer_states"][0] for run in (one, other)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    pairs += [(state, states[1]["state"][i]) for i, state in states[0]["state"].items()]
    assert all(a.keys() == b.keys() for a, b in pairs)
    return max(float((a[n].float() - b[n].float()).abs().max()) for a, b in pairs for n in a)


@pytest.mark.parametrize("unfreeze", ["all", '[{"train": "head", "steps": 4}, {"train": "last:1", "steps": 3}, {"train": "all"}]'])
def test_fsdp2_trains_as_ddp(still: str, tmp_path: Path, unfreeze: str) -> None:
    words = ["--model.unfreeze", unfreeze, "--model.cache", "true"]
    if unfreeze == "all":
        words += ["--trainer.callbacks", SAVER, "--trainer.callbacks.filename", "{epoch}", "--trainer.callbacks.save_top_k", "-1"]
    runs = {s: torchrun(still, s, tmp_path / s, *words) for s in ("ddp", "fsdp2")}
    ddp, fsdp2 = runs["ddp"], runs["fsdp2"]
    assert ddp.losses == pytest.approx(fsdp2.losses, abs=1e-4)
    assert len(ddp.losses) == 2
    assert difference(ddp, fsdp2) < 1e-4
    assert fsdp2.scores() == pytest.approx(ddp.scores(), abs=1e-4)
    assert ("under fsdp2" in fsdp2.said) == (unfreeze != "all")  # why nothing is kept of the frozen layers
    if unfreeze == "all":
        _one_process_measures_the_same(fsdp2)
        _either_goes_on_from_either(still, runs)


def _one_process_measures_the_same(fsdp2: Done) -> None:
    before = fsdp2.scores()
    assert main(["test", str(fsdp2.folder), "--trainer.devices", "1", "--trainer.strategy", "auto"]) == 0
    assert fsdp2.scores() == pytest.approx(before, abs=1e-6)


def _either_goes_on_from_either(still: str, runs: dict[str, Done]) -> None:
    for start, run in runs.items():
        half = run.folder / "checkpoints" / "epoch=0.ckpt"
        again = torchrun(still, "fsdp2", run.folder.parent / f"{start}-fsdp2", "--ckpt_path", str(half))
        assert again.losses == pytest.approx(run.losses[1:], abs=0 if start == "fsdp2" else 1e-4)
        gap = difference(again, runs["fsdp2"])
        assert gap == 0 if start == "fsdp2" else gap < 1e-4
    half = runs["fsdp2"].folder / "checkpoints" / "epoch=0.ckpt"
    again = torchrun(still, "ddp", half.parent.parent.parent / "fsdp2-ddp", "--ckpt_path", str(half))
    assert difference(again, runs["ddp"]) < 1e-4


REFUSED = {
    "fsdp": "The strategy `fsdp` requires a GPU accelerator",
    "nonsense": "invalid strategy name: `strategy='nonsense'`",
    "fsdp2 --trainer.precision 64-true": "does not support",
    "fsdp2 --model.peft ia3": "fsdp2 takes no adapters",
    "fsdp2 --trainer.callbacks EMAWeightAveraging": "fsdp2 keeps no average of the weights",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_work_is_said_in_one_line(words: str, plain_bert: str, toy: str, tmp_path: Path, capsys: Any) -> None:
    if "peft" in words:
        pytest.importorskip("peft")
    strategy, *more = words.split()
    common = ["--model", "TextClassification", "--model.backbone", plain_bert, "--data.train", toy, "--run", str(tmp_path / "r")]
    assert main(["fit", *common, "--trainer.accelerator", "cpu", "--trainer.strategy", strategy, *more]) == 2
    said = capsys.readouterr().err
    assert REFUSED[words] in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_other_divisions_are_refused(plain_bert: str, toy: str, tmp_path: Path) -> None:
    data = TextData(train=toy, tokenizer=plain_bert)
    task = TextClassification(plain_bert, labels=data.labels)
    trainer = Trainer(strategy=ModelParallelStrategy(), accelerator="cpu", devices=1, run=str(tmp_path / "r"))
    with pytest.raises(UserError, match="divides its layers for fsdp2 only"):
        trainer.fit(task, datamodule=data)


def test_torchrun_and_devices_agree(plain_bert: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TextData(train=toy, tokenizer=plain_bert)
    trainer = Trainer(accelerator="cpu", devices=1, run=str(tmp_path / "r"))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"torchrun started 2 processes; add --trainer.devices 2"):
        trainer.fit(TextClassification(plain_bert, labels=data.labels), datamodule=data)
