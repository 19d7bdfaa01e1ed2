"""A backbone made at home in a domain before its task: it learns to fill gaps in plain texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.data.module import DataModule
from ftlight.metrics import intervals
from ftlight.models import loading, saving
from ftlight.models.pooling import trained_pooling
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.masked_lm.data import UNKNOWN, check_mask


class MaskedLM(Task):
    """Predicts masked tokens of texts (Devlin et al. 2019); its export is a backbone for the other tasks.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        base: options of Task.
    """

    data_module = "ftlight.MaskedData"
    primary_metric = "perplexity"
    monitor = "val/loss"
    mode = "min"

    def __init__(self, backbone: str, **base: Any) -> None:
        super().__init__(backbone, **base)
        check_mask(loading.load_tokenizer(backbone), backbone)
        self.model = self.load("AutoModelForMaskedLM")

    def forward(self, inputs: dict[str, Tensor], masked: Tensor) -> Tensor:
        """Logits of the masked tokens alone, ``[masked, vocabulary]``: those of all tokens would take most of the time and memory.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [windows, tokens]``.
            masked: which tokens to predict, ``bool [windows, tokens]``.
        """
        heads = [m for m in self.model.children() if m is not self.model.base_model]
        if len(heads) != 1:  # a head of several parts, such as DistilBERT's
            return self.model(**inputs).logits[masked].float()

        def only_masked(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (given[0][masked], *given[1:])

        hook = heads[0].register_forward_pre_hook(only_masked)
        try:
            return self.model(**inputs).logits.float()
        finally:
            hook.remove()

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss over masked tokens; of each its loss, the best token, its probability and whether it is right, ``[masked, 4]`` per row."""
        logits, targets = self(batch["inputs"], batch["masked"]), batch["targets"]
        known = targets != UNKNOWN
        losses = F.cross_entropy(logits, targets, ignore_index=UNKNOWN, reduction="none")
        if self.training:
            return Step(losses.sum() / max(len(targets), 1), [])
        chances, best = logits.softmax(-1).max(-1)
        loss = torch.where(known, losses, torch.nan)
        found = torch.stack([loss, best.float(), chances, (best == targets).float()], -1)
        count = int(known.sum())
        return Step(
            losses.sum() / max(count, 1), list(torch.split(found, batch["sizes"])), weight=count
        )

    def compute_metrics(
        self, outputs: Sequence[Tensor], targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Perplexity over masked tokens, with its interval over rows, and the share of them that is predicted rightly."""
        known = [
            row[~row[:, 0].isnan()] for row in (o.reshape(-1, 4) for o in outputs)
        ]  # also where nothing is masked
        parts = torch.tensor(
            [[*row[:, [0, 3]].double().sum(0).tolist(), len(row)] for row in known],
            dtype=torch.double,
        )
        loss, right, count = parts.sum(0).tolist()
        values = {
            "perplexity": math.exp(loss / count) if count else math.nan,
            "accuracy": right / count if count else math.nan,
        }
        ends = intervals.bootstrap(
            parts, lambda sums: math.exp(sums[0] / sums[2]) if sums[2] else math.nan
        )
        return EvaluationResult(values, len(rows), {"perplexity": ends})

    def postprocess(
        self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The best token for each mask, with the mean of their probabilities and the perplexity of the true ones where they are known."""
        decoded = []
        for row in outputs:
            words = [self.data.tokenizer.decode([int(token)]).strip() for token in row[:, 1]]
            loss = row[:, 0].mean().item()
            score = row[:, 2].mean().item() if len(row) else 1.0
            decoded.append(
                {
                    "prediction": words,
                    "score": score,
                    "perplexity": math.exp(loss) if math.isfinite(loss) else None,
                }
            )
        return decoded

    def describe(self) -> str:
        """Head."""
        new = bool(getattr(self.model, "new_parameters", ()))
        return "a new head over the embeddings" if new else "native head"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a folder that the other tasks take as their backbone; a sentence encoder stays one, with its pooling."""
        loading.save_description(self.backbone, folder)
        if trained_pooling(self.backbone) != "native":
            saving.write_modules({"Transformer": "", "Pooling": "1_Pooling"}, folder)
        self.model.save_pretrained(folder)  # type: ignore[operator]
        return (
            "# a backbone: model: {task: TextClassification, backbone: FOLDER}\n"
            "from transformers import pipeline\n"
            f'pipeline("fill-mask", FOLDER)("… {data.tokenizer.mask_token} …")'
        )
