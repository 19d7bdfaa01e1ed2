"""Entities in documents: which words are a name, a place, an amount, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.data.module import DataModule
from ftlight.metrics import intervals
from ftlight.metrics import spans as metrics
from ftlight.models import saving as export
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.data import TokenData, tag_names
from ftlight.utils.errors import UserError, join_limited

OUTSIDE = 0


class TokenClassification(Task):
    """Finds entities: spans of words with a type. Trains on IOB2 tags of words, each told by its first piece.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        base: options of Task.
    """

    data_module = "ftlight.TokenData"
    primary_metric = "f1"
    monitor = "val/f1"

    def __init__(self, backbone: str, **base: Any) -> None:
        super().__init__(backbone, **base)
        if not self.labels:
            raise UserError(
                "no labels: a TokenClassification needs labels=[…], in Python from TokenData(…).labels"
            )
        names = dict(enumerate(tag_names(self.labels)))
        numbers = {name: i for i, name in names.items()}
        self.model = self.load(
            "AutoModelForTokenClassification",
            num_labels=len(names),
            id2label=names,
            label2id=numbers,
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits ``[windows, tokens, tags]``.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [windows, tokens]``.
        """
        return self.model(**inputs).logits.float()

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss over words, and tag and probability of each word, ``[words, 2]`` per row."""
        logits = self(batch["inputs"])[batch["window"], batch["place"]]  # [words, tags]
        has_piece, sizes = batch["has_piece"], batch["words"]
        chances, tags = logits.detach().softmax(-1).max(-1)
        found = torch.stack(
            [tags.where(has_piece, OUTSIDE).to(chances.dtype), chances.where(has_piece, 1.0)], -1
        )
        outputs = list(torch.split(found, sizes))
        if "targets" not in batch:
            return Step(None, outputs)
        count = int(has_piece.sum())
        losses = F.cross_entropy(logits, batch["targets"], reduction="none")
        loss = losses.where(has_piece, 0.0).sum() / max(count, 1)
        return Step(loss, outputs, list(torch.split(batch["targets"], sizes)), count)

    def compute_metrics(
        self,
        outputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        rows: Sequence[Mapping[str, Any]],
    ) -> EvaluationResult:
        """Precision, recall and F1 of spans over all gold, with the F1 of each type, and the share of words with the right tag."""
        outputs = [row.reshape(-1, 2) for row in outputs]  # also where no row has a word
        names = tag_names(self.labels)
        gold = [[(s["type"], s["start"], s["end"]) for s in row["__gold"]] for row in rows]
        found = [spans.find(names[tag] for tag in row[:, 0].long().tolist()) for row in outputs]
        table = metrics.counts(gold, found, self.labels)
        right = sum(
            int((row[:, 0] == target).sum()) for row, target in zip(outputs, targets, strict=True)
        )
        words = sum(map(len, targets))
        values = {
            **metrics.scores(table, self.labels),
            "token_accuracy": right / words if words else float("nan"),
        }
        return EvaluationResult(
            values, len(rows), {"f1": intervals.bootstrap(table.sum(1), metrics.f1)}
        )

    def postprocess(
        self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Entities with type, text, first character and the one after the last, and the mean probability of their words' tags.

        Characters are those of the text, of word lists those of the words joined by a space. The row's own score is the
        probability of its least sure word.
        """
        names, decoded = tag_names(self.labels), []
        for output, row in zip(outputs, rows, strict=True):
            text, words = (
                (row["text"], row["__words"]) if "__words" in row else self.data.document(row)
            )
            chances = output[:, 1].tolist()
            found = []
            for name, first, after in spans.find(
                names[tag] for tag in output[:, 0].long().tolist()
            ):
                start, end = words[first][0], words[after - 1][1]
                score = sum(chances[first:after]) / (after - first)
                found.append(
                    {
                        "type": name,
                        "text": text[start:end],
                        "start": start,
                        "end": end,
                        "score": round(score, 4),
                    }
                )
            decoded.append({"prediction": found, "score": min(chances, default=1.0)})
        return decoded

    def describe(self) -> str:
        """Head and tags."""
        return f"{join_limited(self.labels, 4)} as IOB2, native head"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder for the token-classification pipeline."""
        assert isinstance(data, TokenData)
        export.transformers(self.model, data.tokenizer, data.max_length, folder)
        return (
            "from transformers import pipeline\n"
            'find = pipeline("token-classification", FOLDER, aggregation_strategy="first")\n'
            "find(text)  # for texts longer than the model takes: pipeline(…, stride=64)"
        )
