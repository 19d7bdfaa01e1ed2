"""Writes predictions as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftlight.utils.atomic import atomic_write, writing


def write_predictions(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    decoded: Iterable[Mapping[str, Any]],
    spread: bool,
    text: str | None = None,
) -> int:
    """Writes the columns of the input with ``prediction``, ``score`` and other results beside them.

    A result named as a column of the input gets an underscore: ``score_``.

    Args:
        path: file to write; JSON lines if it ends in .jsonl, else CSV.
        rows: rows of the input.
        decoded: results of each row.
        spread: whether to write the probability of every label, too.
        text: what to write in place of that, if the task has a form of its own.

    Returns:
        Number of rows.

    Raises:
        WriteError: the file cannot be written.
    """
    merged = [merge(row, results, spread) for row, results in zip(rows, decoded, strict=True)]
    with writing(path), atomic_write(path) as file:
        if text is not None:
            file.write(text.encode())
        elif path.suffix == ".jsonl":
            for row in merged:
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        else:
            file.write(_csv(merged).encode())
    return len(merged)


def write_left_out(path: Path, faults: Iterable[str]) -> Path | None:
    """Lists the rows that are not in a file of predictions beside it; removes an older list.

    Args:
        path: the file of predictions.
        faults: a line for each such row.

    Returns:
        The list; None if no row was left out.

    Raises:
        WriteError: it cannot be written.
    """
    listed, lines = path.with_suffix(".skipped.txt"), "".join(f"{fault}\n" for fault in faults)
    with writing(listed):
        listed.unlink(missing_ok=True)
        if not lines:
            return None
        with atomic_write(listed) as file:
            file.write(lines.encode())
    return listed


def merge(row: Mapping[str, Any], results: Mapping[str, Any], spread: bool) -> dict[str, Any]:
    """A row of the input, without bytes and internal columns, with its results.

    Args:
        row: row of the input.
        results: its results.
        spread: whether the probability of every label is among them, as ``p(LABEL)``.
    """

    def shown(name: str) -> bool:
        return not name.startswith("__") and not isinstance(row[name], bytes)

    columns = {name: row[name] for name in row if shown(name)}
    merged = dict(columns)
    for name, value in results.items():
        if name != "probabilities":
            merged[f"{name}_" if name in columns else name] = value
    if spread:
        for label, probability in results.get("probabilities", {}).items():
            merged[f"p({label})"] = probability
    return merged


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Formats a value for a CSV cell: floats with six digits, lists and mappings as JSON.

    Large floats have twelve: six of 1,000,001.5 would be 1e+06.
    """
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.12g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
