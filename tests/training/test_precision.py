"""bf16 weights with fp32 master weights."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import each, make_bert
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from ftlight import Trainer
from ftlight.tasks.text_classification.data import TextData
from ftlight.tasks.text_classification.task import TextClassification
from ftlight.training import precision
from ftlight.training.precision import BF16Master, MasterAdamW
from ftlight.utils.errors import UserError


def pair(*shape: int, channels_last: bool = False) -> tuple[nn.Parameter, nn.Parameter]:
    """A weight in fp32, and the same in bfloat16."""
    torch.manual_seed(0)
    rounded = torch.randn(shape).bfloat16()
    rounded = rounded.to(memory_format=torch.channels_last) if channels_last else rounded
    return nn.Parameter(rounded.float()), nn.Parameter(rounded)


def test_the_fp32_weights_are_those_of_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (1 << 18, 1024):
        monkeypatch.setattr(precision, "PIECE", piece)
        shapes = [(1000, 7), (5,), (8, 4, 3, 3)]
        each(itertools.product(shapes, [False, True]), check_master)


def check_master(shape: tuple[int, ...], channels_last: bool) -> None:
    full, half = pair(*shape, channels_last=channels_last and len(shape) == 4)
    ours, theirs = (
        MasterAdamW([half], lr=1e-2, weight_decay=0.1),
        torch.optim.AdamW([full], lr=1e-2, weight_decay=0.1, fused=True),
    )
    for step in range(12):
        grad = torch.randn_like(half)
        half.grad, full.grad = grad, grad.float()
        for optimizer in (ours, theirs):
            optimizer.grad_scale, optimizer.found_inf = (
                torch.tensor(1.5),
                torch.tensor(float(step == 4)),
            )
            optimizer.step()
    assert torch.equal(ours.state[half]["master"], full)
    assert torch.equal(half, full.bfloat16())
    assert ours.state[half]["step"] == 11


def test_small_steps_are_not_lost() -> None:
    half = nn.Parameter(torch.ones(4).bfloat16())
    optimizer = MasterAdamW([half], lr=1e-4, weight_decay=0.0)
    for _ in range(100):
        half.grad = torch.ones(4).bfloat16()
        optimizer.step()
    assert optimizer.state[half]["master"] == pytest.approx([0.99] * 4, abs=1e-4)
    assert half.tolist() == pytest.approx(
        [0.99] * 4, abs=0.004
    )  # without them, 1 - 1e-4 is 1 in bfloat16 at every step


def test_a_state_is_taken_as_it_was() -> None:
    _, half = pair(30, 3)
    plain = nn.Parameter(torch.randn(3))
    first = MasterAdamW([half, plain], lr=1e-2)
    for p in (half, plain):
        p.grad = torch.randn_like(p)
    first.step()
    second = MasterAdamW([half, plain], lr=1e-2)
    second.load_state_dict(first.state_dict())
    for p in (half, plain):
        assert second.state[p].keys() == first.state[p].keys()
        for name, value in first.state[p].items():
            assert second.state[p][name].dtype == torch.float32
            assert torch.equal(second.state[p][name], value)
    assert second.state[plain]["master"].data_ptr() == plain.data_ptr()


def test_weights_are_cast_and_norms_of_batches_and_buffers_are_not() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.LayerNorm(3))
    model.register_buffer("angles", torch.ones(2))
    BF16Master().convert_module(model)
    kinds = {n: t.dtype for n, t in model.state_dict().items()}
    assert {n for n, t in kinds.items() if t == torch.bfloat16} == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }
    batch = {
        "inputs": {"pixels": torch.ones(1), "ids": torch.ones(1, dtype=torch.long)},
        "targets": torch.ones(1),
        "index": [0],
    }
    cast = BF16Master().convert_input(batch)
    assert {k: v.dtype for k, v in cast["inputs"].items()} == {
        "pixels": torch.bfloat16,
        "ids": torch.long,
    }
    assert cast["targets"].dtype == torch.float32


def fit(
    toy: str, folder: Path, backbone: str, task: type = TextClassification, **options: Any
) -> Any:
    data = TextData(toy, tokenizer=backbone, batch_size=8)
    made = task(backbone, labels=data.labels, lr=1e-3)
    about = {
        "max_epochs": 4,
        "accelerator": "cpu",
        "precision": "bf16-master",
        "enable_progress_bar": False,
    }
    Trainer(run=str(folder), **{**about, **options}).fit(made, datamodule=data)
    return made


@pytest.mark.run
def test_a_run_learns_in_it(toy: str, bert: str, tmp_path: Path) -> None:
    task = fit(toy, tmp_path / "run", bert, max_epochs=20)
    assert {p.dtype for p in task.parameters()} == {torch.bfloat16}
    optimizer = task.trainer.optimizers[0]
    assert isinstance(optimizer, MasterAdamW)
    assert {p.dtype for s in optimizer.state.values() for p in s.values()} == {torch.float32}
    assert task.trainer.callback_metrics["train/loss"] < 0.9  # three labels: 1.1 is chance


@pytest.mark.run
def test_a_run_keeps_its_precision(toy: str, bert: str, tmp_path: Path) -> None:
    fit(toy, tmp_path / "run", bert, max_epochs=1, precision="32-true")
    with pytest.raises(
        UserError, match=r"trainer\.precision: the run began without bf16-master, and must go on so"
    ):
        fit(toy, tmp_path / "run", bert, max_epochs=2, resume=True)


@pytest.mark.run
def test_what_does_not_go_with_it_is_refused(toy: str, tmp_path: Path) -> None:
    backbone = str(make_bert(tmp_path / "bert", sentence_encoder=False))
    with pytest.raises(UserError, match="would round an average of the weights"):
        fit(toy, tmp_path / "a", backbone, callbacks=[EMAWeightAveraging(decay=0.9)])

    class Own(TextClassification):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            groups = super().configure_optimizers().param_groups
            return torch.optim.SGD(groups)

    with pytest.raises(UserError, match="needs the optimizer of Task"):
        fit(toy, tmp_path / "b", backbone, Own)
    with pytest.raises(UserError, match="does not work with FSDP2"):
        fit(toy, tmp_path / "c", backbone, strategy="fsdp2")
