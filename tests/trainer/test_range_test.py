"""``model.lr: auto`` chooses a rate before the first step, and leaves no trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Run, each
from resuming import differences, everything, run, stopped_and_whole

from ftlight.__main__ import main
from ftlight.trainer import range_test

pytestmark = pytest.mark.run
HOWS: dict[str, dict[str, Any]] = {
    "all": {"model": {"unfreeze": "all"}},
    "layer_decay": {"model": {"unfreeze": "all", "layer_decay": 0.7}},
    "gradual, stored": {"model": {"unfreeze": "gradual", "cache": True}},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "workers": {"data": {"workers": 1}},
}


def with_lr(how: dict[str, Any], lr: Any) -> dict[str, Any]:
    return {**how, "model": {**how.get("model", {}), "lr": lr}}


def test_it_is_the_run_of_the_chosen_rate_to_the_bit(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    def check(name: str) -> None:
        trainer = run(drops, rows, tmp_path / f"{name} auto", with_lr(HOWS[name], "auto"))
        chosen = trainer.lightning_module.lr
        assert isinstance(chosen, float)
        assert chosen == float(f"{chosen:.1e}")
        run(drops, rows, tmp_path / f"{name} given", with_lr(HOWS[name], chosen))
        found = [everything(tmp_path / f"{name} {way}") for way in ("auto", "given")]
        assert differences(*found) == []

    each(HOWS, check)


def test_a_run_that_goes_on_keeps_its_rate(fit: Run, monkeypatch: Any, capsys: Any) -> None:
    run_of = fit("--model.lr", "auto", "--model.unfreeze", "all", epochs=2)
    assert "model.lr: auto: " in capsys.readouterr().out
    config = yaml.safe_load((run_of / "config.yaml").read_text())
    chosen = config["model"]["init_args"]["lr"]
    assert isinstance(chosen, float)

    def never(*given: Any) -> None:
        raise AssertionError("rates are tried out again")

    monkeypatch.setattr(range_test, "_losses", never)
    base = ["fit", "-c", str(run_of / "config.yaml"), "--run", str(run_of), "--resume", "auto"]
    base += ["--model.lr", "auto"]
    assert main(base) == 0
    assert "is done; nothing is left to do" in capsys.readouterr().out
    assert main([*base, "--trainer.max_epochs", "3"]) == 0
    config = yaml.safe_load((run_of / "config.yaml").read_text())
    assert config["model"]["init_args"]["lr"] == chosen


def test_a_run_that_was_stopped_resumes_exactly(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    how = with_lr(HOWS["all"], "auto")
    assert differences(*stopped_and_whole(drops, rows, tmp_path, how)) == []


def test_a_loss_that_is_no_number_from_the_start_is_a_line(
    fit: Run, monkeypatch: Any, capsys: Any
) -> None:
    run_of = fit("--model.unfreeze", "all")
    monkeypatch.setattr(range_test, "_losses", lambda *given: ([1e-5, 1e-4], [math.nan]))
    words = ["fit", "-c", str(run_of / "config.yaml"), "--model.lr", "auto", "--run", "other"]
    assert main(words) == 2
    assert "model.lr: auto: the loss of the first batch is nan; give a rate" in (
        capsys.readouterr().err
    )


def test_what_has_no_rate_to_choose_says_so(fit: Run, capsys: Any) -> None:
    run_of = fit("--model.unfreeze", "all")
    own = "[{train: head, steps: 2, lr: 0.1}, {train: all, lr: 1e-3}]"

    def check(more: list[str], said: str) -> None:
        command = ["fit", "-c", str(run_of / "config.yaml"), "--model.lr", "auto", *more]
        assert main([*command, "--run", "other"]) == 2
        assert said in capsys.readouterr().err
        assert not Path("other").exists()

    last = str(run_of / "checkpoints" / "last.ckpt")
    each(
        [
            (["--model.unfreeze", own], "each stage has a rate of its own; leave model.lr out"),
            (["--ckpt_path", last], "model.lr: auto: a checkpoint comes with a rate; give a rate"),
            (["--model.lr", "fast"], "model.lr"),
        ],
        check,
    )
