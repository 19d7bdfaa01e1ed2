"""The command line of ``serve``: what is wrong with it shows before anything is imported."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ftlight.cli.command import Words
from ftlight.run import folder
from ftlight.serve.access import Access, read_token, settle
from ftlight.serve.limits import Limits
from ftlight.utils.errors import UserError

DATED = re.compile(r"\d{4}-\d\d-\d\d_[\d-]+")  # folders that fit names by the time


class Asked(NamedTuple):
    """What is to be served, and how.

    Attributes:
        runs: folders of the runs by name, as given.
        port: port to listen on.
        workers: number of processes.
        access: who may ask, and the host.
        limits: limits of what is taken.
        options: options of each run, as ``predict`` knows them.
    """

    runs: Mapping[str, str]
    port: int
    workers: int
    access: Access
    limits: Limits
    options: Sequence[str]


def read(words: Words) -> Asked:
    """What a command line asks to serve.

    Raises:
        UserError: something is wrong with it, or a package is missing.
    """
    if not words.alone:
        raise UserError("serve needs a run: python -m ftlight serve RUN")
    port, workers = int(words.own.get("port", 8000)), int(words.own.get("workers", 1))
    if workers > 1 and not hasattr(os, "fork"):
        raise UserError("--workers: this system cannot share a port; start one process for each")
    token = read_token(words.own.get("token_file", ""), os.environ)
    access = settle(words.own.get("host", "127.0.0.1"), token)
    most = int(words.own.get("max_body", 1))
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise UserError('serve needs Starlette and uvicorn: pip install "ftlight[serve]"')
    runs = names(words.alone)
    options = [
        f"--{name}={words.own[name]}" for name in ("ckpt_path", "trust") if name in words.own
    ]
    limits = Limits(body=most * 1_000_000, held=max(Limits().held, 4 * most * 1_000_000))
    return Asked(runs, port, workers, access, limits, options)


def names(paths: Sequence[str]) -> dict[str, str]:
    """The runs by what they are called: as in runs/NAME/TIME, or as their folder.

    Several that would be called the same are called by their paths as given.

    Raises:
        UserError: one is no run, or is given twice.
    """
    short = [called(folder.find(path)) for path in paths]
    found: dict[str, str] = {}
    for path, name in zip(paths, short, strict=True):
        name = path if short.count(name) > 1 else name
        if name in found:
            raise UserError(f"{path}: given twice")
        found[name] = path
    return found


def called(run: Path) -> str:
    """What a run is called.

    >>> called(Path("runs/tickets/2026-01-02_10-11-12")), called(Path("my/run"))
    ('tickets', 'run')
    """
    place = run.absolute()
    return place.parent.name if DATED.fullmatch(place.name) else place.name
