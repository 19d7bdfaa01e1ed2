"""The run folder, which is never overwritten: config.yaml, run.json and metrics.csv."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from ftlight.run import former
from ftlight.utils.atomic import atomic_write, read_json, write_json, writing
from ftlight.utils.errors import UserError, did_you_mean
from ftlight.utils.paths import user_path
from ftlight.utils.yaml_file import read_yaml

log = logging.getLogger(__name__)
LOCK = ".lock"
ALL = "all"  # in a folder of fit --folds, the run on all rows
BEST = "best"  # in a folder of auto or tune, the run that was kept
FOLDS = "folds.json"  # beside it: what the folds say of each row


def make(path: str | None, name: str, resume: bool = False) -> Path:
    """Creates a run folder: ``path``, or ``runs/<name>/<time>`` with a link ``latest`` beside it.

    Args:
        path: the folder, or None.
        name: name of the run.
        resume: whether ``path`` may hold the run that is to be resumed.

    Raises:
        UserError: ``path`` exists and is not to be resumed, or cannot be created; or the name would
            lead out of ``runs``.
    """
    if path is None:
        if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name:
            raise UserError(f"trainer.name: {name} leads out of runs/; give --run DIR for a place")
        return _make_dated(Path("runs").absolute() / name)
    folder = user_path(path, "trainer.run").absolute()
    if resume and folder.is_dir():
        is_run = any((folder / file).exists() for file in ("config.yaml", "run.json", LOCK))
        if is_run or not any(folder.iterdir()):
            return folder
        raise UserError(
            f"{folder} exists and is not a run; nothing is overwritten. "
            "Give another --run DIR, or move it away"
        )
    _mkdir(folder, exist_ok=False)
    return folder


def _mkdir(folder: Path, exist_ok: bool) -> None:
    """Creates a folder and its parents.

    Raises:
        UserError: it exists, or cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        raise UserError(
            f"{folder} already exists; nothing is overwritten. "
            "Give another --run DIR, or move it away"
        ) from None
    except OSError as error:
        raise _not_made(folder, error) from None


def _not_made(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder} cannot be created ({error.strerror}); give another with --run DIR")


def _make_dated(parent: Path) -> Path:
    """Creates a folder named by the time, and lets the link ``latest`` point to it."""
    _mkdir(parent, exist_ok=True)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):  # several runs may start in one second
        folder = parent / (f"{stamp}-{attempt}" if attempt else stamp)
        try:
            folder.mkdir()
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise _not_made(folder, error) from None
    point(parent / "latest", folder.name)
    return folder


def point(link: Path, target: str | Path) -> None:
    """Lets a link point to a folder beside it; where there are no links it is left out."""
    made = link.with_name(f".{link.name}-{os.getpid()}")
    with contextlib.suppress(OSError):  # Windows lets only some users create links
        made.symlink_to(target)
        os.replace(made, link)


def lock(folder: Path) -> IO[str]:
    """Locks a run folder for this process, until the file is closed or the process ends.

    Raises:
        UserError: another process holds the lock.
    """
    with writing(folder / LOCK, "make room, or give another --run DIR"):
        file = (folder / LOCK).open("a+", encoding="utf-8")
    try:
        import fcntl

        # unlike flock, lockf is not inherited by the processes that load data
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise UserError(
            f"{folder}: another process is using it ({holder}); "
            "wait for it, or give another --run DIR"
        ) from None
    except (ImportError, OSError):  # Windows, and file systems without locks
        pass
    with contextlib.suppress(OSError):  # a full disk: the lock holds without its holder's name
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), f"{platform.node()}, process {os.getpid()}\n".encode())
    return file


def is_locked(folder: Path) -> bool:
    """Whether a process has locked a run folder; true where there are no locks to ask for."""
    try:
        import fcntl

        with (folder / LOCK).open("r+", encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (ImportError, OSError):  # held, of another user, or on a system without locks
        return True
    return False


def short(path: Path) -> str:
    """A path relative to the working folder, if there is such a path."""
    try:
        return os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)


def find(path: str) -> Path:
    """Finds the folder of an existing run; in a folder of ``fit --folds`` that of all rows.

    Raises:
        UserError: there is no run; the message names some that exist.
    """
    folder = user_path(path)
    if not (folder / "config.yaml").is_file():
        if (folder / ALL / "config.yaml").is_file():
            return (folder / ALL).resolve()
        if folds := sorted(folder.glob("fold-*/config.yaml")):
            raise UserError(
                f"{folder} has no model of all rows yet: give the command fit --folds again, with"
                f" --run {folder}; or a fold, such as {folds[0].parent}"
            )
        if seeds := sorted(folder.glob("seed-*/config.yaml")):
            raise UserError(
                f"{folder} holds a run for each seed; give one, such as {seeds[0].parent}"
            )
        if (folder / BEST / "config.yaml").is_file():
            raise UserError(f"{folder} holds several runs; the best of them is {folder / BEST}")
        beside = [p.parent.name for p in folder.parent.glob("*/config.yaml")]
        if near := did_you_mean(folder.name, beside):
            raise UserError(f"{folder} is not a run{near}")
        runs = sorted(str(p.parent) for p in Path("runs").glob("*/*/config.yaml"))
        known = f" (runs: {', '.join(runs[-3:])})" if runs else ""
        raise UserError(f"{folder} is not a run: it has no config.yaml{known}")
    return folder.resolve()


def as_recorded_now(
    config: Mapping[str, Any], known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the config of a run of 0.1 as this version records it.

    0.1 wrote where a class is defined instead of its public name, and that Lightning's sampler for
    several processes was on, which it never was. It read fewer forms of labels: what it took a
    column for stays so, and several labels are joined by a bar. Options that it lacked are as it
    did without them.

    Args:
        config: what config.yaml holds.
        known: what labels.json holds.

    >>> as_recorded_now({"data": {"class_path": "ftlight.data.text.TextData"}})
    {'data': {'class_path': 'ftlight.TextData'}}
    """
    config = dict(config)
    data, known = _mapping(config.get("data")), known or {}
    options = former.data(_mapping(data.get("init_args")))
    if "kind" in known and "form" not in known and options.get("kind", "auto") == "auto":
        joined = {"label_separator": "|"} if known["kind"] == "multi" else {}
        options |= {"kind": known["kind"], **joined}
    if "init_args" in data:
        config["data"] = {**data, "init_args": options}
    model = _mapping(config.get("model"))
    if "init_args" in model:
        config["model"] = {**model, "init_args": former.recorded(_mapping(model["init_args"]))}
    for section in ("model", "data"):
        path = _mapping(config.get(section)).get("class_path")
        if isinstance(path, str):  # what else it may be is refused where it is read
            config[section] = {**config[section], "class_path": public_path(path)}
    if _mapping(config.get("trainer")).get("use_distributed_sampler"):
        config["trainer"] = {**config["trainer"], "use_distributed_sampler": False}
    return config


def public_path(path: str) -> str:
    """The dotted path of a class as a config has it: of one of ours, its public name.

    >>> public_path("ftlight.data.text.TextData"), public_path("my_task.Mine")
    ('ftlight.TextData', 'my_task.Mine')
    """
    return f"ftlight.{path.split('.')[-1]}" if path.startswith("ftlight.") else path


def _mapping(value: Any) -> Mapping[str, Any]:
    """A section of a config; nothing if it is something else, which its reader refuses."""
    return value if isinstance(value, Mapping) else {}


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the config.yaml of a run, as this version records it; empty if there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / "config.yaml"
    if not os.path.lexists(path):
        return {}
    config = read_yaml(path)[0]
    return as_recorded_now(config, read_json(folder / "labels.json"))


def same_config(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configs ask for the same; what is off or auto is as what is not there.

    A later version has more options, which are off or auto unless they are asked for.
    """
    return _on(one) == _on(other)


def _on(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values that are neither off nor auto, by their dotted names."""
    on = {k: v for k, v in flat(config) if v not in (None, "auto") and v is not False}
    on.pop("trainer.report", None)  # a page about a run is no part of it
    return on


def as_yaml(config: Mapping[str, Any]) -> str:
    """A config as text."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def write_config(folder: Path, text: str) -> list[str]:
    """Writes config.yaml, and keeps a different one beside it as config-1.yaml, config-2.yaml, ….

    Returns:
        A line for each value that changed.
    """
    path = folder / "config.yaml"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return []
    old, config = read_config(folder), yaml.safe_load(text)
    is_same = not old or same_config(old, config)
    number = next(i for i in range(1, 10**6) if not (folder / f"config-{i}.yaml").exists())
    with atomic_write(path, None if is_same else folder / f"config-{number}.yaml") as file:
        file.write(text.encode())
    if is_same:
        return []
    before, after = dict(flat(old)), dict(flat(config))
    lines, was, now = [], _on(old), _on(config)
    for key in {**before, **after}:
        if was.get(key) != now.get(key):
            name = key.replace(".init_args", "")
            lines.append(f"{name}: {after.get(key)}; it was {before.get(key)}")
    return lines


def flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the plain values of nested mappings with their dotted names."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, data


def length(folder: Path | None) -> int:
    """Size of a run's metrics.csv in bytes; 0 if there is none."""
    path = folder / "metrics.csv" if folder is not None else None
    return path.stat().st_size if path is not None and path.exists() else 0


def truncate_metrics(folder: Path, bytes_: int) -> None:
    """Cuts metrics.csv to its size at a checkpoint; the rest will be written again."""
    path, size = folder / "metrics.csv", length(folder)
    if size < bytes_:
        log.warning("%s lacks %d bytes of what it held: lines are missing", path, bytes_ - size)
    elif size > bytes_:
        with writing(path):
            os.truncate(path, bytes_)


def update(folder: Path, **changes: Any) -> None:
    """Sets values in run.json."""
    write_json(folder / "run.json", {**read_json(folder / "run.json"), **changes})
