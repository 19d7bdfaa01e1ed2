"""Stored activations that are damaged, deleted or not to be written: weights stay the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import each, toy_rows, write_csv
from damage import damaged, largest_file
from forked import command, group

from ftlight import TextClassification, TextData, Trainer
from ftlight.freezing import callback
from ftlight.freezing.room import cache_dir
from ftlight.training import checkpoint


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "kept"))
    write_csv(tmp_path / "train.csv", toy_rows(40))


def weights(backbone: str, folder: Path, unfreeze: Any = "last:1", *callbacks: Any) -> Any:
    """Trains a tiny run. Returns its weights."""
    L.seed_everything(0, verbose=False)
    rows = TextData(train=str(folder.parent / "train.csv"), tokenizer=backbone, batch_size=8)
    task = TextClassification(backbone, labels=rows.labels, unfreeze=unfreeze, cache=True)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        precision="32-true",
        run=str(folder),
        callbacks=list(callbacks),
        enable_progress_bar=False,
        test=False,
    )
    trainer.fit(task, datamodule=rows)
    return task.state_dict()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


class At(L.Callback):
    """Does something once, before a step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act = step, act

    def on_train_batch_start(self, trainer: Any, task: Any, *batch: Any) -> None:
        if trainer.global_step == self.step:
            assert callback.of(trainer).prefix_cache.stores
            self.act()


@pytest.mark.run
def test_a_damaged_store_is_made_again_and_changes_nothing(
    still: str, tmp_path: Path, capsys: Any
) -> None:
    weights(still, tmp_path / "other", "last:2")
    (other,) = cache_dir().glob("*.bin")
    first = weights(still, tmp_path / "first")
    (file,) = set(cache_dir().glob("*.bin")) - {other}
    whole = file.read_bytes()
    capsys.readouterr()

    def check(name: str, content: bytes) -> None:
        file.write_bytes(content)
        assert same(weights(still, tmp_path / name), first)
        out = capsys.readouterr().out
        assert out.count(f"{file}: it") == out.count("; it is made again") == 1
        assert "computed once now" in out
        assert "run at every step" not in out
        assert file.read_bytes() == whole
        assert sorted(cache_dir().iterdir()) == sorted([file, other])

    each(list(damaged(whole, other.read_bytes()))[::2], check)  # test_sealed.py tries every bit
    assert same(weights(still, tmp_path / "again"), first)
    assert "kept from an earlier run" in capsys.readouterr().out


@pytest.mark.run
def test_a_store_that_is_open_can_be_deleted_or_replaced(still: str, tmp_path: Path) -> None:
    first = weights(still, tmp_path / "first")
    (file,) = cache_dir().glob("*.bin")
    whole = file.read_bytes()

    def replace() -> None:
        (tmp_path / "new").write_bytes(bytes(len(whole)))
        (tmp_path / "new").replace(file)

    def check(name: str, kept: bool, act: Callable[[], object]) -> None:
        file.write_bytes(whole) if kept else file.unlink(missing_ok=True)
        assert same(weights(still, tmp_path / f"{name} {kept}", "last:1", At(2, act)), first)

    each(
        [
            (name, kept, act)
            for name, act in {"deleted": file.unlink, "replaced": replace}.items()
            for kept in (True, False)
        ],
        check,
    )


@pytest.mark.run
def test_without_room_or_home_frozen_layers_run(
    still: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    write_csv(tmp_path / "train.csv", toy_rows(1500))  # the store is larger than a checkpoint

    def check(name: str, said: str) -> None:
        if name == "homeless":
            monkeypatch.setenv("FTLIGHT_CACHE", "~nobody-by-this-name/cache")
        with largest_file(1 << 20) if name == "full" else contextlib.nullcontext():
            weights(still, tmp_path / name, "last:1")
        out = capsys.readouterr().out
        assert out.count("the frozen layers run at every step of train") == 1
        assert said in out
        assert not list(tmp_path.glob("kept/*"))

    each(
        [
            ("full", "kept cannot be written (File too large)"),
            ("homeless", "there is no home folder to keep it in; set FTLIGHT_CACHE"),
        ],
        check,
    )


# Several processes


def together(home: Path, backbone: str, run: str, *ranks: dict[str, str], **trainer: Any) -> str:
    """Trains in processes that start at the same time. Returns what they printed.

    Args:
        home: folder of the data.
        backbone: the backbone.
        run: name of the run; with ``{}`` each process makes one of its own.
        ranks: environment of each process.
        trainer: options of the trainer.
    """
    options = {"max_epochs": 2, "accelerator": "cpu", "precision": "32-true", "test": False}
    config = {
        "model": {"task": "TextClassification", "backbone": backbone, "unfreeze": "last:1"},
        "data": {"train": str(home / "train.csv"), "batch_size": 8},
        "trainer": {**options, "enable_progress_bar": False, **trainer},
    }
    config["model"]["cache"] = True
    (home / "X.yaml").write_text(json.dumps(config))

    def start(number: int) -> str:
        words = ["fit", "-c", "X.yaml", "--run", run.format(number)]
        done = command(words, home, 120, **ranks[number])
        assert done.returncode == 0, done.stdout
        return done.stdout

    with ThreadPoolExecutor() as pool:
        return "".join(pool.map(start, range(len(ranks))))


def last(folder: Path) -> dict[str, Any]:
    return dict(checkpoint.load(folder / "checkpoints" / "last.ckpt")["state_dict"])


@pytest.mark.run
@pytest.mark.processes
def test_runs_that_make_the_same_store_at_once_end_the_same(still: str, tmp_path: Path) -> None:
    out = together(tmp_path, still, "run{}", {}, {})
    assert "run at every step" not in out
    assert same(last(tmp_path / "run0"), last(tmp_path / "run1"))
    assert [file.suffix for file in cache_dir().iterdir()] == [".bin"]


@pytest.mark.run
@pytest.mark.processes
def test_processes_agree_on_damage_that_one_of_them_sees(still: str, tmp_path: Path) -> None:
    two = {"devices": 2}
    out = together(tmp_path, still, "first", *group(1), **two)
    assert "computed once now" in out
    (file,) = cache_dir().iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    out = together(tmp_path, still, "cut", *group(1), **two)
    assert out.count("its end is missing; it is made again") == 1
    assert same(last(tmp_path / "cut"), last(tmp_path / "first"))

    nodes = {"devices": 1, "num_nodes": 2}
    out = together(tmp_path, still, "shared", *group(2), **nodes)
    assert "kept from an earlier run" in out
    file.unlink()
    together(tmp_path, still, "two", *group(2), **nodes)  # both fill it, each a part of its own
    assert list(cache_dir().iterdir()) == [file]

    def apart(name: str, *folders: Path) -> str:
        pairs = zip(group(2), folders, strict=True)
        ranks = [{**rank, "FTLIGHT_CACHE": str(folder)} for rank, folder in pairs]
        return together(tmp_path, still, name, *ranks, **nodes)

    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / file.name
    other.write_bytes(bytes(100))
    out = apart("damaged", file.parent, other.parent)
    assert f"{other}: its end is missing; it is made again" in out
    assert other.read_bytes() == file.read_bytes()
    for name in ("shared", "two", "damaged"):
        assert same(last(tmp_path / name), last(tmp_path / "first"))
    (tmp_path / "no folder").write_text("")
    out = apart("none", file.parent, tmp_path / "no folder")
    assert "the frozen layers run at every step of train" in out
    assert "no folder cannot be written" in out
