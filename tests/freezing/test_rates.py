"""Learning rates over a run, against arrays of every step's factor."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conftest import each

from ftlight.freezing.progress import Progress
from ftlight.freezing.rates import MOST_RAMP, is_newly_thawed, lr_at, lr_in_run
from ftlight.freezing.schedule import Over, Shape, Stage

FORMS: tuple[Shape, ...] = ("linear", "cosine", "constant")
HEAD, TOP, BODY = [True] * 3, [False, True, True], [False, False, True]


def plan(lengths: list[int], over: Over = "run", **options: Any) -> list[Stage]:
    """Three stages, of which the last takes what is left of the run."""
    head, last = Stage(("head",), steps=lengths[0], lr=1e-2), Stage(("all",), lr=1e-4)
    stages = [head, Stage(("last:2",), steps=lengths[1], lr=3e-4), last]
    return [Stage(**{**vars(s), "lr_over": over, **options}) for s in stages]


def rates(
    stages: list[Stage], total: int, trained: list[bool], first: int = 0, depth: int = 0
) -> list[float]:
    """A layer's rate at every step of a run of epochs of ten steps."""
    progress = Progress(stages, first)
    progress.per_epoch, progress.total = 10, total
    found = []
    for step in range(first, first + total):
        progress.advance(step)
        found.append(progress.lr(depth, step, trained))
    return found


def curve(total: int, warmup: float, form: Shape) -> np.ndarray:
    """The factor of every step of a run."""
    rise = int(np.ceil(total * warmup))
    up = np.arange(1, rise + 1) / max(1, rise)
    part = np.arange(total - rise) / max(1, total - rise)
    falls = {"linear": 1 - part, "cosine": (1 + np.cos(np.pi * part)) / 2, "constant": part * 0 + 1}
    return np.concatenate([up, falls[form]])


def test_the_factor_is_that_of_the_run_and_what_is_thawed_rises_to_it() -> None:
    def check(warmup: float, form: Shape, lengths: list[int], first: int) -> None:
        total = 200
        stages = plan(lengths, warmup=warmup, lr_schedule=form, layer_decay=0.5)
        own = np.repeat([1e-2, 3e-4, 1e-4], [*lengths, total - sum(lengths)])
        whole = own * curve(total, warmup, form)
        second, third = lengths[0], sum(lengths)
        for depth, (trained, thaw) in enumerate([(HEAD, 0), (TOP, second), (BODY, third)]):
            wanted = whole * 0.5**depth
            wanted[:thaw] = 0
            if thaw:
                length = lengths[1] if thaw == second else total - third
                rise = min(10, int(np.ceil(length * warmup)))
                wanted[thaw : thaw + rise] *= np.arange(1, rise + 1) / max(1, rise)
            assert rates(stages, total, trained, first, depth) == pytest.approx(
                wanted.tolist(), rel=1e-12
            )

    each(itertools.product([0.0, 0.1, 0.25], FORMS, [[20, 50], [4, 3], [60, 120]], [0, 500]), check)


def test_one_stage_has_the_rates_it_had_to_the_bit() -> None:
    def check(warmup: float, form: Shape, total: int) -> None:
        stage = Stage(("all",), lr=2e-4, layer_decay=0.9, warmup=warmup, lr_schedule=form)
        over_run = Stage(**{**vars(stage), "lr_over": "run"})
        before = [lr_at(stage, 3, step, total) for step in range(total)]
        assert rates([over_run], total, [True], 70, depth=3) == before

    each(itertools.product([0.0, 0.06, 0.1, 1.0], FORMS, [1, 7, 997]), check)


def test_lr_over_stage_begins_anew_in_each_stage_as_in_0_1() -> None:
    stages = plan([20, 50], over="stage", warmup=0.1)
    wanted = [
        lr_at(stage, 0, step, length)
        for stage, length in zip(stages, [20, 50, 30], strict=True)
        for step in range(length)
    ]
    assert rates(stages, 100, HEAD) == wanted
    assert rates(stages, 100, TOP) == [0] * 20 + wanted[20:]


def test_a_stage_with_patience_cools_too() -> None:
    stage = Stage(("head",), patience=3, lr=1.0, lr_over="run")
    progress = Progress([stage, Stage(("all",), lr=1.0, lr_over="run")], 0)
    progress.per_epoch, progress.total = 10, 40
    assert [progress.lr(0, step, [True, True]) for step in (0, 10, 20)] == [1.0, 0.75, 0.5]
    progress.ended = True
    progress.advance(20)
    assert progress.lr(0, 20, [True, True]) == 0.5
    constant = Stage(**{**vars(stage), "lr_over": "stage"})
    assert set(rates([constant, stage], 40, [True, False])[:30]) == {1.0}


def test_without_a_limit_of_the_run_each_stage_is_by_itself() -> None:
    options = {"warmup": 0.1, "lr_schedule": "linear"}
    for trained in (HEAD, TOP):
        both = []
        for over in ("run", "stage"):
            stages = plan([20, 50], over=over, **options)[:2]
            stages.append(Stage(("all",), lr=1e-4, lr_schedule="constant", lr_over=over))
            progress = Progress(stages, 0)
            progress.per_epoch = 10  # and no total
            found = []
            for step in range(100):
                progress.advance(step)
                found.append(progress.lr(0, step, trained))
            both.append(found)
        assert both[0] == both[1]


def test_a_stage_may_fall_by_itself_within_a_run_that_falls_once() -> None:
    stages = plan([20, 50])
    stages[1] = Stage(**{**vars(stages[1]), "lr_over": "stage", "warmup": 0.1})
    found, whole = rates(stages, 100, TOP), curve(100, 0, "linear")
    assert found[20:70] == [lr_at(stages[1], 0, step, 50) for step in range(50)]
    assert found[70:] == pytest.approx((1e-4 * whole[70:]).tolist())


def test_after_a_first_stage_without_steps_there_is_the_warm_up_alone() -> None:
    stages = plan([20, 50], warmup=0.1)
    whole = 3e-4 * curve(100, 0.1, "linear")
    for trained in (HEAD, TOP):
        found = [lr_in_run(stages, [0, 0], trained, 0, step, 50, 100) for step in range(50)]
        assert found == pytest.approx(whole[:50].tolist())


def test_a_stage_without_steps_thaws_and_freezes_nothing() -> None:
    def check(starts: list[int], trained: list[bool], is_new: bool) -> None:
        assert is_newly_thawed(starts, trained) == is_new

    each(
        [
            ([5], [True], False),
            ([5, 5, 5], [False, False, True], False),
            ([5, 9], [False, True], True),
            ([5, 9], [True, True], False),
            ([5, 9, 9], [False, True, True], True),
            ([5, 9, 9], [True, False, True], False),
            ([5, 5, 9], [True, False, True], True),
            ([5, 9, 12], [True, False, True], True),  # frozen in between
        ],
        check,
    )


def test_a_long_stage_ramps_for_ten_steps_and_no_warm_up_for_none() -> None:
    for warmup, rise in ((0.1, MOST_RAMP), (0.0, 0)):
        stages = plan([400, 300], warmup=warmup, lr_schedule="constant")
        found = rates(stages, 1000, TOP)
        assert sum(0 < rate < 3e-4 for rate in found[400:700]) == max(0, rise - 1)


def test_a_run_that_ends_with_a_solved_head_cools_before_it() -> None:
    stages = [Stage(("last:2",), steps=20, lr=1.0, lr_over="run"), Stage(("head",), solved=True)]
    found = rates(stages, 100, [True, False])
    assert found[:20] == pytest.approx([(20 - step) / 20 for step in range(20)])
