"""This process as one of several that train together: how it joins them, and how it leaves."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from ftlight.run.state import RunState
from ftlight.training.lightning_internals import LAUNCHER, Launcher
from ftlight.training.peers import GRACE, Peers
from ftlight.training.signals import RunInterrupted
from ftlight.utils.errors import first_line, user_error
from ftlight.utils.printable import printable

# In what torch's backends say if another process is gone.
SIGNS = ("gloo", "nccl", "closed by peer", "reset by peer")
LINGER = 60.0  # seconds that a process which fails early waits for the others to hear of it
UNSAID = 3.0  # seconds in which it becomes known which process that is


class _Group:
    """The state of this process: its connections, and whether it ends with its command."""

    peers: Peers | None = None
    is_command = False


def join(rank: int, world: int, host: str, port: int) -> Peers | None:
    """Connects this process to the others, once; None if there are no others."""
    if _Group.peers is None and world > 1:
        _Group.peers = Peers(rank, world, host, port)
        atexit.register(_Group.peers.bye)
    return _Group.peers


def join_early() -> Peers | None:
    """Connects this process before it reads anything, if its environment says who the others are.

    None if there are no others, or if Lightning has yet to start them.
    """
    environment: ClusterEnvironment | None = None
    get = os.environ.get
    if TorchElasticEnvironment.detect():
        environment = TorchElasticEnvironment()
    elif "SLURM_STEP_ID" in os.environ and SLURMEnvironment.detect():
        environment = SLURMEnvironment()
    elif LAUNCHER in os.environ and get("LOCAL_RANK") != "0" and get("NODE_RANK") == "0":
        names = ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
        rank, world, port = (int(os.environ[name]) for name in names)
        return join(rank, world, os.environ["MASTER_ADDR"], port)
    if environment is None:
        return None
    host, port = environment.main_address, environment.main_port
    return join(environment.global_rank(), environment.world_size(), host, port)


def fail_early(status: int, line: str) -> bool:
    """Tells the other processes that this one has failed before it could work with them.

    Args:
        status: its exit status.
        line: what is wrong.

    Returns:
        Whether the first process says the same.
    """
    peers = join_early()
    if peers is None or peers.told is not None:
        return False
    peers.tell(status, line, ends=False)
    _linger(peers)
    return _is_repeated(peers)


def _is_repeated(peers: Peers) -> bool:
    """Whether the first process has failed in the same way, and so says it for all."""
    if peers.rank == 0:
        return False
    until = time.monotonic() + UNSAID
    while 0 not in peers.said and time.monotonic() < until:
        time.sleep(0.05)
    return peers.told is not None and peers.said.get(0) == peers.told.line


def _linger(peers: Peers) -> None:
    """Waits until the others are connected, and so have heard what this process told them."""
    until = time.monotonic() + LINGER
    while len(peers.links) < (1 if peers.rank else peers.world - 1) and time.monotonic() < until:
        time.sleep(0.1)


def watch(launcher: Launcher) -> None:
    """Connects the process that has started others, and notes how these end."""
    environment = launcher.cluster_environment
    first = environment.node_rank() * launcher.num_processes
    world = launcher.num_nodes * launcher.num_processes
    peers = join(first, world, environment.main_address, environment.main_port)
    if peers is not None:
        peers.inside = True
        for number, child in enumerate(launcher.procs, 1):
            peers.watch_child(first + number, child)


def _follows(peers: Peers, error: BaseException) -> bool:
    """Whether an error comes of the end of another process, by what torch says."""
    said = str(error).lower()
    is_sign = isinstance(error, RuntimeError) and any(sign in said for sign in SIGNS)
    return (is_sign or isinstance(error, dist.DistError)) and peers.known.wait(UNSAID)


def _fails(peers: Peers, error: BaseException) -> None:
    """Tells the others that this process fails."""
    fault = user_error(error)
    status = 1 if fault is None else fault.status
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        status = error.code
    line = first_line(fault or error)
    if fault is None and line != type(error).__name__:
        line = f"{type(error).__name__}: {line}"
    peers.tell(status, line, ends=_Group.is_command)


@contextlib.contextmanager
def command(hide: Callable[[str], str]) -> Iterator[None]:
    """Runs a command: if another process ends before its time this one ends too, and says so.

    Args:
        hide: takes secrets out of what the others are told.
    """
    _Group.is_command = True
    peers = join_early()
    if peers is not None:
        peers.inside, peers.hide = True, hide
    try:
        yield
    except BaseException as error:
        peers = _Group.peers
        if peers is not None:
            _leave(peers, error)
        raise
    if _Group.peers is not None:
        _Group.peers.bye()


def _leave(peers: Peers, error: BaseException) -> None:
    if isinstance(error, RunInterrupted):
        peers.bye()
        return
    follows = _follows(peers, error)
    if not follows:
        _fails(peers, error)
        peers.limit.cancel()  # nothing holds this thread up
        _linger(peers)
    for child in peers.children.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE + 1)
    if not follows and peers.told is not None and _is_repeated(peers):
        raise SystemExit(peers.told.status) from error
    if follows and peers.end is not None:
        if peers.speaks:
            print(printable(f"ftlight: error: {peers.words(peers.end)}"), file=sys.stderr)
        raise SystemExit(peers.end.status) from error


class Watch(L.Callback):
    """Keeps the connections of a trainer's processes; comes before all other callbacks.

    Args:
        run: state of the run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run
        self.trains = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Connects the processes, if they are not."""
        self.trains = self.trains or stage == "fit"
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if trainer.world_size > 1 and environment is not None:
            host, port = environment.main_address, environment.main_port
            peers = join(trainer.global_rank, trainer.world_size, host, port)
            if peers is not None:
                peers.inside, peers.hint = True, self._hint
        elif _Group.peers is not None:  # each for itself
            _Group.peers.bye()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Tells the other processes, before anything is cleaned up."""
        peers = _Group.peers
        if peers is None:
            return
        is_asked = isinstance(exception, RunInterrupted)  # as all others are
        if not is_asked and not _follows(peers, exception):
            _fails(peers, exception)
        peers.inside = _Group.is_command and not is_asked

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lets a script go on without the others."""
        if _Group.peers is not None:
            _Group.peers.inside = _Group.is_command

    def _hint(self) -> str:
        if not self.trains or self.run.folder is None:
            return ""
        return f"; to resume: {self.run.resume_command}"
