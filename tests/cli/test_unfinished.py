"""A run that was stopped says so wherever its weights are used, and how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, write_csv

import ftlight
from ftlight.__main__ import main
from ftlight.utils.errors import UserError

pytestmark = pytest.mark.run
ON = "to go on: python -m ftlight fit --resume run"
HOW = "run was stopped in epoch 2 of 30"


def test_a_stopped_run_says_so(fit: Run, capsys: Any, caplog: Any) -> None:
    fit("--data.test", "toy.csv")
    shutil.copytree("run", "other")
    facts = json.loads(Path("run/run.json").read_text())
    assert facts["epochs"] > 0
    Path("run/run.json").write_text(json.dumps({**facts, "status": "stopped", "epochs": 30}))
    write_csv(Path("new.csv"), [("good card",), ("bad card",)], ("text",))

    def shown(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 0
        return " ".join(capsys.readouterr().out.split())

    said = f"{HOW}; these are its best weights so far; {ON}"
    assert said in shown("predict", "run", "new.csv")
    assert said in shown("test", "run")
    assert said in shown("export", "run")
    assert f"{HOW}; these are its last" in shown("predict", "run", "new.csv", "--ckpt_path", "last")
    assert "these are" not in shown("predict", "other", "new.csv")
    caplog.clear()
    ftlight.load("run")
    assert said in caplog.text

    Path("run/outcomes-test.npz").unlink()
    for kept in Path("run").glob("outcomes-*.npz"):
        kept.unlink()
    assert main(["compare", "other", "run"]) == 2
    assert f"{HOW}, and was not measured; {ON}" in capsys.readouterr().err

    Path("run/checkpoints/best.ckpt").unlink()
    fault = f"{HOW}, before it had a best.ckpt; {ON}, or use --ckpt_path last"
    assert main(["predict", "run", "new.csv"]) == 2
    assert fault in capsys.readouterr().err
    with pytest.raises(UserError, match=r"before it had a best\.ckpt"):
        ftlight.load("run")
    Path("run/run.json").write_text(json.dumps({**facts, "status": "done"}))
    assert main(["predict", "run", "new.csv"]) == 2
    assert "best.ckpt: no such checkpoint (there are: last.ckpt)" in capsys.readouterr().err
