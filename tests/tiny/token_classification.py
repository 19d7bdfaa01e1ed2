"""A tiny BERT and sentences in which some words are always entities."""

from __future__ import annotations

from pathlib import Path

from conftest import WORDS, make_bert

OTHERS = [word for word in WORDS if word not in ("parcel", "small", "red")]


def conll(path: Path, count: int, words: int = 8) -> str:
    """Writes sentences as CoNLL text, with an entity of one word and one of two in every eight words."""
    lines = []
    for row in range(count):
        for place in range(words):
            named = {row % 4: ("parcel", "B-THING"), 5: ("small", "B-SIZE"), 6: ("red", "I-SIZE")}
            word, tag = named.get(place % 8, (OTHERS[(row * 7 + place * 3) % len(OTHERS)], "O"))
            lines.append(f"{word}\t{tag}")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    train, test = conll(folder / "train.conll", 40), conll(folder / "test.conll", 10)
    bert = make_bert(folder / "bert", sentence_encoder=False)
    return [
        "--model.backbone",
        str(bert),
        "--data.train",
        train,
        "--data.validation",
        test,
        "--data.test",
        test,
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "where is my small red parcel?"]
