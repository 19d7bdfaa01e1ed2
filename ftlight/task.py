"""The contract of a task: a model, one step for all stages, metrics, optimizer and schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import lightning as L
import torch
from torch import Tensor, nn

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.freezing import schedule
from ftlight.freezing.cache import Cache
from ftlight.freezing.callback import Freezing
from ftlight.freezing.head import Objective
from ftlight.freezing.linear import Vectors
from ftlight.freezing.stages import HeadFit
from ftlight.freezing.thaw import Thawing
from ftlight.freezing.written import read_unfreeze
from ftlight.metrics.evaluation import Asked, Evaluation
from ftlight.metrics.evaluation import EvaluationResult as EvaluationResult
from ftlight.metrics.evaluation import Step as Step
from ftlight.metrics.sureness import Calibration, Sureness
from ftlight.models import adapters, kernels, loading, weights
from ftlight.models.portable import Portable
from ftlight.run.predictions import Table
from ftlight.training import batches, memory, optim
from ftlight.training.batches import Scaling
from ftlight.training.checkpoint import load
from ftlight.training.lightning_internals import callbacks_of, datamodule, trainer_of
from ftlight.training.module import TrainingModule
from ftlight.training.nonfinite import Guard, Mode
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import (
    Fraction,
    Gigabytes,
    NonNegative,
    Positive,
    PositiveShare,
    Share,
    check_ranges,
)
from ftlight.utils.renamed import keep_old_names, old_attribute, renamed_property

SPLIT = {"val": "validation"}
OLD_NAMES = {
    "measure": "compute_metrics",
    "decode": "postprocess",
    "score": "primary_metric",
    "plain": "merge_adapters",
    "restore": "load_weights",
}


class Task(TrainingModule):
    """A pre-trained model with a head, trained and measured the same way in every stage.

    A subclass sets ``self.model`` in its constructor and gives :meth:`step`,
    :meth:`compute_metrics` and :meth:`postprocess`; one that generates gives :meth:`evaluate` too.
    All that trains is in ``self.model``.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        labels: Labels in the order of the model's outputs. Default: read from the data.
        lr: Learning rate of the top layer; auto tries out rates before the first step. Default: set
            by the backbone's width (1e-4 at 384), up to 10× higher the fewer weights train; 0.01
            for a head alone.
        lr_scaling: Whether the default rate is the same for any rows of an optimizer step (none),
            or follows their square root (sqrt): the same at 32 rows, twice that at 128.
        lr_schedule: How the rate falls after warm-up: linear, cosine or constant.
        lr_over: Over what the rate rises and falls: the whole run, or each stage anew; over a stage
            that sets its own warmup or lr_schedule, or if nothing limits the run, always the stage.
        warmup: Share of these steps in which the rate rises from 0; a layer that a stage thaws
            rises over that share of the stage, in 10 steps at most.
        weight_decay: AdamW's weight decay; biases and norms have none. With few rows of two labels
            1 may pay.
        l2_sp: Pull of the backbone towards the weights that it starts from, in place of its weight
            decay, such as 10; pays with few rows of few labels, and costs with many labels. Takes
            the memory of one more copy of the weights that train.
        layer_decay: Factor on the rate from each layer to the one below it; 1 trains all layers
            alike.
        dropout: Share of dropout in the backbone and before the head. Default: the backbone's own;
            0 may pay with many labels and few rows; more than 0.1 seldom does.
        pretrained: Start from the pre-trained weights; false starts from random ones, for
            comparison.
        unfreeze: What trains: all, head, last:N, lp_ft, gradual, bias or norm; auto for as deep as
            validation says pays; or a list of stages. Default: gradual for classes and entities;
            all for other tasks, adapters or random weights.
        head_fit: How a linear head that trains alone at first is fitted: solve finds its optimum
            on kept features at once, step trains it with the optimizer.
        cache: Run frozen layers once and keep their output: true, false, or auto if it saves time.
        cache_gb: Most disk space that kept output may take, in GB.
        kernels: Attention and dropout: auto for ftlight's if they are faster, stock for those of
            transformers and torch, or one of transformers' attentions (sdpa, eager,
            flash_attention_2, …).
        nonfinite: If a loss or gradient is not finite: stop, or skip that optimizer step.
        peft: Adapters instead of whole layers: lora, dora, loha, lokr, ia3, or peft's own options.
    """

    data_module: ClassVar[str | None] = None
    pipeline_tag: ClassVar[str] = ""  # what the Hub calls the task
    primary_metric: str = "accuracy"
    monitor: str = "val/accuracy"
    mode: str = "max"
    default_unfreeze: ClassVar[str] = "all"  # of pre-trained layers
    floor: ClassVar[float | None] = None  # the score of guessing, if it is the same for all data
    starts_trained: ClassVar[bool] = False  # whether a pre-trained model does the task untuned
    no_onnx: ClassVar[str] = "no method portable"  # why there is no ONNX of it
    support_unit: str = "p"  # p: support is a log-probability; else what it is: value, cosine
    cache_draws = 0  # random draws of augmented rows that epochs with frozen layers take in turn
    score = renamed_property("score", "primary_metric")

    def __init_subclass__(cls, **options: Any) -> None:
        """Checks ranges, and keeps the method names of 0.1 working."""
        super().__init_subclass__(**options)
        keep_old_names(cls, OLD_NAMES)
        check_ranges(cls, "model")

    def __init__(
        self,
        backbone: str,
        *,
        labels: Sequence[str] = (),
        lr: Positive | Literal["auto"] | None = None,
        lr_scaling: Scaling = "none",
        lr_schedule: schedule.Shape = "linear",
        lr_over: schedule.Over = "run",
        warmup: Share = 0.1,
        weight_decay: NonNegative = 0.01,
        l2_sp: NonNegative = 0.0,
        layer_decay: PositiveShare = 1.0,
        dropout: Fraction | None = None,
        pretrained: bool = True,
        unfreeze: Any = None,
        head_fit: HeadFit = "solve",
        cache: Cache = "auto",
        cache_gb: Gigabytes = 4.0,
        kernels: str = "auto",
        nonfinite: Mode = "stop",
        peft: Any = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.labels = list(labels)
        self.pretrained = pretrained
        self.peft = adapters.read(peft)
        self.lr_auto = lr == "auto"  # until it is chosen
        self.lr = lr if isinstance(lr, float | int) else self.default_lr(backbone)
        self.lr_given = lr is not None
        self.lr_scaling = lr_scaling
        self.lr_schedule = lr_schedule
        self.lr_over = lr_over
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.l2_sp = l2_sp
        self.layer_decay = layer_decay
        self.dropout = dropout
        if unfreeze is None:
            unfreeze = self.default_unfreeze if pretrained and peft is None else "all"
        self.schedule = read_unfreeze(unfreeze, solves=head_fit == "solve")
        self.head_fit = head_fit
        self.cache = cache
        self.cache_gb = cache_gb
        self.kernels = kernels
        self.guard = Guard(nonfinite)
        self.total_steps = 0
        self.evidence: dict[str, EvaluationResult] = {}  # by stage: val, test
        self.calibration: Calibration | None = None  # of the weights it holds, if there is one
        self.solved_on: Tensor | None = None  # vectors of train that its head was solved on
        self._evaluations = nn.ModuleDict({"val": Evaluation(), "test": Evaluation()})

    def load(self, auto: str = "AutoModel", **config: Any) -> nn.Module:
        """Loads the pre-trained model, with adapters if they are asked for.

        Args:
            auto: name of the transformers Auto class.
            config: changes to the model's config, such as ``num_labels``.
        """
        how: dict[str, Any] = {"pretrained": self.pretrained, "dropout": self.dropout}
        return self.prepare(weights.load(self.backbone, auto, **how, **config))

    def prepare(self, model: nn.Module) -> nn.Module:
        """Puts adapters, if they are asked for, and kernels into a model."""
        adapted = adapters.inject(model, self.peft) if self.peft is not None else model
        return kernels.use(adapted, self.kernels)

    # What a subclass gives

    def step(self, batch: dict[str, Any]) -> Step:
        """Runs the model on a batch."""
        raise NotImplementedError

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Runs a batch in validation, test and prediction: :meth:`step` unless it generates."""
        return self.step(batch)

    def compute_metrics(
        self, outputs: Any, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes the metrics of an evaluation.

        Args:
            outputs: those of the steps, in the order of the rows, on the CPU.
            targets: those of the steps, or None.
            rows: the rows as read; empty mappings if the data module is not ftlight's.
        """
        raise NotImplementedError

    def row_scores(
        self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]
    ) -> Tensor | None:
        """How good each row of an evaluation is, for comparing models row by row.

        Default: the negative loss of the row, if :meth:`evaluate` gives ``row_losses``.

        Args:
            result: what the evaluation found.
            rows: the rows as read; empty mappings if the data module is not ftlight's.

        Returns:
            ``float [rows]``, in the order of the rows, more is better; None if it is not known.
        """
        return None if result.row_losses is None else -result.row_losses

    def chance_scores(
        self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]
    ) -> Tensor | None:
        """The score to expect of each row if answers are dealt to rows at random.

        Args:
            result: what the evaluation found.
            rows: the rows as read.

        Returns:
            ``double [rows]``; None if answers cannot be dealt so.
        """
        return None

    def constant_loss(self) -> float | None:
        """Loss in training of the best answer that is the same for all rows; None if not known."""
        return None

    def weigh(
        self,
        outputs: Any,
        targets: Any,
        rows: Sequence[Mapping[str, Any]],
        temperature: float = 1.0,
    ) -> Sureness | None:
        """How sure the answer to each row is, and whether it is right.

        Args:
            outputs: those of the steps, in the order of the rows, on the CPU.
            targets: those of the steps, or None.
            rows: the rows as read.
            temperature: what the logits behind the outputs are to be divided by.

        Returns:
            None if answers are neither right nor wrong, nor numbers.
        """
        return None

    def fit_temperature(
        self, outputs: Any, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> float | None:
        """The temperature that makes the probabilities of an evaluation true; None if none can.

        Arguments as of :meth:`weigh`.
        """
        return None

    def refusal(self, option: str) -> str:
        """Why ``predict`` cannot do what an option asks; empty if it can.

        Args:
            option: at_least or coverage.
        """
        return f"{type(self).__name__} does not tell right answers from wrong ones"

    def predictions_text(
        self,
        suffix: str,
        rows: Sequence[Mapping[str, Any]],
        answers: Sequence[Mapping[str, Any]],
    ) -> str | Table | None:
        """Predictions in a form of the task's own: a file's text, or a table with other rows.

        None for a table of the rows.

        Args:
            suffix: suffix of the file, lower case.
            rows: rows as given to predict.
            answers: what :meth:`postprocess` made of each.
        """
        return None

    def postprocess(self, outputs: Any, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Turns outputs into what a person reads.

        Args:
            outputs: those of a step.
            rows: the rows as read, or as given to predict.

        Returns:
            For each row ``prediction`` and ``score``, then any other keys.
        """
        raise NotImplementedError

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """The parts of an answer that can be explained, each by itself.

        Args:
            answer: what :meth:`postprocess` made of a row.

        Raises:
            UserError: the task gives no support of answers.
        """
        raise UserError(f"{type(self).__name__} cannot explain: it has no support of answers")

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """How strongly the model holds to answers that are given, for explanations.

        Args:
            batch: a batch of rows to predict.
            asked: the answer of each of its rows, with the characters of its span in that row.

        Returns:
            ``float [rows]``, with gradients: the log-probability of each answer; of numbers and
            items (see :attr:`support_unit`) the value or cosine itself.
        """
        raise NotImplementedError

    def ladder(self, data: DataModule) -> Ladder | str:
        """Cheap models of the same rows, which this one should beat; or why there are none.

        Args:
            data: the data module, set up for training.
        """
        return f"{type(self).__name__} has no cheap models to compare with"

    def head_objective(self) -> Objective | str:
        """What a head of one linear layer learns, so that it can be solved; or why it cannot.

        It must be the loss of :meth:`step` in training. A class that changes that gives its own.
        """
        return "its task has no loss of one linear layer"

    def head_vectors(self, batch: dict[str, Any], states: Tensor, used: Tensor | None) -> Vectors:
        """What that layer takes in of a batch, with its targets as the objective has them.

        Args:
            batch: the batch.
            states: input of the layer, ``[rows, width]`` or ``[rows, tokens, width]``.
            used: tokens that the loss depends on, ``bool [rows, tokens]``.

        Raises:
            ValueError: they are not those of rows.
        """
        raise NotImplementedError

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a folder that stock libraries load with the same result.

        Returns:
            The lines of Python that load it.
        """
        raise UserError(f"{type(self).__name__} has no export")

    def portable(self, data: DataModule) -> Portable:
        """What an ONNX folder needs to predict as this task does.

        Raises:
            UserError: the task or its data module cannot do without torch.
        """
        name = type(self).__name__
        raise UserError(f"--format onnx: {name} has {self.no_onnx}; --format hf exports it")

    def default_lr(self, backbone: str) -> float:
        """The learning rate of the top layer if none is given."""
        return optim.default_lr(loading.width(backbone))

    def scaled_lr(self, trainer: Any) -> float:
        """The learning rate of the whole model, for the rows of an optimizer step.

        Raises:
            UserError: the data module is not ftlight's, and does not say how many these are.
        """
        if self.lr_given or self.lr_scaling == "none":
            return self.lr
        data = datamodule(trainer)
        if not isinstance(data, DataModule):
            raise UserError("model.lr_scaling: sqrt needs ftlight's data modules; give model.lr")
        rows = data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        return batches.scale(self.lr, rows)

    def begin_from(self, path: str) -> None:
        """Takes from the checkpoint that training begins from what callbacks must know before."""

    @property
    def output_names(self) -> Sequence[str]:
        """What each output of the last layer stands for; empty if that is not a label."""
        return self.labels

    def take_state(self, other: Task) -> None:
        """Takes what the weights of another task need beside them; they are copied already."""

    def describe(self) -> str:
        """What a person should know of the head, for the table at the start."""
        return ""

    # Stages

    def setup(self, stage: str) -> None:
        """Checks that data and model fit; forgets an evaluation that was broken off."""
        self.train_losses = []
        for evaluation in self._evaluations.values():
            evaluation.reset()  # type: ignore[operator]
        if isinstance(self.data, DataModule):
            self.data.check_model(self.model)

    def freezing(self) -> Freezing:
        """The freezing schedule as a callback."""
        kind = Thawing if self.schedule == "auto" else Freezing
        return kind(
            self.schedule,
            lr=self.lr,
            lr_given=self.lr_given,
            defaults={
                "layer_decay": self.layer_decay,
                "warmup": self.warmup,
                "lr_schedule": self.lr_schedule,
                "lr_over": self.lr_over,
            },
            cache=self.cache,
            cache_gb=self.cache_gb,
            head_fit=self.head_fit,
            cache_draws=self.cache_draws,
        )

    def configure_callbacks(self) -> list[L.Callback]:
        """The freezing schedule, under any trainer.

        It is the one that a trainer already has, since a checkpoint holds its state.
        """
        trainer = trainer_of(self)
        schedules = callbacks_of(trainer, Freezing) if trainer is not None else []
        attached: list[L.Callback] = [c for c in schedules if c.task is self]
        return attached or [self.freezing()]

    def on_train_start(self) -> None:
        """Solves the head if the schedule asks for it.

        Checks that the schedule is there: without it no rate is ever set.

        Raises:
            UserError: a subclass has left it out.
        """
        self.guard = Guard(self.guard.mode)
        schedules = callbacks_of(self.trainer, Freezing)
        if not schedules:
            raise UserError(
                f"{type(self).__name__}.configure_callbacks: add your callbacks to those of"
                " super().configure_callbacks()"
            )
        self.calibration = None  # of the weights before
        schedules[0].begin(self.trainer)

    def on_validation_start(self) -> None:
        """Validates plain probabilities: temperatures are fitted on these rows."""
        self.calibration = None

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects a validation batch."""
        self._collect("val", batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects a test batch."""
        self._collect("test", batch)

    def on_validation_epoch_end(self) -> None:
        """Computes the metrics of the validation."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Computes the metrics of the test."""
        self._report("test")

    def predict_step(
        self, batch: dict[str, Any], batch_idx: int = 0
    ) -> list[tuple[int, dict[str, Any]]]:
        """Predicts a batch. Returns the numbers of its rows with their predictions."""
        numbers = batch["index"]
        outputs = self.evaluate(batch).outputs
        predictions = self.postprocess(outputs, self.rows_of("predict", numbers))
        return list(zip(numbers, predictions, strict=True))

    def rows_of(self, split: str, numbers: Sequence[int]) -> Sequence[Mapping[str, Any]]:
        """Rows of a split or stage as read; empty ones if the data module is not ftlight's."""
        if isinstance(self.data, DataModule):
            return self.data.rows(SPLIT.get(split, split), numbers)
        return [{}] * len(numbers)

    def _collect(self, stage: str, batch: dict[str, Any]) -> None:
        self._batch_size = memory.size(batch)
        with self._advice(trains=False):
            step = self.evaluate(batch)
        if step.loss is None:
            raise UserError(f"{stage}: the rows have no labels")
        self._evaluations[stage].add(step, batch["index"])  # type: ignore[operator]

    def _report(self, stage: str) -> None:
        loss, collected = self._evaluations[stage].compute(self.all_gather)  # type: ignore[operator]
        outputs, targets, numbers, row_losses = collected
        split = SPLIT.get(stage, stage)
        self.check_all_seen(stage, getattr(self.data, "sets", {}).get(split), len(numbers))
        rows = self.rows_of(stage, numbers.tolist())
        result = self.compute_metrics(outputs, targets, rows)
        values = {"loss": loss, **result.values}
        of_rows = {"outputs": outputs, "targets": targets, "numbers": numbers}
        of_rows["row_losses"] = row_losses
        self.evidence[stage] = result._replace(values=values, **of_rows)
        logged = {f"{stage}/{k}": torch.tensor(v, dtype=torch.float) for k, v in values.items()}
        self.log_dict(logged)

    def row_outcomes(self, stage: str) -> dict[str, Tensor]:
        """How good each row of the last evaluation is.

        Args:
            stage: val or test.

        Returns:
            ``rows``, ``int64 [rows]``, and ``scores``, ``double [rows]``; empty if the task has no
            scores of rows.
        """
        result = self.evidence[stage]
        assert result.numbers is not None
        rows = self.rows_of(stage, result.numbers.tolist())
        scores = self.row_scores(result, rows)
        return {} if scores is None else {"rows": result.numbers, "scores": scores.double()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the calibration of the weights."""
        super().on_save_checkpoint(checkpoint)
        if self.calibration is not None:
            checkpoint["calibration"] = self.calibration._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the calibration that belongs to the weights."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint.get("calibration")
        self.calibration = None if state is None else Calibration.of_state(state)

    def merge_adapters(self) -> None:
        """Merges adapters into the weights they adapt: the model is then an ordinary one."""
        if self.peft is not None:
            adapters.merge(self.model)
            self.peft = None

    def load_weights(self, path: str | Path) -> None:
        """Loads the weights of a checkpoint."""
        checkpoint = load(path)
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"])


keep_old_names(Task, OLD_NAMES)
check_ranges(Task, "model")
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_attribute(globals(), {"Evidence": "EvaluationResult"}, name)
