"""Classification of any input: loss, class weights, metrics and readable predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.data import labels
from ftlight.data.module import DataModule
from ftlight.freezing.head import Objective
from ftlight.freezing.linear import Vectors
from ftlight.metrics import classes, regression, statistics, sureness
from ftlight.metrics.evaluation import Asked
from ftlight.metrics.sureness import Sureness
from ftlight.models import scale
from ftlight.models.losses import Loss, divergence, mixed
from ftlight.models.scale import Scale
from ftlight.models.windows import pooled
from ftlight.task import EvaluationResult, Step, Task
from ftlight.training.checkpoint import load
from ftlight.utils.errors import UserError
from ftlight.utils.format import number
from ftlight.utils.ranges import Fraction, NonNegative

log = logging.getLogger(__name__)
PRIMARY = {"single": "accuracy", "multi": "f1_micro", "regression": "r2"}
MONITOR = {"single": "val/f1", "multi": "val/f1_micro", "regression": "val/r2"}
SHUFFLES = 16  # of answers, whose mean score is that of chance
OLD_MONITOR = "val/pearson"  # of a regression by 0.1, which did not standardise targets
SCALE = "target_scale"  # key of a checkpoint
REFUSED = {
    ("regression", "at_least"): "a number is not right or wrong; --coverage gives a range",
    ("multi", "coverage"): "several labels a row have no sets; --at_least leaves unsure rows out",
}
PROBLEM_TYPES = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}


class Classification(Task):
    """Predicts one label, several labels, or a number for each row.

    A subclass sets ``self.model``, which returns ``logits [rows, outputs]``.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        kind: Kind of label: single, multi or regression. Default: what the data have.
        class_weight: Weights of the classes in the loss: balanced gives rare ones more, by inverse
            frequency. Default: all alike.
        label_smoothing: Share of the target spread evenly over the other labels, such as 0.1; costs
            no time, and gains little.
        mixup: Trains the head on mixtures of two rows' vectors and targets, in shares drawn from
            Beta(mixup, mixup), such as 0.2; pays with few rows of few labels, and costs with many
            labels.
        r_drop: Weight of the difference between two passes with other dropout, such as 1 or 4
            (R-Drop); pays a little with few rows. A step takes about twice as long.
        base: Options of Task.
    """

    default_unfreeze = "gradual"

    def __init__(
        self,
        backbone: str,
        *,
        kind: labels.Kind = "single",
        class_weight: Literal["balanced"] | None = None,
        label_smoothing: Fraction = 0.0,
        mixup: NonNegative = 0.0,
        r_drop: NonNegative = 0.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        self.kind, self.class_weight, self.label_smoothing = kind, class_weight, label_smoothing
        self.mixup, self.r_drop = mixup, r_drop
        if mixup and r_drop:
            raise UserError("model.mixup and model.r_drop: both make a loss of their own; give one")
        self.compared = False  # whether two passes have been seen to differ, or not to
        if kind != "regression" and not self.labels:
            raise UserError(
                f"no labels: a {type(self).__name__} needs labels=[…];"
                " in Python take the data module's .labels"
            )
        self.primary_metric = PRIMARY[kind]
        self.monitor = MONITOR[kind]
        self.support_unit = "value" if kind == "regression" else "p"
        self.outputs = len(self.labels) or 1
        self.scale: Scale | None = Scale()  # of the targets; None if a run of 0.1 learned raw ones
        self.variance = 1.0  # of the training targets, for a run of 0.1
        self.keeps_scale = False  # that of another run, which its weights are for
        self.weights: Tensor | None
        # They come from the training rows, so no checkpoint holds them.
        self.register_buffer("weights", None, persistent=False)

    def native(self, auto: str) -> nn.Module:
        """Loads the pre-trained model with the architecture's own head, sized for our labels.

        Args:
            auto: Name of the transformers Auto class.
        """
        names = self.labels or ["value"]
        return self.load(
            auto,
            num_labels=self.outputs,
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            problem_type=PROBLEM_TYPES[self.kind],
        )

    def setup(self, stage: str) -> None:
        """Reads class weights, or the scale of a regression, from the training rows."""
        super().setup(stage)
        if stage != "fit" or not isinstance(self.data, DataModule):
            return
        targets = self.data.sets["train"].targets
        if self.kind == "regression":
            self._fit_scale(targets)
        elif self.class_weight == "balanced":
            self.weights = self._balanced(targets)

    def _fit_scale(self, targets: Sequence[float]) -> None:
        """Takes the targets' scale, and starts the output at their mean in a new run."""
        if self.keeps_scale:
            return
        self.scale, self.variance = scale.scale_of(targets), float(np.var(targets)) or 1.0
        for output in scale.output_layers(self.model):
            if output.bias is not None and not self.total_steps:
                nn.init.zeros_(output.bias)

    def take_state(self, other: Task) -> None:
        """Takes the scale of a regression, which its weights give values in."""
        if self.kind == "regression" and isinstance(other, Classification):
            self.scale, self.variance = other.scale, other.variance
            self.keeps_scale = True

    def describe_kind(self) -> str:
        """Kind of labels, what a regression's targets are standardised by, and regularisers."""
        words: list[str] = [self.kind]
        if self.kind == "regression" and self.scale is not None:
            mean, sd = (number(value) for value in self.scale)
            words.append(f"targets standardised (mean {mean}, sd {sd})")
        words += [f"mixup {self.mixup:g}"] if self.mixup else []
        words += [f"R-Drop {self.r_drop:g}"] if self.r_drop else []
        return ", ".join(words)

    # A checkpoint holds the scale as numbers: buffers would be rounded to the weights' precision.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the scale of the targets."""
        super().on_save_checkpoint(checkpoint)
        if self.kind == "regression" and self.scale is not None:
            checkpoint[SCALE] = self.scale._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the scale that the weights were trained with."""
        super().on_load_checkpoint(checkpoint)
        if self.kind == "regression":
            self.scale = Scale(**checkpoint[SCALE]) if SCALE in checkpoint else None

    def begin_from(self, path: str) -> None:
        """Keeps the monitor of a run of 0.1: its checkpoint holds the best score by that."""
        if self.kind == "regression" and Path(path).is_file() and SCALE not in load(path):
            self.monitor = OLD_MONITOR

    def fold_scale(self) -> float:
        """Puts the scale of the targets into the weights: the model itself then gives values.

        Returns:
            What is still to be added to the model's output; see :func:`ftlight.models.scale.fold`.
        """
        if self.kind != "regression" or self.scale is None:
            return 0.0
        rest = scale.fold(self.model, self.scale)
        self.scale = Scale(rest, 1.0)
        return rest

    def _balanced(self, targets: Sequence[Any]) -> Tensor:
        """Weight of each label, ``float [labels]``: of its positives if a row has several."""
        flat = np.concatenate([np.atleast_1d(t) for t in targets]).astype(int)
        counts = np.maximum(np.bincount(flat, minlength=len(self.labels)), 1)
        if self.kind == "multi":
            weights = len(targets) / counts - 1
        else:
            weights = len(targets) / (len(self.labels) * counts)
        return torch.tensor(weights, dtype=torch.float)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns logits ``[rows, labels]``, or values ``[rows]`` for a regression.

        Values are in the units of the targets.

        Args:
            inputs: What the model takes, such as ``input_ids`` and ``attention_mask``,
                ``int64 [rows, tokens]``.
        """
        logits = self.model(**inputs).logits.float()
        if self.kind != "regression":
            return logits
        values = logits.squeeze(-1)
        return values if self.scale is None else self.scale.values(values)

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Logits of a batch ``[rows, labels]``, or values ``[rows]``."""
        logits: Tensor = self(batch["inputs"])
        return logits

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns loss and probabilities (values for a regression) of a batch."""
        logits, targets, loss = self.logits(batch), batch.get("targets"), None
        if targets is not None and self.kind == "regression":
            targets = scale.exact(targets, batch.get("target_bits"))
        if targets is not None and self.r_drop and self.training:
            loss = self._twice(logits, self.logits(batch), targets)
        elif targets is not None:
            loss = self.objective(logits, targets)
        return Step(loss, self.probabilities(logits), targets)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns probabilities ``[rows, labels]``, as calibrated; values ``[rows]`` unchanged."""
        logits = self._calibrated(logits.detach())
        if self.kind == "regression":
            return logits
        return logits.softmax(-1) if self.kind == "single" else logits.sigmoid()

    def _calibrated(self, logits: Tensor) -> Tensor:
        """Logits divided by the temperature; values unchanged."""
        if self.kind == "regression" or self.calibration is None or self.calibration.heat == 1.0:
            return logits
        return logits / self.calibration.heat

    def objective(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over rows; in training that of mixed rows, if mixup asks for it."""
        if not (self.mixup and self.training):
            return self.loss(logits, targets)
        order = torch.randperm(len(logits)).to(logits.device)
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        return mixed(self.loss, logits, targets, order, share)

    def _twice(self, first: Tensor, second: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of two passes, and their difference (R-Drop); says if there is none."""
        if not self.compared and torch.equal(first, second):
            log.info("model.r_drop does nothing: what trains has no dropout (model.dropout)")
        self.compared = True
        if self.kind == "regression":
            apart = self._squared_error(first, second)
        else:
            apart = divergence(first, second, self.kind == "multi")
        return (self.loss(first, targets) + self.loss(second, targets)) / 2 + self.r_drop * apart

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean loss over rows: cross-entropy, binary cross-entropy or squared error.

        A squared error is in units of the training targets' variance. Class weights and label
        smoothing count in training only, so that every verb evaluates the same loss.
        """
        if self.kind == "regression":
            return self._squared_error(logits, targets)
        weights, smoothing = (self.weights, self.label_smoothing) if self.training else (None, 0.0)
        return Loss(self.kind, weights, smoothing).of(logits, targets)

    def head_objective(self) -> Objective | str:
        """The same loss of a linear head; of a regression that of standardised values."""
        if self.scale is None:
            return "the run began with raw targets"
        if self.mixup:
            return "model.mixup mixes rows anew at each step"
        if self.r_drop:
            return "model.r_drop compares two passes with dropout"
        return Objective(Loss(self.kind, self.weights, self.label_smoothing))

    def head_vectors(self, batch: dict[str, Any], states: Tensor, used: Tensor | None) -> Vectors:
        """Returns the vector of each row; of a layer that runs on tokens, that of the one used.

        That of a row with several windows is their mean, whose output is the mean of theirs.

        Raises:
            ValueError: a row, or a window, uses several.
        """
        rows, targets = torch.as_tensor(batch["index"]), batch["targets"]
        if used is not None:
            if not bool((used.sum(1) == 1).all()):
                raise ValueError("its layer runs on tokens, several of which make a row's output")
            states = states[used]
        if "windows" in batch:
            states = pooled(states, batch["windows"], "mean")
        if len(states) != len(rows):
            raise ValueError("its layer does not see one vector a row")
        if self.kind == "regression" and self.scale is not None:
            values = scale.exact(targets, batch.get("target_bits"))
            targets = ((values - self.scale.mean) / self.scale.sd).float()
        return Vectors(rows, states, targets)

    def _squared_error(self, values: Tensor, targets: Tensor) -> Tensor:
        if self.scale is None:  # as 0.1 did
            error = F.mse_loss(values, targets.to(values.dtype))
            return error / (self.variance if self.training else 1.0)
        return ((values - targets) / self.scale.sd).square().mean().float()

    def compute_metrics(
        self, outputs: Tensor, targets: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes all metrics of the kind, with intervals of the primary ones."""
        count = len(targets)
        if self.kind == "regression":
            values = regression.scores(outputs, targets)
            ends = regression.bootstrap_ends(outputs, targets)
            return EvaluationResult(values, count, ends, notes=_no_better(values, targets))
        if self.kind == "multi":
            interval = {"f1_micro": classes.bootstrap_f1(outputs, targets)}
            found = EvaluationResult(classes.multi_label(outputs, targets), count, interval)
            of_labels = classes.counts_of_labels(outputs, targets)
            return found._replace(classes=classes.by_class(*of_labels, self.labels))
        values, confusion = classes.single_label(outputs, targets)
        ends = {
            "accuracy": statistics.wilson(values["accuracy"], count),
            "f1": classes.bootstrap_macro_f1(confusion),
        }
        of_classes = confusion.diag(), confusion.sum(0), confusion.sum(1)
        report = classes.by_class(*of_classes, self.labels)
        notes = _few_rows(confusion)
        return EvaluationResult(values, count, ends, confusion, classes=report, notes=notes)

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Right or wrong; the F1 of several labels; the negative squared error of a number."""
        outputs, targets = result.outputs, result.targets
        assert isinstance(outputs, Tensor)
        assert isinstance(targets, Tensor)
        if self.kind == "single":
            return (outputs.argmax(-1) == targets).double()
        if self.kind == "multi":
            return classes.row_f1(outputs, targets)
        return -(outputs.double() - targets.double()).square()

    def chance_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """The mean over shuffles of all answers."""
        outputs = result.outputs
        assert isinstance(outputs, Tensor)
        generator, found = torch.Generator().manual_seed(0), []
        for _ in range(SHUFFLES):
            dealt = outputs[torch.randperm(len(outputs), generator=generator)]
            found.append(self.row_scores(result._replace(outputs=dealt), rows).double())
        return torch.stack(found).mean(0)

    def constant_loss(self) -> float | None:
        """The entropy of the labels as they are weighted; of numbers 1, in their variance."""
        if self.kind == "regression":
            return 1.0
        if self.weights is not None:
            return float(np.log(len(self.labels))) if self.kind == "single" else None
        if not isinstance(self.data, DataModule):
            return None
        targets = self.data.sets["train"].targets
        flat = np.concatenate([np.atleast_1d(t) for t in targets]).astype(int)
        shares = np.bincount(flat, minlength=len(self.labels)) / len(targets)
        if self.kind == "multi":
            return float(np.mean(_entropies(shares) + _entropies(1 - shares)))
        return float(_entropies(shares).sum())

    def weigh(
        self,
        outputs: Tensor,
        targets: Tensor,
        rows: Sequence[Mapping[str, Any]],
        temperature: float = 1.0,
    ) -> Sureness:
        """How sure each row is; a number is not right or wrong, but off by some misfit."""
        if self.kind == "regression":
            return Sureness(misfits=(outputs.double() - targets.double()).abs())
        several = self.kind == "multi"
        outputs = sureness.at_temperature(outputs, temperature, several)
        return (sureness.of_labels if several else sureness.of_classes)(outputs, targets)

    def fit_temperature(
        self, outputs: Tensor, targets: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> float | None:
        """The temperature of least loss; None for numbers."""
        return None if self.kind == "regression" else sureness.temperature_of(outputs, targets)

    def refusal(self, option: str) -> str:
        """Numbers are not right or wrong, and several labels have no sets."""
        return REFUSED.get((self.kind, option), "")

    def postprocess(
        self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns the label of each row with all probabilities, or its value."""
        if self.kind == "regression":
            return [{"prediction": value, "score": value} for value in outputs.tolist()]
        return [self._labelled(row) for row in outputs.tolist()]

    def _labelled(self, row: list[float]) -> dict[str, Any]:
        """One row's probabilities as labels, score (that of the least sure label) and all."""
        by_label = dict(zip(self.labels, row, strict=True))
        if self.kind == "single":
            predicted, score = [max(by_label, key=by_label.__getitem__)], max(row)
        else:
            predicted = [label for label, p in by_label.items() if p >= 0.5]
            score = min(max(p, 1 - p) for p in row)
        text = labels.SEPARATOR.join(predicted)
        return {"prediction": text, "score": score, "probabilities": by_label}

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """Each label that is predicted, or the likeliest if none is; the value of a regression."""
        if self.kind == "regression":
            return [Asked("value", 0)]
        by_label = answer["probabilities"]
        predicted = [max(by_label, key=by_label.__getitem__)]
        if self.kind == "multi":
            predicted = [label for label, p in by_label.items() if p >= 0.5] or predicted
        return [Asked(label, self.labels.index(label)) for label in predicted]

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """The log-probability of a label in each row, as calibrated; or the value."""
        logits = self._calibrated(self.logits(batch))
        if self.kind == "regression":
            return logits
        logs = logits.log_softmax(-1) if self.kind == "single" else F.logsigmoid(logits)
        numbers = torch.tensor([part.key for part in asked], device=logs.device)
        return logs.gather(1, numbers[:, None])[:, 0]

    def write_labels(self, folder: Path) -> None:
        """Writes labels.json beside an export: kind, and labels in the order of the logits."""
        text = json.dumps({"kind": self.kind, "labels": self.labels}, indent=1)
        (folder / "labels.json").write_text(text + "\n", encoding="utf-8")


def _entropies(shares: np.ndarray) -> np.ndarray:
    """What each share adds to an entropy, in nats."""
    found: np.ndarray = -shares * np.log(np.where(shares > 0, shares, 1.0))
    return found


def _few_rows(confusion: Tensor) -> list[str]:
    """A line if classes have too few rows for the interval of their mean F1."""
    rare = len(classes.rare_classes(confusion))
    if not rare:
        return []
    return [
        f"the interval of f1 is not to be trusted: {rare:,} of {len(confusion):,} classes have"
        " fewer than 10 rows"
    ]


def _no_better(values: Mapping[str, float], targets: Tensor) -> list[str]:
    """A line if the error is no smaller than the spread of the targets."""
    if not values["r2"] <= 0:
        return []
    spread = targets.double().std(correction=0).item()
    return [
        f"the error (rmse {number(values['rmse'])}) is no smaller than the spread of the targets"
        f" (sd {number(spread)}): their mean would predict as well"
    ]
