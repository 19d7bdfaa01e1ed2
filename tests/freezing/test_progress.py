"""Where a run stands in its schedule, without a model."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import each

from ftlight.freezing.progress import Progress, changes
from ftlight.freezing.schedule import Stage
from ftlight.utils.errors import UserError

HEAD, LAST = Stage(("head",), epochs=1, lr=1e-2), Stage(("all",), lr=1e-4)


def begin(*stages: Stage, step: int = 0) -> Progress:
    """A run of four epochs of ten steps."""
    progress = Progress(stages, step)
    progress.per_epoch, progress.total = 10, 40
    return progress


def test_stages_change_when_their_steps_are_over() -> None:
    progress = begin(HEAD, Stage(("last:1",), steps=5), LAST, step=100)
    changed = [step for step in range(100, 140) if progress.advance(step)]
    assert changed == [110, 115]
    assert progress.stage_starts == [100, 110, 115]
    assert progress.is_last
    assert progress.length() == 25  # what is left of the run


def test_stages_without_a_step_are_skipped() -> None:
    progress = begin(Stage(("head",), fraction=0.01), Stage(("last:1",), fraction=0.01), LAST)
    assert progress.advance(0)
    assert progress.stage_starts == [0, 0, 0]


def test_patience_ends_a_stage_and_counts_anew_in_the_next() -> None:
    stage = Stage(("head",), patience=2, monitor="val/loss")
    progress = begin(stage, stage, LAST)
    assert [progress.validated(value, lower=True) for value in (3.0, 2.0, 2.5)] == [False] * 3
    progress.ended = progress.validated(float("nan"), lower=True)
    assert progress.ended
    assert progress.advance(7)
    assert (progress.best, progress.bad_validations, progress.ended) == (None, 0, False)
    assert not progress.advance(8)


def test_the_rate_counts_from_the_start_of_the_stage() -> None:
    progress = begin(HEAD, LAST)
    assert progress.lr(0, 5, [True, True]) == pytest.approx(1e-2 / 2)
    progress.advance(10)
    assert progress.lr(0, 10, [True, True]) == 1e-4
    assert progress.lr(0, 25, [True, True]) == pytest.approx(1e-4 / 2)
    assert progress.lr(0, 25, [True, False]) == 0


def test_epochs_are_unlimited_if_the_run_is() -> None:
    progress = begin(HEAD, LAST)
    assert progress.epochs(progress.total) == [1, 3]
    progress.total = 0
    assert progress.epochs(0) == [1e6, 1e6]
    assert progress.length() == 10


def test_a_checkpoint_has_the_keys_of_0_1_and_goes_on() -> None:
    progress = begin(HEAD, LAST)
    progress.advance(10)
    progress.validated(0.5, lower=False)
    state = progress.state_dict()
    assert list(state) == ["stage", "begins", "best", "waited", "ended", "solved", "schedule"]
    of_0_1 = {key: value for key, value in state.items() if key != "solved"}
    again = begin(HEAD, LAST)
    again.load_state_dict(of_0_1)
    assert again.state_dict() == state
    assert (again.stage, again.stage_starts, again.best) == (1, [0, 10], 0.5)


def test_a_checkpoint_of_another_schedule_is_refused_with_both() -> None:
    state = begin(HEAD, LAST).state_dict()
    with pytest.raises(UserError, match=r"^model.unfreeze: .* began with \{train: head.*, this"):
        begin(LAST).load_state_dict(state)


def test_what_makes_another_schedule_is_named_by_its_option() -> None:
    every, slow = Stage(("all",), lr=2e-3, warmup=0.1), Stage(("all",), lr=1e-3, warmup=0.1)
    solved = Stage(("head",), solved=True)

    def check(then: list[Stage], now: list[Stage], options: list[str], lines: list[str]) -> None:
        assert changes(then, now, *options) == [f"model.{line}" for line in lines]

    each(
        [
            ([every], [slow], ["all"] * 2, ["lr: the run began with 0.002, this is 0.001"]),
            (
                [every] * 2,
                [dataclasses.replace(slow, lr_schedule="cosine")] * 2,
                ["gradual"] * 2,
                [
                    "lr: the run began with 0.002, this is 0.001",
                    "lr_schedule: the run began with linear, this is cosine",
                ],
            ),
            # another schedule has other rates, which nobody gave
            (
                [every],
                [LAST],
                ["all", "last:1"],
                ["unfreeze: the run began with all, this is last:1"],
            ),
            (
                [solved],
                [Stage(("head",), lr=0.01)],
                ["head"] * 2,
                [
                    "lr or model.head_fit: the run began with a head that is solved,"
                    " this is one stepped at lr 0.01"
                ],
            ),
        ],
        check,
    )
