"""A fine-tuned model as a folder that every verb takes as a run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import lightning as L

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run import trust
from ftlight.run.provenance import provenance
from ftlight.task import Task
from ftlight.trainer import export, recorded
from ftlight.trainer.exported import FOLDERS
from ftlight.trainer.run_folder import describe
from ftlight.training import checkpoint as files
from ftlight.utils import secrets
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.atomic_folder import atomic_folder
from ftlight.utils.errors import UserError, WriteError

BEST = Path("checkpoints") / "best.ckpt"
# Of a run, what belongs to its training or was made of it later.
LEFT_OUT = (
    *("checkpoints", "predictions", "baselines", "wandb", runs.LOCK, "*.part"),
    *FOLDERS.values(),
)


def save(task: Task, data: DataModule, run: Path | None, folder: Path) -> Path:
    """Writes a folder that every verb takes as a run.

    Args:
        task: the task, with its weights.
        data: its data module.
        run: folder of the run that they are from; None if they were made in Python.
        folder: folder to make; it may be there if it is empty.

    Raises:
        UserError: it is there already, or the task was made with what YAML cannot hold.
        WriteError: the disk is full, or the folder cannot be written.
    """
    export.check(folder, "")
    with writing(folder), atomic_folder(folder) as part:
        if run is not None:
            shutil.copytree(run, part, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
            (part / BEST).parent.mkdir()
            shutil.copyfile(run / BEST, part / BEST)
        else:
            _make(task, data, part)
    # what a stranger's run attaches to a trainer does not become one's own by a copy
    if run is None or trust.is_trusted(run) or not trust.attached(runs.read_config(run)):
        trust.note(folder)
    return folder


def _make(task: Task, data: DataModule, folder: Path) -> None:
    """Writes what a run consists of: config, origin, labels, tokenizer and weights."""
    config, lacks = recorded.config_of(task, data)
    for name, why in lacks.items():
        raise UserError(f"{name} cannot be saved: {why}")
    seed = os.environ.get("PL_GLOBAL_SEED")
    made = {"seed_everything": int(seed) if seed else False, "trainer": {}, **config}
    runs.write_config(folder, runs.as_yaml(secrets.redact(made)))
    facts = provenance(int(seed) if seed else None, data.digests)
    own = [*facts["python_path"], *recorded.folders_of(task, data)]
    about = {"status": "done", "backbone": task.backbone, "python_path": own}
    write_json(folder / "run.json", {**facts, **about})
    describe(task, data, folder)
    checkpoint: dict[str, Any] = {"state_dict": task.state_dict(), "epoch": 0, "global_step": 0}
    checkpoint["pytorch-lightning_version"] = L.__version__
    task.on_save_checkpoint(checkpoint)
    (folder / BEST).parent.mkdir()
    if problem := files.write_packed(files.pack(checkpoint), folder / BEST):
        raise WriteError(problem)
