"""FSDP2: weights, gradients and optimizer states divided among processes, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from ftlight.models.layers import stacks
from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils.errors import UserError


class FSDP2(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over all processes, with checkpoints that any strategy loads.

    A checkpoint is one file with whole tensors, restored at the same point as under DDP:
    Lightning's own numbers the optimizer's states in its own way, and restores them for a test
    too. An evaluation runs on whole weights, since processes may have unequal numbers of batches.
    """

    restore_checkpoint_after_setup = False
    lightning_restore_optimizer = True

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Starts the processes; each holds a share of the weights."""
        # set here, not in __init__, since only now the number of processes is known
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()
        self._gather()  # a task that was fitted is tested now, and may look at its model first

    def setup(self, trainer: L.Trainer) -> None:
        """Makes the optimizer, of this process's share."""
        self._release()
        super().setup(trainer)

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint; each process takes its share of it later."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Loads this process's share of the weights."""
        assert self.lightning_module is not None
        self._release()
        how = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.lightning_module, dict(checkpoint["state_dict"]), options=how)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimizer's state with whole tensors; of use on the first process only."""
        state = optimizer.state_dict()
        full = {}
        for index, values in state["state"].items():
            full[index] = {name: self._full(value) for name, value in values.items()}
        return {**state, "state": full}

    def _full(self, value: Any) -> Any:
        if isinstance(value, DTensor):
            value = value.full_tensor()  # all processes take part
        return value.cpu() if isinstance(value, Tensor) and self.is_global_zero else None

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads this process's share of the optimizer's state."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            shares = {}
            for index, values in state["state"].items():
                owner = parameters[index]
                shares[index] = {name: _share(value, owner) for name, value in values.items()}
            optimizer.load_state_dict({**state, "state": shares})

    def _gather(self) -> None:
        """Makes the weights whole on every process, and buffers those of the first, as in DDP."""
        assert self.lightning_module is not None
        task = self.lightning_module
        parts = _parts(task)
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        for buffer in task.buffers() if parts else ():
            torch.distributed.broadcast(buffer, 0)

    def _release(self) -> None:
        """Frees the other processes' weights."""
        task: Any = self.lightning_module
        for part in _parts(task):
            part.set_reshard_after_forward(part is not task, recurse=False)
            part.reshard()

    on_validation_start = on_test_start = on_predict_start = _gather
    on_validation_end = on_test_end = on_predict_end = _release


def _parts(task: nn.Module) -> list[FSDPModule]:
    """The task and its layers, each of which is gathered at once."""
    return [m for m in task.modules() if isinstance(m, FSDPModule)]


def _share(value: Any, parameter: Tensor) -> Any:
    """This process's share of a whole tensor, divided as a parameter is."""
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:  # such as the number of steps
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def shard(task: Any) -> None:
    """Divides a task's weights among the processes of its mesh: layer by layer, then the rest.

    The rest is gathered while a training step runs: a task may call any part of its model.

    Args:
        task: a :class:`ftlight.task.Task`.

    Raises:
        UserError: something cannot be divided.
    """
    if isinstance(task, FSDPModule):
        return
    check(task.trainer, task)
    mesh = task.device_mesh["data_parallel"]
    base = getattr(task.model, "base_model", task.model)
    layers = [layer for stack in stacks(base) for layer in stack.layers]
    names = [name for layer in layers for name in layer]
    try:
        for name in names:
            fully_shard(base.get_submodule(name), mesh=mesh, reshard_after_forward=True)
        fully_shard(task, mesh=mesh, reshard_after_forward=False)
    except ValueError as error:
        why = " ".join(str(error).split())
        raise UserError(f"trainer.strategy: fsdp2 cannot divide {task.backbone}: {why}") from error
    register_fsdp_forward_method(task, "training_step")


def check(trainer: L.Trainer, task: Any) -> None:
    """Refuses what does not work on divided weights, and a wrong number of processes.

    Args:
        trainer: the trainer.
        task: a :class:`ftlight.task.Task`.

    Raises:
        UserError: there are adapters, an average of the weights or tensor parallelism; or torchrun
            started another number of processes.
    """
    started = TorchElasticEnvironment().world_size() if TorchElasticEnvironment.detect() else 0
    if started and started != trainer.num_devices * trainer.num_nodes:
        devices = max(1, started // trainer.num_nodes)
        raise UserError(
            f"trainer.devices: torchrun started {started} processes;"
            f" add --trainer.devices {devices}"
        )
    if not isinstance(trainer.strategy, ModelParallelStrategy):
        return
    if not isinstance(trainer.strategy, FSDP2):
        raise UserError(
            "trainer.strategy: a task divides its layers for fsdp2 only,"
            " not for another ModelParallelStrategy"
        )
    if task.peft is not None:
        raise UserError(
            "trainer.strategy: fsdp2 takes no adapters (model.peft); use ddp, adapters are small"
        )
    if callbacks_of(trainer, WeightAveraging):
        raise UserError(
            "trainer.strategy: fsdp2 keeps no average of the weights (EMAWeightAveraging);"
            " use ddp, or leave it out"
        )
