"""A module that trains: its step, its optimizer, and what its checkpoints hold."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sized
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor, nn

from ftlight.metrics.evaluation import Step
from ftlight.models.fixed import digest, fixed_weights, leave_out, put_back
from ftlight.models.layers import layer_groups
from ftlight.training import clipping, fsdp, l2_sp, memory, optim, precision
from ftlight.training.lightning_internals import datamodule, log_every_n_steps, trainer_of
from ftlight.training.nonfinite import Guard
from ftlight.utils import arguments, secrets
from ftlight.utils.errors import UserError, shortened


class TrainingModule(L.LightningModule):
    """The part of a :class:`ftlight.task.Task` that trains, without data, metrics and schedule.

    Attributes:
        model: all that trains.
        backbone: hub id or folder of the pre-trained model.
        pretrained: whether it starts from pre-trained weights.
        peft: options of adapters, or None.
        lr: learning rate of the top layer; the schedule sets that of each step.
        weight_decay: weight decay of matrices.
        l2_sp: strength of the pull of the backbone towards its start, in place of its decay.
        guard: what happens if a loss or gradient is not finite.
        train_losses: losses of the epoch's batches so far, each a scalar on the device.
        datamodule: data module of a module without a trainer; a trainer's own by default.
        options_given: the options that the class was constructed with; a run that goes on keeps
            its own schedule if they do not say another.
    """

    model: nn.Module
    backbone: str
    peft: dict[str, Any] | None
    lr: float
    pretrained: bool
    weight_decay: float
    l2_sp: float
    guard: Guard
    train_losses: list[Tensor]
    datamodule: Any = None
    options_given: dict[str, Any]
    _batch_size = ""  # of the last batch in words, for advice

    def __new__(cls, *positional: Any, **named: Any) -> Self:
        """Notes the options as given, whatever a subclass makes of them."""
        self = super().__new__(cls)
        self.options_given = arguments.given(cls, positional, named)
        return self

    def __init__(self) -> None:
        super().__init__()
        self.train_losses = []

    def step(self, batch: dict[str, Any]) -> Step:
        """Runs the model on a batch."""
        raise NotImplementedError

    @property
    def data(self) -> Any:
        """The data module that feeds this module."""
        return self.datamodule or datamodule(self.trainer)

    def configure_model(self) -> None:
        """Divides the weights among the processes, under FSDP2."""
        if self.device_mesh is not None:
            fsdp.shard(self)

    # Steps

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Runs a training batch. Returns its loss, a scalar."""
        self._batch_size = memory.size(batch)
        with self._advice():
            loss = self.step(batch).loss
        assert loss is not None
        step = self.trainer.global_step + 1
        loss = self.guard.watch(step, batch, loss)
        self.train_losses.append(loss.detach())
        every = log_every_n_steps(self.trainer)
        if every and step % every == 0:
            self.log("train/loss_step", loss.detach(), batch_size=1)
        return loss

    @property
    def train_loss(self) -> Tensor:
        """Mean loss of the epoch's batches so far on this device, a scalar; nan before any."""
        losses = self.train_losses or [torch.tensor(float("nan"), device=self.device)]
        return torch.stack(losses).float().nanmean()  # the loss of a skipped step is nan

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's mean training loss."""
        self.guard.settle(self.trainer, self.data)
        if self.train_losses:  # none if the head was solved in place of the first batch
            self.log("train/loss", self.train_loss, sync_dist=True, batch_size=1)
        self.train_losses = []

    def on_train_end(self) -> None:
        """Says how many steps were skipped."""
        self.guard.close()

    def _advice(self, trains: bool = True) -> contextlib.AbstractContextManager[None]:
        """Turns an out-of-memory error into one line of advice."""
        options = [o for o in memory.SMALLER if hasattr(self.data, o)]
        return memory.explained(lambda: memory.words(self._batch_size, options, trains))

    def check_all_seen(self, stage: str, table: Sized | None, rows: int) -> None:
        """Checks that an evaluation saw every row, unless an option limits the batches.

        Args:
            stage: val or test.
            table: the rows there are; None if that is not known.
            rows: how many were seen, over all processes.
        """
        if table is None or self.trainer.sanity_checking:
            return
        if optim.runs_all_batches(self.trainer, stage) and rows != len(table):
            raise RuntimeError(f"{stage}: {rows} rows were seen, there are {len(table)}")

    # Checkpoints

    @property
    def fixed(self) -> set[str]:
        """Names of the weights under adapters: they never train, and no checkpoint holds them."""
        return set(fixed_weights(self))

    @functools.cached_property
    def _fixed_sha256(self) -> str:
        # the same in any precision of training
        return digest((name, weight.bfloat16()) for name, weight in fixed_weights(self).items())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves out secrets and the weights under adapters, and notes which weights those were."""
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):  # of save_hyperparameters()
            if key in checkpoint:
                checkpoint[key] = secrets.redact(checkpoint[key])
        if self.peft is not None:
            leave_out(checkpoint, self.fixed)
            checkpoint["fixed_sha256"] = self._fixed_sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses adapters of other weights.

        Raises:
            UserError: the checkpoint was trained on another backbone, or is to be resumed in
                another precision.
        """
        trainer = trainer_of(self)
        if trainer is not None and trainer.state.fn == "fit":
            precision.check_state(checkpoint, trainer)
        adapted = "fixed_sha256" in checkpoint
        if adapted != (self.peft is not None):
            there, here, new = "without", "with", "of its export, as model.backbone"
            if adapted:
                there, here, new = "with", "without", "with --from RUN, which merges them"
            raise UserError(
                f"model.peft: the checkpoint is of a model {there} adapters, this is one {here};"
                f" give it as it was, or begin a new run {new}"
            )
        if not adapted:
            return
        if checkpoint["fixed_sha256"] != self._fixed_sha256:
            raise UserError(
                "model.backbone: the adapters of the checkpoint belong to other weights than"
                f" those of {self.backbone}"
            )
        put_back(checkpoint, fixed_weights(self))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads weights; those under adapters are the backbone's own."""
        own = fixed_weights(self) if self.peft is not None else {}
        try:
            return super().load_state_dict({**own, **state_dict}, strict, assign)
        except RuntimeError as error:
            first = " ".join(str(error).splitlines()[1:2]).strip()
            raise UserError(
                f"model: the checkpoint is of another model than this one of {self.backbone}:"
                f" {shortened(first.rstrip('.'), 200)}; options that shape it (model.pooling,"
                " model.peft) must be as they were, and so config.yaml, labels.json and"
                " backbone/config.json of the run"
            ) from error

    # Optimizer

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over all parameters, a group per layer and decay; with L2-SP if asked for."""
        groups = optim.groups(self.model, layer_groups(self.model), self.weight_decay)
        pulled = [g for g in groups if self.l2_sp and g["layer"] != "head"]
        for group in pulled:
            group["weight_decay"] = 0.0
        optimizer: torch.optim.Optimizer
        if isinstance(self.trainer.precision_plugin, precision.BF16Master):
            optimizer = precision.MasterAdamW(groups, lr=self.lr)
        else:
            # fused: 15 ms a step against 62 unfused (22 M parameters, 2 cores); fp16 could not
            # clip it
            fused = self.device.type in ("cpu", "cuda") and clipping.scaler(self.trainer) is None
            optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=fused)
        if pulled:
            l2_sp.check(self.trainer.strategy, self.pretrained)
            l2_sp.Pull(optimizer, [p for g in pulled for p in g["params"]], self.l2_sp)
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by the global norm, and keeps gradients that are not finite from the weights."""
        step = self.trainer.global_step + 1
        norm = clipping.clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)
        if norm is not None:
            self.guard.hold(step, optimizer, norm)
        every = log_every_n_steps(self.trainer) or 50
        if self.device.type == "cpu" or step % every == 0:
            self.guard.settle(self.trainer, self.data)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Runs backward and the optimizer."""
        with self._advice():
            super().optimizer_step(*args, **kwargs)
