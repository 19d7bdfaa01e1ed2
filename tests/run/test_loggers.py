"""What goes to Weights & Biases, read back from its offline file by a small reader of our own."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, toy_rows, write_csv

from ftlight.__main__ import main

pytestmark = pytest.mark.run
BLOCK, HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """Records of a .wandb file: LevelDB's log format after a header of 7 bytes.

    Blocks are of 32 KiB, and a record may be split over several.
    """
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, whole = 7, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        if kind == 0:
            break
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # full, last
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def written(folder: Path) -> list[Path]:
    """The offline files below a folder, oldest first, once W&B has written them.

    ``finish()`` returns before W&B's service has flushed the file. A process waits for the service
    when it exits; pytest goes on instead, so the wait is here.
    """
    import wandb

    wandb.teardown()
    return sorted(folder.rglob("*.wandb"))


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], bytes]:
    """Config, history rows and raw bytes of the one run below a folder, with its media files."""
    (file,) = written(folder)
    config: dict[str, Any] = {}
    history = []
    for record in records(file):
        for update in (record.run.config.update, record.config.update):
            config |= {u.key: json.loads(u.value_json) for u in update if u.key}
        if record.WhichOneof("record_type") == "history":
            history.append(
                {
                    i.key or ".".join(i.nested_key): json.loads(i.value_json)
                    for i in record.history.item
                }
            )
    media = b"".join(p.read_bytes() for p in folder.rglob("*.table.json"))
    return config, history, file.read_bytes() + media


@pytest.mark.parametrize("log_text", [False, True])
def test_offline(fit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_text: bool) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    marker = "xylophone"
    test = write_csv(tmp_path / "test.csv", [(f"{marker} {t}", label) for t, label in toy_rows(12)])
    folder = fit(
        "--data.test",
        test,
        "--wandb",
        "my-project",
        "--data.log_text",
        str(log_text).lower(),
        epochs=2,
    )
    config, history, raw = read(folder)
    assert config["labels"] == ["bad", "good", "late"]
    assert config["model"]["class_path"].endswith("TextClassification")
    assert config["model"]["init_args"]["weight_decay"] == 0.01
    scored = [row["val/f1"] for row in history if "val/f1" in row]
    assert len(scored) == 2
    assert any("test/accuracy" in row for row in history)
    assert any("val/confusion" in key for row in history for key in row)
    cells = [json.loads(p.read_text()) for p in folder.rglob("*confusion*.table.json")]
    assert sum(row[2] for row in cells[0]["data"]) in (6, 12)
    assert (marker.encode() in raw) == log_text
    facts = json.loads((folder / "run.json").read_text())
    assert facts["wandb"]["project"] == "my-project"
    assert any(facts["wandb"]["id"] in p.name for p in folder.rglob("*.wandb"))


def test_a_run_that_is_stopped_is_marked_and_goes_on_under_its_name(
    fit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "stopper.py").write_text(
        "import os, signal\nimport lightning as L\n\n"
        "class Stop(L.Callback):\n"
        "    def on_train_batch_start(self, trainer, *rest):\n"
        "        if trainer.global_step == 3 and trainer.run.ckpt_path is None:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stop = [
        "--trainer.callbacks",
        json.dumps([{"class_path": "stopper.Stop"}]),
        "--wandb",
        "my-project",
    ]
    with pytest.raises(SystemExit) as ended:
        fit(*stop)
    assert ended.value.code == 75
    assert main(["fit", "--resume", "run"]) == 0
    found = [list(records(file)) for file in written(tmp_path / "run")]
    kinds = [[record.WhichOneof("record_type") for record in each] for each in found]
    assert "preempting" in kinds[0]
    assert "preempting" not in kinds[1]
    assert [
        [r.exit.exit_code for r in each if r.WhichOneof("record_type") == "exit"] for each in found
    ] == [[75], [0]]
    ids = {r.run.run_id for each in found for r in each if r.WhichOneof("record_type") == "run"}
    assert ids == {json.loads((tmp_path / "run" / "run.json").read_text())["wandb"]["id"]}


def test_disabled(fit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = fit("--wandb", "my-project")
    assert not list(folder.rglob("*.wandb"))
    assert (folder / "metrics.csv").is_file()
