"""What may vary: sweeps in the format of W&B, and the spaces of tasks."""

from __future__ import annotations

import math
from typing import Any

import pytest
from conftest import ROOT, each

from ftlight.tune import defaults, space
from ftlight.tune.space import Parameter
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import parse, read_yaml


def read(text: str) -> space.Sweep:
    return space.read(*parse(text, "s.yaml"), "s.yaml")


def test_every_form_of_a_parameter_is_read() -> None:
    def check(spec: str, expected: Parameter) -> None:
        assert read(f"parameters: {{model.x: {spec}}}").parameters == [expected]

    stages = [{"train": "head", "fraction": 0.2}, {"train": "all"}]
    each(
        [
            ("{value: 3}", Parameter("model.x", [3])),
            ("{values: [a, b, a]}", Parameter("model.x", ["a", "b"])),
            ("{values: [1, true, 1.0]}", Parameter("model.x", [1, True, 1.0])),
            (
                "{values: [all, [{train: head, fraction: 0.2}, {train: all}]]}",
                Parameter("model.x", ["all", stages]),
            ),
            ("{min: 1, max: 5}", Parameter("model.x", None, 1, 5, whole=True)),
            ("{min: 1, max: 5.5}", Parameter("model.x", None, 1, 5.5)),
            (
                "{min: 1e-5, max: 1e-3, distribution: log_uniform_values}",
                Parameter("model.x", None, 1e-5, 1e-3, log=True),
            ),
            (
                "{min: 0, max: 1, distribution: log_uniform}",
                Parameter("model.x", None, 1.0, math.e, log=True),
            ),
            (
                "{min: 8, max: 64, distribution: q_uniform, q: 8}",
                Parameter("model.x", None, 8, 64, whole=True, step=8),
            ),
            (
                "{min: 0.1, max: 0.5, distribution: q_uniform, q: 0.1}",
                Parameter("model.x", None, 0.1, 0.5, step=0.1),
            ),
            # the multiples within the ends: 0 is none of them
            (
                "{min: 1, max: 60, distribution: q_uniform, q: 16}",
                Parameter("model.x", None, 16, 48, whole=True, step=16),
            ),
            (
                "{min: 1, max: 100, distribution: q_log_uniform_values, q: 8}",
                Parameter("model.x", None, 8, 96, log=True, whole=True, step=8),
            ),
            ("{min: 0.25, max: 1, q: 0.1}", Parameter("model.x", None, 0.3, 1, step=0.1)),
            ("{min: 0, max: 1, q: 0.25}", Parameter("model.x", None, 0, 1, step=0.25)),
            ("{min: 0.5, max: 3.5, q: 1}", Parameter("model.x", None, 1, 3, whole=True, step=1)),
            ("{values: [1, 2], distribution: null}", Parameter("model.x", [1, 2])),
        ],
        check,
    )


def test_names_may_be_nested() -> None:
    found = read(
        "parameters: {model: {parameters: {lr: {value: 1}, a: {parameters: {b: {value: 2}}}}},"
        " data.batch_size: {value: 3}}"
    )
    assert [p.name for p in found.parameters] == ["model.lr", "model.a.b", "data.batch_size"]


def test_the_rest_of_a_sweep_is_read() -> None:
    found = read(
        "method: random\nmetric: {name: val/f1, goal: maximize}\nrun_cap: 7\nproject: x\n"
        "early_terminate: null\nparameters: {model.lr: {value: 1}}"
    )
    assert found[1:] == ("random", "val/f1", "maximize", 7, False)


def test_what_is_wrong_in_a_sweep_is_said_in_a_line() -> None:
    def check(text: str, fault: str) -> None:
        with pytest.raises(UserError) as error:
            read(text)
        assert str(error.value).startswith("s.yaml")
        assert fault in str(error.value)

    each(
        [
            ("parameter: {}", 's.yaml:1: no key parameter; did you mean "parameters"?'),
            ("method: bayes", "name the options that vary"),
            ("method: bayesian\nparameters: {}", 'did you mean "bayes"?'),
            ("parameters:\n  model.lr: 3", "s.yaml:2: model.lr: expected value, values, or min"),
            ("parameters:\n  model.lr:\n    valeus: [3]", 'did you mean "values"?'),
            ("parameters: {model.lr: {min: 3}}", "give value, values, or min and max"),
            ("parameters: {model.lr: {min: 3, max: 1}}", "numbers that rise"),
            ("parameters: {model.lr: {min: a, max: 1}}", "numbers that rise"),
            ("parameters: {model.lr: {values: []}}", "expected a list"),
            (
                "parameters: {model.lr: {min: 0, max: 1, distribution: log_uniform_values}}",
                "begins above 0",
            ),
            (
                "parameters: {model.lr: {min: 0, max: 1, distribution: normal}}",
                "no distribution normal",
            ),
            (
                "parameters: {model.lr: {min: 1.0e-4, max: 1, distribution: loguniform}}",
                'did you mean "log_uniform_values"?',
            ),
            (
                "parameters: {model.lr: {values: [1], distribution: uniform}}",
                "distribution uniform has min and max",
            ),
            ("parameters: {model.lr: {value: 1}}\nmetric: val/f1", "goal: maximize or minimize"),
            ("parameters: {model.lr: {value: 1}}\nrun_cap: many", "run_cap"),
            (
                "parameters: {model.lr: {min: 1.0e-5, max: 1.0e-3, q: 1}}",
                "no multiple of 1 lies between 1e-05 and 0.001",
            ),
            ("parameters: {model.lr: {min: 0, max: 1, distribution: 5}}", "no distribution 5"),
            (
                "parameters: {model.lr: {min: 8, max: 1024, distribution: log_uniform}}",
                "exponents of e; log_uniform_values has values",
            ),
        ],
        check,
    )


def test_values_are_what_a_range_holds() -> None:
    rate = Parameter("model.lr", None, 1e-5, 1e-3, log=True)
    assert rate.exact(0.000123456) == 0.0001235
    assert rate.holds(1.23456e-4)
    assert not rate.holds(1e-2)
    assert not rate.holds(True)
    sizes = Parameter("data.batch_size", None, 8, 64, whole=True, step=8)
    assert [sizes.exact(value) for value in (8, 13, 60.0)] == [8, 16, 64]
    assert sizes.holds(16)
    assert not sizes.holds(12)
    schedules = Parameter("model.unfreeze", ["all", [{"train": "all"}]])
    assert schedules.holds([{"train": "all"}])
    assert not schedules.holds("head")


def test_the_shipped_sweep_is_one() -> None:
    path = ROOT / "configs" / "sweeps" / "schedules.yaml"
    found = space.read(*read_yaml(path), str(path))
    assert [p.name for p in found.parameters] == [
        "model.lr",
        "model.layer_decay",
        "model.unfreeze",
    ]


def test_a_space_of_a_task_has_what_matters_for_its_schedule() -> None:
    names = {"pooling": "auto", "class_weight": None, "label_smoothing": 0.0, "lr": None}

    def check(model: dict[str, Any], thaws: bool, expected: list[str]) -> None:
        found = defaults.space(model, names, 1e-4, thaws)
        assert [p.name.removeprefix("model.") for p in found] == expected
        for parameter in found:
            own = {"lr": 1e-4, "unfreeze": "gradual", **names, **model}
            value = own.get(parameter.name.removeprefix("model."))
            if value is not None:
                assert parameter.holds(value), parameter.name

    rest = ["layer_decay", "weight_decay", "dropout"]
    stages = [{"train": "all"}]
    each(
        [
            ({}, True, ["lr", "unfreeze", *rest]),
            ({}, False, ["lr", *rest]),
            ({"unfreeze": stages}, True, ["lr", *rest]),
            ({"peft": "lora"}, True, ["lr", "weight_decay", "dropout"]),
            ({"unfreeze": "head"}, True, ["pooling", "class_weight", "label_smoothing"]),
            ({"unfreeze": "head", "head_fit": "step"}, True, ["lr", *rest]),
        ],
        check,
    )
