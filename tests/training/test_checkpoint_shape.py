"""Checkpoints that are intact, but not shaped as ours: what is compared, what is let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ftlight.training.checkpoint_shape import moments_fault, restoring, unlike
from ftlight.utils.errors import UserError

SAME: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": 2, "newer": 3}),  # as a checkpoint of an earlier version
    ({"a": 1, "older": []}, {"a": 2}),
    ({"a": "text"}, {"a": None}),  # null tells nothing
    ([3, 4, 5], [1]),
    ((1.5, 2), [0.5, 0.5]),
    (torch.tensor(3), 3),
    (torch.ones(2), torch.zeros(3)),
    (float("inf"), float("inf")),
    ([], [1]),
]
OTHER: list[tuple[Any, Any, str]] = [
    (7, {}, "it is int instead of dict"),
    ({"a": [1, {"b": "x"}]}, {"a": [2, {"b": 1}]}, "it.a[1].b is str instead of int"),
    ([1, 2, "x"], [1], "it[2] is str instead of int"),
    (True, 1, "it is bool instead of int"),
    (1, True, "it is int instead of bool"),
    (1.5, 1, "it is float instead of int"),
    (None, 1, "it is NoneType instead of int"),
    (-1, 0, "it is -1"),
    (float("nan"), 0.5, "it is nan"),
    ("text", [], "it is str instead of list"),
    (torch.ones(2), {}, "it is Tensor instead of dict"),
]


@pytest.mark.parametrize(("found", "own"), SAME)
def test_a_value_that_may_differ_is_let_through(found: Any, own: Any) -> None:
    assert unlike(found, own, "it", sound=True) == ""


@pytest.mark.parametrize(("found", "own", "says"), OTHER)
def test_a_value_of_another_kind_is_found(found: Any, own: Any, says: str) -> None:
    assert unlike(found, own, "it", sound=True) == says


def test_callbacks_may_count_as_they_like() -> None:
    """Early stopping counts from -1 after a stage, which is no fault."""
    assert (
        unlike({"wait_count": -1, "best": float("nan")}, {"wait_count": 0, "best": 0.5}, "it") == ""
    )


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), ValueError(), RuntimeError("x")])
def test_what_a_reader_raises_is_one_line_with_the_file(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"last\.ckpt is not a checkpoint .*--ckpt_path FILE"):
        with restoring(tmp_path / "last.ckpt"):
            raise error


def test_an_error_that_says_enough_already_stays(tmp_path: Path) -> None:
    for error in (UserError("mine"), torch.OutOfMemoryError("no room"), OSError("no file")):
        with pytest.raises(type(error), match=str(error)), restoring(tmp_path):
            raise error


def trained(kind: Any, **options: Any) -> Any:
    """An optimizer that has taken a step."""
    layer = nn.Linear(2, 3)
    optimizer = kind(layer.parameters(), lr=0.1, **options)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.Adafactor, {}),
        (torch.optim.RAdam, {}),
    ],
)
def test_the_state_of_any_optimizer_is_right(kind: Any, options: dict[str, Any]) -> None:
    assert moments_fault(trained(kind, **options)) == ""


def test_a_mean_of_gradients_that_is_missing_or_cut_is_found() -> None:
    optimizer = trained(torch.optim.AdamW)
    first, second = optimizer.state.values()
    del second["exp_avg_sq"]
    assert moments_fault(optimizer) == "optimizer_states: a mean of gradients is missing"
    first["exp_avg"] = first["exp_avg"][:1]
    assert "exp_avg is of another size" in moments_fault(optimizer)
