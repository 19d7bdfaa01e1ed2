"""Classifies texts or pairs of texts: one label, several labels, or a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ftlight.baselines.ladder import Ladder
from ftlight.data import files, tokens, windows
from ftlight.data.module import DataModule
from ftlight.freezing.head import Objective
from ftlight.models import loading, scale
from ftlight.models import saving as export
from ftlight.models.modes import evaluating
from ftlight.models.pooling import Pooled, Pooling, trained_pooling
from ftlight.models.portable import Portable
from ftlight.models.windows import WindowPooling, in_parts, pooled
from ftlight.task import Step
from ftlight.tasks import temperature
from ftlight.tasks.classification import Classification
from ftlight.tasks.text_classification import card, cheap, few_shot, portable
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import NonNegative

# Turns cosines into logits. With a larger scale the head fits few rows before the backbone has
# learned anything from them.
SCALE = 5.0


class TextClassification(Classification):
    """Classifies texts or pairs of texts: one label, several labels, or a number.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        pooling: How token states become one vector: mean, cls, last or max, followed by a linear
            head; native uses the architecture's own head. Default auto: the pooling a sentence
            encoder was trained with, native for any other model.
        long_text: How a text of more than max_length tokens is read: window for all of it, in
            windows that overlap by a quarter; cut for its beginning. Default auto: window if more
            than 1 % of the training rows are so long.
        window_pooling: How the logits of the windows of a text become one: their mean, or max for
            the largest of each label.
        head_init: Start of the head: random; or labels, which derives it from the label names, so
            that the model classifies before any training, by the cosine of texts and labels.
        label_template: Text around a label name, with {} for the name; several are averaged.
            Default: the name alone, and the sentence "This text is about {}.", averaged.
        label_descriptions: Texts to use instead of label names: a mapping from label to text, or
            a YAML or JSON file with one.
        contrastive: Weight of the supervised contrastive loss, for example 0.5. Helps with few
            rows, in batches with several rows of a class.
        base: Options of Classification.
    """

    data_module = "ftlight.TextData"
    pipeline_tag = "text-classification"

    def __init__(
        self,
        backbone: str,
        *,
        pooling: Pooling = "auto",
        long_text: Literal["auto", "window", "cut"] = "auto",
        window_pooling: WindowPooling = "mean",
        head_init: Literal["random", "labels"] = "random",
        label_template: str | list[str] | None = None,
        label_descriptions: Any = None,
        contrastive: NonNegative = 0.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        from_labels = head_init == "labels"
        self.head_init, self.contrastive = head_init, contrastive
        self.long_text, self.window_pooling = long_text, window_pooling
        self.pooling = trained_pooling(backbone) if pooling == "auto" else pooling
        if from_labels and pooling == "auto" and self.pooling == "native":
            self.pooling = "mean"
        self._check_few_shot()
        if self.pooling == "native":
            self.model = self.native("AutoModelForSequenceClassification")
            return
        length = SCALE if from_labels else None
        share = 0.1 if self.dropout is None else self.dropout
        self.model = Pooled(self.load(), self.pooling, self.outputs, share, scale=length)
        if from_labels and self.pretrained:
            described = few_shot.descriptions(label_descriptions, self.labels)
            templates = [label_template] if isinstance(label_template, str) else label_template
            if templates is None:
                templates = list(few_shot.TEMPLATES)
            self._init_head(few_shot.texts(self.labels, templates, described))

    def _check_few_shot(self) -> None:
        if self.contrastive and self.r_drop:
            raise UserError("model.contrastive and model.r_drop: a step has one of them; give one")
        wanted = {"head_init: labels": self.head_init == "labels", "contrastive": self.contrastive}
        for option in (name for name, is_set in wanted.items() if is_set):
            if self.kind != "single":
                raise UserError(
                    f"model.{option} needs exactly one label per row; these data are {self.kind}"
                )
            if self.pooling == "native":
                raise UserError(
                    f"model.{option} needs a pooled text vector, which a native head does not give;"
                    " set model.pooling: mean"
                )

    @torch.no_grad()
    def _init_head(self, texts: list[list[str]]) -> None:
        """Sets the head's weights to the directions of the label texts.

        Args:
            texts: one text per label, for each template.
        """
        assert isinstance(self.model, Pooled)
        tokenizer = loading.load_tokenizer(self.backbone)
        longest = tokens.max_length(self.backbone)
        vectors = []
        with evaluating(self.model):
            for of_template in texts:
                columns = tokens.tokenize(tokenizer, of_template, None, longest)
                vectors.append(self.model(**tokens.collate(columns, tokenizer)).hidden_states[0])
        self.model.head.weight.copy_(few_shot.directions(torch.stack(vectors)))
        self.model.head.bias.zero_()

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Logits of a batch ``[rows, labels]``, or values ``[rows]``."""
        return self._run(batch, self)

    def _run(self, batch: dict[str, Any], model: Callable[[Any], Tensor]) -> Tensor:
        """What a model gives for a batch ``[rows, …]``, that of several windows pooled to one."""
        inputs, counts = batch["inputs"], batch.get("windows")
        if counts is None:
            return model(inputs)
        of_windows = torch.cat(in_parts(model, inputs, batch["at_once"], self.training))
        return pooled(of_windows, counts, self.window_pooling)

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns loss and probabilities; training adds the contrastive loss if it has a weight."""
        if not (self.contrastive and self.training):
            return super().step(batch)

        def both(inputs: Any) -> Tensor:
            output = self.model(**inputs)
            return torch.cat([output.logits.float(), output.hidden_states[0].float()], 1)

        targets = batch["targets"]
        logits, vectors = self._run(batch, both).tensor_split([self.outputs], 1)
        pairs = few_shot.contrastive(vectors, targets, 1 / SCALE)
        loss = self.objective(logits, targets) + self.contrastive * pairs
        return Step(loss, self.probabilities(logits), targets)

    def head_objective(self) -> Objective | str:
        """The loss of a linear head. One from the label names is pulled towards these."""
        objective = super().head_objective()
        if isinstance(objective, str):
            return objective
        if self.window_pooling == "max" and self.long_text != "cut":
            return "model.window_pooling: max takes the largest of several of its outputs"
        return objective._replace(pulled=self.head_init == "labels")

    def ladder(self, data: DataModule) -> Ladder | str:
        """Majority, names of the labels, words and characters, a solved probe."""
        assert isinstance(data, TextData)
        return cheap.ladder(self, data)

    def describe(self) -> str:
        """Kind of labels, head, and what differs from the defaults."""
        parts = [self.describe_kind()]
        parts.append("native head" if self.pooling == "native" else f"{self.pooling} pooling")
        if self.head_init == "labels":
            parts.append("cosine head from the label names")
        if self.contrastive:
            parts.append(f"contrastive {self.contrastive:g}")
        if isinstance(self.data, TextData) and self.data.long_text == "window":
            parts.append(f"long texts in windows ({self.window_pooling})")
        return ", ".join(parts)

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder (native head) or a sentence-transformers folder (pooled)."""
        assert isinstance(data, TextData)
        self.write_labels(folder)
        rest, heat = self.fold_scale(), temperature.fold(self, self.outputs, _probe(data))
        pooled = self.model if isinstance(self.model, Pooled) else None
        if rest:
            pooled = _with_bias(self.model, rest, data)
        how = card.lines(self.kind, pooled is not None, bool(data.text_pair), self._reading(data))
        if pooled is not None:
            export.sentence_transformers(pooled, data.tokenizer, data.max_length, folder)
            return f"{how}{heat}"
        export.transformers(self.model, data.tokenizer, data.max_length, folder)
        how = f"{how}{heat}"
        return f"{how}\n# add {rest!r} to each score: the head has no bias" if rest else how

    def portable(self, data: DataModule) -> Portable:
        """Its logits, and the lines that make labels or values of them."""
        assert isinstance(data, TextData)
        return portable.portable(self, data, self.window_pooling)

    def _reading(self, data: TextData) -> card.Reading | None:
        """How long texts are read; None if they are cut."""
        if data.long_text == "cut":
            return None
        pairs = data.text_pair is not None
        stride = windows.overlap(data.tokenizer, data.max_length, pairs)
        return card.Reading(data.max_length, stride, self.window_pooling)


def _probe(data: TextData) -> dict[str, Tensor]:
    """Inputs of a model to try it on."""
    rows = [{files.LINE: 1, **dict.fromkeys(data.columns, "a text of a few words")}]
    inputs: dict[str, Tensor] = data.collate(data.encode_rows(rows, "")[[0]], [0])["inputs"]
    return inputs


@torch.no_grad()
def _with_bias(model: Any, bias: float, data: TextData) -> Pooled | None:
    """A decoder with a head of one number per row as a pooled model, whose head has a bias.

    transformers has no decoder with one; sentence-transformers loads it. None if the two differ on
    a text: the native head takes the last token that is not padding by its number, which may be
    that of the end of a text.
    """
    pooled = Pooled(model.base_model, "last", 1)
    pooled.head.weight.copy_(scale.output_layers(model)[0].weight)
    pooled.head.bias.fill_(0.0)
    inputs = _probe(data)
    with evaluating(model), evaluating(pooled):
        native, own = model(**inputs).logits, pooled(**inputs).logits
    if not torch.allclose(native, own, rtol=1e-4, atol=1e-6 * abs(bias)):
        return None
    pooled.head.bias.fill_(bias)
    return pooled
