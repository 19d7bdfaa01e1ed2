"""Data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftlight.data.files import LINE, Row, need
from ftlight.utils.errors import UserError, did_you_mean, join_limited


def load_hub(name: str) -> Any:
    """All splits of a hub data set, ``hf:OWNER/REPO[:CONFIG][@REVISION]``, from the hub or its local cache.

    Raises:
        UserError: the data set cannot be had.
    """
    import datasets

    repo, config, revision = parse_hub(name)
    try:
        return datasets.load_dataset(repo, config, revision=revision)
    except (
        Exception
    ) as error:  # the hub's client raises a dozen unrelated kinds; all mean: not to be had
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{name}: cannot be loaded from the hub ({why}); check the name and the network"
        ) from error


def read_hub(name: str, split: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yields the rows of a split of a hub data set, only some columns, class labels as their names.

    Raises:
        UserError: the data set cannot be had, or has no such split.
    """
    import datasets

    found = load_hub(name)
    if split not in found:
        raise UserError(
            f"{name} has no split {split}{did_you_mean(split, found)} (splits: {join_limited(found)})"
        )
    need(found[split].features, columns, name)
    table = found[split].select_columns(list(dict.fromkeys(columns)))
    names = {k: f.names for k, f in table.features.items() if isinstance(f, datasets.ClassLabel)}
    for number, row in enumerate(table, 1):
        yield {
            **{
                k: names[k][v] if k in names and v is not None and v >= 0 else v
                for k, v in row.items()
            },
            LINE: number,
        }


def parse_hub(name: str) -> tuple[str, str | None, str | None]:
    """Splits a hub data set's name.

    >>> parse_hub("hf:fancyzhx/ag_news:default@main")
    ('fancyzhx/ag_news', 'default', 'main')
    """
    rest, _, revision = name.removeprefix("hf:").partition("@")
    repo, _, config = rest.partition(":")
    return repo, config or None, revision or None
