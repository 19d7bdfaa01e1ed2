"""The full audit: what a frozen pass of the model adds to what texts and tables alone tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.nn.functional import normalize

from ftlight.data.duplicates import place
from ftlight.data.files import LINE
from ftlight.data.findings import Finding, Level, count_of, ordered
from ftlight.data.labelled import Labelled
from ftlight.data.module import DataModule
from ftlight.data.near import CLOSE
from ftlight.evidence import labels, neighbours, pictures, twins
from ftlight.evidence.drift import drift
from ftlight.evidence.familiar import UNUSUAL
from ftlight.evidence.vectors import Read, Rows
from ftlight.task import Task
from ftlight.utils.errors import UserError, shortened


def full(trainer: Any, task: Task, data: DataModule) -> list[Finding]:
    """Audits the splits of a data module by the vectors of their rows.

    Args:
        trainer: a trainer of one process.
        task: the task.
        data: its data module, set up for training.

    Raises:
        UserError: the model gives no vector of a row.
    """
    read = _read(trainer, task, data, [split for split in data.sets if split != "predict"])
    return [
        *_labels(data, read["train"]),
        *_twins(data, read),
        *_drift(read),
        *_strangers(data, read),
    ]


def compare(trainer: Any, task: Task, data: DataModule) -> list[Finding]:
    """Compares rows to predict with those of train.

    Args:
        trainer: a trainer of one process.
        task: the task, with the weights of a run.
        data: its data module, with rows to predict.

    Raises:
        UserError: the model gives no vector of a row.
    """
    read = _read(trainer, task, data, ["train", "predict"])
    new, train = (normalize(read[split].vectors) for split in ("predict", "train"))
    usual = neighbours.familiarity(train).quantile(UNUSUAL)
    familiar = neighbours.familiarity(new, train)
    strange = familiar.argsort(stable=True)[: int((familiar < usual).sum())].tolist()
    lines = [row.get(LINE, 0) for row in data.rows("predict", strange)]
    share = len(strange) / len(new)
    message = (
        f"{share:.1%} of {len(new):,} rows look unlike anything in training,"
        f" of train's own {UNUSUAL:.0%}"
    )
    level: Level = "look" if share > 2 * UNUSUAL else "know"
    drifts = [finding._replace(split="new") for finding in _drift(read)]
    return ordered([Finding(level, "stranger", "new", message, len(strange), lines), *drifts])


def _read(trainer: Any, task: Task, data: DataModule, splits: Sequence[str]) -> dict[str, Read]:
    try:
        reader = Rows(trainer, task, data)
        read = {split: reader.read(split) for split in splits}
        reader.close()
    except ValueError as error:
        raise UserError(f"the model gives no vector of a row: {error}") from None
    return read


def _labels(data: DataModule, train: Read) -> Iterator[Finding]:
    """Labels of train that are in doubt, or that cannot be judged."""
    if not isinstance(data, Labelled):
        return
    numbers = data.sets["train"].targets
    targets = data.targets(numbers)
    try:
        found = labels.doubt(train.vectors, targets, data.kind, len(data.labels), data.split_seed)
    except ValueError:
        return  # too few rows to hold any out
    if not found.can_judge:
        yield Finding(
            *("know", "label", "train"),
            f"labels cannot be judged: a head that has not seen the row agrees with"
            f" {found.agreed:.0%} of them, always the most frequent label with {found.chance:.0%}",
            len(targets),
        )
        return
    doubted = found.doubted.tolist()
    if not doubted:
        return
    places = data.places("train")
    far = "is sure of another label"
    if data.kind == "regression":
        far = f"is more than {labels.FAR:.0f} usual errors off"
    yield Finding(
        *("look" if found.sure else "know", "label", "train"),
        f"a head that has not seen the row agrees with {found.agreed:.0%} of the labels, and {far}"
        f" in {count_of(found.sure, len(targets))}",
        *(found.sure, [places[row] for row in doubted]),
        _doubted(data, doubted[0], int(found.likely[doubted[0]])),
        "look at these first: --out lists all in doubt, the most doubtful first",
    )


def _doubted(data: DataModule, row: int, likely: int) -> str:
    """A row with its label, and the likely one."""
    names, shown = data.labels, str(data.rows("train", [row])[0]["label"])
    instead = f", likely {names[likely]!r}" if names and likely >= 0 else ""
    return f"{_row(data, 'train', row)}: {shown!r}{instead}"


def _row(data: DataModule, split: str, row: int) -> str:
    """Where a row was read, and how it begins."""
    parts = data.row_texts(data.load_split(split))
    text = f" {shortened(parts[0][row])!r}" if parts else ""
    return f"{place(data.places(split)[row])}{text}"


def _twins(data: DataModule, read: Mapping[str, Read]) -> Iterator[Finding]:
    """Rows of validation and test that are like one of train, which the fast audit did not see."""
    train = read["train"]
    for split, own in read.items():
        if split == "train":
            continue
        known = data.audited.twins.get(split)
        pairs = _pairs(data, split, train, own)
        found = sorted(row for row in pairs if known is None or known[row] < CLOSE)
        if found:
            row = found[0]
            yield Finding(
                *("look", "twin", split),
                f"{count_of(len(found), len(own.vectors))} more are like one of train",
                *(len(found), [data.places(split)[row] for row in found]),
                f"{_row(data, split, row)} and {_row(data, 'train', pairs[row])} of train",
            )


def _pairs(data: DataModule, split: str, train: Read, own: Read) -> dict[int, int]:
    """Rows of a split with their twin in train."""
    if own.marks is not None and train.marks is not None:
        return dict(reversed(pictures.twins(own.marks, train.marks)))
    tables = data.load_split(split), data.load_split("train")
    mine, others = (data.row_texts(table) for table in tables)
    if mine is None or others is None:
        return {}
    near = neighbours.nearest(normalize(own.vectors), normalize(train.vectors), neighbours.TWINS)
    return twins.find(mine, others, near.rows.numpy(), near.cosines.numpy())


def _drift(read: Mapping[str, Read]) -> Iterator[Finding]:
    """Splits that are of another kind than train."""
    for split, own in read.items():
        if split == "train":
            continue
        try:
            found = drift(read["train"].vectors, own.vectors)
        except ValueError:
            continue
        chance = f"by chance 0.5 ± {1.96 * found.error:.3f}"
        message = f"a head tells its rows from those of train with an area of {found.area:.3f}"
        yield Finding(
            *("look" if found.alarms else "know", "drift", split),
            f"{message} ({chance}, {found.rows:,} rows of each)",
            len(own.vectors),
            option="see what differs: other labels, sources or times" if found.alarms else "",
        )


def _strangers(data: DataModule, read: Mapping[str, Read]) -> Iterator[Finding]:
    """Rows that are unlike all others of train."""
    train = normalize(read["train"].vectors)
    if len(train) <= neighbours.STRANGER:
        return
    for split, own in read.items():
        others = None if split == "train" else train
        familiar = neighbours.familiarity(normalize(own.vectors), others)
        found = neighbours.strangers(familiar).tolist()
        if found:
            yield Finding(
                *("look", "stranger", split),
                f"{count_of(len(found), len(own.vectors))} are unlike all others of train",
                *(len(found), [data.places(split)[row] for row in found]),
                _row(data, split, found[0]),
            )
