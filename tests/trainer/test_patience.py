"""A run waits for its first right answer as long as its loss falls."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn

from ftlight.trainer.patience import Patience


def stopped_at(values: list[tuple[float, float]], mode: str = "max", broken: int = -1) -> int:
    """The validation, from 1, after which a run with a patience of 2 stops; 0 if none.

    Args:
        values: score and loss of each validation.
        mode: max if a higher score is better.
        broken: the validation after which the run goes on in another process.
    """
    stopping = Patience("val/f1", mode, 2)
    strategy = SimpleNamespace(reduce_boolean_decision=lambda stop, all: stop)
    for number, (score, loss) in enumerate(values, 1):
        metrics = {"val/f1": torch.tensor(score), "val/loss": torch.tensor(loss)}
        trainer: Any = SimpleNamespace(
            callback_metrics=metrics,
            strategy=strategy,
            should_stop=False,
            fast_dev_run=False,
            sanity_checking=False,
            current_epoch=number,
            state=SimpleNamespace(fn=TrainerFn.FITTING),
        )
        stopping._check_on_train_epoch_end = False
        stopping.on_validation_end(trainer, None)  # type: ignore[arg-type]
        if trainer.should_stop:
            return number
        if number == broken:
            state, stopping = stopping.state_dict(), Patience("val/f1", mode, 2)
            stopping.load_state_dict(state)
    return 0


def test_a_score_of_nothing_waits_for_the_loss() -> None:
    falling = [(0.0, 5.0 - i) for i in range(5)]
    assert stopped_at(falling) == 0
    assert stopped_at(falling, broken=2) == 0
    assert stopped_at([*falling, (0.0, 2.0), (0.0, 1.0)]) == 7  # not below the lowest
    assert stopped_at([*falling, (0.3, 1.0), (0.3, 0.9), (0.2, 0.8)]) == 8
    assert stopped_at([*falling, (0.3, 1.0), (0.0, 0.9), (0.0, 0.8)]) == 8  # it was above 0


def test_any_other_score_counts_as_before() -> None:
    assert stopped_at([(0.5, 3.0), (0.5, 2.0), (0.5, 1.0)]) == 3
    assert stopped_at([(0.0, 3.0), (0.0, 2.0), (0.0, 1.0)], mode="min") == 3
    assert stopped_at([(0.0, math.nan)] * 3) == 3


def test_a_checkpoint_of_before_is_taken_up() -> None:
    old, new = EarlyStopping("val/f1", mode="max", patience=2), Patience("val/f1", "max", 2)
    assert new.state_key == old.state_key
    new.load_state_dict(old.state_dict())
    assert new.least == math.inf
