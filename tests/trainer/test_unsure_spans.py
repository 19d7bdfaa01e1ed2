"""Entities and answers that keep a promise: spans that are right, answers that match."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_bert
from tiny import question_answering
from tiny.token_classification import OTHERS

import ftlight
from ftlight.__main__ import main

pytestmark = pytest.mark.run


def sentences(path: Path, count: int, seed: int) -> str:
    """Sentences in which "parcel" is always an entity, and "card" is one half of the time."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        for _ in range(6):
            word = draw.choice(["parcel", "card", *draw.sample(OTHERS, 3)])
            is_entity = word == "parcel" or (word == "card" and draw.random() < 0.5)
            lines.append(f"{word}\t{'B-THING' if is_entity else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_a_share_of_the_spans_is_right(tmp_path: Path, capsys: Any) -> None:
    files = {
        name: sentences(tmp_path / f"{name}.conll", count, seed)
        for seed, (name, count) in enumerate({"train": 100, "validation": 200, "test": 150}.items())
    }
    bert = make_bert(tmp_path / "bert", sentence_encoder=False)
    words = ["fit", "--model", "TokenClassification", "--model.backbone", str(bert), "--run", "run"]
    words += [w for name, file in files.items() for w in (f"--data.{name}", file)]
    words += ["--trainer.max_epochs", "6", "--trainer.accelerator", "cpu", "--model.lr", "0.01"]
    words += ["--model.unfreeze", "all"]
    assert main([*words, "--data.batch_size", "8", "--data.check", "off"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    kept = json.loads(Path("run/calibration.json").read_text())
    assert kept["temperature"] != 1.0
    assert f"temperature {kept['temperature']:.3g} fitted on the 200 rows" in out
    assert "of spans answered at 98 %" in out or "is not reachable with" in out
    metrics = json.loads(Path("run/test_metrics.json").read_text())
    assert metrics["test/calibration_error"] < 0.1
    goal = ["--at_least", "0.9", "--out", "p.jsonl"]
    assert main(["predict", "run", files["test"], *goal]) == 0
    assert "spans unsure" in capsys.readouterr().out
    found = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    answered = [s["text"] for row in found for s in row["prediction"] if not s["unsure"]]
    left_out = [s["text"] for row in found for s in row["prediction"] if s["unsure"]]
    assert answered.count("parcel") > 100
    assert answered.count("card") / 2 < 0.15 * len(answered)  # half of them are wrong
    assert set(left_out) <= {"card"}
    assert main(["predict", "run", files["test"], "--coverage", "0.9"]) == 2
    assert "--coverage 0.9: spans have no sets" in capsys.readouterr().err
    # the export has the temperature in its weights
    wanted = ftlight.load("run").predict(["a parcel or card"])[0]["prediction"]
    assert main(["export", "run"]) == 0
    from transformers import pipeline

    assert pipeline("token-classification", "run/export")("a parcel")[0]["score"] == pytest.approx(
        ftlight.load("run").predict(["a parcel"])[0]["prediction"][0]["score"], abs=1e-4
    )
    assert "a temperature" in Path("run/export/README.md").read_text()
    assert wanted[0]["text"] == "parcel"


def test_a_test_weighs_the_probabilities_that_are_shown(tmp_path: Path) -> None:
    """Words after a temperature are weighed as words with it."""
    task = ftlight.TokenClassification.__new__(ftlight.TokenClassification)
    torch.nn.Module.__init__(task)
    task.labels, task.tags = ["A"], ["O", "B-A", "I-A"]
    logits = torch.tensor([[0.0, 4.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    tags, probability = torch.tensor([1.0, 0.0, 0.0]), (logits / 2).softmax(1).amax(1)
    plain = torch.cat([tags[:, None], probability[:, None], logits], 1)
    soft = torch.cat([tags[:, None], probability[:, None], logits / 2], 1)
    rows = [{"__gold": [{"type": "A", "start": 0, "end": 1}]}]
    targets = [torch.tensor([1, 0, 0])]
    after, at_test = task.weigh([plain], targets, rows, 2.0), task.weigh([soft], targets, rows)
    assert (
        after.confidence.tolist()
        == at_test.confidence.tolist()
        == [round(float(probability[0]), 4)]
    )
    assert after.right.tolist() == [True]
    assert len(after.parts[0]) == 2  # the third word has no piece
    assert task.fit_temperature([plain], targets, [{}]) == 1.0  # all are right


def test_answers_are_told_that_match(tmp_path: Path, capsys: Any) -> None:
    words = question_answering.fit(tmp_path)
    words = ["fit", "--model", "QuestionAnswering", *words, "--run", "run", "--model.lr", "0.01"]
    words += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    assert main(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    kept = json.loads(Path("run/calibration.json").read_text())
    assert kept["temperature"] == 1.0
    assert "validation rows are too few to fit it" in out
    predict = question_answering.predict(tmp_path)
    assert main(["predict", "run", *predict, "--at_least", "0.9999"]) == 2
    assert "--at_least 0.9999: not reachable with" in capsys.readouterr().err
    assert main(["predict", "run", *predict, "--coverage", "0.9"]) == 2
    assert "answers have no sets" in capsys.readouterr().err
