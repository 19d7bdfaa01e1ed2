"""Checkpoint files: full disks, cut files, flipped bytes, stale parts, two processes at once."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from resuming import SignalAt, differences, everything, run

from ftlight.run import folder as runs
from ftlight.training import checkpoint
from ftlight.training.signals import RunInterrupted
from ftlight.utils import atomic
from ftlight.utils.errors import UserError

PLAIN: dict[str, Any] = {
    "model": {"unfreeze": "gradual", "cache": False, "head_fit": "step"},
    "trainer": {"save_every": 1},
}


@pytest.fixture(scope="module")
def stopped(drops: str, rows: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped, and one stopped at step 4 with checkpoints of steps 3 and 4."""
    folder = tmp_path_factory.mktemp("runs")
    run(drops, rows, folder / "whole", PLAIN)
    with pytest.raises(RunInterrupted):
        run(drops, rows, folder / "stopped", PLAIN, SignalAt(4))
    steps = [
        checkpoint.load(folder / "stopped" / "checkpoints" / n)["global_step"]
        for n in ("last.ckpt", "previous.ckpt")
    ]
    assert steps == [4, 3]
    return folder


def at(share: float) -> Any:
    def damage(data: bytes) -> bytes:
        return data[: int(len(data) * share)]

    return damage


def flip(data: bytes) -> bytes:
    """Another byte in the middle, which is within a tensor."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES = {
    "0 %": at(0),
    "1 %": at(0.01),
    "50 %": at(0.5),
    "99 %": at(0.99),
    "one byte": flip,
    "gone": None,
    "text": lambda d: b"hello",
}


@pytest.mark.run
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_goes_on(
    damage: str, stopped: Path, drops: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    here = shutil.copytree(stopped / "stopped", tmp_path / "here")
    last, how = here / "checkpoints" / "last.ckpt", DAMAGES[damage]
    last.unlink() if how is None else last.write_bytes(how(last.read_bytes()))
    run(drops, rows, here, PLAIN, resume=True)
    said = capsys.readouterr().out
    assert (
        "last.ckpt is damaged: it is not a complete file" in said
        or "is wrong; resuming from the one before it" in said
    ) == (how is not None)
    assert "resuming from step 3" in said
    assert differences(everything(stopped / "whole"), everything(here)) == []


@pytest.mark.run
def test_with_no_checkpoint_whole_nothing_is_overwritten(
    stopped: Path, drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    here = shutil.copytree(stopped / "stopped", tmp_path / "here")
    for name in ("last.ckpt", "previous.ckpt"):
        (here / "checkpoints" / name).write_bytes(b"")
    before = {p.name: p.read_bytes() for p in here.glob("*.*")}
    with pytest.raises(
        UserError,
        match=r"last.ckpt is damaged: .*previous.ckpt is damaged: .*; no other is left to resume",
    ):
        run(drops, rows, here, PLAIN, resume=True)
    assert {p.name: p.read_bytes() for p in here.glob("*.*")} == before


@pytest.mark.run
def test_any_flipped_byte_is_found_or_does_not_matter(stopped: Path, tmp_path: Path) -> None:
    file = stopped / "stopped" / "checkpoints" / "last.ckpt"
    data, wanted, draw, found = file.read_bytes(), checkpoint.load(file), random.Random(0), 0
    for number, place in enumerate(
        draw.sample(range(len(data)), 300) + list(range(len(data) - 100, len(data)))
    ):
        other = tmp_path / f"{number}.ckpt"
        other.write_bytes(
            data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
        )
        try:
            same = checkpoint.load(other)
        except UserError:
            found += 1
        else:
            assert differences(wanted, same) == [], place
        other.unlink()
    assert found > 250


@pytest.mark.run
def test_a_damaged_best_checkpoint_is_told_to_later_verbs(
    stopped: Path, drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    here = shutil.copytree(stopped / "stopped", tmp_path / "here")
    best = here / "checkpoints" / "best.ckpt"
    best.write_bytes(flip(best.read_bytes()))
    with pytest.raises(
        UserError,
        match=r"best.ckpt is damaged: .* \(intact: last.ckpt, previous.ckpt; --ckpt_path takes",
    ):
        checkpoint.load(best)
    run(drops, rows, here, PLAIN, resume=True)  # a later validation makes it anew
    assert not checkpoint.fault(best)


class Full(L.Callback):
    """The disk is full from one step to another: files grow no further than a few bytes."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin, self.end = begin, end

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step in (self.begin, self.end):
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (20_000 if trainer.global_step == self.begin else hard, hard)
            )


@pytest.fixture
def _unlimited() -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.run
@pytest.mark.usefixtures("_unlimited")
def test_files_that_cannot_grow_leave_the_last_good_one(
    stopped: Path, drops: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    here = tmp_path / "here"
    run(drops, rows, here, PLAIN, Full(2, 5))
    said = capsys.readouterr().out
    # which of the two depends on which write of torch it was
    why = "(File too large|the disk is full, or files may not grow so large)"
    stays = "; the last one that was written stays"
    assert re.search(f"last.ckpt cannot be written: {why}{stays}; training goes on", said)
    assert re.search(f"best.ckpt cannot be written: {why}; the new one is kept in memory", said)
    assert len(re.findall("last.ckpt waits for them; training goes on", said)) == 2
    assert differences(everything(stopped / "whole"), everything(here)) == []
    stop = {**PLAIN, "trainer": {**PLAIN["trainer"], "unsaved": "stop"}}
    other = tmp_path / "other"
    with pytest.raises(
        UserError, match=f"cannot be written: {why}; the last one that was written stays"
    ):
        run(drops, rows, other, stop, Full(3, 9))
    assert checkpoint.load(other / "checkpoints" / "last.ckpt")["global_step"] == 2
    assert not list((other / "checkpoints").glob("*.part"))
    resource.setrlimit(
        resource.RLIMIT_FSIZE,
        (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]),
    )
    run(drops, rows, other, stop, resume=True)
    assert differences(everything(stopped / "whole"), everything(other)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.2 MB: room for two checkpoints and a half."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", folder],
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("a disk of its own may not be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.run
def test_a_full_disk(
    small_disk: Path, stopped: Path, drops: str, rows: dict[str, str], capsys: Any
) -> None:
    class Fill(L.Callback):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 3:
                (small_disk / "other").write_bytes(
                    b"x" * (shutil.disk_usage(small_disk).free - 50_000)
                )
            if trainer.global_step == 5:
                (small_disk / "other").unlink()

    run(drops, rows, small_disk / "run", PLAIN, Fill())
    said = capsys.readouterr().out
    assert "cannot be written: the disk lacks " in said
    assert " MB; the last one that was written stays; training goes on" in said
    assert differences(everything(stopped / "whole"), everything(small_disk / "run")) == []


def test_room_is_made_by_the_checkpoint_before_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, made = checkpoint.CheckpointIO(), {"weights": torch.ones(1000)}
    for _ in range(2):
        files.save_checkpoint(made, tmp_path / "last.ckpt")
    assert (tmp_path / "previous.ckpt").exists()
    free = iter([100, 100_000])
    monkeypatch.setattr(
        checkpoint.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": next(free)})
    )
    files.save_checkpoint(made, tmp_path / "last.ckpt")
    assert not files.problem
    assert checkpoint.newest(tmp_path) == tmp_path / "last.ckpt"


def test_size_counts_each_memory_once() -> None:
    weights = torch.ones(10, 10)
    assert (
        checkpoint.size(
            {"a": weights, "b": [weights[0], {"c": torch.zeros(3, dtype=torch.int64)}], "d": 1}
        )
        == 400 + 24
    )


@pytest.mark.processes
def test_parts_of_processes_that_are_no_more_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = socket.gethostname()
    names = {
        "own": f"last.ckpt.{host}.{os.getpid()}.part",
        "dead": f"last.ckpt.{host}.{dead.pid}.part",
    }
    names |= {"elsewhere": "last.ckpt.other.1.part", "elsewhere, old": "best.ckpt.other.1.part"}
    for name in names.values():
        (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / names["elsewhere, old"], (0, 0))
    atomic.remove_stale(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {names["own"], names["elsewhere"]}


@pytest.mark.processes
def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    held = subprocess.Popen(
        [
            "python3",
            "-c",
            "import fcntl, sys; f = open('.lock', 'a+'); fcntl.lockf(f, 2);"
            "print('x', flush=True); sys.stdin.read()",
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    held.stdout.readline()
    with pytest.raises(UserError, match="another process is using it"):
        runs.lock(tmp_path)
    held.communicate(b"")
    runs.lock(tmp_path).close()


@pytest.mark.run
def test_the_best_weights_of_an_average_are_the_average(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    """What was validated is what is kept."""
    seen: list[tuple[float, dict[str, torch.Tensor]]] = []

    class Look(L.Callback):
        def on_validation_start(self, trainer: Any, task: Any) -> None:
            self.before = {k: v.clone() for k, v in task.state_dict().items()}

        def on_validation_batch_start(self, trainer: Any, task: Any, *rest: Any) -> None:
            self.during = {k: v.clone() for k, v in task.state_dict().items()}

        def on_validation_end(self, trainer: Any, task: Any) -> None:
            assert differences(self.before, self.during)  # the average is swapped in
            seen.append((float(trainer.callback_metrics[task.monitor]), self.during))

    run(
        drops,
        rows,
        tmp_path / "r",
        {"trainer": {"max_epochs": 3}, "model": {"lr": 0.01}},
        Look(),
        EMAWeightAveraging(decay=0.5),
    )
    best = max(seen, key=lambda s: s[0])[1]
    assert (
        differences(
            checkpoint.load(tmp_path / "r" / "checkpoints" / "best.ckpt")["state_dict"], best
        )
        == []
    )


@pytest.mark.run
def test_a_signal_before_training_ends_the_process_as_any_other(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    """Handlers are there while a run trains, and gone afterwards."""
    inside: list[Any] = []

    class Look(L.Callback):
        def on_train_start(self, *rest: Any) -> None:
            inside.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    run(drops, rows, tmp_path / "r", {}, Look())
    assert inside[0] is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.run
def test_the_facts_of_a_run_that_went_on(
    stopped: Path, drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    here = shutil.copytree(stopped / "stopped", tmp_path / "here")
    began = json.loads((here / "run.json").read_text())
    run(drops, rows, here, PLAIN, resume=True)
    facts = json.loads((here / "run.json").read_text())
    assert {k: facts[k] for k in ("started", "seed", "data_sha256", "git")} == {
        k: began[k] for k in ("started", "seed", "data_sha256", "git")
    }
    assert len(facts["resumed"]) == 1
    assert facts["status"] == "done"
    assert facts["steps"] == 6
