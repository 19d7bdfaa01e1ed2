"""``fit --keep FILE``: what the new weights lost of what the weights before them could do."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ftlight.cli import child
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.evidence import comparing
from ftlight.metrics.seeds import Difference, difference
from ftlight.run import records
from ftlight.run.folder import short
from ftlight.trainer import saving_run
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted
from ftlight.utils.paths import user_path

FILE = "kept.json"
WAYS = "try: a third of model.lr, model.unfreeze: last:2, or old rows in train"


@contextlib.contextmanager
def weights_before(words: Words, cli: CLI) -> Iterator[Path | None]:
    """The weights that a run begins with, as a run of their own; None without ``--keep``.

    Args:
        words: the command line.
        cli: trainer, model and data, before training.

    Raises:
        UserError: there is no such file, or nothing that the weights could do before.
    """
    if "keep" not in words.own:
        yield None
        return
    file = words.own["keep"]
    if not user_path(file, "keep").exists():
        raise UserError(f"--keep {file}: no such file or folder")
    state = cli.trainer.run
    kept = records.facts(state.home) if state.resume else {}
    source = words.own.get("from") or kept.get("from")
    if not (source or (cli.model.starts_trained and cli.model.pretrained)):
        raise UserError(
            "--keep FILE measures what the weights of --from RUN could do before; give that run"
        )
    if source or not cli.trainer.is_global_zero:
        yield Path(source) if source else None
        return
    with tempfile.TemporaryDirectory() as home:
        yield saving_run.save(cli.model, cli.datamodule, None, Path(home) / "untuned")


def measure(words: Words, cli: CLI, before: Path, run: Path) -> str:
    """Tests the old and the new weights on the rows to keep, and writes kept.json in the run.

    Args:
        words: the command line.
        cli: trainer, model and data.
        before: a run with the old weights.
        run: the run with the new ones.

    Returns:
        What to print.
    """
    file = str(user_path(words.own["keep"], "keep").absolute())
    try:
        with tempfile.TemporaryDirectory() as home:
            tested = [
                _tested(cli, path, Path(home) / name, file)
                for path, name in ((before, "before"), (run, "after"))
            ]
            _, runs = comparing.load(tested)
            old, new = scores = comparing.aligned(runs)
            found = difference(scores[[1]], scores[[0]])
            metric = comparing.metric_of(runs[0].outcomes.scores, runs[0].metrics)
    except UserError as error:
        return f"{short(Path(file))} could not be measured: {error}"
    means = {"before": float(old.mean()), "after": float(new.mean())}
    about = {"file": file, "rows": len(old), "score": metric, **means}
    with writing(run / FILE):
        write_json(run / FILE, {**about, "difference": found._asdict()})
    return (
        f"{short(Path(file))}, {counted(len(old), 'row')}: {metric} {means['before']:.4f} before,"
        f" {means['after']:.4f} now; {said(found)}"
    )


def _tested(cli: CLI, run: Path, copy: Path, file: str) -> Path:
    """Tests a copy of a run, so that its own test stays as it is."""
    saving_run.save(cli.model, cli.datamodule, run, copy)
    for path in _measured(copy):
        path.unlink()
    log = copy.with_suffix(".log")
    if child.run("test", [str(copy), "--data.test", file], log, alone=True):
        raise UserError(child.fault(log) or "it ended without a word")
    for path in _measured(copy):
        path.rename(copy / ("test_metrics.json" if path.suffix == ".json" else "outcomes-test.npz"))
    return copy


def _measured(run: Path) -> list[Path]:
    """What tests of a run wrote of its scores: a file that is not its own test is in the name."""
    return [*run.glob("outcomes-test*.npz"), *run.glob("test*_metrics.json")]


def said(found: Difference) -> str:
    """What a difference says, in words.

    >>> said(Difference(-0.038, -0.056, -0.02, 0.001, 0.001, None))[:49]
    '-0.0380 (-0.0560 to -0.0200): something is forgot'
    >>> said(Difference(0.001, -0.01, 0.012, 0.8, 0.8, None))
    '+0.0010 (-0.0100 to +0.0120): kept, as far as these rows tell'
    """
    figures = f"{found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    if found.p >= 0.05:
        return f"{figures}: kept, as far as these rows tell"
    if found.gain > 0:
        return f"{figures}: better than before"
    return f"{figures}: something is forgotten; {WAYS}"
