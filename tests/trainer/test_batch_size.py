"""``data.batch_size: auto`` chooses the rows of a batch before the first step; leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Run, each
from resuming import differences, everything, run, stopped_and_whole

from ftlight.__main__ import main
from ftlight.freezing import callback
from ftlight.trainer import batch_size

pytestmark = pytest.mark.run
HOWS: dict[str, dict[str, Any]] = {
    "all": {"model": {"unfreeze": "all", "lr": None}},
    "the user's rate": {"model": {"unfreeze": "all", "lr": 0.002}},
    "gradual, stored": {"model": {"unfreeze": "gradual", "cache": True, "lr": None}},
    "accumulation": {"model": {"lr": None}, "trainer": {"accumulate_grad_batches": 2}},
    "solved head": {"model": {"unfreeze": "head", "lr": None}},
}


def with_size(how: dict[str, Any], size: Any) -> dict[str, Any]:
    scaled = {} if size == "auto" else {"lr_scaling": "sqrt"}
    model = how.get("model", {}) | scaled
    return {**how, "data": {**how.get("data", {}), "batch_size": size}, "model": model}


def test_it_is_the_run_of_the_chosen_size_to_the_bit(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    def check(name: str) -> None:
        trainer = run(drops, rows, tmp_path / f"{name} auto", with_size(HOWS[name], "auto"))
        size = trainer.datamodule.batch_size
        assert size == (32 if name == "solved head" else 8), "20 steps an epoch: 8 or the default"
        run(drops, rows, tmp_path / f"{name} given", with_size(HOWS[name], size))
        found = [everything(tmp_path / f"{name} {way}") for way in ("auto", "given")]
        assert differences(*found) == []

    each(HOWS, check)


def test_the_default_rates_follow_the_square_root_of_the_rows_of_a_step(
    drops: str, rows: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    def rates(name: str, how: dict[str, Any]) -> list[float]:
        schedule = callback.of(run(drops, rows, tmp_path / name, how))
        return [stage.lr for stage in schedule.progress.stages if not stage.solved]

    usual = rates("usual", HOWS["gradual, stored"])

    def check(size: int) -> None:
        monkeypatch.setattr(batch_size, "_speeds", lambda *given: {size: 1.0})
        found = rates(f"{size}", with_size(HOWS["gradual, stored"], "auto"))
        scaled = [rate * (size / 32) ** 0.5 for rate in usual[1:]]
        assert found == pytest.approx([usual[0], *scaled]), "a head alone keeps its rate"

    each([8, 32, 64], check)
    monkeypatch.setattr(batch_size, "_speeds", lambda *given: {16: 1.0})
    found = rates("two of 16", with_size(HOWS["accumulation"], "auto"))
    assert found == rates("two of any", HOWS["accumulation"])
    assert rates("given", with_size(HOWS["the user's rate"], "auto")) == [0.002]


def test_a_run_that_goes_on_keeps_its_size(fit: Run, monkeypatch: Any, capsys: Any) -> None:
    run_of = fit("--data.batch_size", "auto", "--model.unfreeze", "all", epochs=2)
    assert "data.batch_size: auto: " in capsys.readouterr().out
    first = yaml.safe_load((run_of / "config.yaml").read_text())
    assert isinstance(first["data"]["init_args"]["batch_size"], int)

    def never(*given: Any) -> None:
        raise AssertionError("sizes are tried out again")

    monkeypatch.setattr(batch_size, "_speeds", never)
    base = ["fit", "-c", str(run_of / "config.yaml"), "--run", str(run_of), "--resume", "auto"]
    base += ["--data.batch_size", "auto", "--model.lr_scaling", "none"]
    assert main(base) == 0
    assert "is done; nothing is left to do" in capsys.readouterr().out
    assert main([*base, "--trainer.max_epochs", "3"]) == 0
    then = yaml.safe_load((run_of / "config.yaml").read_text())
    assert then["model"]["init_args"]["lr_scaling"] == "sqrt"
    for section, name in (("data", "batch_size"), ("model", "lr_scaling")):
        assert then[section]["init_args"][name] == first[section]["init_args"][name]


def test_a_run_that_was_stopped_resumes_exactly(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    how = with_size(HOWS["all"], "auto")
    assert differences(*stopped_and_whole(drops, rows, tmp_path, how)) == []


def test_a_size_without_room_in_memory_is_not_taken(
    drops: str, rows: dict[str, str], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    whole = batch_size.rehearsal.backward

    def limited(most: int) -> None:
        def backward(trainer: Any, task: Any, batch: Any) -> None:
            if len(batch["index"]) > most:
                raise torch.OutOfMemoryError("out of memory")
            whole(trainer, task, batch)

        monkeypatch.setattr(batch_size.rehearsal, "backward", backward)

    monkeypatch.setattr(batch_size.batches, "sizes", lambda rows, processes: [4, 8, 16])
    limited(4)
    trainer = run(drops, rows, tmp_path / "four", with_size(HOWS["all"], "auto"))
    assert trainer.datamodule.batch_size == 4
    limited(2)
    with pytest.raises(batch_size.UserError, match=r"data\.batch_size: auto: not enough memory"):
        run(drops, rows, tmp_path / "none", with_size(HOWS["all"], "auto"))


def test_what_has_its_batches_says_so(fit: Run, capsys: Any) -> None:
    run_of = fit("--model.unfreeze", "all")
    last = str(run_of / "checkpoints" / "last.ckpt")

    def check(more: list[str], said: str) -> None:
        command = ["fit", "-c", str(run_of / "config.yaml"), "--data.batch_size", "auto", *more]
        assert main([*command, "--run", "other"]) == 2
        assert said in capsys.readouterr().err
        assert not Path("other").exists()

    each(
        [
            (["--ckpt_path", last], "a checkpoint comes with its batches; give the rows of a"),
            (["--data.tokens_per_batch", "99"], "data.tokens_per_batch makes the batches"),
            (["--data.batch_size", "many"], "data.batch_size"),
        ],
        check,
    )
