"""A tiny BERT, and orders whose sentence tells what they hold; some have two references."""

from __future__ import annotations

from pathlib import Path

from conftest import make_bert, write_csv

COLOURS, THINGS = ["red", "blue", "green", "small", "large"], ["parcel", "card", "order", "film"]


def orders(count: int) -> list[tuple[str, str]]:
    """Sources and targets; a source has one target or two."""
    rows = []
    for i in range(count):
        colour, thing = COLOURS[i % 5], THINGS[i // 5 % 4]
        rows.append(
            (
                f"colour {colour} , thing {thing}",
                f"the {thing} is {colour}{' and good' if colour == 'blue' else ''}",
            )
        )
        if i % 2:
            rows.append((f"colour {colour} , thing {thing}", f"it is a {colour} {thing} ."))
    return rows


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    train = write_csv(folder / "train.csv", orders(20), ("given", "said"))
    test = write_csv(folder / "test.csv", orders(6), ("given", "said"))
    backbone = str(make_bert(folder / "bert", sentence_encoder=False))
    data = [
        "--data.train",
        train,
        "--data.validation",
        test,
        "--data.test",
        test,
        "--data.source",
        "given",
        "--data.target",
        "said",
    ]
    return [
        "--model.backbone",
        backbone,
        *data,
        "--data.batch_size",
        "8",
        "--model.max_new_tokens",
        "6",
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "colour red , thing card"]
