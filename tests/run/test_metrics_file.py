"""metrics.csv: its head, lines that wait for room, and loggers that fail."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import each
from lightning.pytorch.loggers import Logger

from ftlight.run import folder as runs
from ftlight.run import loggers, tracking
from ftlight.run.loggers import MetricsFile

HEAD = "step,epoch,name,value\n"
LINE = "3,0,train/loss,0.5\n"


def write(folder: Path, step: int = 3) -> str:
    """Logs a value as a run that goes on does. Returns the file."""
    MetricsFile(folder).log_metrics({"train/loss": 0.5, "epoch": 0}, step)
    return (folder / "metrics.csv").read_text()


def test_an_empty_file_gets_a_head_and_half_a_line_goes(tmp_path: Path) -> None:
    def check(before: str | None, after: str) -> None:
        path = tmp_path / "metrics.csv"
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_text(before)
        assert write(tmp_path) == after
        assert write(tmp_path) == after + LINE

    cases = [
        (None, HEAD + LINE),
        ("", HEAD + LINE),
        (HEAD[:9], HEAD + LINE),
        (HEAD, HEAD + LINE),
        (HEAD + LINE, HEAD + LINE + LINE),
        (HEAD + LINE + LINE[:7], HEAD + LINE + LINE),
        (HEAD + LINE + "x" * 9000, HEAD + LINE + LINE),
    ]
    each(cases, check)


def test_a_file_cut_to_a_checkpoint_before_the_first_metric_gets_its_head(tmp_path: Path) -> None:
    write(tmp_path)
    runs.truncate_metrics(tmp_path, 0)
    assert write(tmp_path) == HEAD + LINE


def test_a_file_that_is_shorter_than_at_the_checkpoint_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    length = len(write(tmp_path))
    runs.truncate_metrics(tmp_path, length + 20)
    assert "metrics.csv lacks 20 bytes of what it held" in caplog.text
    assert runs.length(tmp_path) == length


@pytest.fixture
def small() -> Iterator[Any]:
    """Limits the size of files."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_lines_wait_for_room_and_none_is_written_in_part(
    tmp_path: Path, small: Any, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, path = MetricsFile(tmp_path), tmp_path / "metrics.csv"
    lines = [f"{step},,{name},{float(step)}\n" for step in range(3) for name in "ab"]
    whole = HEAD + "".join(lines)

    def check(size: int) -> None:
        path.unlink(missing_ok=True)
        for step in range(3):
            small(resource.RLIM_INFINITY if step == 0 else size)
            metrics.log_metrics({"a": step, "b": step}, step)
        kept = path.read_text()
        problem = metrics.flush()
        small(resource.RLIM_INFINITY)
        assert kept.endswith("\n")
        assert kept.count("\n") in (3, 5, 7)  # the head, and two lines for each step
        assert ("metrics.csv cannot be written: File too large" in problem) == (size < len(whole))
        assert metrics.flush() == ""
        assert path.read_text() == whole

    each([(size,) for size in range(40, 90)], check)
    assert "its lines are kept in memory until then" in caplog.text


class Broken(Logger):
    """A logger whose place is gone."""

    name = version = "broken"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        raise self.error

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Logs nothing."""


def test_a_logger_that_fails_costs_a_line(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken(ConnectionResetError(104, "Connection lost"))
    guarded = loggers.guard(broken)
    for step in range(3):
        guarded.log_metrics({"a": 1.0}, step)
    assert guarded is broken
    assert broken.calls == 3
    assert [r.getMessage() for r in caplog.records] == [
        "Broken: [Errno 104] Connection lost; the run goes on, its log may lack some of it"
    ]
    with pytest.raises(TypeError):  # a fault of its own is not hidden
        loggers.guard(Broken(TypeError())).log_metrics({}, 0)


def test_wandb_that_is_gone_changes_no_exit_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone:
        def finish(self, exit_code: int) -> None:
            raise ConnectionResetError(104, "Connection lost")

        def mark_preempting(self) -> None:
            raise ConnectionResetError(104, "Connection lost")

    wandb = tracking.WandB(loggers.MetricsFile(tmp_path), Gone())
    tracking.finish([wandb], 75, preempted=True)
    tracking.finish([wandb])
    # W&B itself may speak in between, of a server that an earlier test has ended
    said = [record.getMessage() for record in caplog.records if record.name == loggers.__name__]
    assert len(said) == 1
    assert said[0].startswith("WandB: [Errno 104] Connection lost")
