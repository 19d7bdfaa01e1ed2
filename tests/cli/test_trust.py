"""A run from a stranger runs no code: what is refused, and what of one's own works as before."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Run, toy_rows, write_csv

import ftlight
from ftlight.__main__ import main
from ftlight.utils.errors import UserError

SAYS = "from pathlib import Path\nPath({mark!r}).write_text('run')\n"
MINE = """
from ftlight import TextClassification
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

class Mine(TextClassification):
    def __init__(self, backbone, **base):
        super().__init__(backbone, **base)

class Data(TextClassification):
    pass

class Watches(Callback):
    pass
"""
VERBS = [
    *(["validate"], ["test"], ["predict", "--text", "a good card"], ["export", "--out", "out"]),
    *(["check"], ["baselines"], ["explain", "--text", "a good card"]),
]


@pytest.fixture
def stranger(fit: Run, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run of ftlight's own classes look as if a stranger had sent it, with changes."""
    made = fit("--data.test", write_csv(tmp_path / "test.csv", toy_rows(12)))

    def change(module: str = "", facts: dict[str, Any] | None = None, **config: Any) -> Path:
        sent = tmp_path / "sent"
        shutil.rmtree(sent, ignore_errors=True)
        shutil.copytree(made, sent)
        if module:
            mark = str(tmp_path / "mark")
            (sent / f"{module}.py").write_text(SAYS.format(mark=mark) + MINE)
        about = json.loads((sent / "run.json").read_text())
        (sent / "run.json").write_text(json.dumps({**about, **(facts or {})}))
        given = yaml.safe_load((sent / "config.yaml").read_text())
        for section, values in config.items():
            given[section] = {**given[section], **values}
        (sent / "config.yaml").write_text(yaml.safe_dump(given))
        return sent

    return change


def refused(capsys: Any, words: list[str], code: str, mark: Path) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"names code: {code}" in error
    assert "add --trust" in error
    assert not mark.exists()


def test_classes_that_a_run_names_are_not_imported(
    stranger: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    mark = tmp_path / "mark"
    sent = stranger("evil_task", model={"class_path": "evil_task.Mine"})
    for verb, *rest in VERBS:
        refused(capsys, [verb, str(sent), *rest], "evil_task.Mine", mark)
    refused(capsys, ["fit", "--from", str(sent), "--run", "new"], "evil_task.Mine", mark)
    refused(capsys, ["fit", "--resume", str(sent)], "evil_task.Mine", mark)
    with pytest.raises(UserError, match=r"names code: evil_task\.Mine"):
        ftlight.load(str(sent))
    for section, path in [
        ("model", "subprocess.Popen"),
        ("data", "evil_task.Data"),
        ("data", "os.path"),
    ]:
        sent = stranger("evil_task", **{section: {"class_path": path}})
        refused(capsys, ["predict", str(sent), "--text", "a"], path, mark)
    for path in ("ftlight.load", "ftlight.utils.atomic.write_json", "Popen"):
        sent = stranger(model={"class_path": path})
        assert main(["predict", str(sent), "--text", "a"]) == 2
        assert "no class" in capsys.readouterr().err
    sent = stranger("evil_task", {"python_path": [str(tmp_path / "sent")]})
    (sent / "run.json").unlink()
    assert main(["predict", str(sent), "--text", "a good card"]) == 0  # none is named
    assert str(sent) not in sys.path
    assert not mark.exists()


def test_what_a_run_attaches_to_a_trainer_is_not_taken(
    stranger: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    mark = tmp_path / "mark"
    evil = {"class_path": "evil_task.Watches"}
    for name, value in {
        "callbacks": [evil],
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {}},
        "plugins": [evil],
        "profiler": evil,
        "strategy": evil,
        "default_root_dir": str(tmp_path / "elsewhere"),
    }.items():
        sent = stranger("evil_task", trainer={name: value})
        refused(capsys, ["fit", "--resume", str(sent)], f"trainer.{name}", mark)
        refused(capsys, ["baselines", str(sent), "--scratch"], f"trainer.{name}", mark)
        assert main(["predict", str(sent), "--text", "a good card"]) == 0
        assert not mark.exists()
    assert not (tmp_path / "elsewhere").exists()
    sent = stranger("evil_task", trainer={"callbacks": [evil]})
    ftlight.load(str(sent)).save("copy")
    refused(capsys, ["fit", "--resume", "copy"], "trainer.callbacks", mark)


def test_where_a_run_was_trained_is_not_taken_if_that_is_code(
    stranger: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    mark, evil = tmp_path / "mark", {"class_path": "sent.evil_task.Watches"}  # found from here
    for name, value in {
        "strategy": evil,
        "accelerator": evil,
        "plugins": [evil],
        "devices": 1,
    }.items():
        sent = stranger("evil_task", trainer={name: value})
        for verb in ("validate", "test"):
            if name in ("strategy", "accelerator"):
                refused(capsys, [verb, str(sent)], f"trainer.{name}", mark)
            else:
                assert main([verb, str(sent)]) == 0
    text = json.dumps(evil).replace(".", "\\u002e")
    sent = stranger("evil_task", trainer={"strategy": text})
    refused(capsys, ["validate", str(sent)], "trainer.strategy", mark)
    sent = stranger(trainer={"run": str(tmp_path / "elsewhere")})
    refused(capsys, ["fit", "--from", str(sent)], "trainer.run", mark)
    assert not (tmp_path / "elsewhere").exists()
    assert not mark.exists()


def test_no_class_is_made_of_what_stands_in_an_option(
    stranger: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    """The parser makes any class of any module where an option may be anything."""
    mark = tmp_path / "mark"
    evil = {"class_path": "subprocess.Popen", "init_args": {"args": f"touch {mark}", "shell": True}}
    text = json.dumps(evil)
    for option, value, code in [
        ("peft", evil, "subprocess.Popen"),
        ("peft", {"class_path": "sent.evil_task.Watches"}, "sent.evil_task.Watches"),
        ("label_descriptions", [{"a": evil}], "subprocess.Popen"),
        ("unfreeze", text, "subprocess.Popen"),
        ("peft", json.dumps(text), "subprocess.Popen"),
        ("peft", text.replace("class", "cl\\u0061ss"), "subprocess.Popen"),
        ("peft", f"{{class_path: a.B, {text[1:]}", "{class_path: a.B"),
    ]:
        sent = stranger("evil_task")
        given = yaml.safe_load((sent / "config.yaml").read_text())
        given["model"]["init_args"][option] = value
        (sent / "config.yaml").write_text(yaml.safe_dump(given))
        for verb, *rest in VERBS:
            refused(capsys, [verb, str(sent), *rest], code, mark)
        for how in ("--from", "--resume"):
            refused(capsys, ["fit", how, str(sent)], code, mark)
        with pytest.raises(UserError, match="names code"):
            ftlight.load(str(sent))


def test_a_checkpoint_names_no_class(
    stranger: Callable[..., Path], bert: str, tmp_path: Path, capsys: Any
) -> None:
    mark = tmp_path / "mark"
    evil = {"class_path": "subprocess.Popen", "init_args": {"args": f"touch {mark}", "shell": True}}
    path = stranger() / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    words = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train"]
    words += ["toy.csv", "--data.batch_size", "8", "--trainer.accelerator", "cpu"]
    words += ["--trainer.max_epochs", "2", "--trainer.report", "false", "--ckpt_path", str(path)]
    state["callbacks"]["Freezing"]["options"]["unfreeze"] = [evil]
    torch.save(state, path)
    assert main([*words, "--run", "new"]) == 2
    assert "its schedule names code" in capsys.readouterr().err
    assert not mark.exists()


def test_weights_of_a_run_are_taken_if_the_command_trusts_or_names_its_class(
    fit: Run, bert: str, tmp_path: Path, capsys: Any
) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "own_from_task.py").write_text(MINE)
    (place / "mine.yaml").write_text("model: {task: own_from_task.Mine}\n")
    config = ["-c", str(place / "mine.yaml"), "--model", "own_from_task.Mine"]
    moved = str(shutil.move(fit(*config), tmp_path / "moved"))
    words = ["fit", "--model", "TextClassification", "--from", moved, "--run", "refused"]
    refused(capsys, words, "own_from_task.Mine", tmp_path / "mark")
    assert main(["baselines", moved, *config, "--backbones", bert]) == 0
    fit(*config, "--from", moved, name="named")
    fit("--from", moved, "--trust", name="trusting")
    assert Path("trusting", "config.yaml").is_file()


def test_modules_beside_a_run_are_found_by_nobody(
    stranger: Callable[..., Path], tmp_path: Path
) -> None:
    """Not even by a library that looks for one that is not installed."""
    sent = stranger("kernels", {"python_path": [str(tmp_path / "sent")]})
    before = list(sys.path)
    assert main(["predict", str(sent), "--text", "a good card"]) == 0
    assert sys.path == before
    assert not (tmp_path / "mark").exists()


def test_runs_of_ones_own_work_until_they_change_or_move(
    fit: Run, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "own_trust_task.py").write_text(MINE)
    (place / "mine.yaml").write_text("model: {task: own_trust_task.Mine}\n")
    config = ["-c", str(place / "mine.yaml")]
    run = str(fit(*config, "--model", "own_trust_task.Mine"))
    text = ["--text", "a good card"]
    assert main(["predict", run, *text]) == 0
    assert main(["fit", "--resume", run, "--trainer.max_epochs", "2"]) == 0
    assert main(["predict", run, *text]) == 0
    shutil.move(run, tmp_path / "moved")
    moved = str(tmp_path / "moved")
    mark = tmp_path / "mark"
    refused(capsys, ["predict", moved, *text], "own_trust_task.Mine", mark)
    assert main(["predict", moved, *text, *config]) == 0  # named now
    from own_trust_task import Mine

    assert ftlight.load(moved, task=Mine).predict(["a good card"])
    monkeypatch.setenv("FTLIGHT_TRUST", f"elsewhere:{moved}")
    assert main(["predict", moved, *text]) == 0
    monkeypatch.delenv("FTLIGHT_TRUST")
    refused(capsys, ["predict", moved, *text], "own_trust_task.Mine", mark)
    assert main(["predict", moved, *text, "--trust"]) == 0
    assert main(["predict", moved, *text]) == 0  # noted
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "own_trust_task.py").write_text(SAYS.format(mark=str(mark)) + MINE)
    with monkeypatch.context() as patch:  # as if it were started in a folder of a stranger's
        patch.setattr(sys, "path", [str(shadow), *sys.path])
        refused(capsys, ["predict", moved, *text], "own_trust_task.Mine", mark)
    (place / "own_trust_task.py").write_text(SAYS.format(mark=str(mark)) + MINE)
    refused(capsys, ["predict", moved, *text], "own_trust_task.Mine", mark)
    assert ftlight.load(moved, trust=True).predict(["a good card"])
