"""Verbs on a run that cannot be written, where one stands or not; exports that are cut off."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import make_bert, toy_rows, write_csv
from forked import Done, command, limit_files, obey_permissions

from ftlight.__main__ import main
from ftlight.models import saving
from ftlight.run import outputs
from ftlight.utils import atomic
from ftlight.utils.atomic_folder import atomic_folder
from ftlight.utils.errors import UserError

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run that nobody may write, with its test, and data beside it."""
    home = tmp_path_factory.mktemp("finished")
    make_bert(home / "bert", sentence_encoder=False)
    write_csv(home / "train.csv", toy_rows(60))
    write_csv(home / "test.csv", toy_rows(12))
    config = {
        "model": {"task": "TextClassification", "backbone": str(home / "bert")},
        "data": {"train": "train.csv", "test": "test.csv", "batch_size": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    (home / "X.yaml").write_text(json.dumps(config))
    assert main(["fit", "-c", str(home / "X.yaml"), "--run", str(home / "r")]) == 0
    folders = [home / "r", *(p for p in (home / "r").rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield home / "r"
    for folder in folders:
        folder.chmod(0o755)


Verbs = Callable[..., Done]


@pytest.fixture
def verb(tmp_path: Path) -> Verbs:
    """Runs a verb as somebody who obeys permissions, in a folder of its own."""
    (tmp_path / "here").mkdir()
    return functools.partial(_verb, tmp_path / "here")


def _verb(here: Path, *words: str | Path) -> Done:
    return command([str(word) for word in words], here, before=obey_permissions)


def listed(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_what_a_run_cannot_take_goes_where_one_stands(
    run: Path, verb: Verbs, tmp_path: Path
) -> None:
    here, before = tmp_path / "here", listed(run)
    test = run.parent / "test.csv"
    done = verb("predict", run, test)
    assert (done.returncode, done.stdout) == (
        0,
        "12 predictions in r-results/predictions/test.csv\n",
    )
    done = verb("test", run)
    assert done.returncode == 0
    assert "cannot be written: the files of the test are in r-results" in done.stdout
    for name in ("test_metrics.json", "test_predictions.csv"):
        assert (here / "r-results" / name).read_text() == (run / name).read_text()
    assert verb("validate", run).returncode == 0
    done = verb("export", run)
    assert (done.returncode, done.stdout) == (
        0,
        f"{here}/r-results/export: its README.md says how to load it\n",
    )
    assert (here / "r-results" / "export" / "README.md").is_file()
    assert verb("predict", run, test, "--out", "mine.csv").returncode == 0
    assert listed(run) == before


def test_where_nothing_can_be_written_a_line_says_so_before_the_work(
    run: Path, verb: Verbs, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.chmod(0o555)
    test = run.parent / "test.csv"
    for words in (["predict", run, test], ["export", run], ["export", run, "--out", "mine"]):
        done = verb(*words)
        assert done.returncode == 2
        assert "cannot be written; give a place that can with --out" in done.stdout
        assert len(done.stdout.splitlines()) == 1
    done = verb("test", run)
    assert done.returncode == 0
    assert "nor this folder can be written: results are only shown" in done.stdout
    assert verb("validate", run).returncode == 0
    assert verb("predict", run, "--text", "my order").returncode == 0
    out = tmp_path / "out.csv"
    assert verb("predict", run, test, "--out", out).returncode == 0
    assert len(out.read_text().splitlines()) == 13
    done = verb("fit", "-c", run.parent / "X.yaml")
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1)
    assert "cannot be created (Permission denied); give another with --run DIR" in done.stdout
    done = verb("fit", "--resume", run, "--trainer.max_epochs", "2")
    assert done.returncode == 2
    assert done.stdout.endswith("r cannot be written; resume a copy of it\n")
    here.chmod(0o755)


def test_home_and_temporary_folders_are_not_needed(run: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    nowhere = {name: str(closed) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    for words in (["--version"], ["fit", "--help"], ["predict", str(run), "--text", "my order"]):
        done = command(words, closed, before=obey_permissions, **nowhere)
        assert done.returncode == 0, done.stdout
    closed.chmod(0o755)


def test_a_place_is_told_by_the_folder_that_would_hold_it(tmp_path: Path) -> None:
    assert outputs.home(tmp_path) == tmp_path
    assert outputs.is_writable(tmp_path / "a" / "b" / "c")
    (tmp_path / "file").write_text("")
    assert not outputs.is_writable(tmp_path / "file" / "b")
    for wrong in (tmp_path, Path("/dev/null")):
        with pytest.raises(UserError, match="is there and is no file"):
            outputs.check(wrong)
    outputs.check(tmp_path / "file")


# Exports


def _killed_within() -> None:
    old = saving.write_tokenizer

    def killed(*rest: object) -> None:
        old(*rest)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)

    saving.write_tokenizer = killed  # type: ignore[assignment]


def test_half_an_export_never_blocks_the_next(run: Path, tmp_path: Path) -> None:
    words = ["export", str(run), "--out", "mine"]
    assert command(words, tmp_path, before=_killed_within).returncode == -signal.SIGKILL
    parts = [p.name for p in tmp_path.iterdir() if p.name.startswith("mine")]
    assert len(parts) == 1
    assert parts[0].endswith(".part")
    (tmp_path / "mine").mkdir()  # an empty folder is taken
    (tmp_path / "mine.of.mine.part").mkdir()  # not a part of an export
    assert command(words, tmp_path).returncode == 0
    assert (tmp_path / "mine" / "README.md").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "mine.of.mine.part"]
    done = command(words, tmp_path)
    assert done.returncode == 2
    assert "mine is there already and not empty; give another with --out DIR" in done.stdout


@pytest.mark.parametrize("size", [1000, 10_000, 100_000])
def test_a_full_disk_leaves_nothing_of_an_export(run: Path, tmp_path: Path, size: int) -> None:
    words = ["export", str(run), "--out", "mine"]
    done = command(words, tmp_path, before=functools.partial(limit_files, size))
    assert done.returncode == 74, done.stdout
    assert "mine cannot be written: File too large; nothing of it is left" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_parts_of_folders_are_swept_as_those_of_files(tmp_path: Path) -> None:
    part = tmp_path / atomic.part_of(Path("export")).name.replace(str(os.getpid()), "999999")
    (part / "deep").mkdir(parents=True)
    (part / "deep" / "file").write_text("half")
    atomic.remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == []

    def broken_off() -> None:
        with atomic_folder(tmp_path / "made") as made:
            (made / "file").write_text("half")
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        broken_off()
    assert list(tmp_path.iterdir()) == []
