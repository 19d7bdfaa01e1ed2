"""Finds entities in documents: names, places, amounts, and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.data.module import DataModule
from ftlight.freezing.head import Objective
from ftlight.freezing.linear import Vectors
from ftlight.metrics import intervals
from ftlight.metrics import spans as metrics
from ftlight.metrics.classes import f1_of_rows
from ftlight.models import saving as export
from ftlight.models.losses import Loss
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.data import TokenData, tag_names
from ftlight.utils.errors import UserError, join_limited

OUTSIDE = 0  # the tag O


class TokenClassification(Task):
    """Finds entities: spans of words with a type.

    Trains on IOB2 tags of words; the first word piece of each word predicts its tag.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        base: Options of Task.
    """

    data_module = "ftlight.TokenData"
    primary_metric = "f1"
    monitor = "val/f1"

    def __init__(self, backbone: str, **base: Any) -> None:
        super().__init__(backbone, **base)
        if not self.labels:
            raise UserError(
                "no labels: a TokenClassification needs labels=[…];"
                " in Python take them from TokenData(…).labels"
            )
        self.tags = tag_names(self.labels)
        self.model = self.load(
            "AutoModelForTokenClassification",
            num_labels=len(self.tags),
            id2label=dict(enumerate(self.tags)),
            label2id={tag: i for i, tag in enumerate(self.tags)},
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns logits ``[windows, tokens, tags]``.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [windows, tokens]``.
        """
        return self.model(**inputs).logits.float()

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the loss over words, and each word's tag and probability, ``[words, 2]`` per row.

        A word without a word piece counts as outside, with probability 1, and has no loss.
        """
        logits = self(batch["inputs"])[batch["window"], batch["place"]]  # [words, tags]
        has_piece, words_per_row = batch["has_piece"], batch["words"]
        probabilities, tags = logits.detach().softmax(-1).max(-1)
        tags = tags.where(has_piece, OUTSIDE).to(probabilities.dtype)
        predicted = torch.stack([tags, probabilities.where(has_piece, 1.0)], -1)
        outputs = list(torch.split(predicted, words_per_row))
        if "targets" not in batch:
            return Step(None, outputs)
        count = int(has_piece.sum())
        losses = F.cross_entropy(logits, batch["targets"], reduction="none")
        loss = losses.where(has_piece, 0.0).sum() / max(count, 1)
        return Step(loss, outputs, list(torch.split(batch["targets"], words_per_row)), count)

    def head_objective(self) -> Objective:
        """Cross-entropy over words."""
        return Objective(Loss("single"))

    def head_vectors(self, batch: dict[str, Any], states: Tensor, used: Tensor | None) -> Vectors:
        """Returns the vector of the first word piece of each word that has one."""
        rows = torch.as_tensor(batch["index"]).repeat_interleave(torch.tensor(batch["words"]))
        has_piece = batch["has_piece"]
        seen = states[batch["window"], batch["place"]][has_piece]
        return Vectors(rows[has_piece.cpu()], seen, batch["targets"][has_piece])

    def _spans(self, output: Tensor) -> list[spans.Span]:
        """Entities of a row, in words, from the tags ``output[:, 0]``."""
        return spans.find(self.tags[tag] for tag in output[:, 0].long().tolist())

    def compute_metrics(
        self,
        outputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        rows: Sequence[Mapping[str, Any]],
    ) -> EvaluationResult:
        """Computes precision, recall and F1 of spans, overall and by type, and the tag accuracy.

        All gold entities count, also those in words that the model never saw.
        """
        outputs = [row.reshape(-1, 2) for row in outputs]  # a row may have no word
        table = self._counts(outputs, rows)
        pairs = zip(outputs, targets, strict=True)
        right = sum(int((row[:, 0] == target).sum()) for row, target in pairs)
        words = sum(map(len, targets))
        values = metrics.scores(table, self.labels)
        values["token_accuracy"] = right / words if words else float("nan")
        interval = {"f1": intervals.bootstrap(table.sum(1), metrics.f1, bounds=intervals.UNIT)}
        return EvaluationResult(values, len(rows), interval)

    def _counts(self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Correct, predicted and actual spans, ``double [rows, types, 3]``."""
        gold = [[(s["type"], s["start"], s["end"]) for s in row["__gold"]] for row in rows]
        return metrics.counts(gold, [self._spans(row) for row in outputs], self.labels)

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """F1 of the spans of each row; 1 if it has none, and none was found."""
        assert result.outputs is not None
        outputs = [row.reshape(-1, 2) for row in result.outputs]
        return f1_of_rows(*self._counts(outputs, rows).sum(1).unbind(1))

    def postprocess(
        self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns the entities of each row: type, text, start, end and score.

        ``start`` and ``end`` are characters of the text (of a word list: of its words joined by
        spaces); ``end`` is exclusive. The score of an entity is the mean probability of its
        words' tags, that of a row the probability of its least sure word.
        """
        decoded = []
        for output, row in zip(outputs, rows, strict=True):
            if "__words" in row:
                text, words = row["text"], row["__words"]
            else:
                text, words = self.data.document(row)
            probabilities = output[:, 1].tolist()
            entities = []
            for kind, first, after in self._spans(output):
                start, end = words[first][0], words[after - 1][1]
                score = round(sum(probabilities[first:after]) / (after - first), 4)
                entity = {"type": kind, "text": text[start:end], "start": start, "end": end}
                entities.append({**entity, "score": score})
            decoded.append({"prediction": entities, "score": min(probabilities, default=1.0)})
        return decoded

    def describe(self) -> str:
        """Entity types and head."""
        return f"{join_limited(self.labels, 4)} as IOB2, native head"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder for its token-classification pipeline."""
        assert isinstance(data, TokenData)
        export.transformers(self.model, data.tokenizer, data.max_length, folder)
        return (
            "from transformers import pipeline\n"
            'find = pipeline("token-classification", FOLDER, aggregation_strategy="first")\n'
            "find(text)  # if texts exceed the model's length: pipeline(…, stride=64)"
        )
