"""What all classification shares, whatever the input: loss, weights, metrics, words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.data import labels
from ftlight.data.module import DataModule
from ftlight.metrics import classes, intervals
from ftlight.task import EvaluationResult, Step, Task
from ftlight.utils.errors import UserError


class Classification(Task):
    """One label, several, or a number for each row. A subclass sets ``self.model``, which gives ``logits [rows, outputs]``.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        kind: single, multi or regression; read from the data.
        class_weight: balanced weighs classes by the inverse of their frequency.
        label_smoothing: share of the target spread over the other labels.
        base: options of Task.
    """

    def __init__(
        self,
        backbone: str,
        *,
        kind: labels.Kind = "single",
        class_weight: Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        self.kind, self.class_weight, self.label_smoothing = kind, class_weight, label_smoothing
        if not 0 <= label_smoothing < 1:
            raise UserError(
                f"model.label_smoothing: {label_smoothing} is not a share; give 0 to below 1, for example 0.1"
            )
        if kind != "regression" and not self.labels:
            raise UserError(
                f"no labels: a {type(self).__name__} needs labels=[…], in Python from the data module's .labels"
            )
        self.primary_metric = {"single": "accuracy", "multi": "f1_micro", "regression": "pearson"}[
            kind
        ]
        self.monitor = {"single": "val/f1", "multi": "val/f1_micro", "regression": "val/pearson"}[
            kind
        ]
        self.outputs = len(self.labels) or 1
        self.weights: Tensor | None
        self.variance: Tensor
        # from the training rows, so not part of a checkpoint
        self.register_buffer("weights", None, persistent=False)
        self.register_buffer("variance", torch.ones(()), persistent=False)

    def native(self, auto: str) -> nn.Module:
        """The pre-trained model with the architecture's own head, for our labels.

        Args:
            auto: name of the transformers Auto class.
        """
        names = self.labels or ["value"]
        problems = {
            "single": "single_label_classification",
            "multi": "multi_label_classification",
            "regression": "regression",
        }
        ids = {n: i for i, n in enumerate(names)}
        return self.load(
            auto,
            num_labels=self.outputs,
            id2label=dict(enumerate(names)),
            label2id=ids,
            problem_type=problems[self.kind],
        )

    def setup(self, stage: str) -> None:
        """Takes class weights, or a regression's scale, from the training rows."""
        super().setup(stage)
        if stage != "fit" or not isinstance(self.data, DataModule):
            return
        targets = self.data.sets["train"].targets
        if self.kind == "regression":
            self.variance = torch.tensor(float(np.var(targets)) or 1.0)
            final = [
                m for m in self.model.modules() if isinstance(m, nn.Linear) and m.out_features == 1
            ][-1]
            if (
                final.bias is not None and not self.total_steps
            ):  # start from the mean: the first epochs need not find it
                nn.init.constant_(final.bias, float(np.mean(targets)))
        elif self.class_weight == "balanced":
            flat = np.concatenate([np.atleast_1d(t) for t in targets]).astype(int)
            counts = np.maximum(np.bincount(flat, minlength=len(self.labels)), 1)
            balanced = (
                len(targets) / counts - 1
                if self.kind == "multi"
                else len(targets) / (len(self.labels) * counts)
            )
            self.weights = torch.tensor(balanced, dtype=torch.float)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits ``[rows, labels]``, or values ``[rows]`` for regression.

        Args:
            inputs: what the model takes, such as ``input_ids`` and ``attention_mask``, ``int64 [rows, tokens]``.
        """
        logits = self.model(**inputs).logits.float()
        return logits.squeeze(-1) if self.kind == "regression" else logits

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss and probabilities (or values) of a batch."""
        logits, targets = self(batch["inputs"]), batch.get("targets")
        return Step(
            None if targets is None else self.loss(logits, targets),
            self.probabilities(logits),
            targets,
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities ``[rows, labels]``; values ``[rows]`` as they are."""
        if self.kind == "regression":
            return logits.detach()
        return logits.detach().softmax(-1) if self.kind == "single" else logits.detach().sigmoid()

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over rows: cross-entropy, binary cross-entropy, or squared error.

        In training weighted, smoothed, and in units of the targets' variance; in evaluation plain, the same for every verb.
        """
        weights, smoothing = (self.weights, self.label_smoothing) if self.training else (None, 0.0)
        if self.kind == "regression":
            return F.mse_loss(logits, targets.float()) / (self.variance if self.training else 1)
        if self.kind == "single":
            return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
        smooth = targets * (1 - smoothing) + 0.5 * smoothing
        return F.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights)

    def compute_metrics(
        self, outputs: Tensor, targets: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """All metrics of the kind, with the interval of its score."""
        count = len(targets)
        if self.kind == "regression":
            values = classes.regression(outputs, targets)
            return EvaluationResult(
                values, count, {"pearson": intervals.fisher(values["pearson"], count)}
            )
        if self.kind == "multi":
            return EvaluationResult(
                classes.multi_label(outputs, targets),
                count,
                {"f1_micro": classes.bootstrap_f1(outputs, targets)},
            )
        values, confusion = classes.single_label(outputs, targets)
        return EvaluationResult(
            values, count, {"accuracy": intervals.wilson(values["accuracy"], count)}, confusion
        )

    def postprocess(
        self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Labels as words with their probabilities, or values."""
        if self.kind == "regression":
            return [{"prediction": v, "score": v} for v in outputs.tolist()]
        decoded = []
        for row in outputs.tolist():
            named = dict(zip(self.labels, row, strict=True))
            chosen = (
                [max(named, key=named.__getitem__)]
                if self.kind == "single"
                else [n for n, p in named.items() if p >= 0.5]
            )
            score = max(row) if self.kind == "single" else min(max(p, 1 - p) for p in row)
            decoded.append(
                {
                    "prediction": labels.SEPARATOR.join(chosen),
                    "score": score,
                    "probabilities": named,
                }
            )
        return decoded

    def write_labels(self, folder: Path) -> None:
        """Writes kind and labels, in the order of the logits, beside an export."""
        text = json.dumps({"kind": self.kind, "labels": self.labels}, indent=1)
        (folder / "labels.json").write_text(text + "\n", encoding="utf-8")
