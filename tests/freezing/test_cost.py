"""What the stages of a schedule cost: the legs of a run, from its start and from within."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ftlight.freezing import cost
from ftlight.freezing.auto import Search
from ftlight.freezing.progress import Progress
from ftlight.freezing.schedule import Stage

LAYERS = ["embeddings", *(f"layer {i}" for i in range(4)), "head"]
TRAINS = (["head"], ["layer 3", "head"], LAYERS)
STAGES = (
    Stage(("head",), fraction=0.2),
    Stage(("last:1",), epochs=2, patience=1),
    Stage(("all",)),
)


def schedule(stages: tuple[Stage, ...] = STAGES) -> Any:
    """A schedule of a model whose layers have one weight each, with 10 steps an epoch."""
    progress = Progress(stages, step=0)
    progress.per_epoch = 10
    found = SimpleNamespace(progress=progress, stage=0, stores=[None] * len(stages))
    found.layers = {layer: [layer] for layer in LAYERS}
    found.numel = dict.fromkeys(LAYERS, 1)
    found.trainable_params = [set(names) for names in TRAINS]
    return found


def test_each_stage_is_a_leg_and_together_they_are_the_run() -> None:
    legs = cost.legs(schedule(), 100, [4, None, None], epoch=8.0, draws=0)
    assert [leg.steps for leg in legs] == [20, 20, 60]
    assert [leg.work for leg in legs] == [cost.LEAST, 1.5, 3.0]
    assert [leg.before for leg in legs] == [8.0, 0.0, 0.0]  # the store is filled once
    assert cost.dearest(schedule()) == 2


def test_stages_that_have_begun_count_as_they_were() -> None:
    made = schedule()
    made.progress.stage, made.progress.stage_starts = 2, [0, 20, 27]  # patience ended the second
    assert [leg.steps for leg in cost.legs(made, 90, [None] * 3, 0.0, 0)] == [20, 7, 63]


def test_a_run_that_is_too_short_for_its_stages_has_fewer_steps_not_negative_ones() -> None:
    legs = cost.legs(schedule(), 12, [None] * 3, 0.0, 0)
    assert [leg.steps for leg in legs] == [2, 10, 0]


def test_a_store_costs_a_pass_for_each_draw_and_a_solved_head_one_and_a_half() -> None:
    solved = (Stage(("head",), solved=True), *STAGES[1:])
    legs = cost.legs(schedule(solved), 100, [4, 2, None], epoch=8.0, draws=4)
    assert [leg.before for leg in legs] == [12.0, 8.0, 0.0]  # two epochs take two draws
    assert legs[0].steps == 0


def test_a_search_leaves_room_for_what_it_takes_back_until_it_is_over() -> None:
    made, search = schedule(), Search(count=3, start=0)
    done, rest = cost.legs_of_search(made, search, 400, 30, epoch=0.0, unit=0.5)
    assert (done.steps, rest.steps) == (30, 370)
    assert rest.work == (1.5 + 3.0) / 2
    assert rest.before == 2 * 50 * rest.work * 0.5
    search.over, made.stage = True, 1
    assert cost.legs_of_search(made, search, 400, 30, 0.0, 0.5)[1] == cost.Leg(370, 1.5)
