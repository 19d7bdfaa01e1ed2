"""Cheap models of words and characters: TF-IDF with a linear model, or the nearest text."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftlight.models.losses import Kind
from ftlight.utils.errors import UserError

Parts = Sequence[Sequence[str]]
"""Texts of rows, a sequence a part: one, or the two of a pair."""

MOST = 100_000  # n-grams of characters
NEVER = -1e3  # logit of a label that train has not
BLOCK = 1024  # rows that are compared with all others at once


def require() -> None:
    """Checks that scikit-learn is installed.

    Raises:
        UserError: it is not.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UserError(
            'cheap models of words need scikit-learn: pip install "ftlight[baselines]"'
        ) from error


class Features:
    """TF-IDF of words and pairs of words, and of 2 to 5 characters within words.

    Of pairs of texts also what both have, and their cosine.

    Args:
        train: texts that tell the vocabulary.
    """

    def __init__(self, train: Parts) -> None:
        require()
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}
        letters = {"analyzer": "char_wb", "ngram_range": (2, 5), "sublinear_tf": True}
        texts = [text for part in train for text in part]
        self.kinds = []
        for options in (words, {**letters, "max_features": MOST}):
            try:
                self.kinds.append(TfidfVectorizer(dtype=np.float32, **options).fit(texts))
            except ValueError:
                continue  # no text has a word
        if not self.kinds:
            raise UserError("the rows of train have no words")

    def __call__(self, parts: Parts) -> Any:
        """Features of rows, a sparse matrix ``[rows, features]``."""
        from scipy import sparse

        columns = []
        for kind in self.kinds:
            sides = [kind.transform(part) for part in parts]
            columns += sides
            if len(sides) > 1:
                both = sides[0].multiply(sides[1])
                columns += [both, sparse.csr_matrix(both.sum(1))]
        return sparse.hstack(columns).tocsr()


def linear(
    train: Parts, targets: Tensor, texts: Parts, kind: Kind, labels: int
) -> tuple[Tensor, int]:
    """Answers by a linear support vector machine, one a label; by ridge regression of numbers.

    Args:
        train: texts to learn.
        targets: classes ``[rows]``, labels as 0 and 1 ``[rows, labels]``, or values ``[rows]``.
        texts: texts to answer.
        kind: kind of label.
        labels: number of labels.

    Returns:
        Probabilities ``[rows, labels]`` that are no more than an order, of numbers values
        ``[rows]``; and how many numbers it learned.
    """
    features = Features(train)
    seen, asked, known = features(train), features(texts), targets.numpy()
    from sklearn.linear_model import Ridge

    if kind == "regression":
        model = Ridge(1.0, solver="lsqr").fit(seen, known)
        return torch.from_numpy(model.predict(asked)).double(), model.coef_.size + 1
    if kind == "single":
        present = np.unique(known)
        logits = np.full((asked.shape[0], labels), NEVER)
        # classes from 1 on, since 0 stands for a label that is not there
        logits[:, present], learned = _margins(seen, known + 1, asked)
        return torch.from_numpy(logits).softmax(1), learned
    columns = [_margins(seen, known[:, label], asked) for label in range(labels)]
    logits = np.stack([margins[:, -1] for margins, _ in columns], 1)
    return torch.from_numpy(logits).sigmoid(), sum(learned for _, learned in columns)


def _margins(seen: Any, known: np.ndarray, asked: Any) -> tuple[np.ndarray, int]:
    """Distances from the borders ``[rows, classes]`` of the classes there are; of one endless."""
    from sklearn.svm import LinearSVC

    present = np.unique(known)
    if len(present) == 1:
        return np.full((asked.shape[0], 1), -NEVER if present[0] else NEVER), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few rows a class, which a learning curve begins with
        model = LinearSVC(C=1.0, random_state=0).fit(seen, known)
    margins = model.decision_function(asked)
    if margins.ndim == 1:
        margins = np.stack([-margins, margins], 1)
    return margins, model.coef_.size + model.intercept_.size


def neighbour(train: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Number of the text of train that is most like each text, by the cosine of TF-IDF."""
    features = Features([train])
    blocks = products(features([texts]), features([train]))
    return np.concatenate([block.argmax(1) for block in blocks])


def products(asked: Any, seen: Any) -> Iterator[np.ndarray]:
    """Products of rows with all others, ``float32 [rows, others]``, some rows at a time."""
    for begin in range(0, asked.shape[0], BLOCK):
        yield (asked[begin : begin + BLOCK] @ seen.T).toarray()
