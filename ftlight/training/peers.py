"""Ends the processes of a training together: none waits for one that was killed or has failed.

Every process has a connection to the first one, beside those of torch, and a thread that reads it.
A process that fails says so there before it cleans up; of one that is killed, or whose node is
gone, the connection closes. Silence is no sign: a process may compute for hours. The others then
have some seconds to end by themselves; after that they are ended, whatever they wait for.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch.distributed as dist

from ftlight.training import arrival
from ftlight.training.lightning_internals import LAUNCHER

GRACE = 10.0  # seconds for a process to end by itself after another one has
LIMIT = 15.0  # seconds for a process that failed to clean up, such as to finish an upload
BYE = "bye"


class End(NamedTuple):
    """How a process ended: its rank, its exit status, and why in one line."""

    rank: int
    status: int
    line: str


class Peers:
    """The connections of this process to the others.

    Args:
        rank: its global rank.
        world: number of processes.
        host: address of the first process.
        port: port of torch's store there.

    Attributes:
        end: how another process ended, if one has before its work was done.
        told: how this one ends, once it has told the others.
        inside: whether this process works with the others, and so has to end with them.
        hint: gives what to do after an end, for the message.
        hide: takes secrets out of a text.
    """

    def __init__(self, rank: int, world: int, host: str, port: int) -> None:
        self.rank, self.world, self.host, self.port = rank, world, host, port
        self.end: End | None = None
        self.told: End | None = None
        self.inside = False
        self.hint: Callable[[], str] = str
        self.hide: Callable[[str], str] = str
        self.links: dict[int, socket.socket] = {}
        self.said: dict[int, str] = {}  # why others have failed, by their rank
        self.done: set[int] = set()  # those that have said that their work is done
        self.children: dict[int, subprocess.Popen[Any]] = {}
        self.limit = threading.Timer(LIMIT, self._exit)
        self.known = threading.Event()
        self.lock = threading.Lock()
        os.register_at_fork(after_in_child=self._close)
        self._start(self._serve if rank == 0 else self._dial)

    # Connections

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        def safely() -> None:
            # without connections, processes end as torch has it
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                work(*arguments)

        threading.Thread(target=safely, daemon=True, name="peers").start()

    def _serve(self) -> None:
        password = secrets.token_hex(8)
        is_master = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self.store = arrival.open_store(self.host, self.port, is_master)
        with socket.create_server(("", 0), backlog=self.world) as server:
            self.store.set(arrival.KEY, f"{server.getsockname()[1]} {password}")
            self._start(self._await_all)
            while True:
                self._start(self._welcome, server.accept()[0], password)

    def _await_all(self) -> None:
        time.sleep(arrival.WAIT)
        absent = arrival.missing(self.store, self.world)
        if absent and not dist.is_initialized():  # which torch is once all are there
            self.note(End(absent[0], 1, arrival.never_came(self.host, self.port)))

    def _welcome(self, link: socket.socket, password: str) -> None:
        lines = link.makefile("r", encoding="utf-8")
        given, rank = lines.readline(64).split()
        if secrets.compare_digest(given, password):
            self._listen(int(rank), link, lines)

    def _dial(self) -> None:
        try:
            port, password = arrival.find_first(self.host, self.port, self.rank, self._is_orphan)
        except arrival.Absent as absent:
            self.note(End(0, 1, str(absent)))
            return
        link = socket.create_connection((self.host, port), timeout=60)
        link.sendall(f"{password} {self.rank}\n".encode())
        self._listen(0, link, link.makefile("r", encoding="utf-8"))

    def _listen(self, rank: int, link: socket.socket, lines: Any) -> None:
        """Reads what a process says, until it is gone."""
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 6)):
            if hasattr(socket, name):  # a node without power closes nothing
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        with self.lock:
            self.links[rank] = link
            for end in (self.end, self.told):
                _send(link, end)
        with contextlib.suppress(OSError):
            for line in lines:
                said = json.loads(line)
                if said == BYE:
                    self.done.add(rank)
                    return
                end = End(*said)
                self.said[end.rank] = end.line
                self._start(self.note, end)
        self.note(End(rank, 1, self._how(rank)))

    def _tell(self, message: object) -> None:
        with self.lock:
            for link in self.links.values():
                _send(link, message)

    def _close(self) -> None:
        """Closes, in a forked process that loads data, what would stay open after a kill."""
        for link in self.links.values():
            link.close()

    # Ends

    def _is_orphan(self) -> bool:
        launcher = int(os.environ.get(LAUNCHER, 0))
        return launcher not in (0, os.getpid(), os.getppid())

    def watch_child(self, rank: int, child: subprocess.Popen[Any]) -> None:
        """Notes the end of a process that this one has started."""
        self.children[rank] = child
        self._start(self._wait_for, rank)

    def _wait_for(self, rank: int) -> None:
        code = self.children[rank].wait()
        time.sleep(1)  # what it has said last may not be read yet
        if code and rank not in self.done:
            self.note(End(rank, 1, self._how(rank)))

    def _how(self, rank: int) -> str:
        """How a process ended that said nothing, as far as it can be known from here."""
        code = None
        if rank in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.children[rank].wait(2)
        if code is None or code == 0:
            return "it was killed, or its connection is lost"
        return killed_by(-code) if code < 0 else f"its exit status is {code}"

    def note(self, end: End) -> None:
        """Notes that another process has ended, tells all, and after a while ends this one."""
        with self.lock:
            if self.end is not None:
                return
            self.end = end
        self._tell(end)
        self.known.set()
        time.sleep(GRACE)
        while not self.inside:  # a script that caught its own error may go on alone
            time.sleep(1)
        self._exit(end)

    def tell(self, status: int, line: str, ends: bool) -> None:
        """Tells the others that this process fails.

        Args:
            status: its exit status.
            line: why, in one line.
            ends: whether it is to end within seconds, even if it waits for something.
        """
        with self.lock:
            if self.told is not None:
                return
            self.told = End(self.rank, status, self.hide(line))
        self._tell(self.told)
        if ends:
            self.limit = threading.Timer(LIMIT, self._exit, [self.told])
            self.limit.daemon = True
            self.limit.start()

    def bye(self) -> None:
        """Tells the others that the work of this process is done."""
        self.inside = False
        self._tell(BYE)

    def _exit(self, end: End) -> None:
        """Ends this process, whatever its main thread waits for."""
        if end is self.told or self.speaks:
            os.write(2, f"ftlight: error: {self.words(end)}\n".encode())
        os._exit(end.status)

    @property
    def speaks(self) -> bool:
        """Whether it is up to this process to say how another one has ended."""
        return self.end is not None and self.rank == int(self.end.rank == 0)

    def words(self, end: End) -> str:
        """Which process has ended, why, and what to do."""
        return f"rank {end.rank} of {self.world} has ended: {end.line}{self.hint()}"


def _send(link: socket.socket, message: object) -> None:
    if message is not None:
        with contextlib.suppress(OSError):
            link.sendall((json.dumps(message) + "\n").encode())


def killed_by(signum: int) -> str:
    """How a process was killed, in words.

    >>> killed_by(9), killed_by(11)
    ('signal 9 killed it, as the system does if memory runs out', 'signal 11 killed it')
    """
    why = ", as the system does if memory runs out" if signum == 9 else ""
    return f"signal {signum} killed it{why}"
