"""``fit --keep FILE``: what the weights before could do, before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, make_bert, toy_rows, write_csv

from ftlight.__main__ import main

pytestmark = [pytest.mark.run, pytest.mark.processes]


def test_what_a_run_forgets_of_the_one_that_it_begins_with(
    fit: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, learns = toy_rows(90), ["--model.lr", "3e-3", "--model.unfreeze", "all"]
    old, other = write_csv(tmp_path / "old.csv", rows[:60]), sorted({row[1] for row in rows})
    turned = [(text, other[other.index(label) - 1]) for text, label in rows]  # every label is wrong
    first = fit(*learns, train=old, epochs=8, name="first")
    left = sorted(path.name for path in first.iterdir())
    rest = write_csv(tmp_path / "rest.csv", rows[60:])
    new = write_csv(tmp_path / "new.csv", turned)
    capsys.readouterr()
    more = ["--from", str(first), "--keep", rest, "--data.test", new]
    second = fit(*learns, *more, train=new, epochs=8, name="second")
    found = json.loads((second / "kept.json").read_text())
    assert (found["rows"], found["score"]) == (30, "accuracy")
    assert found["before"] > found["after"]
    gain = found["after"] - found["before"]
    assert found["difference"]["gain"] == pytest.approx(gain)
    assert "something is forgotten" in capsys.readouterr().out
    assert sorted(path.name for path in first.iterdir()) == left  # the run it began with stays
    kept = np.load(second / "outcomes-test.npz")["scores"]
    assert len(kept) == 90  # its own test, too


def test_a_language_model_is_compared_with_the_untuned_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bert, texts = make_bert(tmp_path / "bert"), write_csv(tmp_path / "texts.csv", toy_rows(60))
    words = ["--model", "MaskedLM", "--model.backbone", str(bert), "--data.train", texts]
    run = ["--trainer.max_steps", "3", "--trainer.accelerator", "cpu", "--run", "r"]
    assert main(["fit", *words, *run, "--keep", texts]) == 0
    found = json.loads(Path("r/kept.json").read_text())
    assert found["rows"] == 60
    assert found["before"] != found["after"]


def test_nothing_to_compare_with_is_said_before_training(bert: str, toy: str, capsys: Any) -> None:
    words = ["--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]
    assert main(["fit", *words, "--run", "r", "--keep", toy]) == 2
    assert "--from RUN could do before; give that run" in capsys.readouterr().err
    assert main(["fit", *words, "--run", "r", "--keep", "none.csv"]) == 2
    assert "--keep none.csv: no such file or folder" in capsys.readouterr().err
    assert not Path("r").exists()
