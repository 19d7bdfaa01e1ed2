"""``export``: writes a run as a folder that stock libraries load with the same scores."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.run import console as screen
from ftlight.trainer.exported import FOLDERS
from ftlight.trainer.push import push
from ftlight.utils.errors import UserError, unknown


def run(words: Words, cli: CLI) -> None:
    """Writes the folder, pushes it if that is asked for, and says how to load it.

    Raises:
        UserError: there is no such format, or it does not take an option that is given.
    """
    own = words.own
    form, int8, repo = own.get("format", "hf"), own.get("int8") == "true", own.get("push", "")
    if form not in FOLDERS:
        raise UserError(unknown("--format: no format", form, FOLDERS, "formats"))
    if int8 and form != "onnx":
        raise UserError("--int8 is for --format onnx; give both")
    if repo and form != "hf":
        raise UserError("--push takes --format hf alone")
    out = cli.trainer.export(
        cli.model,
        cli.datamodule,
        own["ckpt_path"],
        out=own.get("out"),
        wise=own.get("wise", ""),
        repo=repo,
        format=form,
        int8=int8,
    )
    screen.console.print(f"{out}: its README.md says how to load it")
    if repo:
        screen.console.print(f"pushed to {push(out, repo, own.get('public') == 'true')}")
