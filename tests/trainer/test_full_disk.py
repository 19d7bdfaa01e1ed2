"""A full disk at each file of a run: the run says what is missing, and goes on as if it never was.

scripts/bench/faults/disk.py does the same with many sizes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import Run, each
from forked import command
from resuming import SignalAt, differences, everything, run

from ftlight.__main__ import main
from ftlight.run import loggers
from ftlight.training import checkpoint
from ftlight.training.signals import EXIT_UNSAVED
from ftlight.utils import atomic, atomic_folder
from ftlight.utils.errors import WriteError

pytestmark = pytest.mark.run
# at steps 2, 4 and 6, with validations at 3 and 6; there is no previous.ckpt to give up before 4
HOW: dict[str, Any] = {"model": {"cache": False}, "trainer": {"save_every": 2}}
STOP: dict[str, Any] = {**HOW, "trainer": {"save_every": 2, "unsaved": "stop"}}


@pytest.fixture(scope="module")
def whole(drops: str, rows: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a run leaves that always had room."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(drops, rows, folder, HOW)
    return everything(folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own may not be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


Fill = Callable[[str, int, int], None]


@pytest.fixture
def fill_before(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Fills the disk but for some bytes when a file is about to be written for the nth time."""
    plan: dict[str, Any] = {"file": "", "left": 0, "free": 0}

    def seen(name: str) -> None:
        plan["left"] -= name == plan["file"]
        if name == plan["file"] and plan["left"] == 0:
            (disk / "filler").unlink(missing_ok=True)
            size = shutil.disk_usage(disk).free - plan["free"]
            (disk / "filler").write_bytes(bytes(size))

    def part_of(path: Path, old: Any = atomic.part_of) -> Path:
        seen(path.name)
        return old(path)

    def append(path: Path, *rest: Any, old: Any = loggers.append) -> None:
        seen(path.name)
        old(path, *rest)

    monkeypatch.setattr(atomic, "part_of", part_of)
    monkeypatch.setattr(atomic_folder, "part_of", part_of)
    monkeypatch.setattr(loggers, "append", append)
    return lambda file, time, free: plan.update(file=file, left=time, free=free)


# which file, for which time, with how many pages left; what is missing at the end
LATE = ["best.ckpt", "last.ckpt", "test_metrics.json"]
LAST = ["outcomes-validation.npz", "run.json"]
TESTED = ["test_predictions.csv", "wrong.csv", "calibration.json", *LAST]
LATER = [
    ("metrics.csv", 1, 0, ["metrics.csv", *LATE, *LAST]),
    ("best.ckpt", 1, 12, LATE),
    ("last.ckpt", 2, 40, ["last.ckpt"]),
    ("test_metrics.json", 1, 0, ["test_metrics.json", "outcomes-test.npz", *TESTED]),
    ("test_predictions.csv", 1, 0, TESTED),
]


def test_what_is_missing_at_the_end_is_told_and_made_good(
    disk: Path, fill_before: Fill, drops: str, rows: dict[str, str], whole: Any
) -> None:
    def check(file: str, time: int, pages: int, missing: list[str]) -> None:
        folder = disk / f"{file}{time}"
        (disk / "filler").unlink(missing_ok=True)
        fill_before(file, time, 4096 * pages)
        with pytest.raises(
            WriteError, match=r"not on the disk: .*; make room, then: python"
        ) as told:
            run(drops, rows, folder, HOW)
        named = str(told.value).split(": ")[1].replace("checkpoints/", "").split(", ")
        assert sorted(named) == sorted(missing)
        assert json.loads((folder / "run.json").read_text())["status"] != "done"
        assert not list(disk.rglob("*.part"))
        (disk / "filler").unlink()
        run(drops, rows, folder, HOW, resume=True)
        assert differences(whole, everything(folder)) == []
        assert "unsaved" not in json.loads((folder / "run.json").read_text())

    each(LATER, check)


def test_only_the_test_is_left_to_do_if_only_it_is_missing(
    disk: Path, fill_before: Fill, drops: str, rows: dict[str, str], capsys: Any
) -> None:
    fill_before("test_metrics.json", 1, 0)
    with pytest.raises(WriteError, match=r"not on the disk: test_metrics\.json, outcomes-test"):
        run(drops, rows, disk / "run", HOW)
    last = disk / "run" / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns
    (disk / "filler").unlink()
    capsys.readouterr()
    run(drops, rows, disk / "run", HOW, resume=True)
    assert "nothing is left to train after step 6" in capsys.readouterr().out
    assert last.stat().st_mtime_ns == before


def test_stop_stops_at_once_and_goes_on_the_same(
    disk: Path, fill_before: Fill, drops: str, rows: dict[str, str], whole: Any
) -> None:
    def check(file: str, time: int, pages: int, step: int) -> None:
        folder = disk / f"{file}{time}"
        (disk / "filler").unlink(missing_ok=True)
        fill_before(file, time, 4096 * pages)
        look = SignalAt()
        with pytest.raises(WriteError, match=rf"not on the disk: .*{re.escape(file)}"):
            run(drops, rows, folder, STOP, look)
        assert len(look.seen) == step
        (disk / "filler").unlink()
        run(drops, rows, folder, STOP, resume=True)
        assert differences(whole, everything(folder)) == []

    each([("best.ckpt", 1, 12, 3), ("last.ckpt", 2, 12, 4), ("metrics.csv", 1, 0, 2)], check)


def test_the_best_weights_wait_for_room_and_last_for_them(
    disk: Path, fill_before: Fill, drops: str, rows: dict[str, str], whole: Any, capsys: Any
) -> None:
    """Room comes back while the run trains: it ends as one that always had some."""

    class MakeRoom(L.Callback):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 5:
                last = checkpoint.load(trainer.folder / "checkpoints" / "last.ckpt")
                assert last["global_step"] == 2
                assert not (trainer.folder / "checkpoints" / "best.ckpt").exists()
                (disk / "filler").unlink()

    for name, averaged in (("plain", {}), ("averaged", {"ema": True})):
        fill_before("best.ckpt", 1, 4096 * 12)
        run(drops, rows, disk / name, {**HOW, **averaged}, MakeRoom())
        assert "the new one is kept in memory until then" in capsys.readouterr().out
        fill_before("", 0, 0)
        if averaged:
            run(drops, rows, disk / "always", {**HOW, **averaged})
            whole = everything(disk / "always")
        assert differences(whole, everything(disk / name)) == []


def test_a_signal_whose_save_has_no_room_is_no_clean_stop(
    disk: Path, fill_before: Fill, drops: str, rows: dict[str, str], whole: Any
) -> None:
    fill_before("last.ckpt", 2, 0)
    with pytest.raises(WriteError, match=r"SIGTERM: not on the disk: checkpoints/last\.ckpt"):
        run(drops, rows, disk / "run", HOW, SignalAt(3))
    assert checkpoint.load(disk / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2
    (disk / "filler").unlink()
    run(drops, rows, disk / "run", HOW, resume=True)
    assert differences(whole, everything(disk / "run")) == []


def test_without_validation_the_weights_at_the_end_wait_too(
    disk: Path, fill_before: Fill, drops: str, rows: dict[str, str]
) -> None:
    how = {"data": {"validation": None, "validation_split": 0.0}, "trainer": {"save_every": 4}}
    for name, averaged in (("plain", {}), ("averaged", {"ema": True})):
        run(drops, rows, disk / f"{name} whole", {**how, **averaged})
        fill_before("best.ckpt", 1, 0)
        with pytest.raises(WriteError, match=r"not on the disk: .*best\.ckpt"):
            run(drops, rows, disk / name, {**how, **averaged})
        # what has ended counts on weights that are not there
        last = checkpoint.load(disk / name / "checkpoints" / "last.ckpt")
        assert last["ftlight"]["ended"] is None
        (disk / "filler").unlink()
        run(drops, rows, disk / name, {**how, **averaged}, resume=True)
        wanted = everything(disk / f"{name} whole")
        assert differences(wanted, everything(disk / name)) == []


def test_a_disk_too_full_to_begin_is_a_line_before_training(
    disk: Path, fill_before: Fill, toy: str, bert: str, capsys: Any
) -> None:
    words = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]
    words += "--trainer.max_epochs 1 --trainer.accelerator cpu --resume auto".split()

    def check(file: str) -> None:
        folder = disk / file
        fill_before(file, 1, 0)
        code, said = main([*words, "--run", str(folder)]), capsys.readouterr().err
        assert code == EXIT_UNSAVED, said
        assert said.count("\n") == 1
        assert "cannot be written: " in said
        assert "make room, then run it again with --run" in said
        assert not (folder / "checkpoints").exists()
        (disk / "filler").unlink()
        assert main([*words, "--run", str(folder)]) == 0
        assert not list(disk.rglob("*.part"))

    each([(name,) for name in ("config.yaml", "run.json", "data", "labels.json")], check)


def test_a_resume_on_a_full_disk_leaves_the_run_as_it_was(
    disk: Path, fill_before: Fill, toy: str, bert: str, capsys: Any
) -> None:
    words = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]
    words += ["--trainer.accelerator", "cpu", "--run", str(disk / "run"), "--resume", "auto"]
    assert main([*words, "--trainer.max_epochs", "1"]) == 0
    before = {p: p.read_bytes() for p in (disk / "run").rglob("*") if p.is_file()}

    def check(file: str) -> None:
        fill_before(file, 1, 0)
        assert main([*words, "--trainer.max_epochs", "2"]) == EXIT_UNSAVED
        (disk / "filler").unlink()
        found = {p: p.read_bytes() for p in (disk / "run").rglob("*") if p.is_file()}
        changed = {p.name for p in found if found[p] != before.get(p)}
        assert changed <= {".lock", "config.yaml", "config-1.yaml", "run.json"}
        assert before.keys() <= found.keys()

    each([(name,) for name in ("run.json", "config.yaml", "data")], check)


def test_verbs_say_what_they_could_not_write(disk: Path, fit: Run, toy: str, capsys: Any) -> None:
    folder = str(fit("--data.test", toy))
    in_disk = disk / "run"
    shutil.copytree(folder, in_disk)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))

    def check(words: list[str], file: Path) -> None:
        capsys.readouterr()
        assert main(words) == EXIT_UNSAVED
        said = capsys.readouterr().err
        assert said.startswith(f"ftlight: error: {file} cannot be written: ")
        assert said.count("\n") == 1
        assert not list(disk.rglob("*.part"))

    predictions = disk / "answers.csv"
    cases = [
        (["predict", folder, toy, "--out", str(predictions)], predictions),
        (["export", folder, "--out", str(disk / "model")], disk / "model"),
        (["test", str(in_disk)], in_disk / "test_metrics.json"),
    ]
    each(cases, check)


@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_run_whose_screen_is_full_is_done_all_the_same(
    toy: str, bert: str, tmp_path: Path
) -> None:
    (tmp_path / "full.py").write_text(
        "import os\nimport lightning as L\n\n"
        "class Full(L.Callback):\n"
        "    def on_train_start(self, *rest):\n"
        "        os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    )
    callbacks = [{"class_path": "full.Full"}]
    config = {
        "model": {"task": "TextClassification", "backbone": bert},
        "data": {"train": toy},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "callbacks": callbacks},
    }
    (tmp_path / "X.yaml").write_text(json.dumps(config))
    done = command(["fit", "-c", "X.yaml", "--run", "run"], tmp_path)
    assert done.returncode == EXIT_UNSAVED
    assert "Traceback" not in done.stdout
    assert "ftlight: error: standard output: No space left on device" in done.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"
