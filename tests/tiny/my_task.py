"""Texts with one to four stars."""

from __future__ import annotations

from pathlib import Path

from conftest import make_bert, toy_rows, write_csv


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    rows = toy_rows(60, ("awful", "bad", "good", "great"))
    stars = {"awful": "1", "bad": "2", "good": "3", "great": "4"}
    data = write_csv(
        folder / "reviews.csv", [(text, stars[word]) for text, word in rows], ("review", "stars")
    )
    return [
        "--model.backbone",
        str(make_bert(folder / "bert")),
        "--data.train",
        data,
        "--data.test",
        data,
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "great film"]
