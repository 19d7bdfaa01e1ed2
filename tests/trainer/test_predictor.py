"""Rows in any form give the fields that the command line writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Run, each, toy_rows, write_csv
from tiny.image_classification import make_resnet, square

import ftlight
from ftlight import Predictor, UserError
from ftlight.__main__ import main

pytestmark = pytest.mark.run


@pytest.fixture
def model(fit: Run) -> Predictor:
    rows = [(text, label, str(i)) for i, (text, label) in enumerate(toy_rows(60))]
    header = ("message", "intent", "number")
    write_csv(Path("mail.csv"), rows, header)
    write_csv(Path("new.csv"), rows[:7], header)
    names = ("--data.text", "message", "--data.label", "intent")
    return ftlight.load(str(fit(*names, train="mail.csv")))


def test_a_file_in_python_is_a_file_on_the_command_line(model: Predictor) -> None:
    def check(file: Any, probabilities: bool) -> None:
        command = ["predict", "run", str(file), "--out", "X.jsonl"]
        assert main([*command, *(["--probabilities"] if probabilities else [])]) == 0
        lines = [json.loads(line) for line in Path("X.jsonl").read_text().splitlines()]
        assert model.predict(file, probabilities=probabilities) == lines
        assert ("p(bad)" in lines[0]) == probabilities

    each([("new.csv", False), (Path("new.csv"), True), ("./new.csv", True)], check)


def test_rows_in_every_form_have_the_same_answers(model: Predictor) -> None:
    table = pd.read_csv("new.csv")
    texts = list(table.message)
    answers = model.predict(texts)
    assert set(answers[0]) == {"prediction", "score", "probabilities"}
    for row, answer in zip(model.predict("new.csv"), answers, strict=True):
        assert (row["prediction"], row["score"]) == (answer["prediction"], answer["score"])
    forms = [
        texts,
        tuple(texts),
        table.message,
        table,
        table[["message"]],
        table.to_dict("records"),
        (text for text in texts),
    ]

    def check(rows: Any) -> None:
        assert model.predict(rows) == answers

    each([(form,) for form in forms], check)
    assert model.predict(texts[0]) == model.predict({"message": texts[0]})
    assert len(model.predict(texts[0])) == 1
    assert model.predict([]) == []


def test_a_text_is_a_file_only_if_it_is_there(model: Predictor) -> None:
    assert "message" not in model.predict("none.csv")[0]
    Path("card").mkdir()
    assert "message" not in model.predict("card")[0]
    assert len(model.predict(["new.csv"])) == 1


def test_a_row_that_is_none_is_named(model: Predictor, caplog: Any) -> None:
    with pytest.raises(UserError, match=r"rows\[1\]: expected a text or a mapping, got int"):
        model.predict(["a card", 3])
    table = pd.DataFrame({"message": ["a card", None]})
    nan = pd.DataFrame({"message": ["a card", float("nan")]})
    answers = model.predict(table)
    forms = [
        table.message,
        nan,
        nan.message,
        list(nan.message.astype(object)),
        [{"message": "a card"}, {"message": pd.NA}],
    ]

    def check(rows: Any) -> None:
        assert model.predict(rows) == answers
        assert "rows: 1 of 2 rows has no text (rows[1])" in caplog.text
        caplog.clear()

    each([(form,) for form in forms], check)
    with pytest.raises(UserError, match="message"):
        model.predict(pd.DataFrame({"body": ["a card"]}))


def test_a_predictor_prints_what_it_is(model: Predictor, bert: str) -> None:
    expected = f"<Predictor: TextClassification on {bert} from run; labels: bad, good, late>"
    assert repr(model) == expected


def test_a_broken_image_in_a_list_has_its_error_in_its_place(tmp_path: Path, capsys: Any) -> None:
    for i in range(9):
        name, data = square(i)
        path = tmp_path / "set" / name / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "cut.jpg").write_bytes(square(1)[1][:90])
    backbone = make_resnet(tmp_path / "resnet")
    words = ["--model", "ImageClassification", "--model.backbone", backbone, "--data.train", "set"]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--run", "run"]
    assert main(["fit", *words]) == 0
    model = ftlight.load("run")
    first, second = sorted(Path("set").rglob("*.jpg"))[:2]
    one, broken, other = model.predict([first, "cut.jpg", {"image": str(second)}])
    assert broken["prediction"] is None
    assert broken["error"].startswith("cut.jpg (it ")
    assert one["prediction"]
    assert other["prediction"]
    assert len(model.predict("set")) == 9
    assert Path(model.predict("set")[0]["image"]).is_file()
    with pytest.raises(UserError, match=r"1 of 1 images cannot be used: cut.jpg \(it "):
        model.predict("cut.jpg")
