"""A tiny sentence encoder; the configs' own data where they are shipped, else three classes of toy texts."""

from __future__ import annotations

from pathlib import Path

from conftest import make_bert, toy_rows, write_csv


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    data = write_csv(folder / "texts.csv", toy_rows(60))
    columns = ["--data.text", "text", "--data.label", "label"]
    return [
        "--model.backbone",
        str(make_bert(folder / "bert")),
        "--data.train",
        data,
        "--data.test",
        data,
        *columns,
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "where is my parcel"]
