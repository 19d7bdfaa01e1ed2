"""Tiny runs of all tasks in forked processes, and what they leave, for the modules beside it."""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import hashlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import toys

# One of the cases of toys.py for each task; those of the cache of frozen layers, where it has one.
TASKS = {
    "TextClassification": "gradual, cache",
    "ImageClassification": "images, not augmented, head",
    "TokenClassification": "tokens",
    "QuestionAnswering": "answers",
    "CausalLM": "chat",
    "Seq2Seq": "pairs, t5",
    "Retrieval": "recommendation",
    "MaskedLM": "masked",
}
PRELOADED = (
    "ftlight.cli.parser",
    "ftlight.trainer.trainer",
    "ftlight.tasks.text_classification.data",
    "ftlight.tasks.text_classification.task",
)


def prepare(home: Path) -> None:
    """Makes models and data in ``home/made``, and imports what every process needs.

    Caches go to ``home`` as well. The working folder becomes ``home/made``, where the configs of
    :func:`toys.cases` find their files.
    """
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        OMP_NUM_THREADS="1",
        FTLIGHT_CACHE=str(home / "cache"),
        HF_DATASETS_CACHE=str(home / "datasets"),
    )
    toys.make(home / "made")
    os.chdir(home / "made")
    for name in PRELOADED:
        importlib.import_module(name)


def config(task: str, rows: Path | None = None, **trainer: Any) -> dict[str, Any]:
    """The config of a task's tiny run; its callbacks write down the rows of each step.

    Args:
        task: the task.
        rows: folder for these; that of the run if not given.
        trainer: more options of the trainer.
    """
    made = copy.deepcopy(toys.cases()[TASKS[task]])
    callback: dict[str, Any] = {"class_path": "rows.Rows"}
    if rows is not None:
        callback["init_args"] = {"folder": str(rows)}
    made["trainer"] = {
        **made["trainer"],
        "enable_progress_bar": False,
        "callbacks": [callback],
        **trainer,
    }
    return made


def start(
    words: Sequence[str],
    log: Path,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> int:
    """Forks a process that runs ``python -m ftlight`` with these words.

    Args:
        words: the words.
        log: file that what it prints is appended to.
        before: called in the process first, to set limits or plant a fault.
        environment: variables of its environment.

    Returns:
        The number of the process.
    """
    number = os.fork()
    if number:
        return number
    os.setpgrp()
    os.environ.update(environment)
    tempfile.tempdir = None
    if "HF_DATASETS_CACHE" in environment:  # was read when the library was imported
        import datasets

        datasets.config.HF_DATASETS_CACHE = Path(environment["HF_DATASETS_CACHE"])
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.register(signal.SIGUSR1)  # for what hangs; it stands in the log
    sys.argv, code = ["ftlight", *words], 1
    try:
        from ftlight.__main__ import main

        if before is not None:
            before()
        code = main(words)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start_group(
    words: Sequence[str],
    log: Path,
    processes: int,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> list[int]:
    """Forks one process, or several that train together, as torchrun would start them.

    Args:
        words: words after ``python -m ftlight``.
        log: file that what they print is appended to.
        processes: how many.
        before: called in each of them first.
        environment: variables of their environment.

    Returns:
        The numbers of the processes, by rank.
    """
    if processes == 1:
        return [start(words, log, before, **environment)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "faults",
        "GROUP_RANK": "0",
        **environment,
    }
    ranks = [str(rank) for rank in range(processes)]
    return [start(words, log, before, **shared, RANK=rank, LOCAL_RANK=rank) for rank in ranks]


def wait_group(
    numbers: Sequence[int], until: Callable[[], bool] = lambda: False
) -> list[int] | None:
    """Waits for all processes. Returns their exit statuses; None if something else comes first.

    A process that was waited for before counts as ended with 0.
    """
    codes: dict[int, int] = {}
    while len(codes) < len(numbers):
        for number in numbers:
            if number not in codes:
                try:
                    done, code = os.waitpid(number, os.WNOHANG)
                except ChildProcessError:
                    done, code = number, 0
                if done:
                    codes[number] = os.waitstatus_to_exitcode(code)
        if until():
            return None
        time.sleep(0.001)
    return [codes[number] for number in numbers]


def kill(number: int) -> None:
    """Kills a process if it is still there, and waits for its end."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


def sha(data: Any) -> str:
    """SHA-256 of nested tensors and values."""
    import torch

    found = hashlib.sha256()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key in value:
                found.update(repr(key).encode())
                walk(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif isinstance(value, torch.Tensor):
            found.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        else:
            found.update(repr(value).encode())

    walk(data)
    return found.hexdigest()


def result(folder: Path, rows_in: Path | None = None) -> dict[str, Any]:
    """What a run has left: hashes of its state, the rows of each step, metrics, the test's files.

    Of a step that was done again the rows of the last time count.

    Args:
        folder: folder of the run.
        rows_in: where the rows of its steps are; there if not given.
    """
    from ftlight.training import checkpoint

    last, best = (
        checkpoint.load(folder / "checkpoints" / f"{name}.ckpt") for name in ("last", "best")
    )
    rows = {}
    for file in sorted((rows_in or folder).glob("rows*.jsonl")):
        for line in file.read_text().splitlines():
            step = json.loads(line)
            rows[file.name, step["epoch"], step["batch"]] = step["rows"]
    tested = sorted(folder.glob("test_*"))
    return {
        "weights": sha(last["state_dict"]),
        "optimizer": sha(last["optimizer_states"]),
        "best": sha(best["state_dict"]),
        "rows": rows,
        "metrics": (folder / "metrics.csv").read_text(),
        "test": "".join(file.name + file.read_text() for file in tested),
        "status": json.loads((folder / "run.json").read_text())["status"],
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what two runs have left that is not the same."""
    return [name for name in one if one[name] != other[name]]
