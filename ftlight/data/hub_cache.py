"""Digests of the files in which datasets keeps what it loaded, which has none itself."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftlight.utils.atomic import atomic_write
from ftlight.utils.errors import UserError
from ftlight.utils.sealed import Damaged, digest_of, seal, unseal

log = logging.getLogger(__name__)


def _record(name: str) -> Path:
    """The file with the digests of a data set's files."""
    import datasets

    number = hashlib.sha256(name.encode()).hexdigest()[:16]
    return Path(datasets.config.HF_DATASETS_CACHE) / "ftlight" / f"{number}.digests"


def _known(name: str) -> dict[str, str]:
    """Digests of a data set's files as they were first seen; none if they are not known."""
    try:
        return dict(unseal(_record(name), name)[1])
    except (Damaged, OSError):
        return {}


@functools.lru_cache(8)  # a process asks for the same data set several times
def remove_damaged(name: str) -> None:
    """Deletes the copy of a data set that is not what it was, so that it is made again.

    Raises:
        UserError: it cannot be deleted.
    """
    for path, digest in _known(name).items():
        try:
            whole = digest_of(Path(path)) == digest
        except OSError:  # deleted; or it cannot be read, which datasets says
            whole = True
        if whole:
            continue
        log.info("%s: its checksum is wrong; the data set is loaded again", path)
        shutil.rmtree(Path(path).parent, ignore_errors=True)
        if Path(path).exists():
            raise UserError(f"{name}: {path} is damaged and cannot be deleted")
        with contextlib.suppress(OSError):
            _record(name).unlink()
        return


def remember(name: str, splits: Iterable[Any]) -> None:
    """Notes the digests of a data set's files when they are first seen."""
    files = [Path(kept["filename"]) for split in splits for kept in split.cache_files]
    if {str(file) for file in files} == set(_known(name)):
        return
    with contextlib.suppress(OSError), atomic_write(_record(name)) as record:
        seal(record, name, {str(file): digest_of(file) for file in files})
