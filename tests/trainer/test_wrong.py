"""The rows to look at after a test, and what each class is worth, of every task."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Run, toy_rows, write_csv
from sklearn.metrics import classification_report, precision_recall_fscore_support
from tiny import config_of, words_of

from ftlight.__main__ import main
from ftlight.metrics import classes
from ftlight.trainer import wrong

RIGHT_OR_WRONG = {"text_classification", "image_classification", "token_classification"}
RIGHT_OR_WRONG |= {"question_answering"}
TASKS = [*sorted(RIGHT_OR_WRONG), "retrieval", "causal_lm", "masked_lm", "seq2seq"]


def read(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_errors_come_by_confidence_then_rows_in_doubt() -> None:
    answers = [{"score": 0.5 + i / 100} for i in range(40)]
    goodness = [float(i % 4 != 0) for i in range(40)]
    chosen = wrong.choose(answers, goodness, True)
    errors = [i for i, why in chosen if why == "wrong"]
    assert errors == sorted((i for i in range(40) if i % 4 == 0), reverse=True)
    doubtful = [i for i, why in chosen if why == "doubtful"]
    assert doubtful == [i for i in range(40) if i % 4][: wrong.DOUBTFUL]
    assert [why for _, why in chosen] == ["wrong"] * 10 + ["doubtful"] * wrong.DOUBTFUL


def test_classes_are_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    target, predicted = torch.randint(0, 5, (60,)), torch.randint(1, 7, (60,))
    matrix = torch.bincount(target * 7 + predicted, minlength=49).reshape(7, 7)
    names = [f"class {i}" for i in range(7)]  # the last is in neither, 5 is only predicted
    found = classes.by_class(matrix.diag(), matrix.sum(0), matrix.sum(1), names)
    report = precision_recall_fscore_support(target, predicted, labels=range(7), zero_division=0)
    for i, name in enumerate(names):
        expected = [column[i] for column in report]
        assert list(found[name].values()) == pytest.approx(expected)


@pytest.mark.run
def test_a_test_says_which_classes_are_worst(fit: Run, capsys: Any) -> None:
    labels = ("good", "bad", "late", "lost", "new", "blue", "red")
    rows = toy_rows(70, labels)
    file = write_csv(Path("many.csv"), rows)
    fit("--data.test", file, train=file)
    metrics = json.loads(Path("run/test_metrics.json").read_text())
    tested = read("run/test_predictions.csv")
    actual = [row["label"] for row in tested]
    predicted = [row["prediction"] for row in tested]
    report = classification_report(actual, predicted, output_dict=True, zero_division=0)
    assert list(metrics["classes"]) == sorted(labels)
    for name, values in metrics["classes"].items():
        expected = {"f1-score" if k == "f1" else k: v for k, v in values.items()}
        assert report[name] == pytest.approx(expected)
    said = capsys.readouterr().out
    shown = said[said.index("worst") :].replace("\n", " ")
    worst = sorted(metrics["classes"].items(), key=lambda item: item[1]["f1"])
    assert shown.count("support") == 5
    assert f"{worst[0][0]} F1 {worst[0][1]['f1']:.2f}" in " ".join(shown.split())


@pytest.mark.run
@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_rows_to_look_at(task: str, tmp_path: Path) -> None:
    config = config_of(task)
    words = [*words_of(task, tmp_path), "--run", "run", "--trainer.max_epochs", "1"]
    words += ["--trainer.accelerator", "cpu", "--trainer.limit_train_batches", "2"]
    tests = "data.test" in str(words) or yaml.safe_load(config.read_text())["data"].get("test")
    assert main(words if tests else [*words, "--data.test_split", "0.2"]) == 0
    rows = read("run/wrong.csv")
    assert rows
    whys = {row["why"] for row in rows}
    if task not in RIGHT_OR_WRONG:
        assert whys == {"worst"}
        return
    assert whys <= {"wrong", "doubtful"}
    scores = [float(row["score"]) for row in rows if row["why"] == "wrong"]
    assert scores == sorted(scores, reverse=True)
    if task != "question_answering":
        metrics = json.loads(Path("run/test_metrics.json").read_text())
        assert set(next(iter(metrics["classes"].values()))) == {
            "precision",
            "recall",
            "f1",
            "support",
        }
