"""``export``: writes a run as a folder that stock libraries load with the same scores."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.run import console as screen
from ftlight.trainer.push import push


def run(words: Words, cli: CLI) -> None:
    """Writes the folder, pushes it if that is asked for, and says how to load it."""
    own = words.own
    repo = own.get("push", "")
    out = cli.trainer.export(
        cli.model, cli.datamodule, own["ckpt_path"], own.get("out"), own.get("wise", ""), repo
    )
    screen.console.print(f"{out}: its README.md says how to load it")
    if repo:
        screen.console.print(f"pushed to {push(out, repo, own.get('public') == 'true')}")
