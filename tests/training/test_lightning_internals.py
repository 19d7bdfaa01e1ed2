"""Lightning has what ftlight uses of it beyond its public interface, and nothing else is used."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import ROOT, each
from lightning.pytorch.callbacks import EMAWeightAveraging, Timer, WeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from ftlight import Trainer
from ftlight.training import lightning_internals

ROOMS = ("training/lightning_internals.py", "utils/internals.py")
# Private methods and attributes of Lightning that a subclass of ours overrides or sets.
OVERRIDDEN = {
    LightningCLI: ("_prepare_subcommand_parser", "_parse_ckpt_path"),
    lightning_internals.SignalConnector: ("_original_handlers",),
    ModelParallelStrategy: ("_data_parallel_size", "_tensor_parallel_size"),
}


def trainer(**options: Any) -> L.Trainer:
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)


def test_what_is_overridden_exists() -> None:
    missing = [
        f"{cls.__name__}.{name}"
        for cls, names in OVERRIDDEN.items()
        for name in names
        if name not in inspect.getsource(cls)
    ]
    assert missing == []


def test_the_connectors_are_those_that_lightning_calls() -> None:
    made = Trainer(accelerator="cpu", enable_progress_bar=False)
    assert type(made._signal_connector) is not type(trainer()._signal_connector)
    assert made._signal_connector is made.signals
    assert made._checkpoint_connector._hpc_resume_path is None
    source = inspect.getsource(L.Trainer)
    for use in (
        "self._signal_connector.register_signal_handlers()",
        "self._checkpoint_connector.dump_checkpoint(weights_only)",
    ):
        assert use in source
    loop = inspect.getsource(type(made.fit_loop.epoch_loop))
    assert "self._broadcast_sigterm_tensor()" in loop
    assert "_hpc_resume_path" in inspect.getsource(
        lightning_internals.CheckpointConnector.__mro__[1]
    )


def test_the_number_of_steps_that_loggers_see() -> None:
    made = trainer()
    lightning_internals.set_batches_that_stepped(made, 7)
    assert lightning_internals.batches_that_stepped(made) == 7
    assert made.fit_loop.epoch_loop.on_save_checkpoint()["_batches_that_stepped"] == 7
    # a step is counted when it begins, so a checkpoint between steps holds one too many
    assert "_batches_that_stepped += 1" in inspect.getsource(type(made.fit_loop.epoch_loop))


def test_processes_are_started_by_a_launcher_of_ours() -> None:
    made = Trainer(accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False)
    assert isinstance(made.strategy.launcher, lightning_internals.Launcher)
    assert made.strategy.launcher.num_processes == 2
    source = inspect.getsource(_SubprocessScriptLauncher.launch)
    for use in (
        "self._call_children_scripts()",
        "_launch_process_observer(self.procs)",
        "_set_num_threads_if_needed(num_processes=self.num_processes)",
    ):
        assert use in source
    assert Trainer(accelerator="cpu", devices=1).strategy.launcher is None


def test_a_timer_an_average_and_a_module() -> None:
    assert lightning_internals.duration(Timer("00:01:00:00")) == 3600
    assert lightning_internals.duration(Timer()) is None
    average = EMAWeightAveraging()
    assert not lightning_internals.has_average(average)
    module = L.LightningModule()
    average.setup(trainer(), module, "fit")
    assert lightning_internals.has_average(average)
    assert lightning_internals.trainer_of(module) is None
    module.trainer = made = trainer()
    assert lightning_internals.trainer_of(module) is made


def test_integers_are_kept_out_of_an_average() -> None:
    class Placed(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(3))
            self.register_buffer("places", torch.arange(100), persistent=False)

    def check(average: WeightAveraging, expected: float) -> None:
        module = Placed()
        made = trainer(callbacks=[average])
        lightning_internals.average_floats_alone(made)
        average.setup(made, module, "fit")
        for value in (1.0, 2.0, 3.0):
            module.weight.data.fill_(value)
            average._average_model.update_parameters(module)
        averaged = average._average_model.module
        assert torch.equal(averaged.places, module.places)
        assert averaged.weight[0].item() == pytest.approx(expected)

    ema = EMAWeightAveraging(decay=0.9, multi_avg_fn=None)  # as the command line makes it
    each([(ema, 1.29), (WeightAveraging(), 2.0)], check)


def test_what_lightning_sets_outside_of_its_class() -> None:
    timer = Timer()
    made = trainer(callbacks=[timer], log_every_n_steps=3, overfit_batches=2)
    assert timer in lightning_internals.callbacks(made)
    assert lightning_internals.callbacks_of(made, Timer) == [timer]
    assert lightning_internals.callbacks_of(made, EMAWeightAveraging) == []
    assert lightning_internals.datamodule(made) is None
    assert lightning_internals.log_every_n_steps(made) == 3
    assert lightning_internals.overfits(made)
    assert not lightning_internals.is_dry_run(made)
    assert lightning_internals.is_dry_run(trainer(fast_dev_run=True))
    assert not lightning_internals.overfits(trainer())


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.AST) -> Iterator[str]:
    """Private names that a file defines: functions, classes, attributes, variables."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def used_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Private names that a file uses: as attributes, in imports, and as text for getattr."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            named = node.func.id in ("getattr", "hasattr") and len(node.args) > 1
            if named and isinstance(node.args[1], ast.Constant):
                yield node.lineno, str(node.args[1].value)


def strays(files: dict[str, str]) -> list[str]:
    """Uses of private names that none of the files defines, outside of the two rooms for them."""
    trees = {name: ast.parse(text) for name, text in files.items()}
    own = {name for tree in trees.values() for name in own_names(tree)}
    allowed = own | {"_replace", "_fields", "_asdict"}  # of named tuples: public, but for the name
    return [
        f"{name}:{line}: {used}"
        for name, tree in trees.items()
        if name not in ROOMS
        for line, used in sorted(used_names(tree))
        if private(used) and used not in allowed
    ]


def test_no_private_name_of_a_library_is_used_elsewhere() -> None:
    package = ROOT / "ftlight"
    files = {str(p.relative_to(package)): p.read_text() for p in package.rglob("*.py")}
    assert set(ROOMS) <= set(files)
    assert strays(files) == []


def test_a_stray_name_is_found() -> None:
    file = "import torch\nfrom lightning import _x\ntorch._y()\ngetattr(torch, '_z')\n"
    assert strays({"a.py": file}) == ["a.py:2: _x", "a.py:3: _y", "a.py:4: _z"]
    own = "class A:\n    def _y(self): self._x = 1\n    def f(self, a): return a._x + a._y()\n"
    assert strays({"a.py": own, "utils/internals.py": file}) == []


def test_dump_checkpoint_is_what_save_checkpoint_writes(tmp_path: Path) -> None:
    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

    made = trainer()
    made.strategy.connect(Module())
    dumped = lightning_internals.dump_checkpoint(made, weights_only=True)
    made.save_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    written = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert dumped.keys() == written.keys()
    assert torch.equal(dumped["state_dict"]["layer.weight"], written["state_dict"]["layer.weight"])
