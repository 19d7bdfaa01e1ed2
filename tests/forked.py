"""Command lines in processes of their own, forked from one that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

OFFLINE = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS")
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


def obey_permissions() -> None:
    """Makes this process, which root may have started, obey the permissions of files."""
    if os.geteuid() == 0:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc.capget(header, sets)
        for number in range(2):  # effective, permitted
            sets[number] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        assert libc.capset(header, sets) == 0


def limit_files(size: int) -> None:
    """Lets no file of this process grow beyond a size, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _work(
    words: list[str],
    home: str,
    log: str,
    environment: dict[str, str],
    before: Callable[[], None] | None,
) -> None:
    # the server is that of ftlight's own commands, too, if one of these came first
    for name in ("SIGTERM", "SIGUSR1", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.chdir(home)
    tempfile.tempdir = None
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import sys

    sys.argv = ["ftlight", *words]
    from ftlight.__main__ import main
    from ftlight.utils import internals

    internals.cpu_has_bfloat16 = lambda: False  # as in the process of the tests
    if before is not None:
        before()
    sys.exit(main(words))


def command(
    words: list[str],
    home: Path,
    seconds: float = 600,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> Done:
    """Runs ``python -m ftlight`` with these words.

    Args:
        words: the words.
        home: where the process stands.
        seconds: after which it is killed.
        before: called in the process first.
        environment: variables of its environment.
    """
    handle, log = tempfile.mkstemp()
    os.close(handle)
    kept = {
        k: os.environ[k]
        for k in (*("HF_DATASETS_CACHE", "FTLIGHT_CACHE", "XDG_STATE_HOME"), *OFFLINE)
        if k in os.environ
    }
    process = CONTEXT.Process(
        target=_work, args=(words, str(home), log, {**kept, **environment}, before)
    )
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{words}: {Path(log).read_text()}")
    with contextlib.closing(process):
        done = Done(process.exitcode, Path(log).read_text())
        Path(log).unlink()
        return done


def group(nodes: int) -> list[dict[str, str]]:
    """Environments of two processes that train together, on one machine or two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": str(2 // nodes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "x",
    }
    ranks = []
    for rank in range(2):
        place = (rank, 0) if nodes == 2 else (0, rank)
        own = {"RANK": str(rank), "GROUP_RANK": str(place[0]), "LOCAL_RANK": str(place[1])}
        ranks.append({**shared, **own})
    return ranks
