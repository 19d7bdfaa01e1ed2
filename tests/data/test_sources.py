"""One name for a file or a split of a hub data set."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from conftest import write_csv

from ftlight.data import files, hub
from ftlight.data.sources import Source
from ftlight.utils.errors import UserError


@pytest.fixture
def hub_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tags": datasets.List(datasets.ClassLabel(names=["O", "B"])),
            "unread": datasets.Value("int64"),
        }
    )
    rows = {"text": ["a", "b"], "label": [1, -1], "tags": [[0, 1], []], "unread": [1, 2]}
    splits = {"train": datasets.Dataset.from_dict(rows, features)}
    monkeypatch.setattr(hub, "load_hub", lambda name: splits)


@pytest.mark.usefixtures("hub_rows")
def test_a_hub_split_gives_the_columns_asked_for_with_names_of_classes() -> None:
    source = Source("hf:some/set", "train")
    assert source.on_hub
    assert source.suffix == ""
    assert source.columns() == ["text", "label", "tags", "unread"]
    assert list(source.rows(["text"], ["label", "tags", "missing"])) == [
        {"text": "a", "label": "good", "tags": ["O", "B"], files.LINE: 1},
        {"text": "b", "label": -1, "tags": [], files.LINE: 2},
    ]


@pytest.mark.usefixtures("hub_rows")
def test_a_hub_data_set_names_its_splits_and_columns() -> None:
    with pytest.raises(UserError) as error:
        list(Source("hf:some/set", "trian").rows(["text"]))
    message = 'hf:some/set has no split trian; did you mean "train"? (splits: train)'
    assert str(error.value) == message
    with pytest.raises(UserError, match=r'no column txt; did you mean "text"\?'):
        list(Source("hf:some/set", "train").rows(["txt"]))


def test_a_file_gives_all_its_columns() -> None:
    write_csv(Path("a.csv"), [("x", "y")], ("text", "label"))
    source = Source("a.csv", "train")
    assert not source.on_hub
    assert source.suffix == ".csv"
    assert source.digest() == files.sha256(source.path)
    assert list(source.rows(["text"])) == [{"text": "x", "label": "y", files.LINE: 2}]


def test_errors_name_the_option_and_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"^data\.validation: b\.csv: no such file"):
        _ = Source("b.csv", "validation").path
    with pytest.raises(UserError, match=r"^data\.items: b\.csv: no such file"):
        _ = Source("b.csv", "train", option="data.items").path
    with pytest.raises(UserError, match=r"^b\.csv: no such file"):
        _ = Source("b.csv").path
    write_csv(Path("b.csv"), [], ("text", "label"))
    with pytest.raises(UserError, match=r"^b\.csv has no rows"):
        list(Source("b.csv", "train").rows(["text"]))
