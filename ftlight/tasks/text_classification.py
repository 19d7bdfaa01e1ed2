"""Texts, or pairs of texts, to one label, several labels or a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight import backbone as bb
from ftlight import export, metrics
from ftlight.data import labels
from ftlight.data.module import DataModule
from ftlight.data.text import TextData
from ftlight.errors import UserError
from ftlight.task import Evidence, Step, Task


class TextClassification(Task):
    """Classifies texts or pairs of texts, with one label, several, or a number as the answer.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        pooling: how token states become one vector: mean, cls, last or max with a linear head; native is the
            architecture's own head; auto pools a sentence encoder as it was trained and gives others their native head.
        kind: single, multi or regression; read from the data.
        class_weight: balanced weighs classes by the inverse of their frequency.
        label_smoothing: share of the target spread over the other labels.
        base: options of Task.
    """

    data_module = "ftlight.data.text.TextData"

    def __init__(
        self,
        backbone: str,
        *,
        pooling: bb.Pooling = "auto",
        kind: labels.Kind = "single",
        class_weight: Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        self.kind, self.class_weight, self.label_smoothing = kind, class_weight, label_smoothing
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing: {label_smoothing} is not a share; give 0 to below 1, for example 0.1")
        if kind != "regression" and not self.labels:
            raise UserError("no labels: a TextClassification needs labels=[…], in Python from TextData(…).labels")
        self.score = {"single": "accuracy", "multi": "f1_micro", "regression": "pearson"}[kind]
        self.monitor = {"single": "val/f1", "multi": "val/f1_micro", "regression": "val/pearson"}[kind]
        outputs = len(self.labels) or 1
        self.pooling = bb.trained_pooling(backbone) if pooling == "auto" else pooling
        if self.pooling == "native":
            names = self.labels or ["value"]
            problems = {"single": "single_label_classification", "multi": "multi_label_classification", "regression": "regression"}
            self.model = self.load(
                "AutoModelForSequenceClassification",
                num_labels=outputs,
                id2label=dict(enumerate(names)),
                label2id={n: i for i, n in enumerate(names)},
                problem_type=problems[kind],
            )
        else:
            self.model = bb.Pooled(self.load(), self.pooling, outputs)
        self.weights: Tensor | None
        self.variance: Tensor
        # from the training rows, so not part of a checkpoint
        self.register_buffer("weights", None, persistent=False)
        self.register_buffer("variance", torch.ones(()), persistent=False)

    def setup(self, stage: str) -> None:
        """Takes class weights, or a regression's scale, from the training rows."""
        super().setup(stage)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit" or not isinstance(data, TextData):
            return
        targets = data.sets["train"].targets
        if self.kind == "regression":
            self.variance = torch.tensor(float(np.var(targets)) or 1.0)
            final = [m for m in self.model.modules() if isinstance(m, nn.Linear) and m.out_features == 1][-1]
            if final.bias is not None and not self.total_steps:  # start from the mean: the first epochs need not find it
                nn.init.constant_(final.bias, float(np.mean(targets)))
        elif self.class_weight == "balanced":
            flat = np.concatenate([np.atleast_1d(t) for t in targets]).astype(int)
            counts = np.maximum(np.bincount(flat, minlength=len(self.labels)), 1)
            balanced = len(targets) / counts - 1 if self.kind == "multi" else len(targets) / (len(self.labels) * counts)
            self.weights = torch.tensor(balanced, dtype=torch.float)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits ``[rows, labels]``, or values ``[rows]`` for regression.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [rows, tokens]``.
        """
        logits = self.model(**inputs).logits.float()
        return logits.squeeze(-1) if self.kind == "regression" else logits

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss and probabilities (or values) of a batch."""
        logits, targets = self(batch["inputs"]), batch.get("targets")
        return Step(None if targets is None else self.loss(logits, targets), self._outputs(logits), targets)

    def _outputs(self, logits: Tensor) -> Tensor:
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

    def measure(self, outputs: Tensor, targets: Tensor) -> Evidence:
        """All metrics of the kind, with the interval of its score."""
        rows = len(targets)
        if self.kind == "regression":
            values = metrics.regression(outputs, targets)
            return Evidence(values, rows, metrics.fisher(values["pearson"], rows))
        if self.kind == "multi":
            return Evidence(metrics.multi_label(outputs, targets), rows, metrics.bootstrap_f1(outputs, targets))
        values, confusion = metrics.single_label(outputs, targets)
        return Evidence(values, rows, metrics.wilson(values["accuracy"], rows), confusion)

    def decode(self, outputs: Tensor) -> list[dict[str, Any]]:
        """Labels as words with their probabilities, or values."""
        if self.kind == "regression":
            return [{"prediction": v, "score": v} for v in outputs.tolist()]
        decoded = []
        for row in outputs.tolist():
            named = dict(zip(self.labels, row, strict=True))
            chosen = [max(named, key=named.__getitem__)] if self.kind == "single" else [n for n, p in named.items() if p >= 0.5]
            score = max(row) if self.kind == "single" else min(max(p, 1 - p) for p in row)
            decoded.append({"prediction": labels.SEPARATOR.join(chosen), "score": score, "probabilities": named})
        return decoded

    def describe(self) -> str:
        """Kind and head."""
        return f"{self.kind}, native head" if self.pooling == "native" else f"{self.kind}, {self.pooling} pooling"

    def export(self, folder: Path, data: DataModule) -> None:
        """Writes a transformers folder (native head) or a sentence-transformers folder (pooled)."""
        assert isinstance(data, TextData)
        if isinstance(self.model, bb.Pooled):
            export.sentence_transformers(self.model, data.tokenizer, data.max_length, folder)
        else:
            export.transformers(self.model, data.tokenizer, data.max_length, folder)
        (folder / "labels.json").write_text(json.dumps({"kind": self.kind, "labels": self.labels}, indent=1) + "\n")
