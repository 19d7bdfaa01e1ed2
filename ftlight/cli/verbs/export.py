"""``export``: writes a run as a folder that stock libraries load with the same scores."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.run import console as screen
from ftlight.utils.errors import UserError, unknown

FORMATS = ("hf", "onnx")


def run(words: Words, cli: CLI) -> None:
    """Writes the folder and says how to load it.

    Raises:
        UserError: there is no such format, or 8 bits are asked of another than onnx.
    """
    own = words.own
    form, int8 = own.get("format", "hf"), own.get("int8") == "true"
    if form not in FORMATS:
        raise UserError(unknown("--format: no format", form, FORMATS, "formats"))
    if int8 and form != "onnx":
        raise UserError("--int8 is for --format onnx; give both")
    which = cli.model, cli.datamodule, own["ckpt_path"], own.get("out"), own.get("wise", "")
    out = cli.trainer.export_onnx(*which, int8) if form == "onnx" else cli.trainer.export(*which)
    screen.console.print(f"{out}: its README.md says how to load it")
