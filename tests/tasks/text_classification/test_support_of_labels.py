"""Support of a label is its log-probability as predicted, of a number the number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import WORDS, each
from tiny.supports import HOT, asked_of, reaches_words, support_of
from torch.nn import functional as F

import ftlight
from ftlight import Predictor
from ftlight.metrics.evaluation import Asked
from ftlight.models.scale import Scale

LABELS = ["good", "bad", "late"]
ROWS = [{"text": text} for text in ("a good film", "late", "my order is [MASK] and not new", "")]


def predictor(backbone: str, kind: Any = "single", **options: Any) -> Predictor:
    torch.manual_seed(1)
    labels = [] if kind == "regression" else LABELS
    task = ftlight.TextClassification(backbone, kind=kind, labels=labels, **options)
    for parameter in task.model.parameters():  # a new head is too weak to tell rows apart
        parameter.data *= 1.5
    return Predictor(task, ftlight.TextData(tokenizer=backbone, kind=kind, labels=labels or None))


def logits_of(model: Predictor, *texts: str) -> torch.Tensor:
    """Logits of one row by the stock tokenizer and the model alone."""
    inputs = model.data.tokenizer(*texts, return_tensors="pt")
    with torch.inference_mode():
        return model.task.model(**inputs).logits[0]


def test_support_of_a_label_is_its_log_probability(bert: str, plain_bert: str) -> None:
    def check(backbone: str, kind: str, hot: bool) -> None:
        model = predictor(backbone, kind)
        model.task.calibration = HOT if hot else None
        heat = 2.5 if hot else 1.0
        for number in range(3):
            asked = [Asked("", (number + i) % 3) for i in range(len(ROWS))]
            expected = []
            for row, part in zip(ROWS, asked, strict=True):
                logits = logits_of(model, row["text"]) / heat
                logs = logits.log_softmax(-1) if kind == "single" else F.logsigmoid(logits)
                expected.append(logs[part.key])
            found = support_of(model, ROWS, asked)
            torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)
        assert reaches_words(model, ROWS[:3], [Asked("", i) for i in range(3)])
        assert model.task.support_unit == "p"

    each([(bert, "single", True), (plain_bert, "single", False), (bert, "multi", True)], check)


def test_what_is_asked_is_what_is_predicted(bert: str) -> None:
    def check(kind: str, hot: bool) -> None:
        model = predictor(bert, kind)
        model.task.calibration = HOT if hot else None
        answers = model.predict(ROWS)
        for row, answer, asked in zip(ROWS, answers, asked_of(model, ROWS), strict=True):
            supports = support_of(model, [row] * len(asked), asked).exp().tolist()
            chances = [answer["probabilities"][part.name] for part in asked]
            assert supports == pytest.approx(chances, rel=1e-5)
            assert [LABELS[part.key] for part in asked] == [part.name for part in asked]
            if kind == "single":
                assert (asked[0].name, chances[0]) == (answer["prediction"], answer["score"])

    each([("single", False), ("single", True), ("multi", False), ("multi", True)], check)


def test_every_label_that_is_predicted_is_asked_for_or_the_likeliest(bert: str) -> None:
    task = predictor(bert, "multi").task
    both = {"probabilities": {"good": 0.9, "bad": 0.1, "late": 0.5}}
    assert task.asked(both) == [Asked("good", 0), Asked("late", 2)]
    none = {"probabilities": {"good": 0.2, "bad": 0.3, "late": 0.1}}
    assert task.asked(none) == [Asked("bad", 1)]


def test_an_unsure_row_is_asked_for_its_likeliest_label(bert: str) -> None:
    unsure = {"prediction": None, "probabilities": {"good": 0.2, "bad": 0.5, "late": 0.3}}
    assert predictor(bert).task.asked(unsure) == [Asked("bad", 1)]


def test_support_of_a_number_is_the_number(bert: str) -> None:
    model = predictor(bert, "regression")
    model.task.scale = Scale(40.0, 3.0)
    model.task.calibration = HOT  # numbers have no temperature
    asked = [parts[0] for parts in asked_of(model, ROWS)]
    values = [answer["prediction"] for answer in model.predict(ROWS)]
    assert support_of(model, ROWS, asked).tolist() == pytest.approx(values)
    assert values[0] == pytest.approx(40 + 3 * float(logits_of(model, ROWS[0]["text"])), rel=1e-5)
    assert (asked[0].name, model.task.support_unit) == ("value", "value")
    assert reaches_words(model, ROWS[:3], asked[:3])


def test_windows_of_a_long_text_are_pooled_as_in_prediction(bert: str) -> None:
    def check(pooling: str) -> None:
        model = predictor(bert, long_text="window", window_pooling=pooling)
        model.task.calibration = HOT
        rows = [*ROWS, {"text": " ".join(WORDS * 4)}, {"text": " ".join(WORDS[::-1] * 3)}]
        answers = model.predict(rows)
        asked = [Asked("", i % 3) for i in range(len(rows))]
        expected = [a["probabilities"][LABELS[i % 3]] for i, a in enumerate(answers)]
        assert support_of(model, rows, asked).exp().tolist() == pytest.approx(expected, rel=1e-5)
        assert reaches_words(model, rows, asked)

    each(["mean", "max"], check)


def test_both_texts_of_a_pair_can_be_changed(bert: str) -> None:
    torch.manual_seed(1)
    task = ftlight.TextClassification(bert, labels=LABELS)
    data = ftlight.TextData(tokenizer=bert, labels=LABELS, text="query", text_pair="answer")
    model = Predictor(task, data)
    row = {"query": "where is it", "answer": "it is late", "line": 3, "id": 7}
    assert data.texts_of(row) == {"query": "where is it", "answer": "it is late"}
    changed = data.with_texts(row, {"answer": "it is [MASK]"})
    assert changed == {**row, "answer": "it is [MASK]"}
    logs = logits_of(model, "where is it", "it is [MASK]").log_softmax(-1)
    assert data.tokenizer.mask_token_id in data.tokenizer("it is [MASK]")["input_ids"]
    found = support_of(model, [changed], [Asked("late", 2)])
    torch.testing.assert_close(found[0], logs[2], atol=1e-5, rtol=1e-5)
