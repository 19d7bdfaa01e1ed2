"""A tiny sentence encoder; users with their items in order of time, which are pairs of a text and an item's id, too."""

from __future__ import annotations

from pathlib import Path

from conftest import WORDS, make_bert, write_csv

ITEMS = 30


def items(folder: Path) -> str:
    """A table of items."""
    rows = [
        (f"i{i}", f"i{i}", f"the {WORDS[i % 29]} {WORDS[(i * 5) % 31]} {i}", "good|bad")
        for i in range(ITEMS)
    ]
    return write_csv(
        folder / "items.csv",
        [(*row, row[2]) for row in rows],
        ("item", "movieId", "title", "genres", "text"),
    )


def interactions(folder: Path, users: int = 9, each: int = 14) -> str:
    """Interactions, newest first: what a user has next is the item after."""
    rows = [
        (
            f"u{u}",
            f"i{(3 * u + t) % ITEMS}",
            str(1000 + t),
            f"{WORDS[(u + t) % 31]} {t}",
            f"i{(u + t) % ITEMS}",
        )
        for u in range(users)
        for t in reversed(range(each))
    ]
    return write_csv(
        folder / "events.csv", rows, ("userId", "movieId", "timestamp", "text", "category")
    )


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    files = [
        "--data.train",
        interactions(folder),
        "--data.items",
        items(folder),
        "--data.test",
        "null",
        "--data.test_split",
        "0.2",
    ]
    return [
        "--model.backbone",
        str(make_bert(folder / "bert", num_hidden_layers=3)),
        *files,
        "--data.batch_size",
        "8",
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "a small blue film"]
