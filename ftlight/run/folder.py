"""The run folder: made once, never overwritten; config, facts, metrics, predictions."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from ftlight.utils import secrets
from ftlight.utils.atomic import atomic_write, read_json, write_json
from ftlight.utils.errors import UserError

LOCK = ".lock"
STACK = (
    "ftlight",
    "torch",
    "lightning",
    "transformers",
    "torchmetrics",
    "datasets",
    "jsonargparse",
    "wandb",
)


def version(package: str) -> str:
    """Version of an installed package, or ``-``."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def make(path: str | None, name: str, resume: bool = False) -> Path:
    """Makes the folder of a run: ``path`` itself, else ``runs/<name>/<time>`` with a link ``latest`` beside it.

    Args:
        path: the folder, or None.
        name: name of the run.
        resume: whether a run that is in ``path`` is gone on with.

    Raises:
        UserError: ``path`` is there already; nothing is overwritten.
    """
    target = Path("runs").absolute() / name if path is None else Path(path).expanduser().absolute()
    if path is not None and resume and target.is_dir():
        if not any(target.iterdir()) or any(
            (target / own).exists() for own in ("config.yaml", "run.json", LOCK)
        ):
            return target
        raise UserError(
            f"{target} is there and holds no run; nothing is overwritten. Give another --run DIR, or move it away"
        )
    try:
        target.mkdir(parents=True, exist_ok=path is None)
    except FileExistsError:
        raise UserError(
            f"{target} is there already; nothing is overwritten. Give another --run DIR, or move it away"
        ) from None
    except OSError as error:
        raise UserError(
            f"{target} cannot be made ({error.strerror}); give another with --run DIR"
        ) from None
    if path is not None:
        return target
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):  # two runs in one second
        folder = target / (f"{stamp}-{attempt}" if attempt else stamp)
        try:
            folder.mkdir()
            break
        except FileExistsError:
            continue
    link = target / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):  # Windows lets only some users make links
        link.symlink_to(folder.name)
        os.replace(link, target / "latest")
    return folder


def lock(folder: Path) -> IO[str]:
    """Keeps a run's folder for this process until the file is closed or the process is no more.

    Raises:
        UserError: another process works there.
    """
    file = (folder / LOCK).open("a+", encoding="utf-8")
    try:
        import fcntl

        fcntl.lockf(
            file, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # unlike flock not passed on to processes that load data
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise UserError(
            f"{folder}: another process works there ({file.read().strip() or 'unknown'}); wait for it, or give another --run DIR"
        ) from None
    except (ImportError, OSError):  # Windows, and file systems without locks
        pass
    file.truncate(0)
    file.write(f"{platform.node()}, process {os.getpid()}\n")
    file.flush()
    return file


def short(path: Path) -> str:
    """A path from the working folder, where there is one."""
    try:
        return os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)


def find(path: str) -> Path:
    """The folder of a run that was made before.

    Raises:
        UserError: there is no run there; names the runs beside it.
    """
    folder = Path(path).expanduser()
    if not (folder / "config.yaml").is_file():
        runs = sorted(str(p.parent) for p in Path("runs").glob("*/*/config.yaml"))
        there = f" (runs: {', '.join(runs[-3:])})" if runs else ""
        raise UserError(f"{folder}: no run there, a run has a config.yaml{there}")
    return folder.resolve()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def write_config(folder: Path, text: str) -> list[str]:
    """Writes config.yaml; where there is another one, that is kept beside it, and what changed is returned, a line each."""
    path = folder / "config.yaml"
    old = path.read_text(encoding="utf-8") if path.is_file() else text
    if old != text:
        number = next(i for i in range(1, 10**6) if not (folder / f"config-{i}.yaml").exists())
        os.replace(path, folder / f"config-{number}.yaml")
    with atomic_write(path) as file:
        file.write(text.encode())
    if old == text:
        return []
    before, after = (dict(_flat(yaml.safe_load(t))) for t in (old, text))
    changed = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return [
        f"{k.replace('.init_args', '')}: {after.get(k)}; it was {before.get(k)}" for k in changed
    ]


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, data


def length(folder: Path | None) -> int:
    """Bytes of a run's metrics.csv."""
    path = folder / "metrics.csv" if folder is not None else None
    return path.stat().st_size if path is not None and path.exists() else 0


def truncate_metrics(folder: Path, bytes_: int) -> None:
    """Takes from a run's metrics.csv what was written after a checkpoint: it will be written again."""
    if length(folder) > bytes_:
        os.truncate(folder / "metrics.csv", bytes_)


def provenance(seed: int | None, digests: Mapping[str, str]) -> dict[str, Any]:
    """What run.json holds of a run at its start: command, code, versions, seed, data."""
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "status": "running",
        "command": [Path(sys.argv[0]).name, *secrets.command(sys.argv[1:])],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": {
            "commit": _git("rev-parse", "HEAD"),
            "dirty": None if status is None else bool(status),
        },
        "versions": {"python": platform.python_version(), **{p: version(p) for p in STACK}},
        "machine": {"cores": os.cpu_count(), "system": platform.system()},
        "seed": seed,
        "data_sha256": dict(digests),
        # where classes beside the user's YAML are found again
        "python_path": [
            p for p in sys.path if p and Path(p).is_dir() and any(Path(p).glob("*.y*ml"))
        ],
    }


def update(folder: Path, **changes: Any) -> None:
    """Changes facts in run.json."""
    write_json(folder / "run.json", {**read_json(folder / "run.json"), **changes})
