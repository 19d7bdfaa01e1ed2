"""A lack of memory ends in one line with the ways out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import each, write_csv

from ftlight import TextClassification
from ftlight.__main__ import main
from ftlight.training import memory
from ftlight.utils.errors import UserError

LACK = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB"
)
WAYS = "ways out: lower data.batch_size or data.tokens_per_batch or data.max_length"
TRAINING = (
    "trainer.accumulate_grad_batches with a smaller batch, trainer.precision: bf16-mixed,"
    " model.peft: lora, model.unfreeze"
)


def fails(*args: Any, **kwargs: Any) -> Any:
    raise LACK


@pytest.fixture
def command(bert: str, tmp_path: Path) -> list[str]:
    """Trains on 8 rows of 4 tokens."""
    rows = [("one good", "good"), ("one bad", "bad")] * 6
    train = write_csv(tmp_path / "same.csv", rows)
    model = ["--model", "TextClassification", "--model.backbone", bert]
    sizes = [
        "--data.train",
        train,
        "--data.batch_size",
        "8",
        "--trainer.max_epochs",
        "1",
        "--trainer.accelerator",
        "cpu",
    ]
    return ["fit", *model, *sizes, "--run", "r"]


@pytest.mark.run
@pytest.mark.parametrize(
    ("where", "ways"),
    [
        ((TextClassification, "step"), f"{WAYS}, {TRAINING}"),
        ((torch.Tensor, "backward"), f"{WAYS}, {TRAINING}"),
        ((torch, "_fused_adamw_"), f"{WAYS}, {TRAINING}"),
        ((TextClassification, "evaluate"), WAYS),
    ],
    ids=lambda v: v[1] if isinstance(v, tuple) else "",
)
def test_a_lack_of_memory_names_the_ways_out(
    where: tuple[Any, str],
    ways: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(*where, fails)
    assert main(command) == 2
    (line,) = [
        line for line in capfd.readouterr().err.splitlines() if line.startswith("ftlight: error")
    ]
    rows = 1 if where[1] == "evaluate" else 8
    assert (
        line == f"ftlight: error: not enough memory for a batch of {rows} rows x 4 tokens; {ways}"
    )


@pytest.mark.run
def test_backward_of_a_batch_that_is_accumulated(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.Tensor, "backward", fails)
    assert main([*command, "--trainer.accumulate_grad_batches", "2", "--data.batch_size", "2"]) == 2
    assert "not enough memory" in capfd.readouterr().err.splitlines()[-1]


ERRORS = [
    (LACK, True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate()"), True),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
    (RuntimeError("MPS backend out of memory"), True),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    (ValueError("out of memory"), False),
]


def test_which_errors_are_a_lack_of_memory() -> None:
    def check(error: Exception, lacks: bool) -> None:
        assert memory.is_lack(error) == lacks
        with pytest.raises(UserError if lacks else type(error)), memory.explained(lambda: "said"):
            raise error

    each(ERRORS, check)


def test_options_are_those_of_the_data() -> None:
    assert "lower data.batch_size or data.image_size" in memory.words(
        "", ["image_size", "batch_size"], False
    )
    assert "data." not in memory.words("", [], True)
