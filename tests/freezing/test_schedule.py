"""Stages as values: durations, learning rates, and how they are written."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import yaml
from conftest import each

from ftlight.freezing.rates import lr_at, lr_factor
from ftlight.freezing.schedule import HEAD_LR, Shape, Stage, default_lr, starts
from ftlight.freezing.written import read_unfreeze
from ftlight.utils.yaml_file import Loader

LAST = {"train": "all"}
FORMS: tuple[Shape, ...] = ("linear", "cosine", "constant")


# Rates of a stage


NUMEL = {"e": 600, "l": 390, "b": 10, "h": 5000}
SIZED = {"embeddings": ["e"], "layer 0": ["l", "b"], "head": ["h"]}


def test_default_rate_grows_as_less_of_the_backbone_trains() -> None:
    def check(chosen: str, factor: float) -> None:
        assert default_lr(set(chosen), SIZED, NUMEL, 3e-5) == pytest.approx(3e-5 * factor)

    each(
        [
            ("elb", 1),
            ("elbh", 1),
            ("eb", 1000 / 610),
            ("l", 1000 / 390),
            ("lbh", 2.5),
            ("b", 10),
            ("bh", 10),
        ],
        check,
    )


def test_a_head_alone_has_a_rate_of_its_own() -> None:
    def check(lr: float) -> None:
        assert default_lr({"h"}, SIZED, NUMEL, lr) == HEAD_LR

    each([1e-5, 1.0], check)


# The shape of the schedule


def test_shape() -> None:
    def check(warmup: float, total: int, form: Shape) -> None:
        values = [lr_factor(step, total, warmup, form) for step in range(total)]
        assert all(0 < v <= 1 for v in values)
        assert max(values) == 1
        top = values.index(1.0)
        assert abs(top + 1 - max(1, total * warmup)) <= 1
        assert values[: top + 1] == sorted(values[: top + 1])
        assert values[top:] == sorted(values[top:], reverse=True)
        if form == "constant":
            assert set(values[top:]) == {1.0}

    each(itertools.product([0.0, 0.06, 0.1, 0.5, 1.0], [1, 2, 7, 100, 997], FORMS), check)


def test_no_warm_up_starts_at_the_top() -> None:
    def check(form: Shape) -> None:
        assert lr_factor(0, 100, 0.0, form) == 1

    each(FORMS, check)


def test_warm_up_all_along_never_falls() -> None:
    def check(form: Shape) -> None:
        assert [lr_factor(s, 4, 1.0, form) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]

    each(FORMS, check)


def test_steps_after_the_last_are_neither_negative_nor_above_one() -> None:
    def check(warmup: float, form: Shape) -> None:
        after = [lr_factor(step, 20, warmup, form) for step in (20, 21, 1000)]
        assert after == ([1.0] * 3 if form == "constant" else [0.0] * 3)

    each(itertools.product([0.0, 0.3, 1.0], FORMS), check)


def test_linear_and_cosine() -> None:
    assert [lr_factor(s, 4, 0.0, "linear") for s in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [lr_factor(s, 4, 0.0, "cosine") for s in range(4)] == pytest.approx(
        [(1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)]
    )


def test_the_fall_is_spread_over_what_the_warm_up_leaves() -> None:
    def check(form: Shape, values: list[float]) -> None:
        assert [lr_factor(s, 10, 0.25, form) for s in range(10)] == pytest.approx(values)

    each(
        [
            ("linear", [1 / 3, 2 / 3, 1, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]),
            ("constant", [1 / 3, 2 / 3, *[1] * 8]),
            ("cosine", [1 / 3, 2 / 3, 1, *((1 + math.cos(math.pi * i / 7)) / 2 for i in range(7))]),
        ],
        check,
    )


# The rate of a step


def test_rate_is_the_product() -> None:
    def check(decay: float, warmup: float, form: Shape) -> None:
        stage = Stage(("all",), lr=2e-4, layer_decay=decay, warmup=warmup, lr_schedule=form)
        for depth, step in itertools.product((0, 1, 2, 13), range(0, 40, 3)):
            assert lr_at(stage, depth, step, 40) == pytest.approx(
                2e-4 * decay**depth * lr_factor(step, 40, warmup, form), rel=1e-12, abs=0
            )

    each(itertools.product([1.0, 0.9, 0.5], [0.0, 0.1, 0.5], FORMS), check)


def test_rate_is_flat_after_the_warm_up_where_patience_ends_a_stage() -> None:
    def check(form: Shape) -> None:
        stage = Stage(("all",), lr=1e-3, patience=2, layer_decay=0.5, warmup=0.25, lr_schedule=form)
        rates = [lr_at(stage, 1, step, 8) for step in range(30)]
        assert rates == [2.5e-4, *[5e-4] * 29]

    each(FORMS, check)


def test_layer_decay_1_gives_all_layers_one_rate() -> None:
    stage = Stage(("all",), lr=1e-3)
    assert {lr_at(stage, depth, 0, 10) for depth in range(30)} == {1e-3}


# Lengths and starts


def test_length() -> None:
    def check(given: dict[str, Any], per_epoch: float, total: int, length: int | None) -> None:
        assert Stage(("all",), **given).length(per_epoch, total) == length

    each(
        [
            ({"epochs": 2}, 10, 100, 20),
            ({"epochs": 0.5}, 10, 100, 5),
            ({"epochs": 0.01}, 10, 100, 1),
            ({"epochs": 1.26}, 10, 100, 13),
            ({"epochs": 3}, 7, 14, 21),
            ({"steps": 12}, 10, 100, 12),
            ({"steps": 500}, 10, 100, 500),
            ({"fraction": 0.2}, 10, 100, 20),
            ({"fraction": 0.25}, 10, 50, 12),
            ({"fraction": 0.5}, 10, 7, 3),
            ({"fraction": 0.2}, 1, 4, 0),
            ({"patience": 2}, 10, 100, None),
            ({}, 10, 100, None),
            ({"epochs": 3, "patience": 2}, 10, 100, 30),
            ({"steps": 7, "patience": 2}, 10, 100, 7),
            ({"fraction": 0.1, "patience": 2}, 10, 100, 10),
        ],
        check,
    )


def test_a_share_that_is_a_whole_number_of_steps() -> None:
    for hundredths, total in itertools.product(range(1, 100), (100, 1000, 10_000)):
        exact = Fraction(hundredths, 100) * total
        assert exact.denominator == 1
        assert Stage(("all",), fraction=hundredths / 100).length(10, total) == exact


def test_starts() -> None:
    def check(lengths: list[int | None], total: int, first: list[int]) -> None:
        assert starts(lengths, total) == first

    each(
        [
            ([None], 100, [0]),
            ([20, None], 100, [0, 20]),
            ([20, 30, None], 100, [0, 20, 50]),
            ([None, None], 100, [0, 50]),
            ([20, None, None], 100, [0, 20, 60]),
            ([None, 20, None], 100, [0, 40, 60]),
            ([None, None, 10, None], 100, [0, 30, 60, 70]),
            ([80, 40, None], 100, [0, 80, 120]),
            ([80, 40, None, None], 100, [0, 80, 120, 120]),
            ([0, 5, None], 100, [0, 0, 5]),
        ],
        check,
    )


# A stage in words


def test_a_stage_in_words_is_what_could_be_written() -> None:
    def check(stage: Stage, words: str) -> None:
        assert str(stage) == words
        written = [yaml.load(words, Loader), LAST]
        if stage.length(10, 100) is None and stage.patience is None:
            written = written[:1]
        found = read_unfreeze(written)
        assert isinstance(found, list)
        assert Stage(**found[0]) == stage

    each(
        [
            (
                Stage(("all",), lr=1e-4),
                "{train: all, lr: 0.0001, layer_decay: 1, warmup: 0, lr_schedule: linear,"
                " lr_over: stage}",
            ),
            (
                Stage(
                    ("last:2", "-head"),
                    epochs=2,
                    patience=3,
                    monitor="val/loss",
                    lr=3e-5,
                    layer_decay=0.9,
                    warmup=0.1,
                    lr_schedule="cosine",
                    lr_over="run",
                ),
                "{train: [last:2, -head], epochs: 2, patience: 3, monitor: val/loss, lr: 3e-05,"
                " layer_decay: 0.9, warmup: 0.1, lr_schedule: cosine, lr_over: run}",
            ),
            (
                Stage(("head",), fraction=0.2, lr=1.25e-3),
                "{train: head, fraction: 0.2, lr: 0.00125, layer_decay: 1, warmup: 0,"
                " lr_schedule: linear, lr_over: stage}",
            ),
            (
                Stage(("re:m\\..*",), steps=7, lr=1.0),
                "{train: re:m\\..*, steps: 7, lr: 1, layer_decay: 1, warmup: 0,"
                " lr_schedule: linear, lr_over: stage}",
            ),
        ],
        check,
    )


def test_what_differs_differs_in_words() -> None:
    plain = Stage(("head",), epochs=1, lr=1e-3)
    others: list[dict[str, Any]] = [
        {"train": ("all",)},
        {"train": ("head", "norm")},
        {"epochs": 2},
        {"epochs": None, "steps": 1},
        {"epochs": None, "fraction": 0.1},
        {"patience": 1},
        {"patience": 1, "monitor": "val/loss"},
        {"lr": 2e-3},
        {"layer_decay": 0.9},
        {"warmup": 0.1},
        {"lr_schedule": "cosine"},
        {"lr_over": "run"},
    ]
    words = [str(Stage(**{"train": ("head",), "epochs": 1, "lr": 1e-3, **o})) for o in others]
    assert len({str(plain), *words}) == len(others) + 1
