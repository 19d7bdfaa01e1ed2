"""A tiny sentence encoder; users with their items in order of time.

The rows are pairs of a text and an item's id, too.
"""

from __future__ import annotations

from pathlib import Path

from conftest import WORDS, make_bert, write_csv

ITEMS = 30


def items(folder: Path) -> str:
    """A table of items."""
    rows = []
    for i in range(ITEMS):
        title = f"the {WORDS[i % 29]} {WORDS[(i * 5) % 31]} {i}"
        rows.append((f"i{i}", f"i{i}", title, "good|bad", title))
    return write_csv(folder / "items.csv", rows, ("item", "movieId", "title", "genres", "text"))


def interactions(folder: Path, users: int = 9, each: int = 14) -> str:
    """Interactions, newest first: what a user has next is the item after."""
    rows = []
    for u in range(users):
        for t in reversed(range(each)):
            event = (f"u{u}", f"i{(3 * u + t) % ITEMS}", str(1000 + t))
            rows.append((*event, f"{WORDS[(u + t) % 31]} {t}", f"i{(u + t) % ITEMS}"))
    header = ("userId", "movieId", "timestamp", "text", "category")
    return write_csv(folder / "events.csv", rows, header)


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    bert = make_bert(folder / "bert", num_hidden_layers=3)
    return (
        f"--model.backbone {bert} --data.train {interactions(folder)} --data.items {items(folder)} "
        "--data.test null --data.test_split 0.2 --data.batch_size 8"
    ).split()


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "a small blue film"]
