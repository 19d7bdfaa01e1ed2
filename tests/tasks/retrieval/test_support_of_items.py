"""Support of an item: its cosine with the query; a history loses items one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import write_csv
from tiny.supports import asked_of, reaches_words, support_of

import ftlight
from ftlight import Predictor
from ftlight.metrics.evaluation import Asked

ITEMS = [("i1", "a good film"), ("i2", "the plot is bad"), ("300", "300"), ("i4", "happy and blue")]
QUERIES = [{"query": q} for q in ("a film", "where is the plot and the [MASK]", "a small parcel")]


def items(folder: Path) -> str:
    return write_csv(folder / "items.csv", ITEMS, ("item", "text"))


def vector(model: Predictor, text: str) -> torch.Tensor:
    """The mean of the token states of a text, of length 1, by the stock model."""
    inputs = model.data.tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        states = model.task.model.model(**inputs).last_hidden_state[0].mean(0)
    return states / states.norm()


def cosine(model: Predictor, query: str, item: str) -> float:
    return float(vector(model, query) @ vector(model, item))


@pytest.fixture
def search(bert: str, tmp_path: Path) -> Predictor:
    data = ftlight.RetrievalData(items=items(tmp_path), tokenizer=bert)
    return Predictor(ftlight.Retrieval(bert, popularity=0), data)


@pytest.fixture
def films(bert: str, tmp_path: Path) -> Predictor:
    data = ftlight.RetrievalData(items=items(tmp_path), user="user", tokenizer=bert, history=3)
    return Predictor(ftlight.Retrieval(bert), data)


def test_support_of_an_item_is_its_cosine(search: Predictor) -> None:
    asked = [Asked("", i) for i in (3, 0, 2)]
    expected = [
        cosine(search, row["query"], ITEMS[part.key][1])
        for row, part in zip(QUERIES, asked, strict=True)
    ]
    assert support_of(search, QUERIES, asked).tolist() == pytest.approx(expected, abs=1e-5)
    assert reaches_words(search, QUERIES, asked)  # also with vectors from an inference
    assert search.task.support_unit == "cosine"


def test_the_best_item_is_asked_for_and_its_score_is_the_support(search: Predictor) -> None:
    asked = [parts[0] for parts in asked_of(search, QUERIES)]
    answers = search.predict(QUERIES)
    assert [part.name for part in asked] == [answer["prediction"] for answer in answers]
    assert [ITEMS[part.key][0] for part in asked] == [answer["id"] for answer in answers]
    scores = [answer["score"] for answer in answers]
    assert support_of(search, QUERIES, asked).tolist() == pytest.approx(scores, abs=1e-5)
    assert search.task.asked({"prediction": "", "score": float("nan"), "items": []}) == []


def test_the_catalogue_is_encoded_once(search: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    encode = search.task._vectors
    monkeypatch.setattr(search.task, "_vectors", lambda m: times.append(1) or encode(m))
    search.data.batch_size = 1
    asked = [parts[0] for parts in asked_of(search, QUERIES)]
    for _ in range(2):
        support_of(search, QUERIES, asked)
    assert len(times) == 1


def test_items_of_a_history_are_texts_and_can_be_left_out(films: Predictor) -> None:
    data = films.data
    row = {"history": ["i4", "i2", "300", "i1"], "user": "u", "line": 7}
    texts = {"i2": "the plot is bad", "300": "300", "i1": "a good film"}
    assert data.texts_of(row) == texts
    assert data.texts_of({"history": "i4|i2|300|i1"}) == texts
    assert list(data.texts_of({"history": ["i1", "i1"]})) == ["i1", "i1 (2)"]
    changes = [
        ({}, "a good film; 300; the plot is bad"),
        ({"i1": "[MASK] good [MASK]"}, "[MASK] good [MASK]; 300; the plot is bad"),
        ({"300": "[MASK]"}, "a good film; the plot is bad"),
        ({"i1": "[MASK] [MASK] [MASK]", "i2": ""}, "300"),
        (dict.fromkeys(texts, ""), ""),
    ]
    asked = [Asked("", i % 4) for i in range(len(changes))]
    rows = [data.with_texts(row, change) for change, _ in changes]
    expected = [
        cosine(films, query, ITEMS[part.key][1])
        for (_, query), part in zip(changes, asked, strict=True)
    ]
    assert support_of(films, rows, asked).tolist() == pytest.approx(expected, abs=1e-5)
    same = support_of(films, [row, rows[0]], [asked[0], asked[0]])
    assert float(same[0]) == pytest.approx(float(same[1]), abs=1e-6)
    assert rows[0]["user"] == "u"


def test_a_history_in_words_is_one_text(films: Predictor) -> None:
    row = {"history": "a happy film"}
    assert films.data.texts_of(row) == row
    changed = films.data.with_texts(row, {"history": "300"})
    found = support_of(films, [changed], [Asked("", 0)])
    assert float(found[0]) == pytest.approx(cosine(films, "300", ITEMS[0][1]), abs=1e-5)
    assert films.data.texts_of(changed) == {"history": "300"}
