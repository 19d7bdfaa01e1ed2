"""``compare``, and ``fit --seeds``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, each, toy_rows, write_csv

from ftlight.__main__ import main
from ftlight.metrics.statistics import mcnemar

pytestmark = pytest.mark.run


@pytest.fixture
def test(tmp_path: Path) -> str:
    return write_csv(tmp_path / "test.csv", toy_rows(41))


def scores(run: str | Path) -> np.ndarray:
    kept = np.load(Path(run) / "outcomes-test.npz")
    return kept["scores"][np.argsort(kept["rows"])]


def test_two_schedules_and_their_seeds(fit: Run, test: str, capsys: Any) -> None:
    for unfreeze, seed in (("head", 0), ("all", 0), ("all", 1)):
        options = ["--data.test", test, "--model.unfreeze", unfreeze, "--model.lr", "1e-3"]
        fit(*options, "--seed", str(seed), name=f"{unfreeze}{seed}")
    capsys.readouterr()
    assert main(["compare", "head0", "all1", "all0", "--out", "c.json"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("accuracy of 41 rows of test\n")
    assert "model.unfreeze: all " in said
    assert "than model.unfreeze: head" in said
    found = json.loads(Path("c.json").read_text())
    head, everything = found["groups"]
    assert (head["seeds"], everything["seeds"]) == ([0], [1, 0])
    assert head["difference"] is None
    assert everything["spread"]["mean"] == pytest.approx(
        (scores("all0").mean() + scores("all1").mean()) / 2
    )
    gain = everything["spread"]["mean"] - head["spread"]["mean"]
    assert everything["difference"]["gain"] == pytest.approx(gain)
    assert main(["compare", "head0", "all0", "--out", "c.json"]) == 0
    (_, other) = json.loads(Path("c.json").read_text())["groups"]
    assert other["difference"]["p"] == pytest.approx(mcnemar(scores("all0"), scores("head0")))
    # rows are told by what they are, not by where they stand
    rows = list(reversed(toy_rows(41)))
    assert main(["test", "head0", "--data.test", write_csv(Path("turned.csv"), rows)]) == 0
    assert main(["compare", "head0", "all0", "--out", "turned.json"]) == 0
    turned = json.loads(Path("turned.json").read_text())["groups"][1]
    assert turned["difference"] == other["difference"]


def test_what_cannot_be_compared_is_refused_in_a_line(fit: Run, test: str, capsys: Any) -> None:
    fit("--data.test", test, name="one")
    fit("--data.test", write_csv(Path("less.csv"), toy_rows(30)), name="other")
    fit("--trainer.test", "false", name="untested")
    Path("broken").mkdir()
    for file in ("config.yaml", "run.json"):
        (Path("broken") / file).write_text(Path("one", file).read_text())
    Path("broken/outcomes-test.npz").write_bytes(b"PK not a zip")
    cases = [
        (["one"], "compare needs two runs or more"),
        (["one", "one"], "one is given twice"),
        (["one", "other"], "one was measured on 41 rows and other on 30, of which 30 are the same"),
        (["one", "nothing"], "nothing is not a run"),
        (["one", "broken"], "broken/outcomes-test.npz is damaged; measure the run again"),
        (["one", "other", "--model.lr", "1"], "--model.lr is not an option of compare"),
        (["one", "untested", "--out", "one"], "--out one is a folder; name a file in it"),
        (["one", "untested", "--out", "new/"], "--out new/ is a folder; name a file in it"),
    ]

    def check(words: list[str], said: str) -> None:
        capsys.readouterr()
        assert main(["compare", *words]) == 2
        assert said in capsys.readouterr().err.replace(f"{Path.cwd()}/", "")

    each(cases, check)
    assert main(["compare", "one", "untested"]) == 0  # both have the same validation rows
    assert "rows of validation" in capsys.readouterr().out
    for file in Path().glob("*/outcomes-*.npz"):
        file.unlink()
    assert main(["compare", "one", "untested"]) == 2
    assert "one has no outcomes of its rows; measure it" in capsys.readouterr().err


@pytest.mark.processes
def test_seeds_are_runs_that_go_on_where_they_were_stopped(
    bert: str, toy: str, test: str, tmp_path: Path
) -> None:
    words = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]
    words += ["--data.test", test, "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    command = [sys.executable, "-m", "ftlight", *words, "--seeds", "2", "--seed=4", "--run", "s"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/2" in line:
            process.send_signal(signal.SIGTERM)  # it is passed on
    assert process.wait() != 0
    assert not (tmp_path / "s" / "seed-5").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "seeds" in done.stdout
    assert "these runs differ in nothing but their seed" in done.stdout
    for seed in (4, 5):
        facts = json.loads((tmp_path / "s" / f"seed-{seed}" / "run.json").read_text())
        assert (facts["status"], facts["seed"]) == ("done", seed)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout.count("is done; nothing is left to do") == 2


def test_seeds_that_are_none(bert: str, toy: str, capsys: Any) -> None:
    base = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]

    def check(words: list[str], said: str) -> None:
        assert main([*base, *words]) == 2
        assert said in capsys.readouterr().err
        assert not Path("runs").exists()

    each(
        [
            (["--seeds", "1"], "--seeds: expected a whole number from 2 to 1,000, got 1"),
            (["--seeds", "two"], "--seeds: expected a whole number"),
            (["--seeds", "2", "--seed", "false"], "it is the first of them, a number, not false"),
            (["--seeds", "2", "--resume", "auto"], "--resume does not go with --seeds"),
            (["--seeds", "2", "--model.lrr", "1"], "--model.lrr is not an option of fit; did you"),
        ],
        check,
    )
    Path("r").mkdir()
    Path("r/config.yaml").write_text("{}")
    assert main([*base, "--seeds", "2", "--run", "r"]) == 2
    assert "r is a run; give another folder for those of --seeds" in capsys.readouterr().err


def test_a_folder_of_seeds_is_no_run(fit: Run, test: str, capsys: Any) -> None:
    for seed in (0, 1):
        fit("--data.test", test, "--seed", str(seed), name=f"s/seed-{seed}")
    capsys.readouterr()
    assert main(["predict", "s", "--text", "a"]) == 2
    assert "holds a run for each seed; give one, such as s/seed-0" in capsys.readouterr().err
    assert main(["compare", "s"]) == 0
    assert os.path.join("s", "seed-0") in capsys.readouterr().out
