"""Cheap models of words and of vectors, against those of scikit-learn."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from conftest import toy_rows
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.svm import LinearSVC

from ftlight.baselines import guesses, vectors, words
from ftlight.utils.errors import UserError

NAMES = ["bad", "good", "late", "lost"]
ROWS = toy_rows(90)
TEXTS = [text.replace(label, "") + label[:2] for text, label in ROWS]
TARGETS = torch.tensor([NAMES.index(label) for _, label in ROWS])


def test_words_and_characters_are_as_a_pipeline_of_scikit_learn() -> None:
    train, test = TEXTS[:60], TEXTS[60:]
    outputs, learned = words.linear([train], TARGETS[:60], [test], "single", 4)
    union = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")),
            ("letters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)),
        ]
    )
    theirs = Pipeline([("union", union), ("svc", LinearSVC(random_state=0))])
    theirs.fit(train, TARGETS[:60].numpy())
    assert outputs.argmax(1).tolist() == theirs.predict(test).tolist()
    assert learned == theirs["svc"].coef_.size + 3
    assert (outputs.sum(1) - 1).abs().max() < 1e-6
    assert outputs[:, 3].max() < 1e-6  # a label that train has not


def test_several_labels_and_numbers() -> None:
    several = torch.zeros(90, 4)
    several[torch.arange(90), TARGETS] = 1
    several[:, 0] = 1
    outputs, _ = words.linear([TEXTS[:60]], several[:60], [TEXTS[60:]], "multi", 4)
    assert outputs[:, 0].min() > 0.5
    assert outputs[:, 3].max() < 0.5
    assert ((outputs > 0.5) == several[60:].bool()).double().mean() > 0.8
    numbers = TARGETS.double() * 2 + 1
    values, _ = words.linear([TEXTS[:60]], numbers[:60], [TEXTS[60:]], "regression", 1)
    assert (values - numbers[60:]).abs().mean() < (numbers.mean() - numbers[60:]).abs().mean()


def test_what_two_texts_have_in_common_counts() -> None:
    """Pairs of equal and of other words."""
    random = np.random.default_rng(0)
    first = [" ".join(random.choice(list("abcdefgh"), 4)) for _ in range(80)]
    other = [" ".join(random.choice(list("ijkl"), 4)) for _ in range(80)]
    alike = torch.arange(80) % 2
    second = [first[row] if alike[row] else other[row] for row in range(80)]
    outputs, _ = words.linear(
        [first[:60], second[:60]], alike[:60], [first[60:], second[60:]], "single", 2
    )
    assert (outputs.argmax(1) == alike[60:]).double().mean() > 0.9


def test_the_nearest_text_and_the_nearest_vector() -> None:
    assert words.neighbour(["red parcel", "late refund", "blue film"], ["a refund"]).tolist() == [1]
    random = torch.Generator().manual_seed(0)
    states = torch.randn(3000, 8, generator=random)
    targets = torch.arange(3000) % 3
    found = vectors.neighbour((states[:1500], targets[:1500]), states[1500:], "single", 3)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(states[:1500].numpy(), targets[:1500])
    assert found.argmax(1).tolist() == theirs.predict(states[1500:].numpy()).tolist()


def test_a_probe_of_classes_and_of_numbers() -> None:
    random = torch.Generator().manual_seed(0)
    states = torch.randn(300, 6, generator=random)
    slopes = torch.tensor([3.0, -2.0, 0, 0, 0, 0])
    numbers = 100 + 10 * (states @ slopes)
    parts = (states[:200], numbers[:200].double()), (states[200:250], numbers[200:250].double())
    values, learned = vectors.probe(*parts, states[250:], "regression", 1)
    assert (values - numbers[250:]).abs().max() < 0.5
    assert learned == 7
    sides = (numbers > 100).long()
    outputs, learned = vectors.probe((states[:200], sides[:200]), None, states[250:], "single", 2)
    assert (outputs.argmax(1) == sides[250:]).double().mean() > 0.9
    assert learned == 14


def test_guesses() -> None:
    sets = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    assert guesses.majority(sets, 2, "multi", 3).tolist() == [[1, 0, 1]] * 2
    assert guesses.majority(torch.tensor([1.0, 2, 6]), 2, "regression", 1).tolist() == [3, 3]


def test_without_scikit_learn_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r'pip install "ftlight\[baselines\]"'):
        words.neighbour(["a b"], ["a"])
