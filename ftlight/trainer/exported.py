"""What an export is of: a task with its weights, and what its card can say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data.module import DataModule
from ftlight.run import records, shapes
from ftlight.task import Task
from ftlight.trainer import card_facts
from ftlight.trainer.card_facts import Facts
from ftlight.utils.markdown import told

FOLDERS = {"hf": "export", "onnx": "onnx"}  # formats, with the folder of a run that each is put in


class Exported(NamedTuple):
    """What is exported.

    Attributes:
        home: folder of the run that trained it.
        task: the task, with the weights to export.
        data: its data module.
        checkpoint: name of the checkpoint that holds the weights, such as best.
        share: share of the fine-tuned weights, if they are mixed with the pre-trained ones.
    """

    home: Path
    task: Task
    data: DataModule
    checkpoint: str = "best"
    share: float | None = None

    def scores(self) -> dict[str, Any]:
        """What was measured on the test data with these weights; empty if nothing was."""
        mixed, best = self.share is not None, self.checkpoint == "best"
        stem = "-".join(["test", *["wise"] * mixed, *[self.checkpoint] * (not best)])
        scores = records.of(self.home / f"{stem}_metrics.json", {**shapes.TEST, "wise": dict})
        is_other = mixed and scores.get("wise", {}).get("share") != self.share
        return {} if is_other else scores

    def facts(self) -> Facts:
        """What the files of the run say for its card.

        Raises:
            UserError: one of them is damaged.
        """
        best = self.share is None and self.checkpoint == "best"
        return card_facts.read(self.home, self.task, self.scores(), best)

    @property
    def weights(self) -> str:
        """What weights these are, in a sentence; empty for the best ones as they are."""
        said = ""
        if self.checkpoint != "best":
            name = told(self.checkpoint)
            said = f"These are the weights of the checkpoint {name}, not the best ones."
        if self.share is not None:
            said += (
                f" The backbone's weights are {self.share:g} fine-tuned and {1 - self.share:g}"
                " pre-trained (WiSE-FT); scores of a mix are not calibrated."
            )
        return said.strip()
