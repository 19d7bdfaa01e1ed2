"""``check``: audits the data of a config or run."""

from __future__ import annotations

from pathlib import Path

from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.data import findings
from ftlight.data.findings import LEVELS, Finding
from ftlight.data.module import DataModule
from ftlight.data.remarks import remark
from ftlight.run import console as screen
from ftlight.run import outputs
from ftlight.utils.atomic import writing
from ftlight.utils.errors import UserError, join_limited


class Unsound(UserError):
    """A finding for which no model should be trained on the data."""

    status = 1


def run(words: Words, made: DataModule | CLI) -> None:
    """Prints what an audit found, the gravest first, and writes it with all lines to a file.

    Args:
        words: the command line.
        made: the data module; with ``--full`` the command line's trainer and model, too.

    Raises:
        Unsound: a finding says stop.
        UserError: the file could not be written.
    """
    out = words.own.get("out")
    data = made.datamodule if isinstance(made, CLI) else made
    if out is not None:
        outputs.keep_apart(outputs.named(out), [*words.alone, *data.files.values()])
        outputs.check(Path(out))
    if isinstance(made, CLI) and words.alone:
        found = _new(words, made, words.alone[0])
        _write(out, found)
        _show(found, [])
        return
    data.check = "fast"
    found = data.audited.findings
    stops = dict.fromkeys(finding.kind for finding in found if finding.level == "stop")
    if not stops:
        data.setup("fit")  # reads labels and lengths: what is wrong with them is an error
    remarks = findings.remarks(data.notes, found)
    if isinstance(made, CLI):
        found = findings.ordered([*found, *_full(words, made)])
    _write(out, [*found, *remarks])
    _show(found, remarks)
    if stops:
        raise Unsound(f"no model should be trained on these data: {join_limited(stops)}")


def _full(words: Words, cli: CLI) -> list[Finding]:
    from ftlight.evidence.audit import full

    if words.run is not None:
        cli.model.load_weights(words.own["ckpt_path"])
    return full(cli.trainer, cli.model, cli.datamodule)


def _new(words: Words, cli: CLI, file: str) -> list[Finding]:
    """What an audit finds in new data, beside what the run was trained on."""
    from ftlight.evidence.audit import compare

    rows = cli.datamodule.read_predict(file)
    if not rows:
        raise UserError(f"{file} has a header but no rows")
    cli.model.load_weights(words.own["ckpt_path"])
    # what leaked is known of the run, and taken out
    cli.datamodule.check, cli.datamodule.on_leak = "off", "keep"
    cli.datamodule.setup("fit")
    faults = cli.datamodule.set_predict(rows, file)
    if faults:
        remark(f"{cli.datamodule.left_out(faults, len(rows))}; left out")
    return compare(cli.trainer, cli.model, cli.datamodule)


def _write(out: str | None, found: list[Finding]) -> None:
    if out is not None:
        with writing(Path(out)):
            findings.write(Path(out), found)


def _show(found: list[Finding], remarks: list[Finding]) -> None:
    rows = [(level, findings.notes(found, level)) for level in LEVELS]
    for word, lines in [*rows, ("read", [found.line for found in remarks])]:
        screen.table([(word if i == 0 else "", line) for i, line in enumerate(lines)])
