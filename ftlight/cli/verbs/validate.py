"""``validate``: measures a run, or a model before training, on validation data."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI


def run(words: Words, cli: CLI) -> None:
    """Measures the validation data and prints the results."""
    cli.measure("val", words.own.get("ckpt_path"))
