"""A fine-tuned model in Python: rows in, predictions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.plugins.precision import Precision

from ftlight.data.module import DataModule
from ftlight.task import Task
from ftlight.trainer import unsure


class Predictor:
    """A task with the data module that feeds it, ready to predict.

    Args:
        task: the fine-tuned task.
        data: its data module, which need not have any files.
        precision: Lightning's plugin of the precision to compute in; by default the weights' own.
    """

    def __init__(self, task: Task, data: DataModule, precision: Precision | None = None) -> None:
        self.precision = precision or Precision()
        self.task = cast(Task, self.precision.convert_module(task.eval()))
        self.data = data
        task.datamodule = data
        data.set_task(task)
        data.check_model(task.model)

    def predict(
        self,
        rows: Sequence[str | Mapping[str, Any]],
        at_least: float | None = None,
        coverage: float | None = None,
    ) -> list[dict[str, Any]]:
        """Predicts rows, in batches of similar length.

        Args:
            rows: texts, or mappings with the input columns of training.
            at_least: share of the answered rows that are to be right; the others are unsure.
            coverage: share of rows whose set of labels, or range of numbers, is to hold the truth.

        Returns:
            For each row, in order: ``prediction``, ``score`` and what else the task gives, such as
            ``probabilities`` by label. With ``at_least`` also ``unsure``, and a ``prediction`` of
            None if it is true; with ``coverage`` a ``set``, or ``low`` and ``high``.

        Raises:
            UserError: an input column is missing, or the run cannot promise what is asked.
        """
        promise = unsure.settle(self.task, self.task.calibration, at_least, coverage)
        if not rows:
            return []
        first = self.data.columns[0]
        self.data.set_predict([{first: r} if isinstance(r, str) else dict(r) for r in rows])
        predictions: dict[int, dict[str, Any]] = {}
        with torch.inference_mode():
            for batch in self.data.predict_dataloader():
                batch = self.precision.convert_input(move_data_to_device(batch, self.task.device))
                with self.precision.predict_step_context():
                    predictions.update(self.task.predict_step(batch))
        answers = [predictions[i] for i in range(len(rows))]
        unsure.mark(answers, promise)
        return answers
