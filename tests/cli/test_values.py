"""Values that are none, in a config and on the command line: one line each, before any import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.__main__ import main
from ftlight.cli import help as helps

CONFIG = "model:\n  task: TextClassification\n  backbone: x/y\n{}\ndata:\n  train: none.csv\n"


def refused(capsys: Any, *words: str) -> str:
    """The line that a command ends with."""
    assert main(list(words)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("ftlight: error: ")
    return str(lines[0]).removeprefix("ftlight: error: ")


def test_numbers_that_are_none_or_out_of_range(capsys: Any) -> None:
    cases = [
        ("lr", "-1", "-1 is out of range; it must be above 0"),
        ("lr", "-0.0", "-0.0 is out of range; it must be above 0"),
        ("lr", "1e400", "inf is out of range; it must be above 0 and finite"),
        ("lr", "1" + "0" * 350, "inf is out of range"),
        ("lr", "9" * 6000, "inf is out of range"),
        ("lr", ".nan", "nan is out of range"),
        ("lr", "nan", "expected a number or auto, got nan"),
        ("lr", "true", "expected a number or auto, got "),
        ("lr", "0x10", "expected a number or auto, got 0x10"),
        ("lr", "1_000", "expected a number or auto, got 1_000"),
        ("lr", "[1]", "expected a number or auto, got [1]"),
        ("warmup", "7", "7 is out of range; it must be from 0 to 1"),
        ("weight_decay", "-1", "-1 is out of range; it must be at least 0"),
        ("cache_gb", "-1", "-1 is out of range; it must be from 0 to 1,000,000"),
        ("label_smoothing", "1.0", "1.0 is out of range; it must be from 0 to below 1"),
    ]

    def check(name: str, value: str, words: str) -> None:
        Path("x.yaml").write_text(CONFIG.format(f"  {name}: {value}"))
        assert refused(capsys, "fit", "-c", "x.yaml").startswith(f"x.yaml:4: model.{name}: {words}")
        Path("x.yaml").write_text(CONFIG.format(""))
        if value[0] != "[" and value != "true":
            line = refused(capsys, "fit", "-c", "x.yaml", f"--model.{name}", value)
            assert line.startswith(f"model.{name}: {words}")

    each(cases, check)


def test_numbers_of_data_and_trainer(capsys: Any) -> None:
    cases = [
        (["--seed", "-1"], "--seed: -1 is out of range; it must be from 0 to 4,294,967,"),
        (["--seed", "4294967296"], "--seed: 4294967296 is out of range"),
        (["--seed", "1.5"], "--seed: expected a whole number or true or false, got 1.5"),
        (["--data.workers", "-1"], "data.workers: -1 is out of range; it must be from 0 to 1,000"),
        (["--data.batch_size", "1e3"], "data.batch_size: expected a whole number or auto, got 1e3"),
        (["--data.batch_size", "1" + "0" * 30], "data.batch_size: a number of about 30 digits is"),
        (["--trainer.devices", "0"], "trainer.devices: 0 is out of range; it must be from 1 to 1,"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches: 0 is out"),
        (["--trainer.patience", "-1"], "trainer.patience: -1 is out of range; it must be at least"),
        (["--trainer.max_epochs", "0"], "trainer.max_epochs: 0 is out of range; it must be at lea"),
        (["--trainer.save_every", "0"], "trainer.save_every: 0 is out of range; it must be at lea"),
        (["--trainer.val_check_interval", "0"], "trainer.val_check_interval: 0 is out of range"),
        (["--trainer.limit_val_batches", "1.5"], "trainer.limit_val_batches: 1.5 is out of range;"),
    ]
    Path("x.yaml").write_text(CONFIG.format(""))

    def check(words: list[str], said: str) -> None:
        assert refused(capsys, "fit", "-c", "x.yaml", *words).startswith(said)

    each(cases, check)
    Path("x.yaml").write_text(CONFIG.format("") + "seed_everything: -1\n")
    assert refused(capsys, "fit", "-c", "x.yaml").startswith("x.yaml:7: seed_everything: -1 is out")


def test_configs_that_are_none(capsys: Any) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    cases = [
        ("model: " + "[" * 10_000, "x.yaml:1: not valid YAML: nested more than 50 levels deep"),
        (
            "model: " + "[" * 100 + "]" * 100,
            "x.yaml:1: not valid YAML: nested more than 50 levels deep",
        ),
        ("model: &m\n  task: *m\n", "x.yaml:1: nested more than 50 levels deep"),
        (laughs, "x.yaml:1: more than 100,000 values, those of aliases included"),
        ("model: {\n? [a, b] : c}\n", "x.yaml:2: a key must be a plain value"),
        (
            "model: !!set {a}\n",
            "x.yaml:1: not valid YAML: remove the tag, for !!set is not for configs",
        ),
        (
            "model: !!binary aGk=\n",
            "x.yaml:1: not valid YAML: remove the tag, for !!binary does not fit its value",
        ),
        (
            "model:\n  lr: !!int five\n",
            "x.yaml:2: not valid YAML: remove the tag, for !!int does not fit its value",
        ),
        (
            "model: !!timestamp 2020-13-45\n",
            "x.yaml:1: not valid YAML: remove the tag, for !!timestamp does",
        ),
        ("model: !!python/name:os.system\n", "x.yaml:1: not valid YAML: remove the tag, for "),
        ('model:\n  backbone: "a\\0b"\n', "x.yaml:2: holds a character that no text may have"),
        ('model: "\\ud800"\n', "x.yaml:1: holds a character that no text may have"),
        ("model: \x07\n", "x.yaml: not valid YAML: "),
        ("model:\n\ttask: x\n", "x.yaml:2: not valid YAML: "),
        ("model: {}\n---\nmodel: {}\n", "x.yaml:2: not valid YAML: but found another document"),
        ("- model\n", "x.yaml: expected keys such as model: and data:, got list"),
        ("", "no task: "),
        ("# " + "x" * 5_000_000, "x.yaml: a config has less than 4,000,000 bytes"),
    ]

    def check(text: str, words: str) -> None:
        Path("x.yaml").write_text(text)
        assert refused(capsys, "fit", "-c", "x.yaml").startswith(words)

    each(cases, check)


def test_names_that_the_system_does_not_take(capsys: Any) -> None:
    Path("x.yaml").write_text(CONFIG.format(""))
    fit = ["fit", "-c", "x.yaml"]
    cases = [
        ([*fit, "--data.train", "x" * 300], "data.train: xxxxx"),
        ([*fit, "--data.train", "x/" * 3000], "data.train: x/x/x"),
        ([*fit, "--data.train", "~nobody-is-here/x"], "data.train: ~nobody-is-here/x: Could not"),
        ([*fit, "--data.train", "a\0b"], "the command line holds a NUL or"),
        ([*fit, "--model.unfreeze", "[" * 5000], "--model.unfreeze:1: not valid YAML: nes"),
        ([*fit, "--resume", "x" * 300], "xxxx"),
        ([*fit, "-c", "x" * 300], "xxxx"),
        ([*fit, "--ckpt_path", "x" * 300], "xxxx"),
        (["predict", "x" * 300, "a.csv"], "xxxx"),
        (["init", "x" * 300], "xxxx"),
        ([*fit, "--name", "caf\udce9"], "the command line holds a NUL or is not UTF-8"),
        (["init", "a\0b"], "the command line holds a NUL or"),
    ]

    def check(words: list[str], said: str) -> None:
        assert refused(capsys, *words).startswith(said)

    each(cases, check)


def test_help_shows_ranges() -> None:
    text = " ".join(helps.show("fit", ["all"]).split())
    for words in (
        "--model.warmup X Share of these steps in which the rate rises from 0; a layer that",
        "--data.batch_size N|auto Rows per batch on each device; auto takes the fewest whose rows",
        "--trainer.max_steps N Stop after this many optimizer steps; -1 for no limit. At least",
        "--trainer.accumulate_grad_batches N Batches whose gradients are summed before a step. At",
    ):
        assert words in text, words


@pytest.mark.parametrize("name", ["TextClassification", "MaskedLM"])
def test_help_of_a_task_names_bounds_once(name: str) -> None:
    assert "Range(" not in helps.show("fit", ["all", "--model", name])


def test_absurd_numbers_are_refused_by_the_bounds_of_their_options(
    capsys: pytest.CaptureFixture[str], toy: str
) -> None:
    tune = ("--trials", "--seeds", "--jobs")
    many = "9" * 5000  # Python refuses to read them
    cases = [
        *(["tune", "-c", "x.yaml", option, n] for option in tune for n in ("0", "9999999", many)),
        *(["fit", option, n] for option in ("--seeds", "--folds") for n in ("1", "100000", many)),
        *(["explain", "r", option, many] for option in ("--rows", "--neighbours")),
        ["report", "r", "--rows", many],
        ["fit", "-c", "x.yaml", "--seeds", "2", "--seed", many],
        ["fit", "-c", "x.yaml", "--data.workers", "100000"],
        ["fit", "-c", "x.yaml", "--data.batch_size", many],
        ["fit", "-c", "x.yaml", "--trainer.devices", "100000"],
    ]
    Path("x.yaml").write_text(f"model: TextClassification\ndata: {{train: {toy}}}\n")

    def check(*words: str) -> None:
        assert main(list(words)) == 2
        said = capsys.readouterr().err
        assert re.search("a whole number|out of range|the first of them", said), said
        assert len(said) < 400 or many in said

    each([tuple(words) for words in cases], check)
