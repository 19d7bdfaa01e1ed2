"""How the processes of a training find each other, and how long they wait for one that is late."""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

WAIT = 600.0  # seconds in which all must come: as long as torch waits with NCCL
LOST = 10.0  # seconds without an answer of a first process that was there, until it counts as gone
# Key in torch's store of port and password of the first process; torchrun may start all again.
KEY = f"ftlight/peers/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"


class Absent(Exception):
    """A process is not there; says why in one line."""


def never_came(host: str, port: int) -> str:
    """Why a process counts as absent that was waited for."""
    return (
        f"it did not come within {WAIT / 60:g} minutes: it was killed at its start,"
        f" or its node does not reach {host}:{port}"
    )


def open_store(host: str, port: int, is_master: bool) -> Any:
    """The store that torch uses too: it makes its own later, and shares this one until its end."""
    return dist.TCPStore(  # type: ignore[attr-defined]  # it is documented
        host,
        port,
        is_master=is_master,
        timeout=datetime.timedelta(seconds=60),
        wait_for_workers=False,
        multi_tenant=is_master,
    )


def missing(store: Any, world: int) -> list[int]:
    """Ranks of the processes that have not come to the first one, which asks its store."""
    return [rank for rank in range(1, world) if not store.check([f"{KEY}/{rank}"])]


def find_first(host: str, port: int, rank: int, is_orphan: Callable[[], bool]) -> tuple[int, str]:
    """Waits for the first process.

    Args:
        host: its address.
        port: port of torch's store there.
        rank: global rank of this process.
        is_orphan: whether the process that has started this one is gone.

    Returns:
        The port at which it can be told things, and the password.

    Raises:
        Absent: it has ended, or did not come in time.
    """
    until, answered, lost = time.monotonic() + WAIT, False, 0.0
    while time.monotonic() < until:
        if is_orphan():
            raise Absent("it was killed, or has failed at its start")
        try:
            socket.create_connection((host, port), timeout=5).close()  # torch would say it waits
            answered, lost = True, 0.0
            return _address(open_store(host, port, is_master=False), rank, until)
        except ConnectionRefusedError:
            lost = lost or time.monotonic()
            if answered and time.monotonic() - lost > LOST:
                raise Absent("it was killed, or its connection is lost") from None
        except (OSError, RuntimeError):  # the latter is what torch's store raises
            pass
        time.sleep(0.2)
    raise Absent(never_came(host, port))


def _address(store: Any, rank: int, until: float) -> tuple[int, str]:
    store.set(f"{KEY}/{rank}", "")
    while not store.check([KEY]):
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.2)
    port, password = store.get(KEY).decode().split()
    return int(port), password
