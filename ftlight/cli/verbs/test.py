"""``test``: measures a run on test data."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI


def run(words: Words, cli: CLI) -> None:
    """Measures the test data, with ``--wise`` under averaged weights, and prints the results."""
    checkpoint: str | None = words.own["ckpt_path"]
    share = words.own.get("wise")
    if share:
        cli.trainer.interpolate(cli.model, cli.datamodule, words.own["ckpt_path"], share)
        checkpoint = None  # the model holds the averaged weights already
    cli.measure("test", checkpoint)
