"""``fit --folds``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import WORDS, each, toy_rows, write_csv
from tiny import words_of
from tiny.image_classification import write_zip

from ftlight import load
from ftlight.__main__ import main
from ftlight.cli import child
from ftlight.metrics import classes, regression
from ftlight.trainer import calibrating

pytestmark = pytest.mark.run
SHORT = [*("--trainer.accelerator", "cpu", "--trainer.report", "false"), "--data.batch_size", "8"]


@pytest.fixture
def _here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are trained in this process."""

    def run(verb: str, argv: list[str], *rest: Any, **more: Any) -> int:
        return main([verb, *argv])

    monkeypatch.setattr(child, "run", run)


def words(bert: str, train: str, *more: str, task: str = "TextClassification") -> list[str]:
    model = ["--model", task, "--model.backbone", bert, "--data.train", train]
    return ["fit", *model, "--trainer.max_epochs", "2", *SHORT, *more]


def figures(home: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(home, "folds.json").read_text())
    return found


def learning(run: str) -> dict[str, Any]:
    return dict(json.loads(Path(run, "run.json").read_text())["learning"])


def of_folds(home: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and classes of all rows, as a second pass of each fold gives them."""
    outputs, targets = [], []
    for fold in range(count):
        model = load(f"{home}/fold-{fold}")
        model.task.calibration = None
        rows = [dict(row) for row in model.data.load_split("validation")]
        for row, answer in zip(rows, model.predict([r["text"] for r in rows]), strict=True):
            outputs.append([answer["probabilities"][name] for name in model.task.labels])
            targets.append(model.task.labels.index(row["label"]))
    return torch.tensor(outputs), torch.tensor(targets)


@pytest.mark.usefixtures("_here_alone")
def test_each_row_is_scored_once_and_a_model_of_all_rows_is_made(
    bert: str, toy: str, capsys: Any
) -> None:
    test = write_csv(Path("test.csv"), toy_rows(41))
    command = words(bert, toy, "--data.test", test, "--model.unfreeze", "all")
    command += ["--model.lr", "1e-2", "--folds", "3", "--run", "r"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "60 rows, each scored by the model of 3 that was not trained on it" in said
    found = figures("r")
    outputs, targets = of_folds("r", 3)
    values, confusion = classes.single_label(outputs, targets)
    metrics = found["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(values["accuracy"])
    assert metrics["f1"]["value"] == pytest.approx(values["f1"])
    assert metrics["f1"]["low"] == pytest.approx(classes.bootstrap_macro_f1(confusion)[0])
    assert metrics["f1"]["pooled"]
    assert not metrics["loss"]["pooled"]
    accuracies = [
        np.load(f"r/fold-{fold}/outcomes-validation.npz")["scores"].mean() for fold in range(3)
    ]
    assert metrics["accuracy"]["folds"] == pytest.approx(accuracies)
    assert metrics["accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    kept = np.load("r/outcomes-folds.npz")
    assert (len(kept["rows"]), len(set(kept["keys"].tolist()))) == (60, 60)
    # the run on all rows
    steps = sorted(learning(f"r/fold-{fold}")["kept_step"] for fold in range(3))[1]
    assert found["steps"] == round(steps * 60 / 40)
    facts = json.loads(Path("r/all/run.json").read_text())
    assert (facts["steps"], facts["learning"]["rows"]) == (found["steps"], {"train": 60})
    assert facts["learning"]["rates"][-1][1] < facts["learning"]["rates"][1][1] / 2
    assert Path("r/all/test_metrics.json").is_file()
    assert not Path("r/fold-0/test_metrics.json").exists()
    calibration = calibrating.of_checkpoint(Path("r/all/checkpoints/best.ckpt"))
    assert calibration is not None
    assert (calibration.rows, len(calibration.right)) == (60, 60)
    assert calibration.right.double().mean() == pytest.approx(values["accuracy"])
    # each run repeats itself, and the same command has nothing left to do
    config = yaml.safe_load(Path("r/fold-1/config.yaml").read_text())
    given = config["data"]["init_args"]
    assert (given["fold"], given["folds"]) == (1, 3)
    assert main(["fit", "-c", "r/fold-1/config.yaml", "--run", "again"]) == 0
    weights = [
        torch.load(f"{run}/checkpoints/best.ckpt", weights_only=True)["state_dict"]
        for run in ("again", "r/fold-1")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.count("is done; nothing is left to do") == 4
    assert figures("r") == found


@pytest.mark.usefixtures("_here_alone")
def test_a_folder_of_folds_stands_for_the_model_of_all_rows(
    bert: str, toy: str, capsys: Any
) -> None:
    for seed in ("0", "1"):
        more = ["--model.unfreeze", "head", "--seed", seed, "--data.split_seed", seed]
        assert main(words(bert, toy, *more, "--folds", "2", "--run", f"s{seed}")) == 0
    assert figures("s0")["steps"] == 0  # all that trains is solved
    assert json.loads(Path("s0/all/run.json").read_text())["steps"] == 0
    verdict = json.loads(Path("s0/all/verdict.json").read_text())
    assert verdict["kind"] != "not validated"
    capsys.readouterr()
    assert main(["predict", "s0", "--text", "a good day"]) == 0
    assert main(["compare", "s0", "s1", "--out", "c.json"]) == 0  # out of fold, row by row
    said = capsys.readouterr().out
    assert "accuracy" in said or "score of a row" in said
    assert "60 rows of validation" in said
    score = figures("s0")["metrics"]["accuracy"]["value"]
    (mean, *_) = json.loads(Path("c.json").read_text())["groups"][0]["runs"].values()
    assert mean == pytest.approx(score)
    for file in Path("s1/all").glob("*.yaml"):
        file.unlink()
    assert main(["predict", "s1", "--text", "a"]) == 2
    assert "s1 has no model of all rows yet" in capsys.readouterr().err


@pytest.mark.usefixtures("_here_alone")
def test_numbers_and_several_labels_are_pooled(bert: str) -> None:
    numbers = [(f"{WORDS[i % 30]} {WORDS[i * 7 % 31]}", str(i % 10 / 2)) for i in range(40)]
    train = write_csv(Path("numbers.csv"), numbers)
    assert main(words(bert, train, "--folds", "2", "--run", "n")) == 0
    values, truths = [], []
    for fold in range(2):
        model = load(f"n/fold-{fold}")
        rows = [dict(row) for row in model.data.load_split("validation")]
        values += [answer["prediction"] for answer in model.predict([r["text"] for r in rows])]
        truths += [float(row["label"]) for row in rows]
    scores = regression.scores(torch.tensor(values).float(), torch.tensor(truths))
    found = figures("n")["metrics"]
    assert found["pearson"]["value"] == pytest.approx(scores["pearson"], abs=1e-4)
    assert found["r2"]["pooled"]
    labels = [(text, "a|b" if i % 3 else "b") for i, (text, _) in enumerate(toy_rows(30))]
    train = write_csv(Path("several.csv"), labels)
    assert main(words(bert, train, "--folds", "2", "--run", "m")) == 0
    found = figures("m")["metrics"]["f1_micro"]
    assert found["low"] <= found["value"] <= found["high"]


@pytest.mark.usefixtures("_here_alone")
def test_other_tasks_have_folds() -> None:
    cases = {
        "token_classification": "f1",
        "question_answering": "f1",
        "image_classification": "f1",
        "masked_lm": "perplexity",
    }
    alike = ["--data.validation", "null", "--trainer.max_epochs", "1", *SHORT]

    def check(name: str) -> None:
        folder = Path(name)
        folder.mkdir()
        given = [*words_of(name, folder), *alike, "--folds", "2", "--run", f"{name}-run"]
        if name == "image_classification":  # its zip has rows for validation
            given += ["--data.train", write_zip(folder / "few.zip", {"train": 24})]
        assert main(given) == 0
        found = figures(f"{name}-run")["metrics"][cases[name]]
        assert found["pooled"]
        assert found["value"] >= 0

    each(cases, check)


def test_what_does_not_go_with_folds(bert: str, toy: str, capsys: Any) -> None:
    base = words(bert, toy)
    stages = "[{train: head, patience: 1}, {train: all}]"

    def check(more: list[str], said: str) -> None:
        assert main([*base, *more]) == 2
        assert said in capsys.readouterr().err
        assert not Path("runs").exists()

    each(
        [
            (["--folds", "1"], "--folds: expected a whole number from 2 to 1,000, got 1"),
            (["--folds", "3", "--seeds", "2"], "--folds and --seeds: give one"),
            (["--folds", "3", "--resume", "auto"], "--resume does not go with --folds"),
            (["--folds", "3", "--ckpt_path", "a.ckpt"], "--ckpt_path does not go with --folds"),
            (["--folds", "3", "--model.unfreeze", "auto"], "auto decides by validation"),
            (["--folds", "3", "--model.unfreeze", stages], "patience decides by validation"),
            (["--folds", "3", "--model.lrr", "1"], "--model.lrr is not an option of fit; did you"),
        ],
        check,
    )


@pytest.mark.usefixtures("_here_alone")
def test_validation_data_are_refused_with_the_way_out(bert: str, toy: str, capsys: Any) -> None:
    more = ["--data.validation", write_csv(Path("v.csv"), toy_rows(9)), "--folds", "2"]
    assert main([*words(bert, toy, *more), "--run", "r"]) == 2
    said = capsys.readouterr().err
    assert "would be left unused; take data.validation out, or add its rows to data.train" in said
    assert not Path("r").exists()


@pytest.mark.processes
def test_folds_go_on_where_they_were_stopped(bert: str, toy: str, tmp_path: Path) -> None:
    more = ["--model.unfreeze", "all", "--folds", "2", "--run", "f"]
    command = [sys.executable, "-m", "ftlight", *words(bert, toy, *more)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/2" in line:
            process.send_signal(signal.SIGTERM)
    assert process.wait() != 0
    assert not (tmp_path / "f" / "fold-1").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "60 rows, each scored by the model of 2" in done.stdout
    assert json.loads((tmp_path / "f/all/run.json").read_text())["status"] == "done"
