"""A tiny BERT and texts of a few words."""

from __future__ import annotations

from pathlib import Path

from conftest import make_bert, toy_rows, write_csv


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    data = write_csv(folder / "texts.csv", toy_rows(60))
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
    return ["--text", "where is my [MASK]"]
