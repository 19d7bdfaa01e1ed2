"""Real processes that train together: one is killed or fails, and the other ends too."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, make_bert, toy_rows, write_csv
from forked import Done, command
from resuming import differences, everything

from ftlight.data.loaders import lost_worker
from ftlight.utils.atomic import read_json

pytestmark = [pytest.mark.run, pytest.mark.processes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT, data, a config for two processes, and a run that was left alone."""
    folder = tmp_path_factory.mktemp("home")
    make_bert(folder / "bert")
    files = {"train": 48, "validation": 20, "test": 9}
    for name, rows in files.items():
        write_csv(folder / f"{name}.csv", toy_rows(rows))
    shutil.copy(ROOT / "scripts" / "bench" / "faults" / "wounds.py", folder)
    model = {"task": "TextClassification", "backbone": str(folder / "bert"), "lr": 0.001}
    data = {name: str(folder / f"{name}.csv") for name in files}
    trainer = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 2,
        "precision": "32-true",
        "save_every": 2,
        "enable_progress_bar": False,
    }
    config = {"model": model, "data": {**data, "batch_size": 4}, "trainer": trainer}
    (folder / "X.yaml").write_text(json.dumps(config))
    assert [done.returncode for done in fit(folder, "whole")] == [0, 0]
    return folder


def two(home: Path, words: list[list[str]]) -> list[Done]:
    """Runs a command line in each of two processes of a group, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "x",
        "GROUP_RANK": "0",
    }

    def run(rank: int) -> Done:
        return command(words[rank], home, **shared, RANK=str(rank), LOCAL_RANK=str(rank))

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(run, range(2)))


def fit(home: Path, name: str, **wound: Any) -> list[Done]:
    """Trains in two processes, of which one is harmed if a wound is given."""
    words = ["fit", "-c", "X.yaml", "--run", name, "--resume", "auto"]
    if wound:
        wound["mark"] = str(home / f"{name}.mark")
        given = [{"class_path": "wounds.Wound", "init_args": wound}]
        words += ["--trainer.callbacks", json.dumps(given)]
    return two(home, [words, words])


# Where, how and on which process; the exit statuses, or None for any but 0; what is said.
HARMS: list[tuple[dict[str, Any], list[int | None], str]] = [
    # the other computes, and notices nothing in a collective
    ({"place": "validation", "kind": "kill", "rank": 1, "busy": True}, [1, -9], "rank 1 of 2"),
    ({"place": "training", "kind": "kill", "rank": 0}, [-9, 1], "rank 0 of 2 has ended: it was"),
    # one that failed waits for ever to clean up
    ({"place": "saving", "kind": "stuck", "rank": 0}, [1, 1], "a fault of a callback"),
    ({"place": "setup", "kind": "wrong", "rank": 1}, [2, 2], "error: toy.csv:7: no label"),
    ({"place": "start", "kind": "wrong", "rank": 1}, [2, 2], "rank 1 of 2 has ended: toy.csv:7"),
    ({"place": "training", "kind": "memory", "rank": 1}, [None, 2], "not enough memory"),
    ({"place": "training", "kind": "exit", "rank": 0}, [3, 3], "rank 0 of 2 has ended"),
]


@pytest.mark.parametrize(("wound", "codes", "line"), HARMS)
def test_both_end_with_a_line_and_the_run_goes_on_to_the_same_end(
    home: Path, wound: dict[str, Any], codes: list[int | None], line: str
) -> None:
    name = "-".join(str(value) for value in wound.values())
    ended = fit(home, name, **wound)  # a process that hangs is a TimeoutError
    said = "".join(done.stdout for done in ended)
    for done, code in zip(ended, codes, strict=True):
        assert done.returncode == code or (code is None and done.returncode), said
    assert line in said
    assert [done.returncode for done in fit(home, name)] == [0, 0]
    assert differences(everything(home / "whole"), everything(home / name)) == []


def test_a_process_that_fails_before_all_others_are_there_tells_them(home: Path) -> None:
    """As with a file that is missing on one node: the others would wait for half an hour."""
    words = ["fit", "-c", "X.yaml", "--run", "early"]
    ended = two(home, [words, [*words, "--data.train", "missing.csv"]])
    assert [done.returncode for done in ended] == [2, 2]
    assert "rank 1 of 2 has ended: data.train: missing.csv" in ended[0].stdout
    ended = two(home, [[*words, "--data.train", "missing.csv"], words])
    assert [done.returncode for done in ended] == [2, 2]
    assert "rank 0 of 2 has ended: data.train: missing.csv" in ended[1].stdout


def test_what_is_wrong_in_all_processes_is_said_once(home: Path) -> None:
    words = ["fit", "-c", "X.yaml", "--run", "both", "--data.train", "missing.csv"]
    first, other = two(home, [words, words])
    assert [first.returncode, other.returncode] == [2, 2]
    assert "error: data.train: missing.csv" in first.stdout
    assert "missing.csv" not in other.stdout
    words = ["fit", "-c", "X.yaml", "--run", "whole", "--resume", "auto", "--seed", "5"]
    first, other = two(home, [words, words])  # here they agree on it, later
    assert [first.returncode, other.returncode] == [2, 2]
    assert "error: seed_everything (--seed): whole began with 0, this is 5" in first.stdout
    assert "error" not in other.stdout


def test_a_process_that_never_comes_is_named(home: Path) -> None:
    """As one that was killed at its start, or whose node is cut off: torch waits half an hour."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"""
import sys, time
from ftlight.training import arrival, peers
arrival.WAIT, peers.GRACE = 3, 1
rank = int(sys.argv[1])
one = peers.Peers(rank, 3, "127.0.0.1", {port})
one.inside = True
time.sleep(240)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for ranks, code_, line in (
        ([0, 1], 1, "rank 2 of 3 has ended: it did not come within 0.05 minutes"),
        ([1], 1, "rank 0 of 3 has ended: it did not come within 0.05 minutes"),
    ):
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(rank)],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in ranks
        ]
        ends = [process.communicate(timeout=240)[1] for process in started]
        assert [process.returncode for process in started] == [code_] * len(ranks)
        assert line in "".join(ends)
        assert "".join(ends).count("has ended") == 1


def test_a_process_that_loads_batches_is_killed(home: Path) -> None:
    wound = {"place": "training", "kind": "loader", "rank": 0, "mark": str(home / "loader.mark")}
    given = json.dumps([{"class_path": "wounds.Wound", "init_args": wound}])
    alone = ["--trainer.devices", "1", "--data.workers", "1", "--trainer.callbacks", given]
    ended = command(["fit", "-c", "X.yaml", "--run", "loader", *alone], home)
    assert ended.returncode == 2, ended.stdout
    last = ended.stdout.splitlines()[-1]
    assert "error: a process that loads batches was killed" in last
    assert "lower data.workers" in last


def test_a_batch_in_the_memory_of_a_process_that_is_gone_says_the_same() -> None:
    lines = "def fetch():\n    raise ConnectionRefusedError(111, 'Connection refused')"
    torchs: dict[str, Any] = {"__name__": "torch.multiprocessing.reductions"}
    exec(lines, torchs)
    ours: dict[str, Any] = {"__name__": "ours"}
    exec(lines, ours)
    for fetch, is_lost in ((torchs["fetch"], True), (ours["fetch"], False)):
        with pytest.raises(ConnectionRefusedError) as raised:
            fetch()
        said = lost_worker(raised.value)
        assert said.startswith("a process that loads batches was killed") == is_lost


def test_a_process_that_lightning_started_is_noticed(home: Path) -> None:
    wound = {"place": "training", "kind": "kill", "rank": 1, "mark": str(home / "launched.mark")}
    given = json.dumps([{"class_path": "wounds.Wound", "init_args": wound}])
    words = ["fit", "-c", "X.yaml", "--run", "launched", "--trainer.callbacks", given]
    done = subprocess.run(
        [sys.executable, "-m", "ftlight", *words],
        cwd=home,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{home}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "rank 1 of 2 has ended: signal 9 killed it" in last
    assert last.endswith("to resume: python -m ftlight fit --resume launched")
    assert read_json(home / "launched" / "run.json")["status"] == "failed"
