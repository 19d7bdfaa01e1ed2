"""What decides the rows of a run, their order, and what they are turned into.

A checkpoint holds it as plain values. A run that resumes must have the same: within an epoch other
rows would be seen twice and some not at all, and validations would not be comparable. An option
counts unless its class says that it may change, so one that is added later is safe from the start.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from ftlight.data.encoded import EncodedSplit
from ftlight.data.files import sha256
from ftlight.data.module import DataModule
from ftlight.data.sampling import run_seed
from ftlight.run import folder as runs
from ftlight.run.provenance import version
from ftlight.utils.arguments import defaults
from ftlight.utils.atomic import read_json
from ftlight.utils.errors import UserError, join_limited

# Options of the trainer that decide the rows of a step, an epoch or a validation. All others leave
# them alone: limits of a run, how often it validates, logs and saves, and where it computes.
TRAINER = {
    "accumulate_grad_batches": 1,
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "overfit_batches": 0.0,
}
LIBRARIES = ("tokenizers", "transformers")  # others may write the same tokenizer in another way


def asked(trainer: L.Trainer, data: DataModule | None) -> dict[str, Any]:
    """What was asked for of all that decides the rows: it can be told before they are read."""
    found: dict[str, Any] = {
        "seed": run_seed(),
        "trainer": {name: _limit(getattr(trainer, name)) for name in TRAINER},
    }
    if data is None:
        return found
    given = {**defaults(type(data)), **data.options_given}
    decisive = given.keys() - {*data.files, "tokenizer", *data.may_change}
    options = {name: [plain(given[name])] * 2 for name in sorted(decisive)}
    return {**found, "module": type(data).__name__, "data": options}


def facts(trainer: L.Trainer, data: DataModule | None) -> dict[str, Any]:
    """All that decides the rows, as plain values; the data module has read them.

    Returns:
        ``seed``; options of ``trainer`` and ``data``, the latter as given and as they came out;
        SHA-256 of ``files`` and of what batches are ``made_with``; ``labels``; and of each of
        ``splits`` the number of rows and a digest of their lengths, which alone decide the order.
    """
    found = asked(trainer, data)
    if data is None:
        return found
    for name, pair in found["data"].items():
        pair[1] = _came_out(data, name, pair[0])
    return {
        **found,
        "files": dict(data.digests),
        "made_with": _made_with(data),
        "libraries": {name: version(name) for name in LIBRARIES},
        "labels": [str(label) for label in data.labels],
        "splits": {
            split: _rows(data.sets[split])
            for split in ("train", "validation")
            if isinstance(data.sets.get(split), EncodedSplit)
        },
    }


def recorded(folder: Path) -> dict[str, Any]:
    """The same of a run whose checkpoints do not hold it, as far as its folder tells."""
    facts, config = read_json(folder / "run.json"), runs.read_config(folder)
    found: dict[str, Any] = {}
    if facts:
        found["seed"] = facts.get("seed") or 0
    if facts.get("data_sha256"):
        found["files"] = facts["data_sha256"]
    if config:
        trainer = config.get("trainer") or {}
        limits = {name: trainer.get(name) for name in TRAINER if trainer.get(name) is not None}
        found["trainer"] = {name: _limit(value) for name, value in limits.items()}
        options = config["data"].get("init_args") or {}
        found["data"] = {name: [plain(value)] * 2 for name, value in options.items()}
        found["module"] = config["data"]["class_path"].rpartition(".")[2]
    known = read_json(folder / "labels.json")
    return {**found, "labels": known["labels"]} if "labels" in known else found


def plain(value: Any) -> Any:
    """A value as a checkpoint can hold it; a file with its digest, a folder by its real path."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [plain(item) for item in items]
    if isinstance(value, (str, Path)):
        return _place(str(value))
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _place(text: str) -> Any:
    """A text; if it names a file or a folder, where that is. A bare word does not."""
    if "/" not in text and "\\" not in text and not Path(text).suffix:
        return text
    try:
        path = Path(text).expanduser()
        if path.is_file():
            return {"file": str(path.absolute()), "sha256": sha256(path)}
        return str(path.resolve()) if path.is_dir() else text
    except (OSError, RuntimeError, ValueError):  # too long, of a user that is not there, a NUL
        return text


def _limit(value: Any) -> str:
    """A number of batches (10) or a share of them (1.0), which are not the same: 1 is not 1.0."""
    return repr(value) if value else "0"


def _came_out(data: DataModule, name: str, given: Any) -> Any:
    """What an option came out as, if an attribute of its name says so in plain values."""
    try:
        value = getattr(data, name)
    except Exception:  # whatever a property of a class of one's own raises
        return given
    is_plain = isinstance(value, (bool, int, float, str, list, tuple)) or value is None
    return plain(value) if is_plain else given


def _made_with(data: DataModule) -> dict[str, str]:
    """SHA-256 of what batches are made with; a class of one's own may have no tokenizer."""
    with contextlib.suppress(UserError, AttributeError):
        made = data.made_with()
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in made.items()}
    return {}


def _rows(split: EncodedSplit) -> list[Any]:
    """The number of rows of a split, and a digest of their lengths."""
    lengths = np.asarray(split["length"]).astype(np.int64)
    return [len(lengths), hashlib.sha256(lengths.tobytes()).hexdigest()]


def changes(
    was: Mapping[str, Any],
    now: Mapping[str, Any],
    default: Mapping[str, Any] | None = None,
    run: str = "the run",
) -> list[str]:
    """A line for each thing that is not what it was; what is not known counts as unchanged.

    Args:
        was: what :func:`facts` or :func:`recorded` returned.
        now: what :func:`facts` or :func:`asked` returns now.
        default: defaults of the data module's options, for those that ``was`` does not have.
        run: the run, for the lines.

    >>> changes({"seed": 0}, {"seed": 5})
    ['seed_everything (--seed): the run began with 0, this is 5']
    """
    lines = []
    if "seed" in was and was["seed"] != now["seed"]:
        lines.append(_line("seed_everything (--seed)", was["seed"], now["seed"], run))
    if "trainer" in was:
        then = {name: was["trainer"].get(name, _limit(TRAINER[name])) for name in TRAINER}
        for name, value in now["trainer"].items():
            if value != then[name]:
                lines.append(_line(f"trainer.{name}", then[name], value, run))
    if "module" in was and "module" in now and was["module"] != now["module"]:
        return [*lines, _line("data.module", was["module"], now["module"], run)]
    if "data" in was and "data" in now:
        for name, pair in now["data"].items():
            then = was["data"].get(name, [plain((default or {}).get(name))] * 2)
            if not any(map(_same, then, pair)):
                lines.append(_line(f"data.{name}", _shown(then), _shown(pair), run))
    lines += _of_files(was, now, run)
    if was.get("libraries") == now.get("libraries"):
        for name, digest in was.get("made_with", {}).items():
            if now.get("made_with", {}).get(name, digest) != digest:
                lines.append(f"model.backbone: its {name} is not the one that {run} began with")
    return lines or _of_rows(was, now, run)


def _of_files(was: Mapping[str, Any], now: Mapping[str, Any], run: str) -> list[str]:
    """Lines for the files of the splits; a test that is left out changes no row."""
    if "files" not in was or "files" not in now:
        return []
    lines = []
    for split in ("train", "validation", "test"):
        then, digest = was["files"].get(split), now["files"].get(split)
        if then == digest or (split == "test" and digest is None):
            continue
        if then is None:
            lines.append(f"data.{split} was not there when {run} began")
        elif digest is None:
            lines.append(f"data.{split} was there when {run} began, and is not now")
        else:
            lines.append(f"data.{split} was changed since {run} began")
    return lines


def _of_rows(was: Mapping[str, Any], now: Mapping[str, Any], run: str) -> list[str]:
    """Lines for rows that came out otherwise though no option or file was changed."""
    lines = []
    labels, these = was.get("labels"), now.get("labels")
    if labels is not None and these is not None and labels != these:
        lines.append(_line("data.labels", join_limited(labels), join_limited(these), run))
    for split, (count, lengths) in was.get("splits", {}).items():
        rows = now.get("splits", {}).get(split, [count, lengths])
        if rows != [count, lengths]:
            lines.append(
                f"data.{split}: these {rows[0]:,} rows are not the {count:,} that {run} began with,"
                " though no option or file was changed: another version may read them otherwise"
            )
    return lines


def _same(then: Any, now: Any) -> bool:
    """Whether two values mean the same; files do if their content is the same."""
    if isinstance(then, dict) and isinstance(now, dict) and "sha256" in then and "sha256" in now:
        return bool(then["sha256"] == now["sha256"])
    for one, other in ((then, now), (now, then)):  # of an older run only the path is known
        if isinstance(one, dict) and "sha256" in one and isinstance(other, str):
            return Path(one["file"]).name == Path(other).name
    return bool(then == now)


def _shown(pair: list[Any]) -> str:
    given, value = pair
    if isinstance(given, dict) and "file" in given:
        return str(given["file"])
    if given is None and value is not None:
        return f"its default, {value}"
    return "null" if given is None else str(given)


def _line(option: str, then: Any, now: Any, run: str) -> str:
    return f"{option}: {run} began with {then}, this is {now}"
