from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import yaml

from ftlight.cli import config
from ftlight.freezing.schedule import (
    HEAD_LR,
    Shape,
    Stage,
    default_lr,
    lr_at,
    lr_factor,
    starts,
)
from ftlight.freezing.selection import select
from ftlight.freezing.unfreeze import PROBE_SHARE, THAW_SHARE, WORDS, expand, read_unfreeze
from ftlight.utils.errors import UserError

FORMS: tuple[Shape, ...] = ("linear", "cosine", "constant")
LAYERS = {
    "embeddings": ["m.embed.weight", "m.embed.norm.weight", "m.embed.norm.bias"],
    **{
        f"layer {i}": [
            f"m.layer.{i}.dense.weight",
            f"m.layer.{i}.dense.bias",
            f"m.layer.{i}.ln.weight",
            f"m.layer.{i}.ln.bias",
        ]
        for i in range(12)
    },
    "post": ["m.norm.weight"],
    "head": ["classifier.weight", "classifier.bias"],
}
NORMS = frozenset(n for names in LAYERS.values() for n in names if ".norm." in n or ".ln." in n)
ALL = {n for names in LAYERS.values() for n in names}
HEAD = set(LAYERS["head"])


def of(*layers: str | int) -> set[str]:
    return {
        n for layer in layers for n in LAYERS[layer if isinstance(layer, str) else f"layer {layer}"]
    }


def model(depth: int, tied: bool = False, post: bool = True) -> dict[str, list[str]]:
    """Layers of a made-up model."""
    rest = (["post"] if post else []) + ([] if tied else ["head"])
    return {
        g: [f"{g}.weight", f"{g}.bias"]
        for g in ["embeddings", *(f"layer {i}" for i in range(depth)), *rest]
    }


# Reading


@pytest.mark.parametrize(
    "word",
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
)
def test_words(word: str) -> None:
    assert read_unfreeze(word) == word


@pytest.mark.parametrize(
    ("option", "stages"),
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
        ([{"train": ["-re:.*\\.bias", "re:m\\..*"]}], [{"train": ("-re:.*\\.bias", "re:m\\..*")}]),
        (
            [{"train": "all", "warmup": 0, "lr_schedule": "cosine", "layer_decay": 0.9, "lr": 1}],
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
)
def test_stages(option: Any, stages: list[dict[str, Any]]) -> None:
    before = repr(option)
    assert read_unfreeze(option) == stages
    assert repr(option) == before
    assert read_unfreeze(read_unfreeze(option)) == stages
    assert [Stage(**{k: v for k, v in s.items() if v is not None}).train for s in stages] == [
        s["train"] for s in stages
    ]


@pytest.mark.parametrize(
    ("option", "fragments"),
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
                "no schedule zzz (one of: all, head, last:N, lp_ft, gradual, bias, norm); or give a list of stages"
            ],
        ),
        ("", ["no schedule  ("]),
        *(
            (option, ["expected a word", f"got {option!r}"])
            for option in (None, True, 3, 0.5, [], ())
        ),
    ],
)
def test_what_is_no_schedule(option: Any, fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_unfreeze(option)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("model.unfreeze: ")
    assert all(f in str(caught.value) for f in fragments)


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
            '0.train: no selector hed; did you mean "head"? (selectors: all, head, embeddings, post, norm, bias, last:N'
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
        ["0: no duration; give epochs, steps, fraction or patience (only the last stage needs none)"],
    ),
    ([{"train": "head", "epochs": None}, LAST], ["0: no duration"]),
    ([{"train": "head", "lr": 1e-3}, {"train": "norm"}, LAST], ["0: no duration", "1: no duration"]),
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


@pytest.mark.parametrize(("option", "faults"), FAULTS)
def test_every_fault_has_a_line(option: Any, faults: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_unfreeze(option)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith("model.unfreeze.")
        assert fault in line


@pytest.mark.parametrize(
    "stage", [{"train": "head", "epochs": math.inf}, {"train": "head", "epochs": 1, "lr": math.inf}]
)
def test_infinite_values(stage: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        read_unfreeze([stage, LAST])


@pytest.mark.parametrize("option", ["re:(", {"train": "re:("}, {"train": ["all", "-re:*"]}])
def test_patterns_that_do_not_compile(option: Any) -> None:
    with pytest.raises(UserError):
        read_unfreeze(option)


# Words


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, 7, 12, 24, 25])
@pytest.mark.parametrize("word", ["all", "head", "last:1", "lp_ft", "gradual", "bias", "norm"])
def test_expand(word: str, depth: int, tied: bool) -> None:
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
            int(s["train"][0].removeprefix("last:")) for s in stages[:-1] if s["train"] != ("head",)
        ]
        steps = [after - before for before, after in itertools.pairwise([0, *lasts, depth])]
        assert max(steps) - min(steps) <= math.ceil(depth / 4)
        assert max(steps) == math.ceil(depth / 4) if depth > 1 else lasts in ([], [1])
    else:
        assert fractions == []
    assert {s.get("lr") for s in stages if s["train"] == ("head",) and "fraction" in s} <= {HEAD_LR}
    assert not any("lr" in s for s in stages if s["train"] != ("head",))


def test_gradual_of_twelve_layers() -> None:
    head = {"train": ("head",), "lr": HEAD_LR}
    untied = [head, {"train": ("last:3",)}, {"train": ("last:6",)}, {"train": ("last:9",)}]
    assert expand("gradual", list(model(12))) == [
        *({**s, "fraction": THAW_SHARE / 4} for s in untied),
        {"train": ("all",)},
    ]
    tied = [{"train": (f"last:{n}",), "fraction": THAW_SHARE / 4} for n in (1, 3, 6, 9)]
    assert expand("gradual", list(model(12, tied=True))) == [*tied, {"train": ("all",)}]


@pytest.mark.parametrize("word", [w for w in WORDS if w != "last:N"])
def test_words_that_are_named_expand_and_read(word: str) -> None:
    assert read_unfreeze(word) == word
    assert expand(word, list(model(12)))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_gradual_without_layers(tied: bool) -> None:
    stages = expand("gradual", list(model(0, tied)))
    assert [s["train"] for s in stages] == ([("all",)] if tied else [("head",), ("all",)])


# Selecting


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (["all"], ALL),
        (["head"], HEAD),
        (["embeddings"], of("embeddings") | HEAD),
        (["post"], of("post") | HEAD),
        (["norm"], set(NORMS) | HEAD),
        (["bias"], {n for n in ALL if n.endswith(".bias")} | HEAD),
        (["last:1"], of(11, "post") | HEAD),
        (["last:3"], of(9, 10, 11, "post") | HEAD),
        (["last:12"], ALL - of("embeddings")),
        (["first:1"], of(0) | HEAD),
        (["first:2"], of(0, 1) | HEAD),
        (["first:12"], ALL - of("embeddings", "post")),
        (["layer:0"], of(0) | HEAD),
        (["layer:11"], of(11) | HEAD),
        (["layers:0-0"], of(0) | HEAD),
        (["layers:9-11"], of(9, 10, 11) | HEAD),
        (["re:m\\.layer\\.1\\..*"], of(1) | HEAD),
        (["re:m\\.layer\\.1.*"], of(1, 10, 11) | HEAD),
        (["re:classifier\\.bias"], HEAD),
        (["re:.*"], ALL),
        (["layer:1", "layer:3", "embeddings"], of(1, 3, "embeddings") | HEAD),
        (["last:2", "bias"], of(10, 11, "post") | {n for n in ALL if n.endswith(".bias")} | HEAD),
        (["all", "-head"], ALL - HEAD),
        (["-head", "all"], ALL - HEAD),
        (["all", "-embeddings"], ALL - of("embeddings")),
        (["-embeddings", "all"], ALL - of("embeddings")),
        (
            ["all", "-norm", "-bias"],
            {n for n in ALL if n not in NORMS and not n.endswith(".bias")} | HEAD,
        ),
        (["last:3", "-layer:10"], of(9, 11, "post") | HEAD),
        (["last:3", "-layers:9-10", "-post"], of(11) | HEAD),
        (["all", "-first:6", "-head"], ALL - of(*range(6)) - HEAD),
        (["all", "-last:11"], of("embeddings", 0) | HEAD),
        (["head", "post", "-post"], HEAD),
        (["all", "-re:.*\\.bias"], {n for n in ALL if not n.endswith(".bias")} | HEAD),
        (["re:classifier\\..*", "norm", "-head"], set(NORMS)),
    ],
)
def test_select(train: list[str], expected: set[str]) -> None:
    assert select(train, LAYERS, NORMS, "here") == expected
    assert select(tuple(train), LAYERS, set(NORMS), "here") == expected


@pytest.mark.parametrize(
    "selector",
    [
        "last:13",
        "first:13",
        "layer:12",
        "layers:10-12",
        "layers:5-3",
        "re:dense",
        "re:m\\.layer\\.1",
        "re:M\\..*",
        "-layer:12",
        "-re:x",
    ],
)
def test_nothing_matched_lists_the_layers(selector: str) -> None:
    with pytest.raises(UserError) as caught:
        select(["all", selector], LAYERS, NORMS, "model.unfreeze.2.train")
    rest = "the model has 12 layers (layer:0 to layer:11) and embeddings, post, head"
    assert str(caught.value) == f"model.unfreeze.2.train: {selector} matches nothing; {rest}"


@pytest.mark.parametrize("selector", ["head", "-head", "post", "norm"])
def test_what_a_model_lacks_matches_nothing(selector: str) -> None:
    with pytest.raises(
        UserError, match=f"^here: {selector} matches nothing; the model has 1 layer and embeddings$"
    ):
        select(["all", selector], model(1, tied=True, post=False), set(), "here")


@pytest.mark.parametrize(
    "train",
    [["-head"], ["head", "-head"], ["all", "-all", "-head"], ["layer:1", "-layers:0-3", "-head"]],
)
def test_nothing_left(train: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        select(train, LAYERS, NORMS, "here")
    assert str(caught.value) == f"here: [{', '.join(train)}] leaves nothing to train"


def test_last_goes_by_what_can_train() -> None:
    layers = {f"layer {i}": [f"adapter.{i}"] for i in (4, 7)} | {"head": ["head.weight"]}
    assert select(["last:1"], layers, set(), "here") == {"adapter.7", "head.weight"}
    assert select(["last:2"], layers, set(), "here") == {"adapter.4", "adapter.7", "head.weight"}
    assert select(["layer:4"], layers, set(), "here") == {"adapter.4", "head.weight"}


# Rates of a stage


NUMEL = {"e": 600, "l": 390, "b": 10, "h": 5000}
SIZED = {"embeddings": ["e"], "layer 0": ["l", "b"], "head": ["h"]}


@pytest.mark.parametrize(
    ("chosen", "factor"),
    [
        ("elb", 1),
        ("elbh", 1),
        ("eb", 1000 / 610),
        ("l", 1000 / 390),
        ("lbh", 2.5),
        ("b", 10),
        ("bh", 10),
    ],
)
def test_default_rate_grows_as_less_of_the_backbone_trains(chosen: str, factor: float) -> None:
    assert default_lr(set(chosen), SIZED, NUMEL, 3e-5) == pytest.approx(3e-5 * factor)


@pytest.mark.parametrize("lr", [1e-5, 1.0])
def test_a_head_alone_has_a_rate_of_its_own(lr: float) -> None:
    assert default_lr({"h"}, SIZED, NUMEL, lr) == HEAD_LR


# The shape of the schedule


@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7, 100, 997])
@pytest.mark.parametrize("form", FORMS)
def test_shape(form: Shape, total: int, warmup: float) -> None:
    values = [lr_factor(step, total, warmup, form) for step in range(total)]
    assert all(0 < v <= 1 for v in values)
    assert max(values) == 1
    top = values.index(1.0)
    assert abs(top + 1 - max(1, total * warmup)) <= 1
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    if form == "constant":
        assert set(values[top:]) == {1.0}


@pytest.mark.parametrize("form", FORMS)
def test_no_warm_up_starts_at_the_top(form: Shape) -> None:
    assert lr_factor(0, 100, 0.0, form) == 1


@pytest.mark.parametrize("form", FORMS)
def test_warm_up_all_along_never_falls(form: Shape) -> None:
    assert [lr_factor(s, 4, 1.0, form) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_steps_after_the_last_are_neither_negative_nor_above_one(
    form: Shape, warmup: float
) -> None:
    after = [lr_factor(step, 20, warmup, form) for step in (20, 21, 1000)]
    assert after == ([1.0] * 3 if form == "constant" else [0.0] * 3)


def test_linear_and_cosine() -> None:
    assert [lr_factor(s, 4, 0.0, "linear") for s in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [lr_factor(s, 4, 0.0, "cosine") for s in range(4)] == pytest.approx(
        [(1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)]
    )


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("linear", [1 / 3, 2 / 3, 1, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]),
        ("constant", [1 / 3, 2 / 3, *[1] * 8]),
        ("cosine", [1 / 3, 2 / 3, 1, *((1 + math.cos(math.pi * i / 7)) / 2 for i in range(7))]),
    ],
)
def test_the_fall_is_spread_over_what_the_warm_up_leaves(form: Shape, values: list[float]) -> None:
    assert [lr_factor(s, 10, 0.25, form) for s in range(10)] == pytest.approx(values)


# The rate of a step


@pytest.mark.parametrize("decay", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("form", FORMS)
def test_rate_is_the_product(form: Shape, warmup: float, decay: float) -> None:
    stage = Stage(("all",), lr=2e-4, layer_decay=decay, warmup=warmup, lr_schedule=form)
    for depth, step in itertools.product((0, 1, 2, 13), range(0, 40, 3)):
        assert lr_at(stage, depth, step, 40) == pytest.approx(
            2e-4 * decay**depth * lr_factor(step, 40, warmup, form), rel=1e-12, abs=0
        )


@pytest.mark.parametrize("form", FORMS)
def test_rate_is_flat_after_the_warm_up_where_patience_ends_a_stage(form: Shape) -> None:
    stage = Stage(("all",), lr=1e-3, patience=2, layer_decay=0.5, warmup=0.25, lr_schedule=form)
    rates = [lr_at(stage, 1, step, 8) for step in range(30)]
    assert rates == [2.5e-4, *[5e-4] * 29]


def test_layer_decay_1_gives_all_layers_one_rate() -> None:
    stage = Stage(("all",), lr=1e-3)
    assert {lr_at(stage, depth, 0, 10) for depth in range(30)} == {1e-3}


# Lengths and starts


@pytest.mark.parametrize(
    ("given", "per_epoch", "total", "length"),
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
)
def test_length(given: dict[str, Any], per_epoch: float, total: int, length: int | None) -> None:
    assert Stage(("all",), **given).length(per_epoch, total) == length


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 12, 24])
def test_gradual_leaves_the_rest_of_the_run_to_all(depth: int) -> None:
    for total in (8, 100, 999):
        lengths = [
            Stage(**s).length(10, total) or 0 for s in expand("gradual", list(model(depth)))[:-1]
        ]
        assert total * THAW_SHARE - len(lengths) <= sum(lengths) <= total * THAW_SHARE
    assert 0 < PROBE_SHARE < 1
    assert 0 < THAW_SHARE < 1


def test_a_share_that_is_a_whole_number_of_steps() -> None:
    for hundredths, total in itertools.product(range(1, 100), (100, 1000, 10_000)):
        exact = Fraction(hundredths, 100) * total
        assert exact.denominator == 1
        assert Stage(("all",), fraction=hundredths / 100).length(10, total) == exact


@pytest.mark.parametrize(
    ("lengths", "total", "first"),
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
)
def test_starts(lengths: list[int | None], total: int, first: list[int]) -> None:
    assert starts(lengths, total) == first


# A stage in words


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (
            Stage(("all",), lr=1e-4),
            "{train: all, lr: 0.0001, layer_decay: 1, warmup: 0, lr_schedule: linear}",
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
            ),
            "{train: [last:2, -head], epochs: 2, patience: 3, monitor: val/loss, lr: 3e-05,"
            " layer_decay: 0.9, warmup: 0.1, lr_schedule: cosine}",
        ),
        (
            Stage(("head",), fraction=0.2, lr=1.25e-3),
            "{train: head, fraction: 0.2, lr: 0.00125, layer_decay: 1, warmup: 0, lr_schedule: linear}",
        ),
        (
            Stage(("re:m\\..*",), steps=7, lr=1.0),
            "{train: re:m\\..*, steps: 7, lr: 1, layer_decay: 1, warmup: 0, lr_schedule: linear}",
        ),
    ],
)
def test_a_stage_in_words_is_what_could_be_written(stage: Stage, words: str) -> None:
    assert str(stage) == words
    written = [yaml.load(words, config.Loader), LAST]
    if stage.length(10, 100) is None and stage.patience is None:
        written = written[:1]
    found = read_unfreeze(written)
    assert isinstance(found, list)
    assert Stage(**found[0]) == stage


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
    ]
    words = [str(Stage(**{"train": ("head",), "epochs": 1, "lr": 1e-3, **o})) for o in others]
    assert len({str(plain), *words}) == len(others) + 1


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.6, 0.6), (0.9, 0.1, 0.1)])
def test_fractions_leave_something_for_the_last_stage(shares: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="the fractions add up to"):
        read_unfreeze([*({"train": "head", "fraction": s} for s in shares), LAST])


def test_taking_away_from_nothing_is_said() -> None:
    with pytest.raises(
        UserError, match=r"only excludes; say from what, for example \[all, -layer:0\]"
    ):
        read_unfreeze([{"train": "-layer:0"}])
