"""Data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftlight.data import hub_cache
from ftlight.data.files import LINE, Row, need
from ftlight.utils.errors import UserError, first_line, unknown

PREFIX = "hf:"


def load_hub(name: str) -> Any:
    """All splits of ``hf:OWNER/REPO[:CONFIG][@REVISION]``, from the hub or its local cache.

    Raises:
        UserError: the data set cannot be loaded.
    """
    import datasets

    repo, config, revision = parse_hub(name)
    hub_cache.remove_damaged(name)
    try:
        splits = datasets.load_dataset(repo, config, revision=revision)
        hub_cache.remember(name, splits.values())
        return splits
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise UserError(
            f"{name}: cannot be loaded from the hub ({first_line(error)});"
            " check the name and the network"
        ) from error


def load_split(name: str, split: str) -> Any:
    """One split of a hub data set.

    Raises:
        UserError: the data set cannot be loaded, or has no such split.
    """
    splits = load_hub(name)
    if split not in splits:
        raise UserError(unknown(f"{name} has no split", split, splits, "splits"))
    return splits[split]


def read_hub(
    name: str, split: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Row]:
    """Yields the rows of a split of a hub data set, class labels as their names.

    Args:
        name: the data set.
        split: its split.
        columns: columns it must have; of a dotted one the column that holds it.
        optional: columns that are read too if it has them; all others are not read.

    Raises:
        UserError: the data set cannot be loaded, or has no such split or column.
    """
    table = load_split(name, split)
    roots = {c: c if c in table.features else c.partition(".")[0] for c in (*columns, *optional)}
    need(table.features, [roots[column] for column in columns], name)
    further = [roots[column] for column in optional if roots[column] in table.features]
    table = table.select_columns(list(dict.fromkeys([*(roots[c] for c in columns), *further])))
    names = {column: class_names(feature) for column, feature in table.features.items()}
    for number, row in enumerate(table, 1):
        yield {**{c: named(value, names[c]) for c, value in row.items()}, LINE: number}


def class_names(feature: Any) -> list[str] | None:
    """The names of a column of class labels, or of lists of them; None for any other."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def named(value: Any, names: Sequence[str] | None) -> Any:
    """A cell with names in place of numbers of classes.

    >>> named([1, 0], ["a", "b"]), named(None, ["a", "b"]), named(3, None)
    (['b', 'a'], None, 3)
    """
    if names is None:
        return value
    if isinstance(value, list):
        return [named(item, names) for item in value]
    return names[value] if isinstance(value, int) and value >= 0 else value


def parse_hub(name: str) -> tuple[str, str | None, str | None]:
    """Splits the name of a hub data set into repository, config and revision.

    >>> parse_hub("hf:fancyzhx/ag_news:default@main")
    ('fancyzhx/ag_news', 'default', 'main')
    """
    rest, _, revision = name.removeprefix(PREFIX).partition("@")
    repo, _, config = rest.partition(":")
    return repo, config or None, revision or None
