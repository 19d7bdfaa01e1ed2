"""Answers to questions, found in a text (extractive question answering)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftlight.data.module import DataModule
from ftlight.metrics import answers
from ftlight.metrics.intervals import bootstrap, wilson
from ftlight.models import saving as export
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.question_answering import windows as contexts
from ftlight.tasks.question_answering.data import QAData
from ftlight.utils.errors import UserError

AT_ONCE = 8  # windows that are run together, where a batch has fewer rows
LOADS = """\
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
import torch

tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModelForQuestionAnswering.from_pretrained(FOLDER).eval()
cut = {{"truncation": "only_second", "max_length": {limit}, "stride": {overlap}, "return_overflowing_tokens": True, "padding": True}}
windows = tokenizer(question, context, **cut, return_offsets_mapping=True, return_tensors="pt")
places, _ = windows.pop("offset_mapping"), windows.pop("overflow_to_sample_mapping")
inside = torch.tensor([[part == 1 for part in windows.sequence_ids(i)] for i in range(len(places))])
none = {null}
with torch.no_grad():
    out = model(**windows)
start, end = (x.masked_fill(~(inside | none), -torch.inf).log_softmax(1) for x in (out.start_logits, out.end_logits))
spans = (start[:, :, None] + end[:, None, :]).masked_fill(~(inside[:, :, None] & inside[:, None, :]), -torch.inf)
spans = spans.masked_fill(~torch.ones_like(spans[0], dtype=torch.bool).triu().tril({most} - 1), -torch.inf)
window, first, last = torch.unravel_index(spans.argmax(), spans.shape)
answer = context[places[window, first, 0] : places[window, last, 1]].strip()  # its probability is spans.max().exp()"""


class QuestionAnswering(Task):
    """Finds the answer to a question in a text, and says where it stands, or that there is none.

    The head gives each token a chance to be the first and the last of the answer. In a window without the answer both are the
    class token (the first token of a model without one), as in BERT (Devlin et al. 2019). Whether "no answer" is said is a matter
    of a threshold, found on the validation data and kept in the checkpoint; data in which every question has one never get it.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        max_answer_length: the most tokens of an answer that is predicted.
        base: options of Task.
    """

    data_module = "ftlight.QAData"
    primary_metric = "f1"
    monitor = "val/f1"

    def __init__(self, backbone: str, *, max_answer_length: int = 30, **base: Any) -> None:
        super().__init__(backbone, **base)
        if max_answer_length < 1:
            raise UserError(
                f"model.max_answer_length: {max_answer_length} is not a number of tokens; give 1 or more, for example 30"
            )
        self.max_answer_length = max_answer_length
        self.threshold = math.inf  # log-odds above which there is no answer
        self.model = self.load("AutoModelForQuestionAnswering", num_labels=2)

    def setup(self, stage: str) -> None:
        """Allows "no answer" where questions of the training data have none."""
        super().setup(stage)
        if stage == "fit" and isinstance(self.data, QAData) and self.threshold == math.inf:
            self.threshold = (
                0.0 if not all(self.data.load_split("train")["answers"][:]) else math.inf
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the threshold."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["no_answer_threshold"] = self.threshold

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the threshold."""
        super().on_load_checkpoint(checkpoint)
        self.threshold = checkpoint["no_answer_threshold"]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log-probability of each token to be the first and the last of the answer, ``[windows, tokens]`` each.

        Tokens outside the context have none, but for the one that stands for no answer.
        """
        possible = (batch["begin"] >= 0).scatter(1, batch["null"][:, None], True)
        logits = self._logits(batch["inputs"], max(len(batch["index"]), AT_ONCE))
        start, end = (x.float().masked_fill(~possible, -torch.inf).log_softmax(1) for x in logits)
        return start, end

    def _logits(self, inputs: dict[str, Tensor], most: int) -> tuple[Tensor, Tensor]:
        """Logits of the windows, ``most`` at a time; in training what lies between is then computed again for the gradients.

        So the memory is that of a batch with one window a row, however long the contexts are.
        """

        def run(part: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            out = self.model(**part)
            return out.start_logits, out.end_logits

        windows = len(inputs["input_ids"])
        if windows <= most:
            return run(inputs)
        parts = [{k: v[i : i + most] for k, v in inputs.items()} for i in range(0, windows, most)]
        again = self.training and torch.is_grad_enabled()
        found: list[Any] = [
            checkpoint(run, part, use_reentrant=False) if again else run(part) for part in parts
        ]
        start, end = (torch.cat(logits) for logits in zip(*found, strict=True))
        return start, end

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss, a mean over windows in training and over rows otherwise, and the best span of each row."""
        start, end = self(batch)
        outputs = contexts.best_spans(start.detach(), end.detach(), batch, self.max_answer_length)
        if "first" not in batch:
            return Step(None, outputs)
        losses = (
            F.nll_loss(start, batch["first"], reduction="none")
            + F.nll_loss(end, batch["last"], reduction="none")
        ) / 2
        if self.training:
            return Step(losses.mean(), outputs, weight=len(losses))
        counts = torch.bincount(batch["owner"])
        return Step((losses / counts[batch["owner"]]).sum() / len(counts), outputs)

    def compute_metrics(
        self, outputs: Tensor, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Exact match and F1 by SQuAD's rules, as shares; on validation data this also finds the threshold."""
        golds = [row["answers"] for row in rows]
        answerable = torch.tensor([bool(g) for g in golds])
        v2 = not bool(answerable.all())
        odds = (outputs[:, 3] - outputs[:, 2]).double()
        texts = [
            contexts.text_of(row[self.data.context], int(b), int(e))[0]
            for row, (b, e) in zip(rows, outputs[:, :2], strict=True)
        ]
        found = torch.tensor(
            [answers.scores(t, g, v2) for t, g in zip(texts, golds, strict=True)],
            dtype=torch.double,
        )
        threshold, best = answers.best_threshold(odds, found[:, 1] * answerable, answerable)
        trainer: Any = self._trainer
        if v2 and trainer is not None and not trainer.testing:
            self.threshold = threshold
        nothing = torch.tensor([answers.scores("", g, v2) for g in golds], dtype=torch.double)
        found = torch.where((odds > self.threshold)[:, None], nothing, found)
        exact, f1 = found.mean(0).tolist()
        values = {"f1": f1, "exact": exact}
        if v2:
            has, without = found[answerable].mean(0).tolist(), found[~answerable, 0].mean().item()
            values |= {
                "has_answer_f1": has[1],
                "has_answer_exact": has[0],
                "no_answer_accuracy": without,
                "best_f1": best,
            }
        interval = bootstrap(
            torch.stack([found[:, 1], torch.ones(len(found))], 1),
            lambda sums: float(sums[0] / sums[1]),
        )
        return EvaluationResult(
            values, len(rows), {"f1": interval, "exact": wilson(exact, len(rows))}
        )

    def postprocess(
        self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The answer as text, its probability, its first character in the context and the one after its last.

        Where there may be none also the probability of that (0.5 at the threshold); the answer is then empty, without a place.
        """
        decoded = []
        for row, (begin, end, span, null) in zip(rows, outputs.tolist(), strict=True):
            text, start, stop = contexts.text_of(row[self.data.context], int(begin), int(end))
            answer: dict[str, Any] = {
                "prediction": text,
                "score": math.exp(span),
                "start": start,
                "end": stop,
            }
            if self.threshold < math.inf:
                none = (
                    torch.tensor(null - span - self.threshold, dtype=torch.double).sigmoid().item()
                )
                answer["no_answer"] = none
                if null - span > self.threshold:
                    answer |= {"prediction": "", "score": none, "start": None, "end": None}
            decoded.append(answer)
        return decoded

    def describe(self) -> str:
        """How it answers."""
        return f"spans of up to {self.max_answer_length} tokens"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder; the threshold, where there is one, into its config as ``no_answer_threshold``."""
        assert isinstance(data, QAData)
        model: Any = self.model
        class_token = data.tokenizer.cls_token_id is not None
        null = (
            'windows["input_ids"] == tokenizer.cls_token_id'
            if class_token
            else 'windows["attention_mask"].cumsum(1) == 1'
        )
        lines = LOADS.format(
            limit=data.max_length, overlap=data.overlap, most=self.max_answer_length, null=null
        )
        if self.threshold < math.inf:
            model.config.no_answer_threshold = self.threshold
            lines += '\nnull = (start + end)[none].min() - spans.max()\nif null > model.config.no_answer_threshold:\n    answer = ""'
        export.transformers(model, data.tokenizer, data.max_length, folder)
        return lines
