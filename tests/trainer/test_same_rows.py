"""What decides the rows of a run cannot change when it resumes; all else can."""

from __future__ import annotations

import copy
import inspect
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
from conftest import each, make_bert, toy_rows, write_csv
from resuming import SignalAt, run

import ftlight
from ftlight import Trainer
from ftlight.__main__ import main
from ftlight.data.module import DataModule
from ftlight.models import loading
from ftlight.tasks import HOMES
from ftlight.tasks.text_classification.data import TextData
from ftlight.tasks.text_classification.task import TextClassification
from ftlight.trainer import same_rows
from ftlight.trainer.resume import Last
from ftlight.training import checkpoint
from ftlight.training.signals import RunInterrupted
from ftlight.utils.arguments import defaults
from ftlight.utils.errors import UserError

ROWS, BATCH = 54, 4  # of train, after a tenth of 60 is held out
STOP = 5  # of 14 steps of an epoch

# Pure functions

WAS = {
    "seed": 0,
    "trainer": dict.fromkeys(same_rows.TRAINER, "1"),
    "module": "TextData",
    "data": {"max_length": [None, 64], "text": ["text", ["text"]], "items": [None, None]},
    "files": {"train": "a", "test": "t"},
    "made_with": {"tokenizer": "k"},
    "libraries": {"tokenizers": "1"},
    "labels": ["x", "y"],
    "splits": {"train": [9, "d"]},
}
FILE = {"file": "/here/items.csv", "sha256": "s"}
OTHER: list[tuple[str, dict[str, Any], list[str]]] = [
    ("nothing", {}, []),
    ("what is not known", {"seed": 0, "trainer": {}}, []),
    ("the seed", {"seed": 1}, ["seed_everything (--seed): the run began with 0, this is 1"]),
    (
        "a default",
        {"data": {"max_length": [32, 32]}},
        ["data.max_length: the run began with its default, 64, this is 32"],
    ),
    ("the same as the default", {"data": {"max_length": [64, 64]}}, []),
    ("another spelling", {"data": {"text": [["text"], ["text"]]}}, []),
    ("a later option at its default", {"data": {"newer": [1, 1]}}, []),
    (
        "a later option",
        {"data": {"newer": [2, 2]}},
        ["data.newer: the run began with 1, this is 2"],
    ),
    (
        "a share is no number",
        {"trainer": {"limit_train_batches": "1.0"}},
        ["trainer.limit_train_batches: the run began with 1, this is 1.0"],
    ),
    (
        "a file",
        {"files": {"train": "b", "test": "t"}},
        ["data.train was changed since the run began"],
    ),
    ("no test", {"files": {"train": "a"}}, []),
    (
        "a test",
        {"files": {"train": "a", "test": "u"}},
        ["data.test was changed since the run began"],
    ),
    (
        "a validation",
        {"files": {"train": "a", "test": "t", "validation": "v"}},
        ["data.validation was not there when the run began"],
    ),
    (
        "the tokenizer",
        {"made_with": {"tokenizer": "l"}},
        ["model.backbone: its tokenizer is not the one that the run began with"],
    ),
    (
        "the tokenizer as another version writes it",
        {"made_with": {"tokenizer": "l"}, "libraries": {"tokenizers": "2"}},
        [],
    ),
    ("labels", {"labels": ["y", "x"]}, ["data.labels: the run began with x, y, this is y, x"]),
    (
        "what reads the rows",
        {"splits": {"train": [9, "e"]}},
        [
            "data.train: these 9 rows are not the 9 that the run began with, though no option or"
            " file was changed: another version may read them otherwise"
        ],
    ),
    (
        "another class",
        {"module": "Mine", "data": {"max_length": [3, 3]}},
        ["data.module: the run began with TextData, this is Mine"],
    ),
]


@pytest.mark.parametrize(("what", "change", "lines"), OTHER, ids=[case[0] for case in OTHER])
def test_a_line_for_each_change(what: str, change: dict[str, Any], lines: list[str]) -> None:
    now = copy.deepcopy(WAS)
    for key, value in change.items():
        now[key] = {**now[key], **value} if isinstance(value, dict) and key == "data" else value
    assert same_rows.changes(WAS, now, {"newer": 1}) == lines
    assert same_rows.changes({}, now, {"newer": 1}) == []


def test_files_are_known_by_their_content_and_folders_by_their_place(tmp_path: Path) -> None:
    first, moved = tmp_path / "items.csv", tmp_path / "there" / "moved.csv"
    moved.parent.mkdir()
    for file in (first, moved):
        file.write_text("a")
    assert same_rows._same(same_rows.plain(str(first)), same_rows.plain("there/moved.csv"))
    assert same_rows._same(same_rows.plain(str(first)), "/of/an/older/run/items.csv")
    moved.write_text("b")
    assert not same_rows._same(same_rows.plain(str(first)), same_rows.plain(moved))
    assert same_rows.plain("./there") == str(moved.parent)
    assert same_rows.plain("x" * 5000 + "/y") == "x" * 5000 + "/y"
    assert same_rows.plain((1, {"a": None, 2: [0.5]})) == [1, {"a": None, "2": [0.5]}]
    assert same_rows.plain(len) == "builtins.len"


def test_a_text_that_is_no_path_stays_as_it_is() -> None:
    texts = ["~~gone~~", "~nobody-here/x", "~nobody.here", "a/" * 5000, "a/\x00", "a/b.csv"]
    assert same_rows.plain(texts) == texts


def test_a_list_of_what_may_change_names_options() -> None:
    for name in HOMES:
        found = getattr(ftlight, name)
        if isinstance(found, type) and issubclass(found, DataModule):
            assert found.may_change <= defaults(found).keys(), name
    assert same_rows.TRAINER.keys() <= defaults(L.Trainer).keys()


def test_every_option_of_lightning_was_thought_about() -> None:
    """One that is new in a later version decides rows, or joins those that do not."""
    harmless = (
        # where it computes, and how
        "accelerator strategy devices num_nodes precision sync_batchnorm plugins deterministic"
        " benchmark inference_mode gradient_clip_val gradient_clip_algorithm detect_anomaly"
        " barebones"
        # when it ends and validates: the rows of an epoch stay
        " max_epochs min_epochs max_steps min_steps max_time val_check_interval"
        " check_val_every_n_epoch num_sanity_val_steps"
        # what is done once, or shown, or written
        " limit_test_batches limit_predict_batches logger callbacks log_every_n_steps profiler"
        " enable_checkpointing enable_progress_bar enable_model_summary default_root_dir"
        " enable_autolog_hparams model_registry"
        # always false; batches are a function of the epoch however often loaders are made
        " use_distributed_sampler reload_dataloaders_every_n_epochs"
        # sets the limits
        " fast_dev_run"
    ).split()
    options = set(inspect.signature(L.Trainer.__init__).parameters) - {"self"}
    assert options == {*harmless, *same_rows.TRAINER}


# Runs


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run ``r`` that was stopped within its first epoch, its data and its model."""
    home = tmp_path_factory.mktemp("stopped")
    make_bert(home / "bert", sentence_encoder=False)
    write_csv(home / "train.csv", toy_rows(60))
    write_csv(home / "test.csv", toy_rows(9))
    write_csv(home / "other.csv", toy_rows(60)[::-1])
    config = {
        "model": {"task": "TextClassification", "backbone": str(home / "bert"), "lr": 1e-3},
        "data": {"train": "train.csv", "test": "test.csv", "batch_size": BATCH},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "precision": "32-true",
            "enable_progress_bar": False,
        },
    }
    (home / "X.yaml").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(Last, "on_train_batch_start", signalled(STOP))
        with pytest.raises(RunInterrupted):
            main(["fit", "-c", "X.yaml", "--run", "r"])
    return home


def signalled(step: int) -> Any:
    """A hook that sends a signal before a step."""
    old = Last.on_train_batch_start

    def hook(self: Last, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == step:
            self.signals.received = signal.SIGTERM
        old(self, trainer, *rest)

    return hook


@pytest.fixture
def here(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, in which one stands."""
    shutil.copytree(stopped, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    yield tmp_path / "copy"
    loading.load_tokenizer.cache_clear()


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run, but its lock."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p): p.read_bytes() for p in files}


REFUSED = {  # what is asked for, and the option with what it was and what it is
    "--seed 5": ("seed_everything (--seed)", "0", "5"),
    "--data.split_seed 1": ("data.split_seed", "0", "1"),
    "--data.validation_split 0.2": ("data.validation_split", "0.1", "0.2"),
    "--data.test_split 0.1": ("data.test_split", "0.0", "0.1"),
    "--data.shots 3": ("data.shots", "null", "3"),
    "--data.max_length 16": ("data.max_length", "its default, 64", "16"),
    "--data.batch_size 8": ("data.batch_size", "4", "8"),
    "--data.tokens_per_batch 64": ("data.tokens_per_batch", "null", "64"),
    "--data.labels [late,good,bad]": (
        "data.labels",
        "its default, ['bad', 'good', 'late']",
        "['late', 'good', 'bad']",
    ),
    "--data.fold_labels true": ("data.fold_labels", "False", "True"),
    "--data.on_missing_label skip": ("data.on_missing_label", "error", "skip"),
    "--data.on_empty_text skip": ("data.on_empty_text", "keep", "skip"),
    "--data.encoding latin-1": ("data.encoding", "utf-8", "latin-1"),
    "--data.quotes none": ("data.quotes", "auto", "none"),
    "--data.kind multi": ("data.kind", "auto", "multi"),
    "--trainer.accumulate_grad_batches 2": ("trainer.accumulate_grad_batches", "1", "2"),
    "--trainer.limit_train_batches 1": ("trainer.limit_train_batches", "1.0", "1"),
    "--trainer.limit_val_batches 0.5": ("trainer.limit_val_batches", "1.0", "0.5"),
    "--trainer.overfit_batches 2": ("trainer.overfit_batches", "0", "2"),
}
OTHER_FILES = {
    "--data.train other.csv": "data.train was changed since r began; resume with it as it was",
    "--data.validation other.csv": "data.validation was not there when r began; resume",
    "--data.test other.csv": "data.test was changed since r began; other data are measured by:"
    " python -m ftlight test r --data.test",
}


@pytest.mark.run
def test_what_decides_the_rows_is_refused_in_a_line(here: Path, capsys: Any) -> None:
    before = content(here / "r")

    def check(words: str, line: str) -> None:
        capsys.readouterr()
        assert main(["fit", "--resume", "r", "--data.check", "off", *words.split()]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len([text for text in lines if line in text]) == 1, lines
        assert all("; " in text for text in lines)
        assert content(here / "r") == before

    lines = {words: f"{o}: r began with {a}, this is {b}; " for words, (o, a, b) in REFUSED.items()}
    each({**lines, **OTHER_FILES}.items(), check)


ALLOWED = [  # what leaves the rows alone, and other words for the same
    "--trainer.max_epochs 2 --trainer.patience 9 --trainer.save_every 3 --data.check off",
    "--trainer.val_check_interval 0.5 --trainer.log_every_n_steps 1 --model.nonfinite skip",
    "--data.test null --trainer.gradient_clip_val 0.5 --model.weight_decay 0.1",
    "--data.train there/moved.csv --data.max_length 64 --data.labels [bad,good,late]",
    "--data.validation_split 1e-1 --trainer.limit_train_batches 1.0 --data.kind single --seed 0",
]


@pytest.mark.run
@pytest.mark.parametrize("words", ALLOWED)
def test_all_else_may_change_and_every_row_is_seen_once(
    words: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "there").mkdir()
    shutil.copy("train.csv", "there/moved.csv")
    seen: list[int] = []
    old = Last.on_train_batch_start

    def hook(self: Last, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        old(self, trainer, task, batch, batch_idx)
        seen.extend(batch["index"] if trainer.current_epoch == 0 else [])

    monkeypatch.setattr(Last, "on_train_batch_start", hook)
    assert main(["fit", "--resume", "r", *words.split()]) == 0
    assert len(seen) == len(set(seen)) == ROWS - STOP * BATCH


@pytest.mark.run
def test_a_tokenizer_that_was_changed_on_the_disk(here: Path, capsys: Any) -> None:
    loading.load_tokenizer.cache_clear()
    shutil.move(here / "bert", here / "moved")
    words = ["fit", "--resume", "r", "--model.backbone", "moved"]
    file = here / "moved" / "tokenizer.json"
    text = file.read_text()
    rules = json.loads(text)
    vocabulary = rules["model"]["vocab"]
    vocabulary["order"], vocabulary["refund"] = vocabulary["refund"], vocabulary["order"]
    file.write_text(json.dumps(rules))
    assert main(words) == 2
    assert "model.backbone: its tokenizer is not the one that r began with" in (
        capsys.readouterr().err
    )
    loading.load_tokenizer.cache_clear()
    file.write_text(text)
    assert main(words) == 0


@pytest.mark.run
def test_a_config_that_was_edited_by_hand(here: Path, capsys: Any) -> None:
    file = here / "r" / "config.yaml"
    file.write_text(file.read_text().replace("split_seed: 0", "split_seed: 1"))
    assert main(["fit", "--resume", "r"]) == 2
    error = capsys.readouterr().err
    assert re.search(r"r/config\.yaml:\d+: data\.split_seed: r began with 0, this is 1; ", error)


@pytest.mark.run
def test_a_run_that_is_done_says_what_cannot_change_and_not_that_it_is_done(
    here: Path, capsys: Any
) -> None:
    assert main(["fit", "--resume", "r"]) == 0
    capsys.readouterr()

    def refused(words: str) -> None:
        assert main(["fit", "--resume", "r", *words.split()]) == 2
        said = capsys.readouterr()
        assert "is done" not in said.out
        assert "with these weights: --ckpt_path r/checkpoints/last.ckpt" in said.err

    each(["--seed 5", "--data.shots 2", "--trainer.limit_train_batches 3"], refused)
    file = here / "r" / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("seed_everything: 0", "seed_everything: 7"))
    refused("")
    file.write_text(text.replace("max_epochs: 2", "max_epochs: 3"))
    assert main(["fit", "--resume", "r"]) == 0
    assert "resuming from step 28, epoch 3" in capsys.readouterr().out
    assert main(["fit", "--resume", "r", "--seed", "0"]) == 0
    assert "r is done; nothing is left to do" in capsys.readouterr().out


@pytest.mark.run
def test_a_new_run_from_a_checkpoint_may_have_other_rows_at_the_end_of_an_epoch(
    here: Path, capsys: Any
) -> None:
    new = ["fit", "-c", "X.yaml", "--ckpt_path", "r/checkpoints/last.ckpt", "--run"]
    words = "--data.split_seed 1 --data.test other.csv --data.check off".split()
    words += ["--data.batch_size", "6"]
    assert main([*new, "within", *words]) == 2
    assert (
        "data.split_seed: r began with 0, this is 1;"
        " r/checkpoints/last.ckpt stands within an epoch: give it as it was"
        in capsys.readouterr().err
    )
    assert not Path("within").exists()
    assert main(["fit", "--resume", "r"]) == 0
    capsys.readouterr()
    assert main([*new, "more", *words, "--trainer.max_epochs", "3"]) == 0
    said = capsys.readouterr().out
    assert (
        "data.split_seed: r began with 0, this is 1:"
        " r/checkpoints/last.ckpt stands at the end of an epoch" in said
    )
    assert "data.test" not in said
    assert "resuming from step 28, epoch 3" in said


@pytest.mark.run
def test_a_run_without_a_checkpoint_begins_anew_with_what_is_asked_now(here: Path) -> None:
    shutil.rmtree(here / "r" / "checkpoints")
    assert main(["fit", "--resume", "r", "--seed", "4", "--data.train", "other.csv"]) == 0
    facts = json.loads((here / "r" / "run.json").read_text())
    assert facts["seed"] == 4
    rows = checkpoint.load(here / "r" / "checkpoints" / "last.ckpt")["ftlight"]["rows"]
    assert rows["seed"] == 4
    assert rows["files"] == facts["data_sha256"]


@pytest.mark.run
def test_a_checkpoint_of_0_1_is_compared_with_the_folder_of_its_run(
    here: Path, capsys: Any
) -> None:
    path = here / "r" / "checkpoints" / "last.ckpt"
    state = checkpoint.load(path)
    del state["ftlight"]["rows"]
    import torch

    torch.save(state, path)
    for words in ("--seed 5", "--data.split_seed 1", "--data.shots 3", "--data.train other.csv"):
        assert main(["fit", "--resume", "r", *words.split()]) == 2
        assert "began" in capsys.readouterr().err
    assert main(["fit", "--resume", "r", "--trainer.max_epochs", "3"]) == 0


class Mine(TextData):
    """Rows of which some are left out, by an option and by code that may change."""

    cut = 0

    def __init__(self, train: str | None = None, *, every: int = 1, **base: Any) -> None:
        super().__init__(train, **base)
        self.step = every

    def encode(self, table: Any, split: str) -> Any:
        return super().encode(table.select(range(0, len(table) - self.cut, self.step)), split)


@pytest.mark.run
def test_options_and_code_of_a_data_module_of_ones_own_count(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_csv(tmp_path / "t.csv", toy_rows(60))

    def fit(resume: bool, *callbacks: L.Callback, **options: Any) -> None:
        L.seed_everything(3, verbose=False)
        data = Mine(file, tokenizer=bert, batch_size=4, **options)
        trainer = Trainer(
            run="r",
            resume=resume,
            max_epochs=1,
            accelerator="cpu",
            callbacks=list(callbacks),
            enable_progress_bar=False,
        )
        trainer.fit(TextClassification(bert, labels=data.labels), datamodule=data)

    with pytest.raises(RunInterrupted):
        fit(False, SignalAt(2), every=2)
    with pytest.raises(UserError, match=r"^data\.every: r began with 2, this is 3; resume with"):
        fit(True, every=3)
    monkeypatch.setattr(Mine, "cut", 4)
    with pytest.raises(UserError, match=r"^data\.train: these 25 rows are not the 27 that r began"):
        fit(True, every=2)
    monkeypatch.setattr(Mine, "cut", 0)
    fit(True, every=2)


@pytest.mark.run
def test_what_is_kept_in_a_checkpoint_are_plain_values(bert: str, toy: str, tmp_path: Path) -> None:
    rows = {"train": toy}
    trainer = run(bert, rows, tmp_path / "r", {"trainer": {"max_epochs": 1}})
    kept = checkpoint.load(tmp_path / "r" / "checkpoints" / "last.ckpt")["ftlight"]["rows"]
    assert kept == json.loads(json.dumps(kept)) == trainer.run.rows
    assert kept["splits"]["train"][0] + kept["splits"]["validation"][0] == 60
    assert not {"workers", "log_text", "train", "tokenizer"} & kept["data"].keys()
    assert np.array_equal(kept["labels"], ["bad", "good", "late"])
