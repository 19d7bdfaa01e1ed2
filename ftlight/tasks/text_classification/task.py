"""Texts, or pairs of texts, to one label, several labels or a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from ftlight.data import tokens
from ftlight.data.module import DataModule
from ftlight.models import loading
from ftlight.models import saving as export
from ftlight.models.modes import evaluating
from ftlight.models.pooling import Pooled, Pooling, trained_pooling
from ftlight.task import Step
from ftlight.tasks.classification import Classification
from ftlight.tasks.text_classification import few_shot
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError

SCALE = 5.0  # what cosines are multiplied with to be logits: with more, few rows are fitted before the backbone has learned from them


class TextClassification(Classification):
    """Classifies texts or pairs of texts, with one label, several, or a number as the answer.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        pooling: how token states become one vector: mean, cls, last or max with a linear head; native is the
            architecture's own head; auto pools a sentence encoder as it was trained and gives others their native head.
        head_init: labels starts the head from what the backbone makes of the labels' names: before any training the model is the
            zero-shot one. Texts and classes are then compared by direction (cosine).
        label_template: text around the name of a label, or several that are averaged; if not given, the name alone and
            "This text is about {}."
        label_descriptions: texts that stand for labels in place of their names: a mapping from label to text, or a YAML or JSON
            file of one.
        contrastive: weight of a loss that draws rows of a class together within a batch, such as 0.5; for few rows, in batches
            that hold several of a class.
        base: options of Classification.
    """

    data_module = "ftlight.TextData"

    def __init__(
        self,
        backbone: str,
        *,
        pooling: Pooling = "auto",
        head_init: Literal["random", "labels"] = "random",
        label_template: str | list[str] | None = None,
        label_descriptions: Any = None,
        contrastive: float = 0.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        self.pooling = trained_pooling(backbone) if pooling == "auto" else pooling
        self.head_init, self.contrastive = head_init, contrastive
        if head_init == "labels" and pooling == "auto" and self.pooling == "native":
            self.pooling = "mean"
        self._check_few_shot()
        if self.pooling == "native":
            self.model = self.native("AutoModelForSequenceClassification")
        else:
            named = head_init == "labels"
            self.model = Pooled(
                self.load(), self.pooling, self.outputs, scale=SCALE if named else None
            )
            if named and self.pretrained:
                described = few_shot.descriptions(label_descriptions, self.labels)
                templates = [label_template] if isinstance(label_template, str) else label_template
                self._start_from(
                    few_shot.texts(
                        self.labels,
                        few_shot.TEMPLATES if templates is None else templates,
                        described,
                    )
                )

    def _check_few_shot(self) -> None:
        if self.contrastive < 0:
            raise UserError(
                f"model.contrastive: {self.contrastive} is not a weight; give 0 or more, for example 0.5"
            )
        for option in (["head_init: labels"] if self.head_init == "labels" else []) + (
            ["contrastive"] if self.contrastive else []
        ):
            if self.kind != "single":
                raise UserError(
                    f"model.{option} is for one label a row; these data are of kind {self.kind}"
                )
            if self.pooling == "native":
                raise UserError(
                    f"model.{option} needs the vector of a text, which a native head hides; set model.pooling: mean"
                )

    @torch.no_grad()
    def _start_from(self, texts: list[list[str]]) -> None:
        """Makes the directions of texts, given by template and label, those of the head's classes."""
        assert isinstance(self.model, Pooled)
        tokenizer = loading.load_tokenizer(self.backbone)
        vectors = []
        with evaluating(self.model):
            for some in texts:
                columns = tokens.tokenize(tokenizer, some, None, tokens.max_length(self.backbone))
                vectors.append(self.model(**tokens.collate(columns, tokenizer)).hidden_states[0])
        self.model.head.weight.copy_(few_shot.directions(torch.stack(vectors)))
        self.model.head.bias.zero_()

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss and probabilities (or values) of a batch; in training with the contrastive loss, where that is asked for."""
        if not (self.contrastive and self.training):
            return super().step(batch)
        output, targets = self.model(**batch["inputs"]), batch["targets"]
        logits = output.logits.float()
        together = few_shot.contrastive(output.hidden_states[0], targets, 1 / SCALE)
        return Step(
            self.loss(logits, targets) + self.contrastive * together,
            self.probabilities(logits),
            targets,
        )

    def describe(self) -> str:
        """Kind, head and what else is special."""
        head = "native head" if self.pooling == "native" else f"{self.pooling} pooling"
        start = ["cosine head from the labels' names"] if self.head_init == "labels" else []
        return ", ".join(
            [
                self.kind,
                head,
                *start,
                *([f"contrastive {self.contrastive:g}"] if self.contrastive else []),
            ]
        )

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder (native head) or a sentence-transformers folder (pooled)."""
        assert isinstance(data, TextData)
        self.write_labels(folder)
        if isinstance(self.model, Pooled):
            export.sentence_transformers(self.model, data.tokenizer, data.max_length, folder)
            return (
                "from sentence_transformers import SentenceTransformer\n"
                "logits = SentenceTransformer(FOLDER).encode(texts)  # one number per label, in the order of labels.json"
            )
        export.transformers(self.model, data.tokenizer, data.max_length, folder)
        return 'from transformers import pipeline\npipeline("text-classification", FOLDER)(texts, truncation=True)'
