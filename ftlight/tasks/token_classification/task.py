"""Finds entities in documents: names, places, amounts, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.freezing.head import Objective
from ftlight.freezing.linear import Vectors
from ftlight.metrics import calibration, intervals
from ftlight.metrics import spans as metrics
from ftlight.metrics.classes import by_class, f1_of_rows
from ftlight.metrics.evaluation import Asked
from ftlight.metrics.sureness import Sureness
from ftlight.models import saving as export
from ftlight.models.losses import Loss
from ftlight.models.portable import Portable
from ftlight.run.predictions import Table
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks import temperature as temperatures
from ftlight.tasks.token_classification import cheap, exports, portable
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
    pipeline_tag = "token-classification"
    primary_metric = "f1"
    monitor = "val/f1"
    default_unfreeze = "gradual"
    floor = 0.0

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

    @property
    def output_names(self) -> Sequence[str]:
        """The tags."""
        return self.tags

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns logits ``[windows, tokens, tags]``.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [windows, tokens]``.
        """
        return self.model(**inputs).logits.float()

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the loss over words, and each word's tag and probability, ``[words, 2]`` per row.

        A word without a word piece counts as outside, with probability 1, and has no loss. Where
        targets are known, the logits follow, ``[words, 2 + tags]``, for a temperature; 0 for such a
        word.
        """
        logits = self(batch["inputs"])[batch["window"], batch["place"]]  # [words, tags]
        has_piece, words_per_row = batch["has_piece"], batch["words"]
        scaled = logits.detach() / self._heat
        probabilities, tags = scaled.softmax(-1).max(-1)
        tags = tags.where(has_piece, OUTSIDE).to(probabilities.dtype)
        predicted = torch.stack([tags, probabilities.where(has_piece, 1.0)], -1)
        if "targets" in batch and not self.training:
            predicted = torch.cat([predicted, scaled.where(has_piece[:, None], 0.0)], -1)
        outputs = list(torch.split(predicted, words_per_row))
        if "targets" not in batch:
            return Step(None, outputs)
        count = int(has_piece.sum())
        losses = F.cross_entropy(logits, batch["targets"], reduction="none")
        loss = losses.where(has_piece, 0.0).sum() / max(count, 1)
        return Step(loss, outputs, list(torch.split(batch["targets"], words_per_row)), count)

    @property
    def _heat(self) -> float:
        return 1.0 if self.calibration is None else self.calibration.heat

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """Each entity that is found."""
        name = self.data.layout.text
        return [
            Asked(found["text"], found["type"], name, (found["start"], found["end"]))
            for found in answer["prediction"]
        ]

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """The mean log-probability of the tags of an entity's words, as calibrated.

        Its first word has the tag B-, the others I-; nan if there is no word at its characters.
        """
        logits = self(batch["inputs"])[batch["window"], batch["place"]]  # [words, tags]
        logs = (logits / self._heat).log_softmax(-1)
        has_piece, found = batch["has_piece"].split(batch["words"]), []
        of_rows = zip(logs.split(batch["words"]), has_piece, asked, strict=True)
        rows = self.rows_of("predict", batch["index"])
        for row, (of_row, seen, part) in zip(rows, of_rows, strict=True):
            assert part.span is not None
            aligned = spans.align([(part.key, *part.span)], self.data.document(row)[1]).spans
            _, first, after = aligned[0] if aligned else (part.key, 0, 0)
            begin, inside = self.tags.index(f"B-{part.key}"), self.tags.index(f"I-{part.key}")
            tags = [begin, *[inside] * (after - first - 1)][: after - first]
            words = torch.arange(first, after, device=logs.device)
            of_words = of_row[words, torch.tensor(tags, dtype=torch.long, device=logs.device)]
            found.append(of_words[seen[first:after]].mean())
        return torch.stack(found)

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
        outputs = self._shaped(outputs)
        table = self._counts(outputs, rows)
        pairs = zip(outputs, targets, strict=True)
        right = sum(int((row[:, 0] == target).sum()) for row, target in pairs)
        words = sum(map(len, targets))
        values = metrics.scores(table, self.labels)
        values["token_accuracy"] = right / words if words else float("nan")
        interval = {"f1": intervals.bootstrap(table.sum(1), metrics.f1, bounds=intervals.UNIT)}
        hit, predicted, actual = table.sum(0).unbind(1)
        report = by_class(hit, predicted, actual, self.labels)
        return EvaluationResult(values, len(rows), interval, classes=report)

    def _shaped(self, outputs: Iterable[Tensor]) -> list[Tensor]:
        """Outputs ``[words, 2 + tags]``: no row may have a word."""
        return [row if row.ndim == 2 else row.reshape(0, 2 + len(self.tags)) for row in outputs]

    def weigh(
        self,
        outputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        rows: Sequence[Mapping[str, Any]],
        temperature: float = 1.0,
    ) -> Sureness:
        """How sure each span is, and whether type, start and end are right; and each word."""
        outputs = self._shaped(outputs)
        confidence, right, of_words, hits = [], [], [], []
        for output, target, row in zip(outputs, targets, rows, strict=True):
            has_piece, tags = output[:, 2:].any(1), output[:, 0].long()
            shares = (output[:, 2:] / temperature).softmax(1).amax(1).where(has_piece, 1.0)
            gold = {(s["type"], s["start"], s["end"]) for s in row["__gold"]}
            for span in self._spans(output):
                confidence.append(_mean(shares[span[1] : span[2]].tolist()))
                right.append(span in gold)
            of_words.append(shares[has_piece])
            hits.append((tags == target)[has_piece])
        sure = torch.tensor(confidence, dtype=torch.double)
        parts = torch.cat(of_words), torch.cat(hits)
        return Sureness(sure, torch.tensor(right, dtype=torch.bool), parts=parts, unit="spans")

    def fit_temperature(
        self,
        outputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        rows: Sequence[Mapping[str, Any]],
    ) -> float:
        """The temperature of least loss over words; those without a piece have no say in it."""
        logits = torch.cat([row[:, 2:] for row in self._shaped(outputs)])
        return calibration.fit_temperature(logits, torch.cat(list(targets))) if len(logits) else 1.0

    def refusal(self, option: str) -> str:
        """Spans have no sets."""
        return "" if option == "at_least" else "spans have no sets; --at_least tells unsure ones"

    def _counts(self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Correct, predicted and actual spans, ``double [rows, types, 3]``."""
        gold = [[(s["type"], s["start"], s["end"]) for s in row["__gold"]] for row in rows]
        return metrics.counts(gold, [self._spans(row) for row in outputs], self.labels)

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """F1 of the spans of each row; 1 if it has none, and none was found."""
        assert result.outputs is not None
        return f1_of_rows(*self._counts(self._shaped(result.outputs), rows).sum(1).unbind(1))

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
                score = _mean(probabilities[first:after])
                entity = {"type": kind, "text": text[start:end], "start": start, "end": end}
                entities.append({**entity, "score": score})
            decoded.append({"prediction": entities, "score": min(probabilities, default=1.0)})
        return decoded

    def predictions_text(
        self,
        suffix: str,
        rows: Sequence[Mapping[str, Any]],
        answers: Sequence[Mapping[str, Any]],
    ) -> str | Table | None:
        """Entities as a table, CoNLL, or for doccano or Label Studio (see :mod:`.exports`)."""
        if suffix not in exports.SUFFIXES:
            return None
        found = []
        for row, answer in zip(rows, answers, strict=True):
            text, words = self.data.document(row)
            found.append(exports.Predicted(row, text, words, answer))
        return exports.content(suffix, found, self.data.predicted_layout, self.data.config)

    def ladder(self, data: DataModule) -> Ladder | str:
        """The most frequent tag of each word, and the head alone."""
        assert isinstance(data, TokenData)
        return cheap.ladder(self, data, len(self.tags))

    def describe(self) -> str:
        """Entity types and head."""
        return f"{join_limited(self.labels, 4)} as IOB2, native head"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder for its token-classification pipeline."""
        assert isinstance(data, TokenData)
        made = data.tokenizer("a text of a few words", return_tensors="pt")
        inputs = {name: made[name] for name in ("input_ids", "attention_mask")}
        heat = temperatures.fold(self, len(self.tags), inputs)
        export.transformers(self.model, data.tokenizer, data.max_length, folder)
        return (
            "from transformers import pipeline\n"
            'find = pipeline("token-classification", FOLDER, aggregation_strategy="first")\n'
            f"find(text)  # if texts exceed the model's length: pipeline(…, stride=64){heat}"
        )

    def portable(self, data: DataModule) -> Portable:
        """Its logits, and the lines that read words and make spans of tags."""
        assert isinstance(data, TokenData)
        return portable.portable(data, self._heat)


def _mean(probabilities: Sequence[float]) -> float:
    """The score of an entity from those of its words."""
    return round(sum(probabilities) / len(probabilities), 4)
