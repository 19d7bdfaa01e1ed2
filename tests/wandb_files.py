"""Reads back what W&B keeps of a run offline, by a small reader of its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

BLOCK, HEADER = 32768, 7
OURS = {"trainer/global_step", "epoch", "_step", "_timestamp", "_runtime"}


class Sent(NamedTuple):
    """What W&B got of a run.

    Attributes:
        runs: the record of each of its starts.
        config: its config.
        history: rows of all starts, in order.
        summary: its summary.
        artifacts: its artifacts, in order.
        exits: exit statuses.
        raw: the files and media, as bytes.
    """

    runs: list[Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: list[Any]
    exits: list[int]
    raw: bytes

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Each metric's values with their optimizer steps, as they came."""
        found: dict[str, list[tuple[int, float]]] = {}
        for row in self.history:
            if any(name.endswith("._type") for name in row):
                continue  # tables and files
            for name in row.keys() - OURS:
                found.setdefault(name, []).append((row["trainer/global_step"], row[name]))
        return found


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
        if kind == 0 or at + HEADER + length > len(data):
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
    return sorted(folder.rglob("*.wandb"), key=lambda path: (path.stat().st_ctime_ns, path))


def read(folder: Path) -> Sent:
    """What W&B got of the runs below a folder."""
    sent = Sent([], {}, [], {}, [], [], b"")
    raw = b""
    for file in written(folder):
        raw += file.read_bytes()
        for record in records(file):
            _add(sent, record)
    media = [p for p in folder.rglob("wandb/*/files/media/**/*") if p.is_file()]
    return sent._replace(raw=raw + b"".join(path.read_bytes() for path in media))


def _add(sent: Sent, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        sent.runs.append(record.run)
    for update in (record.run.config.update, record.config.update):
        sent.config.update({u.key: json.loads(u.value_json) for u in update if u.key})
    if kind == "history":
        sent.history.append(_values(record.history.item))
    if kind == "summary":
        sent.summary.update(_values(record.summary.update))
    if kind == "artifact":
        sent.artifacts.append(record.artifact)
    if kind == "exit":
        sent.exits.append(record.exit.exit_code)


def _values(items: Any) -> dict[str, Any]:
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def table(folder: Path, name: str) -> dict[str, Any]:
    """The table of a name that was sent from below a folder."""
    (path,) = folder.rglob(f"wandb/offline-run-*/files/media/table/{name}_*.table.json")
    return json.loads(path.read_text())
