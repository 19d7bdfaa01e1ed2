"""Support of an entity: the log-probabilities of its words' tags, wherever a change moves it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import WORDS, each, make_bert
from tiny.supports import HOT, asked_of, reaches_words, support_of

import ftlight
from ftlight import Predictor
from ftlight.data.files import LINE
from ftlight.metrics.evaluation import Asked
from ftlight.tasks.token_classification import tags as spans

LABELS = ["SIZE", "THING"]
TAGS = ["O", "B-SIZE", "I-SIZE", "B-THING", "I-THING"]
LONG = " ".join(WORDS * 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    backbone = str(make_bert(tmp_path_factory.mktemp("bert"), sentence_encoder=False))
    torch.manual_seed(3)
    task = ftlight.TokenClassification(backbone, labels=LABELS)
    for parameter in task.model.parameters():  # a new head finds no entities
        parameter.data *= 2
    return Predictor(task, ftlight.TokenData(tokenizer=backbone, labels=LABELS, max_length=24))


def by_hand(model: Predictor, words: list[str], first: int, tags: list[str], heat: float) -> float:
    """The mean log-probability of tags from a word on, in a text of one window."""
    inputs = model.data.tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        logs = (model.task.model(**inputs).logits[0] / heat).log_softmax(-1)
    pieces = inputs.word_ids()
    found = [logs[pieces.index(first + i), TAGS.index(tag)] for i, tag in enumerate(tags)]
    return float(torch.stack(found).mean())


def test_support_of_an_entity_is_that_of_its_tags_in_the_changed_text(model: Predictor) -> None:
    rows = [
        {"text": "where is my small red parcel?"},
        {"text": "[MASK] is [MASK] small red parcel?"},
        {"text": "it is late, small red parcel?"},
        {"tokens": ["U.S.", "parcel", "is", "small", "red"]},
        {"tokens": ["[MASK]", "parcel", "is", "small", "red"]},
    ]
    texts = [model.data.texts_of(row)["text"] for row in rows]
    assert texts[3:] == ["U.S. parcel is small red", "[MASK] parcel is small red"]
    asked = [Asked("", "SIZE", "text", (t.index("small"), t.index("red") + 3)) for t in texts]
    asked[0] = Asked("", "THING", "text", (len(texts[0]) - 7, len(texts[0])))  # parcel?
    words = [
        ["where", "is", "my", "small", "red", "parcel", "?"],
        ["[MASK]", "is", "[MASK]", "small", "red", "parcel", "?"],
        ["it", "is", "late", ",", "small", "red", "parcel", "?"],
        ["U.S.", "parcel", "is", "small", "red"],
        ["[MASK]", "parcel", "is", "small", "red"],
    ]
    for heat in (1.0, 2.5):
        model.task.calibration = HOT if heat > 1 else None
        size = ["B-SIZE", "I-SIZE"]
        expected = [by_hand(model, words[0], 5, ["B-THING", "I-THING"], heat)]
        expected += [by_hand(model, w, w.index("small"), size, heat) for w in words[1:]]
        assert support_of(model, rows, asked).tolist() == pytest.approx(expected, abs=1e-5)
    model.task.calibration = None
    assert reaches_words(model, rows, asked)


def test_a_hidden_word_is_one_token_of_the_model(model: Predictor) -> None:
    def check(row: dict[str, object]) -> None:
        encoded = model.data.encode_rows([{**row, LINE: 1}], "")[[0]]
        assert encoded["input_ids"][0][0].count(model.data.tokenizer.mask_token_id) == 2

    mask = model.data.tokenizer.mask_token
    each(
        [({"text": f"a {mask} ({mask})."},), ({"tokens": ["a", mask, mask, "."]},)],
        check,
    )


def test_what_is_asked_are_the_entities(model: Predictor) -> None:
    rows = [{"text": LONG}, {"text": "where is my small red parcel?"}, {"text": ""}]
    answers = model.predict(rows)
    asked = asked_of(model, rows)
    assert len(asked[0]) > 3
    assert asked[2] == []
    for row, answer, parts in zip(rows, answers, asked, strict=True):
        assert len(parts) == len(answer["prediction"])
        for part, entity in zip(parts, answer["prediction"], strict=True):
            assert (part.name, part.key, part.text) == (entity["text"], entity["type"], "text")
            assert part.span is not None
            assert row["text"][slice(*part.span)] == part.name
    # of one word, whose tag is that of a beginning, the probability is the score of the entity
    checked = 0
    for part, entity in zip(asked[0], answers[0]["prediction"], strict=True):
        support = math.exp(float(support_of(model, rows[:1], [part])[0]))
        assert support <= entity["score"] + 1e-4
        checked += abs(support - entity["score"]) < 1e-4
    assert checked
    assert reaches_words(model, rows[:1], asked[0][:1])


def test_a_changed_row_is_read_as_the_row_was(model: Predictor) -> None:
    rows = [
        {"text": "red parcel", "spans": [[0, 3, "SIZE"]], LINE: 4},
        {"tokens": ["U.S.", "parcel"], "tags": ["O", "O"]},
        {"data": {"message": "red parcel"}, "annotations": [], "id": 3},  # Label Studio
        {"text": "red parcel", "tokens": [{"text": "red", "start": 0}], "answer": "accept"},
    ]
    changed = [
        ("[MASK] parcel", ["[MASK]", "parcel"]),
        ("U.S. [MASK]", ["U.S.", "[MASK]"]),
        ("red", ["red"]),
        ("red  ", ["red"]),
    ]
    for row, (text, words) in zip(rows, changed, strict=True):
        name = next(iter(model.data.texts_of(row)))
        new = model.data.with_texts(row, {name: text})
        read, ranges = model.data.document(new)
        assert (read, [read[a:b] for a, b in ranges]) == (text, words)
        assert model.data.with_texts(row, {}) == row
        same = model.data.with_texts(row, model.data.texts_of(row))
        assert model.data.document(same) == model.data.document(row)


def test_an_entity_without_a_word_has_no_support(model: Predictor) -> None:
    rows = [{"text": "a parcel"}, {"text": "a parcel"}]
    asked = [Asked("", "SIZE", "text", (8, 8)), Asked("", "SIZE", "text", (0, 1))]
    found = support_of(model, rows, asked)
    assert found.isnan().tolist() == [True, False]


def test_a_token_is_one_word_wherever_it_stands() -> None:
    def check(text: str, words: list[str]) -> None:
        found = spans.unite(spans.split(text), text, "<mask>")
        assert [text[a:b] for a, b in found] == words

    each(
        [
            ("<mask>", ["<mask>"]),
            ("(<mask><mask>)", ["(", "<mask>", "<mask>", ")"]),
            ("a <mask> 日本", ["a", "<mask>", "日", "本"]),
            ("a < mask >", ["a", "<", "mask", ">"]),
        ],
        check,
    )


def test_a_file_with_masks_is_predicted(model: Predictor, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("my [MASK] parcel")
    rows = model.data.read_predict(str(tmp_path / "some.txt"))
    assert len(model.data.document(rows[0])[1]) == 3
