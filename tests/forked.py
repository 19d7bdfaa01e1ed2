"""Command lines in processes of their own, forked from one that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "ftlight.cli.parser",
        "ftlight.trainer.trainer",
        "ftlight.tasks.text_classification.task",
        "ftlight.tasks.text_classification.data",
    ]
)


class Done(NamedTuple):
    """How a command line ended: exit status, or less than 0 for a signal; what it printed."""

    returncode: int
    stdout: str


def _work(words: list[str], home: str, log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.chdir(home)
    tempfile.tempdir = None
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import sys

    sys.argv = ["ftlight", *words]
    from ftlight.__main__ import main

    sys.exit(main(words))


def command(words: list[str], home: Path, seconds: float = 120, **environment: str) -> Done:
    """Runs ``python -m ftlight`` with these words."""
    handle, log = tempfile.mkstemp(dir=home)
    os.close(handle)
    kept = {
        k: os.environ[k]
        for k in ("HF_DATASETS_CACHE", "FTLIGHT_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
        if k in os.environ
    }
    process = CONTEXT.Process(target=_work, args=(words, str(home), log, {**kept, **environment}))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{words}: {Path(log).read_text()}")
    with contextlib.closing(process):
        return Done(process.exitcode, Path(log).read_text())
