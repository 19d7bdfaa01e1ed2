"""The check that no number has changed: what it tells apart, and what it calls equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
sys.path.append(str(BENCH))
import bit_equal  # noqa: E402

sys.path.remove(str(BENCH))

WEIGHTS = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}


def test_the_order_of_names_is_no_difference() -> None:
    assert bit_equal.sha(WEIGHTS) == bit_equal.sha(dict(reversed(WEIGHTS.items())))


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor([3.0])},
        {"a": torch.tensor([1.0, 2.0 + 2**-22]), "b": torch.tensor([3.0])},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32), "b": torch.tensor([3.0])},
        {"a": torch.tensor([1.0, 2.0])},
    ],
    ids=["name", "last bit", "shape", "type", "number"],
)
def test_what_is_a_difference(other: dict[str, Any]) -> None:
    assert bit_equal.sha(WEIGHTS) != bit_equal.sha(other)


def test_one_other_hash_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    first = {"case": dict.fromkeys(bit_equal.PARTS, "x")}
    assert not bit_equal.compare([first, first])
    assert "equal" in capsys.readouterr().out
    assert bit_equal.compare([first, {"case": {**first["case"], "metrics": "y"}}])
    assert "differs: metrics" in capsys.readouterr().out
