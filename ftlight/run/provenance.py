"""Where a run comes from: command, code, versions, machine, seed, data."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.utils import secrets

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
    """Version of an installed package; ``-`` if it is not installed."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def _git(*arguments: str) -> str | None:
    """What git prints; None if it fails, as outside of a repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def provenance(seed: int | None, digests: Mapping[str, str]) -> dict[str, Any]:
    """What run.json says of a run's origin: command, code, versions, seed, data.

    Args:
        seed: the run's seed.
        digests: SHA-256 of each file of data, by name.
    """
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
        # for later verbs, to import the classes beside the user's YAML
        "python_path": [p for p in sys.path if p and _holds_yaml(Path(p))],
    }


def _holds_yaml(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.y*ml"))
