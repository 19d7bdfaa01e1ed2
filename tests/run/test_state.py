"""The state of a run: what it was asked for, where it is, whether a checkpoint is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftlight import Trainer
from ftlight.run import folder
from ftlight.run.state import RunState, state_of
from ftlight.utils.errors import UserError


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.save_every: often is not how often to save"):
        RunState(save_every="often")
    with pytest.raises(UserError, match=r"trainer\.resume: give the folder of the run"):
        RunState(resume=True)


def test_the_folder_of_a_run(tmp_path: Path) -> None:
    assert RunState().home == Path(".")
    run = RunState(given=str(tmp_path / "r"))
    assert run.home == tmp_path / "r"
    assert run.best_path is None  # not known before the folder is made
    run.folder = tmp_path / "made"
    assert run.home == tmp_path / "made"
    assert run.best_path == tmp_path / "made" / "checkpoints" / "best.ckpt"
    run.saves = False
    assert run.best_path is None


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../x", "..\\x"])
def test_no_name_leads_out_of_the_runs(name: str) -> None:
    with pytest.raises(UserError, match="leads out of runs/"):
        folder.make(None, name)
    assert not Path("runs").exists()


def test_a_run_goes_on_from_its_own_checkpoint_alone(tmp_path: Path) -> None:
    run = RunState(given=str(tmp_path / "r"), resume=True)
    assert not run.goes_on
    run.folder = tmp_path / "r"
    run.ckpt_path = str(tmp_path / "other" / "checkpoints" / "last.ckpt")
    assert not run.goes_on
    run.ckpt_path = str(tmp_path / "other" / ".." / "r" / "checkpoints" / "last.ckpt")
    assert run.goes_on
    run.resume = False
    assert not run.goes_on


def test_a_trainer_shows_its_state(tmp_path: Path) -> None:
    trainer = Trainer(run=str(tmp_path), accelerator="cpu", max_steps=3, enable_checkpointing=False)
    assert state_of(trainer) is trainer.run
    assert state_of(object()) is None
    assert (trainer.run.max_steps, trainer.run.saves, trainer.run.auto_epochs) == (3, False, False)
    assert (trainer.folder, trainer.best_path, trainer.goes_on) == (None, None, False)
    assert Trainer(accelerator="cpu").run.auto_epochs


def test_rows_are_never_divided_by_lightning(caplog: pytest.LogCaptureFixture) -> None:
    for value in (False, None):
        with caplog.at_level("WARNING", logger="ftlight"):
            Trainer(accelerator="cpu", use_distributed_sampler=value)
        assert caplog.messages == []
    with caplog.at_level("WARNING", logger="ftlight"):
        trainer = Trainer(accelerator="cpu", use_distributed_sampler=True)
    assert caplog.messages == ["trainer.use_distributed_sampler: true is ignored; take it out"]
    assert not trainer._accelerator_connector.use_distributed_sampler
