"""Masked language modelling: adapts a backbone to a domain before it learns a task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.metrics import texts
from ftlight.models import loading, saving
from ftlight.models.padding import runs_unpadded
from ftlight.models.pooling import trained_pooling
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.masked_lm.data import UNKNOWN, check_mask


class MaskedLM(Task):
    """Predicts masked tokens of texts; its export is a backbone for the other tasks.

    Source: Devlin et al. 2019, arXiv:1810.04805.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        base: Options of Task.
    """

    data_module = "ftlight.MaskedData"
    pipeline_tag = "fill-mask"
    primary_metric = "perplexity"
    monitor = "val/loss"
    mode = "min"
    starts_trained = True
    no_onnx = "no ONNX: it is a backbone for other tasks"

    def __init__(self, backbone: str, **base: Any) -> None:
        super().__init__(backbone, **base)
        check_mask(loading.load_tokenizer(backbone), backbone)
        self.model = self.load("AutoModelForMaskedLM")

    def forward(self, inputs: dict[str, Tensor], masked: Tensor) -> Tensor:
        """Returns logits of the masked tokens alone, ``[masked, vocabulary]``.

        Logits of all tokens would take most of the time and memory.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [windows, tokens]``.
            masked: Which tokens to predict, ``bool [windows, tokens]``.
        """
        heads = [m for m in self.model.children() if m is not self.model.base_model]
        if len(heads) != 1 or runs_unpadded(self.model):  # DistilBERT's head has several parts
            return self.model(**inputs).logits[masked].float()

        def only_masked(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (given[0][masked], *given[1:])

        hook = heads[0].register_forward_pre_hook(only_masked)
        try:
            return self.model(**inputs).logits.float()
        finally:
            hook.remove()

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the mean loss over masked tokens.

        The output of a row is ``[masked, 4]``: loss, most likely token, its probability, and
        whether it is right.
        """
        logits, targets = self(batch["inputs"], batch["masked"]), batch["targets"]
        known = targets != UNKNOWN
        losses = F.cross_entropy(logits, targets, ignore_index=UNKNOWN, reduction="none")
        if self.training:
            return Step(losses.sum() / max(len(targets), 1), [])
        probabilities, best = logits.softmax(-1).max(-1)
        loss = torch.where(known, losses, torch.nan)
        outputs = torch.stack([loss, best.float(), probabilities, (best == targets).float()], -1)
        count = int(known.sum())
        mean = losses.sum() / max(count, 1)
        return Step(mean, list(torch.split(outputs, batch["sizes"])), weight=count)

    def compute_metrics(
        self, outputs: Sequence[Tensor], targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes perplexity over masked tokens, and the share of them predicted right."""
        sums = []
        for output in outputs:
            row = output.reshape(-1, 4)  # a row may have no masked token
            row = row[~row[:, 0].isnan()]
            sums.append([*row[:, [0, 3]].double().sum(0).tolist(), len(row)])
        parts = torch.tensor(sums, dtype=torch.double)
        loss, right, count = parts.sum(0).tolist()
        values = {
            "perplexity": texts.perplexity(loss, count),
            "accuracy": right / count if count else math.nan,
        }
        interval = texts.bootstrap_perplexity(parts[:, [0, 2]])
        return EvaluationResult(values, len(rows), {"perplexity": interval})

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Negative mean loss of the masked tokens of each row; 0 if it has none."""
        assert result.outputs is not None
        means = [output.reshape(-1, 4)[:, 0].double().nanmean() for output in result.outputs]
        return -torch.stack(means).nan_to_num(0.0)

    def postprocess(
        self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns the most likely token of each mask, and the mean of their probabilities.

        ``perplexity`` is that of the true tokens, None if they are not known.
        """
        decoded = []
        for row in outputs:
            words = [self.data.tokenizer.decode([int(token)]).strip() for token in row[:, 1]]
            score = row[:, 2].mean().item() if len(row) else 1.0
            loss = row[:, 0].mean().item()
            perplexity = math.exp(loss) if math.isfinite(loss) else None
            decoded.append({"prediction": words, "score": score, "perplexity": perplexity})
        return decoded

    def ladder(self, data: DataModule) -> Ladder | str:
        """The untuned model alone: nothing cheap gives probabilities of tokens."""
        return Ladder([], None, self.primary_metric, untuned=True)

    def describe(self) -> str:
        """Whether the head is new."""
        new = bool(getattr(self.model, "new_parameters", ()))
        return "a new head over the embeddings" if new else "native head"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a backbone folder; a sentence encoder keeps its pooling."""
        loading.save_description(self.backbone, folder)
        if trained_pooling(self.backbone) != "native":
            saving.write_modules({"Transformer": "", "Pooling": "1_Pooling"}, folder)
        self.model.save_pretrained(folder)  # type: ignore[operator]
        return (
            "# a backbone: model: {task: TextClassification, backbone: FOLDER}\n"
            "from transformers import pipeline\n"
            f'pipeline("fill-mask", FOLDER)("… {data.tokenizer.mask_token} …")'
        )
