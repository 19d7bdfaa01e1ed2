"""``auto``: from a file alone to a tested model."""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import toy_rows, write_csv

from ftlight.__main__ import main
from ftlight.cli import asked, backbones, child, climb, guess, summit
from ftlight.cli.climb import Broken
from ftlight.cli.guess import Guess
from ftlight.cli.ladder import Climb
from ftlight.cli.rung import Rung
from ftlight.utils import secrets
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import read_yaml

pytestmark = pytest.mark.processes


def ladder(home: str = "runs/auto-toy") -> Any:
    return json.loads(Path(home, "auto.json").read_text())


def doubtful(count: int) -> list[tuple[str, str]]:
    """Rows of which each seventh has the label of another."""
    rows = toy_rows(count)
    return [(text, rows[i - 1][1] if i % 7 == 6 else label) for i, (text, label) in enumerate(rows)]


def test_a_file_becomes_a_tested_model_and_the_same_command_has_nothing_left(
    bert: str, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "settings", lambda *about: [{"model.lr": "0.001"}])
    write_csv(tmp_path / "toy.csv", [*doubtful(600), ("", "good"), ("no label", "")])
    words = ["auto", "toy.csv", "--backbones", bert, "--trainer.max_epochs", "2"]
    assert main(words) == 0
    said = capfd.readouterr().out
    assert "data   toy.csv: 601 rows, 3 labels" in said  # of one the label is missing
    assert "task   TextClassification, label label (another: --task T, --label COLUMN;" in said
    assert re.search(r"^cheap .* beside the best cheap model", said, re.M)
    assert said.endswith('next   python -m ftlight predict runs/auto-toy/best --text "…"\n')
    assert main(["test", "runs/auto-toy"]) == 2
    assert "the best of them is runs/auto-toy/best" in capfd.readouterr().err
    assert main(["auto", "toy.csv", "--backbones", f"{bert}s"]) == 2
    assert f'no folder {bert}s; did you mean "' in capfd.readouterr().err
    assert "majority" in said
    assert "fine-tuned" in said
    assert "1 of 602 rows left out: column label has no label (line 603)" in said
    assert "1 of 601 rows left out: they have no text (line 602)" in said
    found = ladder()
    runs = [rung["run"] for rung in found["rungs"] if rung["run"]]
    assert runs == ["head", "fit", "try-1"]
    (best,) = (rung for rung in found["rungs"] if rung["best"])
    home = Path("runs/auto-toy")
    assert (home / "best").resolve().name == best["run"]
    tested = [path.parent.name for path in home.glob("*/test_metrics.json")]
    assert tested == ["best", best["run"]] or tested == [best["run"], "best"]  # a link, and it
    page = (home / "best" / "report.html").read_text()
    assert "The ladder that led here" in page
    assert main(words) == 0
    assert "at most" not in capfd.readouterr().out  # nothing was trained again
    config = yaml.safe_load((home / "best.yaml").read_text())
    assert config["model"]["backbone"] == bert
    assert config["data"]["on_leak"] == "drop"
    assert config["trainer"]["max_epochs"] == 2
    assert main(["fit", "-c", str(home / "best.yaml"), "--run", "again"]) == 0
    assert main(["auto", "toy.csv", "--label", "text", "--backbones", bert]) == 2
    assert "was begun with other data or options" in capfd.readouterr().err


def test_a_stop_leaves_the_best_so_far_tested(bert: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "toy.csv", doubtful(600))
    words = [sys.executable, "-m", "ftlight", "auto", "toy.csv", "--backbones", bert]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "fine-tuned: at most" in line:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait() == 0
    assert "it was stopped: the same command goes on" in "".join(lines)
    home = tmp_path / "runs" / "auto-toy"
    assert (home / "head" / "test_metrics.json").is_file()
    assert (home / "best").resolve() == home / "head"


def test_few_rows_are_scored_by_folds(bert: str, tmp_path: Path, capfd: Any) -> None:
    write_csv(tmp_path / "toy.csv", doubtful(75))
    words = ["auto", "toy.csv", "--backbones", bert, "--goal", "accuracy > 0.1"]
    assert main(words) == 0
    said = capfd.readouterr().out
    assert "folds  5: of fewer than 500 rows" in said
    assert "reaches the goal" in said
    home = Path("runs/auto-toy")
    assert (home / "best").resolve() == (home / "head" / "all").resolve()
    (head,) = (rung for rung in ladder()["rungs"] if rung["run"])
    with np.load(home / "head" / "outcomes-folds.npz") as kept:
        assert head["score"] == pytest.approx(kept["scores"].mean())
        assert len(kept["scores"]) == 60  # of 75 rows a fifth is the test
    assert "The ladder that led here" in (home / "best" / "report.html").read_text()
    assert main(words) == 0
    assert "at most" not in capfd.readouterr().out


def test_labels_that_say_nothing(bert: str, tmp_path: Path, capfd: Any) -> None:
    rows = toy_rows(1500)
    labels = [label for _, label in rows]
    random.Random(0).shuffle(labels)
    write_csv(
        tmp_path / "toy.csv", [(text, label) for (text, _), label in zip(rows, labels, strict=True)]
    )
    assert main(["auto", "toy.csv", "--backbones", bert, "--budget", "40s"]) == 0
    assert "verdict no signal" in capfd.readouterr().out


def test_what_is_refused(toy: str, tmp_path: Path, capsys: Any) -> None:
    for words, line in [
        ([], "auto needs one file or folder"),
        (["none.csv"], "none.csv"),
        ([toy, "--budget", "soon"], "--budget: expected a time from 20s on, such as 10m, got soon"),
        ([toy, "--goal", "better"], "--goal: expected such as"),
        ([toy, "--task", "Classification"], 'did you mean "TextClassification"'),
        ([toy, "--budgt", "1m"], 'did you mean "--budget"'),
    ]:
        assert main(["auto", *words]) == 2
        assert line in capsys.readouterr().err
    Path("mine").mkdir()
    Path("mine", "notes.txt").write_text("of a person")
    assert main(["auto", toy, "--run", "mine"]) == 2
    assert "exists and is not of auto" in capsys.readouterr().err


def test_other_settings_suit_the_number_of_labels() -> None:
    few = backbones.settings("TextClassification", 2, 1e-4)
    many = backbones.settings("TextClassification", 77, 1e-4)
    assert {"model.l2_sp": "10"} in few
    assert {"model.l2_sp": "10"} not in many
    assert {"model.lr": "0.0002"} in many
    assert backbones.settings("Seq2Seq", 0, None) == [{"model.unfreeze": "auto"}]


def test_time_is_left_for_the_test_and_the_page() -> None:
    made = Climb(Path(), "TextClassification", {}, 1e12, 600, {"train": 1000, "test": 500})
    guessed = made.closing
    head = Rung("head alone, solved", "head", {}, 0.8, 0.7, 0.9, "accuracy", {}, None, 16, rows=900)
    made.rungs.append(head)
    assert made.closing < guessed
    assert made.closing == pytest.approx(8 + 6 + 1.2 * 500 / 90)
    made.rows = {"train": 1000}
    assert made.closing == 8


def test_no_head_is_solved_for_pairs_of_texts(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("data: {text: first, text_pair: second}")
    pairs = Climb(tmp_path, "TextClassification", {}, math.inf, 60.0, {})
    assert pairs.left > pairs.starting
    assert list(climb.head(pairs)) == []


def test_runs_of_other_data_options_or_backbones_are_not_taken_for_done(
    toy: str, tmp_path: Path
) -> None:
    told, home, options = (
        guess.guess(toy, None, None),
        tmp_path / "home",
        {"trainer.max_epochs": "2"},
    )
    home.mkdir()
    assert asked.settle(home, told, options, ["a", "b"]) == ["a", "b"]
    assert asked.settle(home, told, options, []) == ["a", "b"]
    assert asked.settle(home, told, options, ["a", "b"]) == ["a", "b"]

    def refused(told: Guess, options: dict[str, str], names: list[str]) -> None:
        with pytest.raises(UserError, match="home was begun with other data or options; give"):
            asked.settle(home, told, options, names)

    refused(told, {}, [])
    refused(told, options, ["b"])
    write_csv(Path(toy), toy_rows(61))
    refused(told, options, [])
    photos = tmp_path / "photos"
    (photos / "cat").mkdir(parents=True)
    (photos / "cat" / "1.png").write_bytes(b"one")
    told, home = told._replace(files={"train": str(photos)}), tmp_path / "other" / "home"
    home.mkdir(parents=True)
    asked.settle(home, told, {}, ["a"])
    assert asked.settle(home, told, {}, []) == ["a"]
    (photos / "cat").rename(photos / "dog")
    refused(told, {}, [])


def test_the_config_of_the_best_has_options_to_the_letter_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("model: {task: T}\ndata: {train: a.csv}\n")
    options = {"data.label": "on", "data.text": "010", "seed_everything": "3", "model.lr": "1e-4"}
    options |= {"model.api_key": "abc123", "data.prefix": "", "model.backbone": "b"}
    made = Climb(tmp_path, "TextClassification", options, math.inf, 60.0, {})
    best = Rung("tuned", "fit", {"model.dropout": "0"}, 0.8, 0.7, 0.9, "f1", {}, None, 1)
    made.rungs.append(best)
    summit.name(made, best)
    assert read_yaml(tmp_path / "best.yaml")[0] == {
        "model": {
            "task": "T",
            "lr": 1e-4,
            "api_key": secrets.HIDDEN,
            "backbone": "b",
            "dropout": 0,
        },
        "data": {"train": "a.csv", "label": "on", "text": "010", "prefix": ""},
        "seed_everything": 3,
    }
    assert "abc123" not in json.dumps(summit.as_json(made, best, [], 1.0))


def trained(made: Climb, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Options of the training that a ladder starts, which is stopped."""
    given: list[str] = []

    def run(verb: str, words: list[str], *rest: Any) -> int:
        given.extend(words)
        return 130

    monkeypatch.setattr(child, "run", run)
    with pytest.raises(Broken):
        climb.train(made, "fit", "tuned", {}, 100.0)
    return dict(zip(given[2::2], given[3::2], strict=True))  # after -c


def test_a_stopped_run_goes_on_for_all_of_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Climb(tmp_path, "TextClassification", {}, math.inf, 600.0, {})
    assert trained(made, monkeypatch)["--budget"] == "100s"
    assert made.used == {}  # it had no checkpoint, and begins anew
    (tmp_path / "fit" / "checkpoints").mkdir(parents=True)
    (tmp_path / "fit" / "checkpoints" / "last.ckpt").touch()
    made.used["fit"] = 200.0
    assert trained(made, monkeypatch)["--budget"] == "300s"
    assert made.used["fit"] >= 200.0


def test_runs_by_folds_lie_beside_those_of_an_earlier_command_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Climb(tmp_path, "TextClassification", {}, math.inf, 600.0, {}, folds=5)
    assert trained(made, monkeypatch)["--run"] == str(tmp_path / "fit")
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "config.yaml").touch()
    assert trained(made, monkeypatch)["--run"] == str(tmp_path / "fit-folds")
    (tmp_path / "fit" / "config.yaml").unlink()
    (tmp_path / "fit" / "fold-0").mkdir()
    assert trained(made, monkeypatch)["--run"] == str(tmp_path / "fit")
    made.folds = 0
    assert trained(made, monkeypatch)["--run"] == str(tmp_path / "fit-split")


def test_a_run_that_was_not_validated_is_not_the_best() -> None:
    made = Climb(Path(), "CausalLM", {}, math.inf, 600.0, {})
    made.rungs = [
        Rung(name, name, {}, score, score, score, "loss", {}, None, 1)
        for name, score in (("cut", math.nan), ("whole", -2.0))
    ]
    assert made.best.name == "whole"
