"""The copy that datasets keeps of a data set is not used if it is no longer what it was."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import datasets
import pytest
from conftest import each, write_csv
from damage import damaged

from ftlight.data import hub, hub_cache
from ftlight.utils.errors import UserError

TEXTS = [f"row number {n}" for n in range(400)]


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set that is loaded as those of the hub are."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    # the parameter of load_dataset has the old place as its default
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *words, **more: load(*words, **more, cache_dir=str(cache))
    )
    (tmp_path / "set").mkdir()
    write_csv(tmp_path / "set" / "train.csv", [(text, "a") for text in TEXTS])
    return f"hf:{tmp_path / 'set'}"


def texts(name: str) -> list[str]:
    hub_cache.remove_damaged.cache_clear()  # as a new process
    return [row["text"] for row in hub.read_hub(name, "train", ["text"])]


def test_a_damaged_copy_is_made_again(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ftlight")
    assert texts(name) == TEXTS
    (file,) = Path(datasets.config.HF_DATASETS_CACHE).glob("*/*/*/*/*.arrow")
    whole = file.read_bytes()

    def check(damage: str, content: bytes) -> None:
        file.write_bytes(content)
        caplog.clear()
        assert texts(name) == TEXTS
        (line,) = [record.getMessage() for record in caplog.records]
        assert line == f"{file}: its checksum is wrong; the data set is loaded again"
        caplog.clear()
        assert texts(name) == TEXTS
        assert not caplog.records

    each(damaged(whole, bytes(3000)), check)
    shutil.rmtree(file.parent)
    assert texts(name) == TEXTS


def test_a_damaged_copy_that_cannot_be_deleted_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts(name)
    (file,) = Path(datasets.config.HF_DATASETS_CACHE).glob("*/*/*/*/*.arrow")
    file.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
    with pytest.raises(UserError, match="is damaged and cannot be deleted"):
        texts(name)
