"""A run with one broken file: every verb that reads it says so in one line that names it."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run, each, toy_rows, write_csv

import ftlight
from ftlight.__main__ import main
from ftlight.utils.errors import UserError, file_fault

Change = Callable[[Path], Any]
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
DEEP = "[" * 10_000 + "]" * 10_000


def write(name: str, content: str | bytes) -> Change:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda run: (run / name).write_bytes(data)


def value(name: str, **changes: Any) -> Change:
    def change(run: Path) -> None:
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, **changes}))

    return change


def folder_in_place(name: str) -> Change:
    def change(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return change


def cut(name: str) -> Change:
    def change(run: Path) -> None:
        data = (run / name).read_bytes()
        (run / name).write_bytes(data[: len(data) // 2])

    return change


def saved(name: str, content: Any) -> Change:
    return lambda run: torch.save(content, run / name)


def packed_again(run: Path) -> None:
    """A checkpoint that was unpacked and zipped again, with compression."""
    with zipfile.ZipFile(run / BEST) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(run / BEST, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)


BROKEN: dict[str, tuple[Change, str]] = {
    "run.json that is a list": (write("run.json", "[]"), "IT/run.json: expected an object"),
    "run.json cut off": (cut("run.json"), "IT/run.json: not valid JSON"),
    "run.json that is a folder": (folder_in_place("run.json"), "IT/run.json: cannot be read"),
    "run.json, nested": (write("run.json", DEEP), "IT/run.json: nested more than 100"),
    "a number for a place": (
        value("run.json", python_path=[3]),
        r"IT/run.json: python_path\.0: expected text, got a whole number",
    ),
    "an empty labels.json": (write("labels.json", ""), "IT/labels.json: is empty"),
    "labels.json of zeros": (write("labels.json", bytes(40)), "IT/labels.json: .*NUL bytes"),
    "a number for a label": (
        value("labels.json", labels=["a", 3]),
        r"IT/labels.json: labels\.1: expected text",
    ),
    "a label too many": (
        value("labels.json", labels=["bad", "good", "late", "new"]),
        "size mismatch.*labels.json",
    ),
    "another form of labels": (
        value("labels.json", form={"name": "lisp"}),
        r"IT/labels.json: form\.name: expected joined or list or vector or word, got 'lisp'",
    ),
    "config.yaml that is a list": (write("config.yaml", "[]"), "IT/config.yaml: expected keys"),
    "an empty config.yaml": (write("config.yaml", ""), "IT/config.yaml: names no model; restore"),
    "a list for the data": (
        write("config.yaml", "model: x\ndata: []"),
        "IT/config.yaml:2: data: expected",
    ),
    "a number for a class": (
        write("config.yaml", "model: {class_path: 3}"),
        "IT/config.yaml:1: model.task: expected the name of a class, got 3",
    ),
    "config.yaml, nested": (write("config.yaml", "a: " + DEEP), r"IT/config.yaml:1: .*nested"),
    "an empty config of the backbone": (
        write("backbone/config.json", ""),
        "IT/backbone/config.json is empty",
    ),
    "a web page as the config of the backbone": (
        write("backbone/config.json", "<!doctype html><html></html>"),
        "IT/backbone/config.json is a web page",
    ),
    "another width of the backbone": (
        value("backbone/config.json", hidden_size=64),
        "size mismatch.*backbone/config.json",
    ),
    "a tokenizer cut off": (
        cut("backbone/tokenizer.json"),
        "IT/backbone/tokenizer.json cannot be read: not valid JSON",
    ),
    "pooling that is a list": (
        write("backbone/1_Pooling/config.json", "[]"),
        "IT/backbone/1_Pooling/config.json: expected an object",
    ),
    "a checkpoint cut off": (cut(BEST), f"IT/{BEST} is damaged"),
    "a checkpoint that is a folder": (folder_in_place(BEST), f"IT/{BEST}"),
    "a checkpoint of something else": (
        saved(BEST, [1, 2]),
        f"IT/{BEST} is no checkpoint of a run: it has no state_dict",
    ),
    "a checkpoint without weights": (saved(BEST, {"state_dict": 3}), f"IT/{BEST} is no checkp"),
}


def copied(run: Path, what: str) -> Path:
    """A copy of a run, to be broken."""
    return Path(shutil.copytree(run, run.parent / re.sub(r"\W", "-", what)))


def lines(errors: str) -> list[str]:
    """What ftlight says; nothing else may look like a traceback."""
    assert "Traceback" not in errors
    return [line for line in errors.splitlines() if line.startswith("ftlight: error: ")]


@pytest.mark.run
def test_a_broken_file_of_a_run_is_named_in_one_line(fit: Run, capsys: Any) -> None:
    whole = fit("--trainer.max_steps", "2")

    def check(what: str) -> None:
        change, says = BROKEN[what]
        run = copied(whole, what)
        change(run)
        capsys.readouterr()
        assert main(["predict", str(run), "--text", "a good parcel"]) == 2
        (line,) = lines(capsys.readouterr().err)
        assert re.search(says, line.replace(str(run), "IT")), line
        with pytest.raises(UserError) as error:  # and whoever loads it in Python sees the same
            ftlight.load(str(run))
        assert re.search(says, str(error.value).replace(str(run), "IT")), error.value

    each(BROKEN, check)


def in_last(value: Any, *keys: Any) -> tuple[Change, str]:
    """Another value in last.ckpt, which is an intact file otherwise; the line that names it."""

    def change(run: Path) -> None:
        found = inside = torch.load(run / LAST, weights_only=True)
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = value
        torch.save(found, run / LAST)

    return change, f"IT/{LAST} is not a checkpoint as ftlight writes it.*--ckpt_path FILE"


BATCHES = ("loops", "fit_loop", "epoch_loop.batch_progress", "current", "completed")
RESUMED: dict[str, tuple[Change, str]] = {
    "run.json that is null": (write("run.json", "null"), "IT/run.json: expected an object"),
    "digests that are none": (
        value("run.json", data_sha256=["x"]),
        "IT/run.json: data_sha256: expected an object, got a list",
    ),
    "config.yaml that is no YAML": (write("config.yaml", "{"), "IT/config.yaml:1: not valid YAML"),
    "a checkpoint of something else": (saved(LAST, {}), f"IT/{LAST} is no checkpoint of a run"),
    "a number for our part": in_last(7, "ftlight"),
    "an empty part of ours": in_last({}, "ftlight"),
    "an end of one value": in_last([1], "ftlight", "ended"),
    "a text for the rows": in_last("text", "ftlight", "rows"),
    "a text for the seed of the rows": in_last("text", "ftlight", "rows", "trainer"),
    "numbers for the losses": in_last([1], "ftlight", "losses"),
    "a number for the loops": in_last(7, "loops"),
    "a text for a count of batches": in_last("text", *BATCHES),
    "less than no batches": in_last(-1, *BATCHES),
    "a list of callbacks": in_last([], "callbacks"),
    "a text for the stage": in_last("text", "callbacks", "Freezing", "stage"),
    "a text among the beginnings of stages": in_last(["text"], "callbacks", "Freezing", "begins"),
    "a text for the best score": in_last("text", "callbacks", "Best", "score"),
    "no state of the optimizer": in_last([], "optimizer_states"),
    "a text for a learning rate": in_last("text", "optimizer_states", 0, "param_groups", 0, "lr"),
    "a mean of gradients of another size": in_last(
        torch.zeros(1), "optimizer_states", 0, "state", 0, "exp_avg"
    ),
    "a text for the batch size": in_last("text", "TextData"),
}


@pytest.mark.run
def test_a_run_with_a_broken_file_is_not_resumed(fit: Run, tmp_path: Path, capsys: Any) -> None:
    whole = fit("--trainer.max_steps", "2")

    def check(what: str, by_name: bool) -> None:
        change, says = RESUMED[what]
        run = copied(whole, f"{what} {by_name}")
        words = ["fit", "--resume", str(run), "--trainer.max_steps", "3"]
        if not by_name:  # as a job that is queued again
            config = tmp_path / "again.yaml"
            config.write_text((run / "config.yaml").read_text())
            words = ["fit", "-c", str(config), "--run", str(run), "--resume", "auto"]
            words += ["--trainer.max_steps", "3"]
        change(run)
        capsys.readouterr()
        assert main(words) == 2
        (line,) = lines(capsys.readouterr().err)
        assert re.search(says, line.replace(str(run), "IT")), line

    each([(what, by_name) for what in RESUMED for by_name in (True, False)], check)


@pytest.mark.run
def test_a_checkpoint_that_was_packed_again_is_read(fit: Run, capsys: Any) -> None:
    run = fit("--trainer.max_steps", "2")
    packed_again(run)
    assert main(["predict", str(run), "--text", "a good parcel"]) == 0


def test_what_the_system_refuses_is_one_line(tmp_path: Path, bert: str, capsys: Any) -> None:
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop.name)
    write_csv(tmp_path / "toy.csv", toy_rows(12))
    base = ["fit", "--model", "TextClassification", "--model.backbone", bert, "--data.train"]

    def check(name: str, says: str) -> None:
        assert main([*base, name]) == 2
        (line,) = lines(capsys.readouterr().err)
        assert says in line.lower()

    each(
        [
            ("x" * 300 + ".csv", "file name too long"),
            (str(tmp_path / "toy.csv" / "more.csv"), "no such file"),
            (str(loop), "loop.csv: no such file"),
        ],
        check,
    )


def test_only_files_that_can_be_mended_are_one_line() -> None:
    denied = PermissionError(13, "Permission denied", "run/labels.json")
    assert file_fault(denied) == (
        "run/labels.json: permission denied; check the file and its folder"
    )
    assert file_fault(OSError(22, "Invalid argument", "x")) == ""
    assert file_fault(PermissionError("of a library")) == ""
    assert file_fault(ValueError("x")) == ""


@pytest.mark.processes
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to be another user")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    """A process of a user who may not read the run."""
    secret = tmp_path / "labels.json"
    secret.write_text("{}")
    secret.chmod(0)
    number = os.fork()
    if not number:
        os.setuid(65534)
        from ftlight.run import records
        from ftlight.utils.errors import UserError

        try:
            records.labels(tmp_path)
        except (UserError, OSError) as error:
            os._exit(0 if "ermission denied" in str(error) else 3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
