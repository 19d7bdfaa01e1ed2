"""Mistakes that are found before torch is imported, and say what was typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_TORCH = """\
import sys

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "datasets"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuses())
from ftlight.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
CONFIG = "model: {task: TextClassification, backbone: %s}\ndata: {train: a.csv, text: text}\n"


def said(*words: str) -> str:
    """What a command writes that must not import torch."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    return done.stderr


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A config whose backbone is a folder that is there, and its data."""
    Path("a.csv").write_text("text,label\nhello,a\nworld,b\n")
    (tmp_path / "bert").mkdir()
    Path("x.yaml").write_text(CONFIG % (tmp_path / "bert"))
    return "x.yaml"


def test_a_flag_that_does_not_exist_needs_no_value(config: str) -> None:
    assert "--onnx is not an option of fit" in said("fit", "-c", config, "--onnx")
    assert "--run needs a value" in said("fit", "-c", config, "--run")
    assert "--model.lr needs a value" in said("fit", "-c", config, "--model.lr")


def test_a_seed_is_called_what_it_was_typed_as(config: str) -> None:
    assert "error: --seed: expected" in said("fit", "-c", config, "--seed", "0,1")


def test_a_schedule_that_is_none_is_found_first(config: str) -> None:
    words = ("fit", "-c", config, "--model.unfreeze")
    assert "model.unfreeze: no schedule last2" in said(*words, "last2")
    assert len(said(*words, "[head, last:2]").splitlines()) == 1
    Path("y.yaml").write_text((CONFIG % "bert").replace("bert}", "bert, unfreeze: [{train: x}]}"))
    assert "y.yaml:1: model.unfreeze.0.train: no selector x" in said("fit", "-c", "y.yaml")


def test_a_task_of_the_command_line_is_not_blamed_on_the_file(config: str) -> None:
    assert "error: --model: no class Foo" in said("fit", "-c", config, "--model", "Foo")
    Path("y.yaml").write_text(CONFIG.replace("TextClassification", "Foo") % "x")
    assert "y.yaml:1: no class Foo" in said("fit", "-c", "y.yaml")


def test_a_backbone_that_is_missing_is_found_first(config: str) -> None:
    words = ["fit", "-c", config, "--model.backbone"]
    assert "no folder /nowhere/at/all" in said(*words, "/nowhere/at/all")
    assert "a/b is not a folder, and cannot be loaded from the hub" in said(*words, "a/b")
    Path("z.yaml").write_text(CONFIG % "/nowhere/at/all")
    assert "z.yaml:1: model.backbone: no folder" in said("fit", "-c", "z.yaml")


def test_a_column_that_is_missing_is_found_first(config: str) -> None:
    found = said("fit", "-c", config, "--data.text", "txet")
    assert 'a.csv: no column txet; did you mean "text"? (columns: text, label)' in found
    assert "no column region" in said("fit", "-c", config, "--data.groups", "[region]")
    assert "no column intent" in said("check", "-c", config, "--data.label", "intent")


def test_a_column_is_found_missing_in_every_encoding_and_split(config: str) -> None:
    Path("b.csv").write_bytes("Text der Mail;Müll\nhallo;ä\n".encode("cp1252"))
    words = ["fit", "-c", config, "--data.train", "b.csv", "--data.text", "Text", "--data.encoding"]
    for name in ("cp1252", "utf-8", "UTF8"):
        if name != "cp1252":
            Path("b.csv").write_text("Text der Mail;Müll\nhallo;ä\n")
        assert 'b.csv: no column Text; did you mean "Text der Mail"?' in said(*words, name)
    right = [*words[:5], "--data.text", "Text der Mail", "--data.encoding", "utf-8"]
    assert "b.csv: no column label (columns: Text der Mail, Müll)" in said(*right)
    assert "no column text" in said("fit", "-c", config, "--data.header", "[a, b]")
    Path("test.csv").write_text("text,n\nhello,1\n")
    assert "test.csv: no column label" in said("fit", "-c", config, "--data.test", "test.csv")


def test_a_time_that_is_none_is_found_first(config: str) -> None:
    for value in ("3min", "3", "soon", "0s"):
        found = said("fit", "-c", config, "--budget", value)
        assert f"(--budget): {value} is not how long a run may take; give a time" in found
    Path("y.yaml").write_text(Path("x.yaml").read_text() + "trainer: {max_time: 3}\n")
    assert "y.yaml:3: trainer.max_time (--budget): 3 is not" in said("fit", "-c", "y.yaml")


def test_predictions_have_formats_that_can_be_written(config: str) -> None:
    from ftlight.cli import prediction
    from ftlight.cli.command import Words
    from ftlight.utils.errors import UserError

    said = r"predictions are written as .csv, .tsv, .jsonl, .json or .xlsx; name one"
    for name in ("b.ods", "b.xls", "b.parquet", "b.csv.gz"):
        words = Words("predict", ["run", "a.csv", "--out", name])
        with pytest.raises(UserError, match=f"--out {name}: {said}"):
            prediction.out(words)
    words = Words("predict", ["a.csv", "--text", "hi"])
    with pytest.raises(UserError, match=r"a.csv and --text .*: give one of them"):
        prediction.source(words)


def test_mistakes_of_a_prediction_are_found_first(config: str) -> None:
    Path("r/checkpoints").mkdir(parents=True)
    Path("r/checkpoints/best.ckpt").touch()
    Path("r/config.yaml").write_text(
        "model: {task: TextClassification, backbone: x}\n"
        "data: {train: gone.csv, text: text, encoding: utf-8, quotes: auto}\n"
    )
    Path("r/run.json").write_text("{}")
    Path("new.csv").write_text("txt,n\nhello,1\n")
    words = ["predict", "r", "new.csv"]
    assert 'new.csv: no column text; did you mean "txt"? (columns: txt, n)' in said(*words)
    assert "no such file" in said("predict", "r", "nwe.csv")
    right = [*words, "--data.text", "txt"]
    assert "--at_least high: expected a share" in said(*right, "--at_least", "high")
    assert "--coverage 95: expected a share" in said(*right, "--coverage", "95")
    assert "foo is not an encoding" in said(*right, "--data.encoding", "foo")
    assert "--out a.ods: predictions are" in said(*right, "--out", "a.ods")
    assert "--out out/ is a folder; name a file in it" in said(*right, "--out", "out/")
    assert 'give a file to predict, or - for standard input, or --text "' in said("predict", "r")
