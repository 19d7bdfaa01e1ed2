"""A tiny BERT and questions whose answer is the word behind the one they name; some have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import WORDS, make_bert


def squad(folder: Path, count: int, name: str = "squad.json", impossible: int = 0) -> str:
    """Writes questions in the layout of SQuAD, every ``impossible``-th without an answer (as in 2.0)."""
    paragraphs: list[dict[str, Any]] = []
    for i in range(count):
        words = [WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(12)]
        at = i % 10
        context = " ".join(words)
        start = len(" ".join(words[: at + 1])) + 1
        none = bool(impossible) and i % impossible == 0
        answers = [] if none else [{"text": words[at + 1], "answer_start": start}]
        asked = "zz" if none else words[at]
        qa = {
            "id": f"q{i}",
            "question": f"what is behind {asked}",
            "answers": answers,
            **({"is_impossible": none} if impossible else {}),
        }
        paragraphs.append({"context": context, "qas": [qa]})
    path = folder / name
    path.write_text(
        json.dumps({"version": "v", "data": [{"title": "words", "paragraphs": paragraphs}]})
    )
    return str(path)


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    train, test = (
        squad(folder, 40, "train.json", impossible=5),
        squad(folder, 12, "test.json", impossible=5),
    )
    backbone = str(make_bert(folder / "bert", sentence_encoder=False))
    return [
        "--model.backbone",
        backbone,
        "--data.train",
        train,
        "--data.test",
        test,
        "--data.batch_size",
        "8",
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    (folder / "questions.csv").write_text(
        "question,context\nwhere is my parcel,the parcel is lost\n"
    )
    return [str(folder / "questions.csv")]
