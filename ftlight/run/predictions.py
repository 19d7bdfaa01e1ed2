"""Predictions of rows as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftlight.utils.atomic import atomic_write


def write_predictions(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    decoded: Iterable[Mapping[str, Any]],
    spread: bool,
) -> int:
    """Writes the input's columns with ``prediction``, ``score`` and what else was found beside them, as JSONL or else as CSV.

    Args:
        path: file to write; .jsonl for JSON lines.
        rows: the input's rows.
        decoded: a prediction for each.
        spread: whether to write the probability of every label too.

    Returns:
        Number of rows.
    """
    made = []
    for row, answer in zip(rows, decoded, strict=True):
        columns = {
            k: v for k, v in row.items() if not k.startswith("__") and not isinstance(v, bytes)
        }
        taken = {
            k if k not in columns else f"{k}_": v for k, v in answer.items() if k != "probabilities"
        }
        each = {f"p({k})": v for k, v in answer.get("probabilities", {}).items()} if spread else {}
        made.append({**columns, **taken, **each})
    with atomic_write(path) as file:
        if path.suffix == ".jsonl":
            file.writelines((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in made)
        else:
            file.write(_csv(made).encode())
    return len(made)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A value as a cell of a CSV: what has parts as JSON."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
