"""Extractive question answering: finds the answer to a question in a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.metrics import answers
from ftlight.metrics.evaluation import Asked
from ftlight.metrics.intervals import UNIT, bootstrap
from ftlight.metrics.statistics import wilson
from ftlight.metrics.sureness import Sureness
from ftlight.models import saving as export
from ftlight.models.portable import Portable
from ftlight.models.windows import in_parts
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.question_answering import card, cheap, portable
from ftlight.tasks.question_answering import windows as contexts
from ftlight.tasks.question_answering.data import QAData
from ftlight.training.lightning_internals import trainer_of
from ftlight.utils.ranges import PositiveInt

AT_ONCE = 8  # windows run together if a batch has fewer rows
TINY = 1e-9  # of a probability whose logarithm is taken
ANSWER, NO_ANSWER = "answer", "no answer"  # what can be asked for
SPAN = 4  # outputs before those of each temperature


class QuestionAnswering(Task):
    """Finds the answer to a question in a text, or says that the text has none.

    For each token the head predicts whether it starts or ends the answer. In a window without the
    answer, both point to the class token (the first token if a model has none), as in BERT (Devlin
    et al. 2019, arXiv:1810.04805). "No answer" is predicted above a threshold, which is chosen on
    the validation data and stored in the checkpoint; if every training question has an answer, it
    is never predicted.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        max_answer_length: The most tokens of a predicted answer.
        base: Options of Task.
    """

    data_module = "ftlight.QAData"
    pipeline_tag = "question-answering"
    primary_metric = "f1"
    monitor = "val/f1"
    floor = 0.0

    def __init__(self, backbone: str, *, max_answer_length: PositiveInt = 30, **base: Any) -> None:
        super().__init__(backbone, **base)
        self.max_answer_length = max_answer_length
        self.threshold = math.inf  # log-odds above which the prediction is no answer
        self.model = self.load("AutoModelForQuestionAnswering", num_labels=2)

    def setup(self, stage: str) -> None:
        """Allows "no answer" if a question of the training data has none."""
        super().setup(stage)
        if stage == "fit" and isinstance(self.data, QAData) and self.threshold == math.inf:
            always_answered = all(self.data.load_split("train")["answers"][:])
            self.threshold = math.inf if always_answered else 0.0

    def take_state(self, other: Task) -> None:
        """Takes the threshold."""
        if isinstance(other, QuestionAnswering):
            self.threshold = other.threshold

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores the threshold."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["no_answer_threshold"] = self.threshold

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the threshold."""
        super().on_load_checkpoint(checkpoint)
        self.threshold = checkpoint["no_answer_threshold"]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Returns log-probabilities to start and to end the answer, ``[windows, tokens]`` each.

        Tokens outside the context are impossible, except the one that stands for no answer.
        """
        possible = (batch["begin"] >= 0).scatter(1, batch["cls_index"][:, None], True)
        logits = self._logits(batch["inputs"], max(len(batch["index"]), AT_ONCE))
        start, end = (x.float().masked_fill(~possible, -torch.inf).log_softmax(1) for x in logits)
        return start, end

    def _logits(self, inputs: dict[str, Tensor], most: int) -> tuple[Tensor, Tensor]:
        """Returns the logits of the windows, computed ``most`` at a time.

        Training recomputes each part for its gradients, so that memory stays that of a batch with
        one window per row, however long the contexts are.
        """

        def run(part: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            out = self.model(**part)
            return out.start_logits, out.end_logits

        starts, ends = zip(*in_parts(run, inputs, most, self.training), strict=True)
        return torch.cat(starts), torch.cat(ends)

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the loss and the best span of each row.

        The loss is a mean over windows in training, and over rows in evaluation.
        """
        start, end = self(batch)
        outputs = contexts.best_spans(start.detach(), end.detach(), batch, self.max_answer_length)
        if "start_positions" not in batch:
            return Step(None, outputs)
        losses = F.nll_loss(start, batch["start_positions"], reduction="none")
        losses = (losses + F.nll_loss(end, batch["end_positions"], reduction="none")) / 2
        if self.training:
            return Step(losses.mean(), outputs, weight=len(start))
        row = batch["sample_mapping"]
        means = losses.new_zeros(len(outputs)).index_add_(0, row, losses) / torch.bincount(row)
        return Step(means.mean(), outputs)

    def compute_metrics(
        self, outputs: Tensor, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes exact match and F1 by SQuAD's rules, as shares.

        On validation data with unanswerable questions this also chooses the threshold.
        """
        answerable = torch.tensor([bool(row["answers"]) for row in rows])
        v2 = not bool(answerable.all())
        odds, answered = _odds(outputs), self._answered(outputs, rows)
        threshold, best = answers.best_threshold(odds, answered[:, 1] * answerable, answerable)
        trainer = trainer_of(self)
        if v2 and trainer is not None and not trainer.testing:
            self.threshold = threshold
        scores = self._scores(odds, answered, rows)
        exact, f1 = scores.mean(0).tolist()
        values = {"f1": f1, "exact": exact}
        if v2:
            has_answer = scores[answerable].mean(0).tolist()
            values["has_answer_f1"] = has_answer[1]
            values["has_answer_exact"] = has_answer[0]
            values["no_answer_accuracy"] = scores[~answerable, 0].mean().item()
            values["best_f1"] = best
        pairs = torch.stack([scores[:, 1], torch.ones(len(scores))], 1)
        interval = bootstrap(pairs, lambda sums: float(sums[0] / sums[1]), bounds=UNIT)
        ends = {"f1": interval, "exact": wilson(exact, len(rows))}
        return EvaluationResult(values, len(rows), ends)

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """F1 of each row's answer by SQuAD's rules."""
        outputs = result.outputs
        assert isinstance(outputs, Tensor)
        return self._scores(_odds(outputs), self._answered(outputs, rows), rows)[:, 1]

    def weigh(
        self,
        outputs: Tensor,
        targets: Any,
        rows: Sequence[Mapping[str, Any]],
        temperature: float = 1.0,
    ) -> Sureness:
        """How sure each answer is, and whether it is an exact match."""
        v2 = not all(row["answers"] for row in rows)
        found = self._answers(outputs, rows, temperature * self._heat)
        confidence = torch.tensor([answer["score"] for answer in found], dtype=torch.double)
        exact = [
            answers.scores(answer["prediction"], row["answers"], v2)[0] == 1
            for answer, row in zip(found, rows, strict=True)
        ]
        right = torch.tensor(exact)
        return Sureness(confidence, right, parts=(confidence, right))

    def fit_temperature(
        self, outputs: Tensor, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> float:
        """The temperature of TEMPERATURES at which scores tell right answers best: least log loss.

        Not that of likely positions: an answer is right in several places and wordings, of which a
        position is one. 1.0 if that is the first or the last: the loss falls further, as it does if
        all are right.
        """
        losses = []
        for temperature in contexts.TEMPERATURES:
            sure = self.weigh(outputs, targets, rows, temperature)
            chance = sure.confidence.clamp(TINY, 1 - TINY)
            losses.append(F.binary_cross_entropy(chance, sure.right.double()).item())
        best = losses.index(min(losses))
        is_end = best in (0, len(contexts.TEMPERATURES) - 1)
        return 1.0 if is_end else contexts.TEMPERATURES[best]

    @property
    def _heat(self) -> float:
        return 1.0 if self.calibration is None else self.calibration.heat

    def refusal(self, option: str) -> str:
        """Answers have no sets."""
        return "" if option == "at_least" else "answers have no sets; --at_least tells unsure ones"

    def _answered(self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Exact match and F1 of each row's best span, ``double [rows, 2]``."""
        v2 = not all(row["answers"] for row in rows)
        scores = [
            answers.scores(text, row["answers"], v2)
            for text, row in zip(self._texts(outputs, rows), rows, strict=True)
        ]
        return torch.tensor(scores, dtype=torch.double)

    def _scores(self, odds: Tensor, answered: Tensor, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """The same of what is answered at the threshold: nothing, if no answer is likelier."""
        v2 = not all(row["answers"] for row in rows)
        empty = [answers.scores("", row["answers"], v2) for row in rows]
        nothing = torch.tensor(empty, dtype=torch.double)
        return torch.where((odds > self.threshold)[:, None], nothing, answered)

    def _texts(self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """The text of the best span of each row."""
        texts = []
        for row, (begin, end) in zip(rows, outputs[:, :2], strict=True):
            texts.append(contexts.text_of(row[self.data.context], int(begin), int(end))[0])
        return texts

    def postprocess(
        self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns the answer of each row: prediction, score, start and end in the context.

        If "no answer" is possible, ``no_answer`` is its probability (0.5 at the threshold); above
        it the prediction is empty, without a place.
        """
        return self._answers(outputs, rows, self._heat)

    def _answers(
        self, outputs: Tensor, rows: Sequence[Mapping[str, Any]], temperature: float
    ) -> list[dict[str, Any]]:
        """The same with the scores of a temperature, which changes no prediction."""
        hot = SPAN + min(
            range(len(contexts.TEMPERATURES)),
            key=lambda i: abs(math.log(contexts.TEMPERATURES[i] / temperature)),
        )
        decoded = []
        for row, output in zip(rows, outputs.tolist(), strict=True):
            begin, end, span, null = output[:SPAN]
            text, start, stop = contexts.text_of(row[self.data.context], int(begin), int(end))
            answer: dict[str, Any] = {"prediction": text, "score": math.exp(output[hot])}
            answer |= {"start": start, "end": stop}
            if self.threshold < math.inf:
                odds = (null - span - self.threshold) / temperature
                no_answer = torch.tensor(odds, dtype=torch.double).sigmoid().item()
                answer["no_answer"] = no_answer
                if odds > 0:
                    answer |= {"prediction": "", "score": no_answer, "start": None, "end": None}
            decoded.append(answer)
        return decoded

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """The answer, or that there is none; nothing if the answer is blank."""
        start, text = answer["start"], answer["prediction"]
        if start is None:
            return [Asked(NO_ANSWER, NO_ANSWER)]
        span = (start, answer["end"])
        return [Asked(text, ANSWER, self.data.context, span)] if text else []

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """The log-probability of start and end at the characters of an answer, as calibrated.

        It is that in the window where the answer is likeliest; nan if no window holds all of it.
        Of no answer the log-probability that it is predicted, at the threshold 1/2.
        """
        start, end = self(batch)
        best = contexts.best_spans(start, end, batch, self.max_answer_length)
        odds = (best[:, 3] - best[:, 2] - self.threshold) / self._heat
        hot = [(logs / self._heat).log_softmax(1) for logs in (start, end)]
        found = list(F.logsigmoid(odds))
        for row, part in enumerate(asked):
            if part.span is None:
                continue
            places = contexts.tokens_of(batch, row, *part.span)
            if not places:
                found[row] = start.new_full((), torch.nan)
                continue
            window, first, last = torch.tensor(places, device=start.device).unbind(1)
            likeliest = (start[window, first] + end[window, last]).argmax()
            found[row] = (hot[0][window, first] + hot[1][window, last])[likeliest]
        return torch.stack(found)

    def ladder(self, data: DataModule) -> Ladder | str:
        """The sentence that is most like the question."""
        assert isinstance(data, QAData)
        return cheap.ladder(self, data)

    def describe(self) -> str:
        """Length of the answers."""
        return f"spans of up to {self.max_answer_length} tokens"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder; its config holds the threshold, if there is one."""
        assert isinstance(data, QAData)
        model: Any = self.model
        if self.threshold < math.inf:
            model.config.no_answer_threshold = self.threshold
        export.transformers(model, data.tokenizer, data.max_length, folder)
        return card.loads(data, self.max_answer_length, self.threshold < math.inf, self._heat)

    def portable(self, data: DataModule) -> Portable:
        """Its start and end logits, and the lines that choose a span."""
        assert isinstance(data, QAData)
        return portable.portable(data, self.max_answer_length, self.threshold, self._heat)


def _odds(outputs: Tensor) -> Tensor:
    """Log odds of no answer against the best span, ``double [rows]``."""
    return (outputs[:, 3] - outputs[:, 2]).double()
