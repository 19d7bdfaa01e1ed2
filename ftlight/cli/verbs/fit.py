"""``fit``: trains a model, then tests its best checkpoint."""

from __future__ import annotations

import yaml

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI


def run(words: Words, cli: CLI) -> None:
    """Trains; the run folder keeps the whole config."""
    record = cli.record()
    cli.trainer.run.config = record
    cli.trainer.run.config_yaml = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=words.own.get("ckpt_path"))
