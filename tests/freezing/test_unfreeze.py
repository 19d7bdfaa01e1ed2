"""What the option ``unfreeze`` may say, and what its words stand for."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from conftest import each

from ftlight.freezing.schedule import HEAD_LR, Stage
from ftlight.freezing.selection import select
from ftlight.freezing.unfreeze import (
    PROBE_SHARE,
    THAW_SHARE,
    Parameters,
    expand,
    resolve,
)
from ftlight.freezing.written import WORDS, read_unfreeze
from ftlight.utils.errors import UserError


def model(depth: int, tied: bool = False, post: bool = True) -> dict[str, list[str]]:
    """Layers of a made-up model."""
    rest = (["post"] if post else []) + ([] if tied else ["head"])
    return {
        g: [f"{g}.weight", f"{g}.bias"]
        for g in ["embeddings", *(f"layer {i}" for i in range(depth)), *rest]
    }


# Reading


def test_words() -> None:
    def check(word: str) -> None:
        assert read_unfreeze(word) == word

    each(
        [
            "all",
            "head",
            "lp_ft",
            "gradual",
            "bias",
            "norm",
            "last:1",
            "last:12",
            "first:3",
            "embeddings",
            "post",
            "layer:0",
            "layers:2-7",
            "re:.*x",
        ],
        check,
    )


def test_stages() -> None:
    def check(option: Any, stages: list[dict[str, Any]]) -> None:
        before = repr(option)
        assert read_unfreeze(option) == stages
        assert repr(option) == before
        assert read_unfreeze(read_unfreeze(option)) == stages
        assert [Stage(**{k: v for k, v in s.items() if v is not None}).train for s in stages] == [
            s["train"] for s in stages
        ]

    each(
        [
            ([{"train": "all"}], [{"train": ("all",)}]),
            ({"train": "last:2"}, [{"train": ("last:2",)}]),
            (
                {"train": ["all", "-embeddings"], "lr": 1e-4},
                [{"train": ("all", "-embeddings"), "lr": 1e-4}],
            ),
            ([{"train": ("head", "norm")}], [{"train": ("head", "norm")}]),
            (
                ({"train": "head", "epochs": 2}, {"train": "all"}),
                [{"train": ("head",), "epochs": 2}, {"train": ("all",)}],
            ),
            (
                [{"train": "head", "epochs": 0.5}, {"train": "all"}],
                [{"train": ("head",), "epochs": 0.5}, {"train": ("all",)}],
            ),
            (
                [{"train": "head", "steps": 100}, {"train": "all"}],
                [{"train": ("head",), "steps": 100}, {"train": ("all",)}],
            ),
            (
                [{"train": "head", "fraction": 0.2}, {"train": "all"}],
                [{"train": ("head",), "fraction": 0.2}, {"train": ("all",)}],
            ),
            (
                [{"train": "head", "patience": 1}, {"train": "all"}],
                [{"train": ("head",), "patience": 1}, {"train": ("all",)}],
            ),
            (
                [
                    {"train": "head", "patience": 2, "epochs": 9, "monitor": "val/loss"},
                    {"train": "all", "layer_decay": 1},
                ],
                [
                    {"train": ("head",), "patience": 2, "epochs": 9, "monitor": "val/loss"},
                    {"train": ("all",), "layer_decay": 1},
                ],
            ),
            (
                [{"train": "head", "epochs": 1, "steps": None}, {"train": "all"}],
                [{"train": ("head",), "epochs": 1, "steps": None}, {"train": ("all",)}],
            ),
            (
                [{"train": ["-re:.*\\.bias", "re:m\\..*"]}],
                [{"train": ("-re:.*\\.bias", "re:m\\..*")}],
            ),
            (
                [
                    {
                        "train": "all",
                        "warmup": 0,
                        "lr_schedule": "cosine",
                        "layer_decay": 0.9,
                        "lr": 1,
                    }
                ],
                [
                    {
                        "train": ("all",),
                        "warmup": 0,
                        "lr_schedule": "cosine",
                        "layer_decay": 0.9,
                        "lr": 1,
                    }
                ],
            ),
        ],
        check,
    )


def test_what_is_no_schedule() -> None:
    def check(option: Any, fragments: list[str]) -> None:
        with pytest.raises(UserError) as caught:
            read_unfreeze(option)
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).startswith("model.unfreeze: ")
        assert all(f in str(caught.value) for f in fragments)

    each(
        [
            ("gradul", ['no schedule gradul; did you mean "gradual"?']),
            ("lp-ft", ['no schedule lp-ft; did you mean "lp_ft"?']),
            ("Head", ['no schedule Head; did you mean "head"?']),
            ("last", ["no schedule last"]),
            ("last:0", ['no schedule last:0; did you mean "last:N"?']),
            ("last:-1", ["no schedule last:-1"]),
            ("-head", ["no schedule -head"]),
            ("heads", ['no schedule heads; did you mean "head"?']),
            ("all, head", ["no schedule all, head"]),
            ("last:2x", ["no schedule last:2x"]),
            (
                "zzz",
                [
                    "no schedule zzz (one of: all, head, last:N, lp_ft, gradual, auto, bias, norm);"
                    " or give a list of stages"
                ],
            ),
            ("", ["no schedule  ("]),
            *(
                (option, ["expected a word", f"got {option!r}"])
                for option in (None, True, 3, 0.5, [], ())
            ),
        ],
        check,
    )


LAST = {"train": "all"}
FAULTS: list[tuple[Any, list[str]]] = [
    # what trains
    ({}, ["0.train: give a selector or a list of them: all, head, embeddings"]),
    ({"train": []}, ["0.train: give a selector"]),
    ({"train": None}, ["0.train: give a selector"]),
    ({"train": 3}, ["0.train: give a selector"]),
    ({"train": {"head": 1}}, ["0.train: give a selector"]),
    ({"train": ""}, ["0.train: no selector  (selectors: "]),
    (
        {"train": "hed"},
        [
            '0.train: no selector hed; did you mean "head"?'
            " (selectors: all, head, embeddings, post, norm, bias, last:N"
        ],
    ),
    ({"train": "-hed"}, ['0.train: no selector -hed; did you mean "head"?']),
    (
        {"train": ["embedings", "all", "biases"]},
        ['selector embedings; did you mean "embeddings"?', 'selector biases; did you mean "bias"?'],
    ),
    ({"train": ["all", True, None]}, ["0.train: no selector True", "0.train: no selector None"]),
    ({"train": "lp_ft"}, ["0.train: no selector lp_ft"]),
    ({"train": "gradual"}, ["0.train: no selector gradual"]),
    ({"train": "last:0"}, ["0.train: no selector last:0"]),
    ({"train": "last:two"}, ["0.train: no selector last:two"]),
    ({"train": "layers:3"}, ["0.train: no selector layers:3"]),
    ({"train": "layer:1-3"}, ["0.train: no selector layer:1-3"]),
    ({"train": "re:"}, ["0.train: no selector re:"]),
    ({"train": "all, head"}, ["0.train: no selector all, head"]),
    # unknown options
    (
        {"train": "all", "epoch": 1},
        ['0.epoch: a stage has no epoch; did you mean "epochs"? (options: train, epochs, steps'],
    ),
    ({"train": "all", "learning_rate": 1}, ["0.learning_rate: a stage has no learning_rate"]),
    ({"train": "all", 1: 2}, ["0.1: a stage has no 1"]),
    (
        {"Train": "all"},
        ['0.Train: a stage has no Train; did you mean "train"?', "0.train: give a selector"],
    ),
    # durations
    ({"train": "all", "epochs": 2}, ["0.epochs: the last stage lasts to the end of the run"]),
    ({"train": "all", "steps": 2}, ["0.steps: the last stage"]),
    ({"train": "all", "fraction": 0.2}, ["0.fraction: the last stage"]),
    ({"train": "all", "patience": 2}, ["0.patience: the last stage"]),
    ({"train": "all", "epochs": 2, "patience": 2}, ["0.epochs: the last stage"]),
    (
        [{"train": "head"}, LAST],
        [
            "0: no duration; give epochs, steps, fraction or patience"
            " (only the last stage needs none)"
        ],
    ),
    ([{"train": "head", "epochs": None}, LAST], ["0: no duration"]),
    (
        [{"train": "head", "lr": 1e-3}, {"train": "norm"}, LAST],
        ["0: no duration", "1: no duration"],
    ),
    (
        [{"train": "head", "epochs": 1, "steps": 2}, LAST],
        ["0: epochs and steps are given; keep one"],
    ),
    (
        [{"train": "head", "fraction": 0.1, "steps": 2}, LAST],
        ["0: steps and fraction are given; keep one"],
    ),
    (
        [{"train": "head", "epochs": 1, "fraction": 0.1, "steps": 2}, LAST],
        ["0: epochs and steps and fraction are given; keep one"],
    ),
    (
        [{"train": "head", "epochs": 1, "monitor": "val/loss"}, LAST],
        ["0.monitor: only patience uses it; add patience or remove it"],
    ),
    # values
    *(
        ([{"train": "head", key: value}, LAST], [f"0.{key}: expected {words}, got {value!r}"])
        for key, words, values in (
            ("epochs", "a number of epochs above 0", (0, -1, "2", True, False, [1], math.nan)),
            ("steps", "a whole number of optimizer steps, 1 or more", (0, -5, 1.5, 2.0, "2", True)),
            (
                "fraction",
                "a share of the run between 0 and 1, for example 0.2",
                (0, 1, 1.5, -0.1, "0.2", True, False),
            ),
            ("patience", "a whole number of validations, 1 or more", (0, -1, 1.5, "3", True)),
        )
        for value in values
    ),
    *(
        ({"train": "all", key: value}, [f"0.{key}: expected {words}, got {value!r}"])
        for key, words, values in (
            ("lr", "a rate above 0, for example 1e-4", (0, -1e-4, "1e-4", True, math.nan, [1e-4])),
            (
                "layer_decay",
                "a factor above 0 and at most 1, for example 0.9",
                (0, 1.1, -1, "0.9", True),
            ),
            (
                "warmup",
                "a share of the stage from 0 to 1, for example 0.1",
                (-0.1, 1.1, 100, "0.1", True),
            ),
            (
                "lr_schedule",
                "one of linear, cosine, constant",
                ("Linear", "cosin", 1, True, [], {}),
            ),
        )
        for value in values
    ),
    *(
        (
            [{"train": "head", "patience": 1, "monitor": value}, LAST],
            [f"0.monitor: expected the name of a logged value, such as val/loss, got {value!r}"],
        )
        for value in (3, True, ["val/loss"])
    ),
    # stages that are none, and several at once
    (["all"], ["0: expected a stage such as {train: last:2, epochs: 2}, got 'all'"]),
    ([None], ["0: expected a stage"]),
    ([[LAST]], ["0: expected a stage"]),
    (
        [{"train": "head", "epochs": 1}, 3],
        ["1: expected a stage such as {train: last:2, epochs: 2}, got 3"],
    ),
    (
        [{"train": "hed", "epoch": 1, "lr": "1"}, "all", {"train": "all", "steps": 1}],
        [
            '0.epoch: a stage has no epoch; did you mean "epochs"?',
            "0.train: no selector hed",
            "0.lr: expected",
            "0: no duration",
            "1: exp",
            "2.steps: ",
        ],
    ),
]


def test_a_list_of_words_is_one_mistake() -> None:
    with pytest.raises(UserError) as caught:
        read_unfreeze(["head", "last:2"])
    said = str(caught.value)
    assert "\n" not in said
    assert "to train these together give {train: [head, last:2]}" in said


def test_every_fault_has_a_line() -> None:
    def check(option: Any, faults: list[str]) -> None:
        with pytest.raises(UserError) as caught:
            read_unfreeze(option, solves=False)
        lines = str(caught.value).splitlines()
        assert len(lines) == len(faults)
        for line, fault in zip(lines, faults, strict=True):
            assert line.startswith("model.unfreeze.")
            assert fault in line

    each(FAULTS, check)


def test_infinite_values() -> None:
    def check(stage: dict[str, Any]) -> None:
        with pytest.raises(UserError):
            read_unfreeze([stage, LAST])

    each(
        [{"train": "head", "epochs": math.inf}, {"train": "head", "epochs": 1, "lr": math.inf}],
        check,
    )


def test_patterns_that_do_not_compile() -> None:
    def check(option: Any) -> None:
        with pytest.raises(UserError):
            read_unfreeze(option)

    each(["re:(", {"train": "re:("}, {"train": ["all", "-re:*"]}], check)


# Words


def test_expand() -> None:
    def check(tied: bool, depth: int, word: str) -> None:
        layers = model(depth, tied)
        norms = {n for n in layers["post"] if n.endswith("weight")}
        if tied and word in ("head", "lp_ft"):
            with pytest.raises(
                UserError, match=rf"{word}: .* \(it is tied to the embeddings\); use last:1"
            ):
                expand(word, list(layers))
            return
        stages = expand(word, list(layers))
        assert read_unfreeze(stages) == stages  # it could have been written by hand
        assert stages[-1] == {"train": ("all",) if word in ("lp_ft", "gradual") else (word,)}
        chosen = [select(s["train"], layers, norms, "here") for s in stages]
        assert all(before < after for before, after in itertools.pairwise(chosen))
        fractions = [s["fraction"] for s in stages[:-1]]
        if word == "lp_ft":
            assert fractions == [PROBE_SHARE]
            assert stages[0]["train"] == ("head",)
        elif word == "gradual":
            assert sum(fractions) == pytest.approx(THAW_SHARE)
            assert len(set(fractions)) == 1
            assert 1 <= len(fractions) <= 4
            assert stages[0]["train"] == (("last:1",) if tied else ("head",))
            lasts = [
                int(s["train"][0].removeprefix("last:"))
                for s in stages[:-1]
                if s["train"] != ("head",)
            ]
            steps = [after - before for before, after in itertools.pairwise([0, *lasts, depth])]
            assert max(steps) - min(steps) <= math.ceil(depth / 4)
            assert max(steps) == math.ceil(depth / 4) if depth > 1 else lasts in ([], [1])
        else:
            assert fractions == []
        assert {s.get("lr") for s in stages if s["train"] == ("head",) and "fraction" in s} <= {
            HEAD_LR
        }
        assert not any("lr" in s for s in stages if s["train"] != ("head",))

    each(
        itertools.product(
            [False, True],
            [1, 2, 3, 4, 5, 6, 7, 12, 24, 25],
            ["all", "head", "last:1", "lp_ft", "gradual", "bias", "norm"],
        ),
        check,
    )


def test_gradual_of_twelve_layers() -> None:
    head = {"train": ("head",), "lr": HEAD_LR}
    untied = [head, {"train": ("last:3",)}, {"train": ("last:6",)}, {"train": ("last:9",)}]
    assert expand("gradual", list(model(12))) == [
        *({**s, "fraction": THAW_SHARE / 4} for s in untied),
        {"train": ("all",)},
    ]
    tied = [{"train": (f"last:{n}",), "fraction": THAW_SHARE / 4} for n in (1, 3, 6, 9)]
    assert expand("gradual", list(model(12, tied=True))) == [*tied, {"train": ("all",)}]


def test_words_that_are_named_expand_and_read() -> None:
    def check(word: str) -> None:
        assert read_unfreeze(word) == word
        assert expand(word, list(model(12)))

    each([w for w in WORDS if w != "last:N"], check)


def test_gradual_without_layers() -> None:
    def check(tied: bool) -> None:
        stages = expand("gradual", list(model(0, tied)))
        assert [s["train"] for s in stages] == ([("all",)] if tied else [("head",), ("all",)])

    each([False, True], check)


def test_fractions_leave_something_for_the_last_stage() -> None:
    def check(shares: tuple[float, ...]) -> None:
        with pytest.raises(UserError, match="the fractions add up to"):
            read_unfreeze([*({"train": "head", "fraction": s} for s in shares), LAST])

    each([((0.5, 0.5),), ((0.6, 0.6),), ((0.9, 0.1, 0.1),)], check)


def test_taking_away_from_nothing_is_said() -> None:
    with pytest.raises(
        UserError, match=r"only excludes; say from what, for example \[all, -layer:0\]"
    ):
        read_unfreeze([{"train": "-layer:0"}])


def test_gradual_leaves_the_rest_of_the_run_to_all() -> None:
    def check(depth: int) -> None:
        for total in (8, 100, 999):
            lengths = [
                Stage(**s).length(10, total) or 0
                for s in expand("gradual", list(model(depth)))[:-1]
            ]
            assert total * THAW_SHARE - len(lengths) <= sum(lengths) <= total * THAW_SHARE
        assert 0 < PROBE_SHARE < 1
        assert 0 < THAW_SHARE < 1

    each([1, 2, 3, 6, 12, 24], check)


def test_a_stage_with_a_warm_up_or_shape_of_its_own_falls_by_itself() -> None:
    def check(own: dict[str, Any], over: str) -> None:
        option = read_unfreeze([{"train": "head", "steps": 5, **own}, {"train": "all"}])
        parameters = Parameters({"layer 0": ["a"], "head": ["b"]}, {"a": 1, "b": 1}, set(), {*"ab"})
        defaults = {"warmup": 0.1, "lr_schedule": "linear", "lr_over": "run"}
        options = {"lr": 1e-3, "lr_given": False, "monitor": "val/f1"}
        stages, _ = resolve(option, parameters, defaults, **options)
        assert [stage.lr_over for stage in stages] == [over, "run"]

    each(
        [
            ({}, "run"),
            ({"lr": 1e-2, "layer_decay": 0.5, "patience": 2}, "run"),
            ({"warmup": 0.0}, "stage"),
            ({"lr_schedule": "linear"}, "stage"),
            ({"lr_schedule": None}, "run"),
            ({"lr_schedule": "cosine", "lr_over": "run"}, "run"),
            ({"lr_over": "stage"}, "stage"),
        ],
        check,
    )
