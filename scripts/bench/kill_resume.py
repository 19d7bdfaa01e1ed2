"""Kills a training again and again, resumes it, and compares the end with an undisturbed one.

    python scripts/bench/kill_resume.py --kills 200

A BERT made on the spot, dropout on, is fine-tuned with the schedule ``gradual``, the cache of
frozen layers on, and a checkpoint every two steps. A process of its own trains (``fit -c X.yaml
--run DIR --resume auto``), is killed with signal 9 after a random time, and is started again, five
times at most, and then left to end; then a new run begins, until there were so many kills. Times
are uniform over what is left of the length of an undisturbed training, so that they fall into
start, filling the cache, steps, validations, saves and the test. Every other kill waits instead for
a save to begin and comes within 20 ms of that. TMPDIR is on another file system.

Of every run: SHA-256 of weights and optimizer at the end, the rows of each step, the metrics and
the test's; after every kill: whether there is a checkpoint that can be read, once there was one.

Processes are forked from one that has imported everything, so that a kill costs a second and not
seven.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS, PER_RUN = 48, 5
CONFIG = """
model: {{task: TextClassification, backbone: {home}/bert, unfreeze: gradual, cache: true, lr: 1e-3}}
data:
  train: {home}/train.csv
  validation: {home}/validation.csv
  test: {home}/test.csv
  batch_size: 8
trainer:
  max_epochs: 4
  save_every: 2
  accelerator: cpu
  precision: 32-true
  log_every_n_steps: 1
  enable_progress_bar: false
  callbacks: [{{class_path: kill_resume.Rows}}]
"""


def rows_callback() -> type:
    import lightning as L

    class Rows(L.Callback):
        """Writes down which rows each step trains on."""

        def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
            """Appends a line, on the disk before the step."""
            line = (
                json.dumps(
                    {
                        "step": trainer.global_step,
                        "epoch": trainer.current_epoch,
                        "rows": batch["index"],
                    }
                )
                + "\n"
            )
            with (trainer.folder / "rows.jsonl").open("a", encoding="utf-8") as file:
                file.write(line)

    return Rows


def __getattr__(name: str) -> Any:  # Lightning is imported only where it is used
    if name == "Rows":
        globals()["Rows"] = made = rows_callback()
        made.__module__, made.__qualname__ = "kill_resume", "Rows"
        return made
    raise AttributeError(name)


def make_data(home: Path) -> None:
    """Writes a tokenizer, a BERT of four layers with dropout, and three files of rows."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "good", "bad", "late", *(f"w{i}" for i in range(40))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[PAD]", "sep_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names).save_pretrained(
        home / "bert"
    )
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    BertModel(
        BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)
    ).save_pretrained(home / "bert")
    draw = random.Random(0)
    for name, count in {"train": 96, "validation": 24, "test": 24}.items():
        texts = [
            [*draw.choices(words[5:], k=draw.randint(3, 20)), words[2 + i % 3]]
            for i in range(count)
        ]
        lines = [f"{' '.join(text)},{text[-1]}" for text in texts]
        (home / f"{name}.csv").write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    (home / "X.yaml").write_text(CONFIG.format(home=home), encoding="utf-8")


def start(home: Path, folder: Path, temporary: Path) -> int:
    """Starts a process that trains, or goes on with, the run in ``folder``. Returns its number."""
    number = os.fork()
    if number:
        return number
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    with (home / f"{folder.name}.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    code = 1
    try:
        from ftlight.__main__ import main

        code = main(["fit", "-c", str(home / "X.yaml"), "--run", str(folder), "--resume", "auto"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


def wait(number: int, until: Callable[[], bool]) -> int | None:
    """Waits for a process and returns its exit status; None if something else comes first."""
    while True:
        done, code = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code)
        if until():
            return None
        time.sleep(0.001)


def kill_when(seconds: float, folder: Path, draw: random.Random) -> Callable[[], bool]:
    """When to kill: after a time, or within 20 ms of the first save that begins after it."""
    at, saving, delay = time.monotonic() + seconds, draw.random() < 0.5, draw.uniform(0, 0.02)
    begun: list[float] = []

    def due() -> bool:
        now = time.monotonic()
        if now < at:
            return False
        if saving and not begun and now < at + 2:
            if any((folder / "checkpoints").glob("*.part")):
                begun.append(now + delay)
            return False
        return not begun or now >= begun[0]

    return due


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


def result(folder: Path) -> dict[str, Any]:
    """What a run has left: hashes of its state, the rows of each step, metrics."""
    from ftlight.training import checkpoint

    last, best = (
        checkpoint.load(folder / "checkpoints" / f"{name}.ckpt") for name in ("last", "best")
    )
    steps = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return {
        "weights": sha(last["state_dict"]),
        "optimizer": sha(last["optimizer_states"]),
        "best": sha(best["state_dict"]),
        "rows": {
            (s["epoch"], s["step"]): s["rows"] for s in steps
        },  # a step that was done again counts as the last time
        "metrics": (folder / "metrics.csv").read_text(),
        "test": (folder / "test_metrics.json").read_text()
        + (folder / "test_predictions.csv").read_text(),
    }


def readable(folder: Path) -> bool:
    """Whether there is a whole checkpoint, or there never was one."""
    from ftlight.training import checkpoint

    files = list((folder / "checkpoints").glob("*.ckpt"))
    states = [f for f in files if f.name in ("last.ckpt", "previous.ckpt")]
    return all(not checkpoint.fault(f) for f in files) and (
        not states or checkpoint.newest(folder / "checkpoints") is not None
    )


def left(folder: Path, steps: int) -> float:
    """Share of the steps that a run has not saved yet."""
    rows = folder / "rows.jsonl"
    return (
        1 - json.loads(rows.read_text().splitlines()[-1])["step"] / steps if rows.exists() else 1.0
    )


def disturb(
    home: Path, folder: Path, temporary: Path, seconds: float, kills: int, draw: random.Random
) -> tuple[int, int, int]:
    """Trains with at most so many kills.

    Returns kills, those while a file was being saved, and those that left no intact checkpoint.
    """
    killed = saving = broken = 0
    while True:
        number = start(home, folder, temporary)
        due = (
            kill_when(draw.uniform(0, seconds * left(folder, STEPS)), folder, draw)
            if killed < kills
            else lambda: False
        )
        code = wait(number, due)
        if code is None:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            killed += 1
            saving += any((folder / "checkpoints").glob("*.part"))
            broken += not readable(folder)
        elif code == 0:
            return killed, saving, broken
        else:
            raise SystemExit(f"the run in {folder} ended with {code}; see {home / folder.name}.log")


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--kills", type=int, default=200)
    about.add_argument("--seed", type=int, default=0)
    about.add_argument(
        "--tmpdir", default="/dev/shm", help="folder on another file system than --home"
    )
    about.add_argument(
        "--home", help="folder to work in; one of the system's temporary ones if not given"
    )
    options = about.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    home = Path(tempfile.mkdtemp(dir=options.home))
    temporary = Path(
        tempfile.mkdtemp(dir=options.tmpdir if Path(options.tmpdir).is_dir() else None)
    )
    os.environ.update(FTLIGHT_CACHE=str(home / "cache"), HF_DATASETS_CACHE=str(home / "datasets"))
    make_data(home)
    from ftlight.trainer import trainer  # noqa: F401  what every process needs

    began = time.monotonic()
    if (code := wait(start(home, home / "whole", temporary), lambda: False)) != 0:
        raise SystemExit(f"the undisturbed run ended with {code}; see {home}/whole.log")
    seconds, wanted = time.monotonic() - began, result(home / "whole")
    draw, kills, saving, broken, runs, same = random.Random(options.seed), 0, 0, 0, 0, 0
    other = home.stat().st_dev != temporary.stat().st_dev
    print(
        f"undisturbed: {STEPS} steps in {seconds:.1f} s; "
        f"TMPDIR on {'another' if other else 'the same'} file system",
        flush=True,
    )
    while kills < options.kills:
        folder = home / f"run{runs}"
        more, while_saving, unreadable = disturb(
            home, folder, temporary, seconds, min(PER_RUN, options.kills - kills), draw
        )
        found = result(folder)
        differ = [name for name in wanted if wanted[name] != found[name]]
        kills = kills + more
        saving = saving + while_saving
        broken = broken + unreadable
        runs = runs + 1
        same = same + (not differ)
        print(
            f"run {runs}: {more} kills; "
            f"{'the same' if not differ else 'other ' + ', '.join(differ)}",
            flush=True,
        )
    left = [*home.glob("run*/**/*.part"), *(home / "cache").glob("*.bin.*")]
    print(
        f"{kills} kills, {saving} of them while a checkpoint was being written, "
        f"in {runs} runs on {os.cpu_count()} cores"
    )
    print(
        "runs with the same weights, optimizer, best weights, rows, metrics and test: "
        f"{same}/{runs}"
    )
    print(f"kills that left a checkpoint unreadable: {broken}; parts of files left: {len(left)}")
    print(f"SHA-256 of weights {wanted['weights'][:16]}, of optimizer {wanted['optimizer'][:16]}")
    sys.exit(same != runs or broken > 0)


if __name__ == "__main__":
    main()
