"""Support of an answer: log-probabilities of its start and end; of none, that none is predicted."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import WORDS, each, make_bert
from tiny.supports import HOT, asked_of, reaches_words, support_of

import ftlight
from ftlight import Predictor
from ftlight.data.files import LINE
from ftlight.metrics.evaluation import Asked

CONTEXT = "the parcel is lost, and the money is not; we like a film"
ROWS = [
    {"question": "where is my parcel", "context": CONTEXT},
    {"question": "[MASK] is my [MASK]", "context": CONTEXT.replace("parcel", "[MASK]")},
    {"question": "where", "context": "lost"},
    {"question": "what is lost", "context": " ".join(WORDS * 2) + " lost"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    backbone = str(make_bert(tmp_path_factory.mktemp("bert"), sentence_encoder=False))
    torch.manual_seed(3)
    task = ftlight.QuestionAnswering(backbone, max_answer_length=4)
    for parameter in task.model.parameters():
        parameter.data *= 2
    return Predictor(task, ftlight.QAData(tokenizer=backbone, max_length=32))


def by_hand(model: Predictor, row: dict[str, str], text: str, heat: float = 1.0) -> float:
    """Log-probabilities of start and end, in the best of the windows that hold a text."""
    tokenizer = model.data.tokenizer
    out = tokenizer(
        row["question"],
        row["context"],
        truncation="only_second",
        max_length=32,
        stride=8,
        return_overflowing_tokens=True,
    )
    wanted = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = []
    for i, ids in enumerate(out["input_ids"]):
        inputs = {"input_ids": torch.tensor([ids])}
        inputs["token_type_ids"] = torch.tensor([out["token_type_ids"][i]])
        with torch.inference_mode():
            made = model.task.model(**inputs)
        possible = torch.tensor([part == 1 for part in out.sequence_ids(i)])
        possible[0] = True  # no answer
        logits = [x[0].masked_fill(~possible, -torch.inf) for x in (made[0], made[1])]
        start, end = ((x / heat).log_softmax(0) for x in logits)
        cold = [x.log_softmax(0) for x in logits]
        for place in range(len(ids)):
            if ids[place : place + len(wanted)] == wanted and out.sequence_ids(i)[place] == 1:
                last = place + len(wanted) - 1
                likely = float(cold[0][place] + cold[1][last])
                found.append((likely, float(start[place] + end[last])))
    return max(found)[1]


def test_support_is_that_of_start_and_end_in_the_changed_texts(model: Predictor) -> None:
    texts = ["the money", "the money", "lost", "lost"]
    places = [row["context"].rindex(text) for row, text in zip(ROWS, texts, strict=True)]
    asked = [
        Asked(text, "answer", "context", (place, place + len(text)))
        for text, place in zip(texts, places, strict=True)
    ]
    pairs = list(zip(ROWS, texts, strict=True))
    for heat in (1.0, 2.5):
        model.task.calibration = HOT if heat > 1 else None
        expected = [by_hand(model, row, text, heat) for row, text in pairs[:3]]
        assert support_of(model, ROWS[:3], asked[:3]).tolist() == pytest.approx(expected, abs=1e-5)
    model.task.calibration = None
    found = support_of(model, ROWS[::-1], asked[::-1]).tolist()
    # lost is in the long context once more, at another place
    windows = [by_hand(model, row, text) for row, text in pairs[:3]]
    assert found[:0:-1] == pytest.approx(windows, abs=1e-5)
    assert found[0] <= by_hand(model, *pairs[3]) + 1e-5
    assert reaches_words(model, ROWS, asked)
    ids = model.data.encode_rows([{**ROWS[1], LINE: 1}], "")[[0]]["ids"][0]
    assert list(ids).count(model.data.tokenizer.mask_token_id) == 3


def test_the_probability_of_an_answer_is_its_score(model: Predictor) -> None:
    def check(threshold: float, hot: bool) -> None:
        model.task.threshold = threshold
        # a temperature that scores are computed for
        model.task.calibration = HOT._replace(temperature=2.0) if hot else None
        answers, asked = model.predict(ROWS), asked_of(model, ROWS)
        assert all(len(parts) == 1 for parts in asked)
        for answer, (part,) in zip(answers, asked, strict=True):
            none = answer["start"] is None
            assert part.name == ("no answer" if none else answer["prediction"])
            assert (part.span is None) == none
        parts = [parts[0] for parts in asked]
        found = [math.exp(value) for value in support_of(model, ROWS, parts).tolist()]
        assert found == pytest.approx([answer["score"] for answer in answers], rel=1e-4)
        assert reaches_words(model, ROWS, parts)
        kinds.append({part.key for part in parts})

    kinds: list[set[str]] = []
    each([(math.inf, False), (math.inf, True), (-9.0, False), (-9.0, True)], check)
    assert kinds[:2] == [{"answer"}] * 2
    assert "no answer" in kinds[2] & kinds[3]
    model.task.threshold, model.task.calibration = math.inf, None


def test_an_answer_that_no_window_holds_has_no_support(model: Predictor) -> None:
    row = ROWS[3]
    asked = Asked("", "answer", "context", (0, len(row["context"])))
    assert support_of(model, [row, ROWS[0]], [asked, asked._replace(span=(0, 3))]).isnan().tolist()
    assert model.task.asked({"prediction": "", "start": 3, "end": 3, "score": 0.1}) == []
