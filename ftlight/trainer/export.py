"""The folder and the model card of an export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ftlight.utils.errors import UserError


def prepare(folder: Path) -> Path:
    """Makes the folder of an export.

    Raises:
        UserError: it is there already and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not empty; give another with --out DIR")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def card(
    run: dict[str, Any], task: Any, how: str, scores: dict[str, Any], share: float | None = None
) -> str:
    """A model card: what it is, how it was made, how it was measured, how it is loaded.

    Args:
        run: what run.json holds.
        task: the task.
        how: lines of Python that load the folder.
        scores: what test_metrics.json holds, or nothing.
        share: share of the fine-tuned weights, where they were mixed with the pre-trained ones.
    """
    library = next(iter(re.findall(r"^(?:from|import) (\w+)", how, re.M)), "transformers").replace(
        "_", "-"
    )
    rows = "\n".join(
        f"| {k} | {'n/a' if v is None else f'{v:.4f}'} |"
        for k, v in scores.items()
        if isinstance(v, float | None)
    )
    return (
        f"---\nlibrary_name: {library}\nbase_model: {run.get('backbone')}\n---\n"
        f"# {type(task).__name__} on {run.get('backbone')}\n\n"
        f"Fine-tuned with ftlight {run.get('versions', {}).get('ftlight', '')},"
        f" seed {run.get('seed')}{'; labels: ' + ', '.join(task.labels) if task.labels else ''}."
        + (
            ""
            if share is None
            else f" The backbone's weights are {share:g} fine-tuned and {1 - share:g} pre-trained (WiSE-FT)."
        )
        + "\n\n"
        f"```python\n{how}\n```\n\n"
        + (
            f"Measured on the test data ({scores.get('test/rows')} rows):\n\n| metric | value |\n|---|---|\n{rows}\n"
            if rows
            else "Not tested.\n"
        )
    )
