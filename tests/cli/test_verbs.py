"""The table of verbs, and what reads it; output that breaks off."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, each

from ftlight.__main__ import main
from ftlight.cli import checks, command, verbs
from ftlight.cli.verbs import VERBS, Argument, Verb
from ftlight.utils.errors import UserError
from ftlight.utils.printable import say


def error(capsys: Any, *words: str) -> str:
    """What a command that must fail says, without its beginning."""
    assert main(words) == 2
    line = str(capsys.readouterr().err)
    assert line.startswith("ftlight: error: ")
    return line.removeprefix("ftlight: error: ").strip()


def add(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, code: str, verb: Verb) -> None:
    """Adds a verb: one file, one line."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(folder)])
    monkeypatch.setitem(VERBS, name, verb)
    monkeypatch.delitem(sys.modules, f"ftlight.cli.verbs.{name}", raising=False)


def test_every_verb_is_a_file_and_says_what_it_does(capsys: Any) -> None:
    folder = ROOT / "ftlight" / "cli" / "verbs"
    assert {p.stem for p in folder.glob("*.py")} - {"__init__"} == set(VERBS)
    assert main([]) == 0
    overview = capsys.readouterr().out

    def check(name: str) -> None:
        verb = VERBS[name]
        assert f"  {name:9} {verb.does}\n" in overview
        assert main([name, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert shown.startswith(f"usage: python -m ftlight {name} {verb.takes} [options]")
        assert f"Example: python -m ftlight {verb.example}" in shown
        assert verb.example.startswith(f"{name} ")
        for argument in verb.arguments:
            assert f"{argument.spelling} {argument.help}" in shown
            assert argument.help.endswith(".")
            assert len(argument.help.split()) >= 3

    each(VERBS, check)


def test_the_readme_shows_the_table() -> None:
    """If not, paste what ``verbs.markdown()`` returns."""
    text = (ROOT / "README.md").read_text()
    assert verbs.markdown() in text
    assert text.count("| verb |") == 1


def test_the_table_as_markdown() -> None:
    rows = verbs.markdown().splitlines()
    assert rows[0] == "| verb | options | does |"
    assert rows[5].startswith("| `fit -c X.yaml` | `--run DIR`, `--name N`, ")
    assert r"`--resume RUN\|auto`" in rows[5]
    assert rows[6].startswith("| `validate RUN`, `validate -c X.yaml` | ")
    assert {row.replace(r"\|", "").count("|") for row in rows} == {4}


def test_a_new_verb_is_a_file_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code = (
        "def run(words):\n    return f'{words.alone} {words.own} {words.options} {words.configs}'\n"
    )
    verb = Verb(
        "RUN RUN…",
        "Contrasts runs.",
        "contrast a b",
        [
            Argument("RUN…", "Folders of the runs."),
            Argument("--out F", "File to write.", "contrasted.json"),
            Argument("--brief", "Only the winner is shown."),
            Argument("--budget T", "Time that it may take."),
        ],
        model=False,
    )
    add(monkeypatch, tmp_path, "contrast", code, verb)
    assert main(["contrast", "a", "--brief", "b", "--out=x", "c", "--budget", "10m"]) == 0
    said = capsys.readouterr().out
    assert said == "['a', 'b', 'c'] {'brief': 'true', 'out': 'x', 'budget': '10m'} {} []\n"
    assert main(["contrast", "--brief", "false", "a"]) == 0
    assert "'brief': 'false'" in capsys.readouterr().out
    assert main(["contrast", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: python -m ftlight contrast RUN RUN… [options]\n\nContrasts runs.\n" in shown
    assert "  --out F                         File to write. Default: contrasted.json.\n" in shown
    assert main([]) == 0
    assert "  contrast  Contrasts runs.\n" in capsys.readouterr().out
    assert '--brif is not an option of contrast; did you mean "--brief"?' in error(
        capsys, "contrast", "--brif", "x"
    )
    assert error(capsys, "contrast", "a", "--out") == "--out needs a value"
    assert "--brief: expected true or false, got 3" in error(capsys, "contrast", "--brief=3")
    assert 'no verb contras; did you mean "contrast"? (verbs: init, ' in error(capsys, "contras")


def test_a_new_verb_on_a_model(
    bert: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code = (
        "def run(words, cli):\n"
        "    print(words.own, type(cli.model).__name__, type(cli.datamodule).__name__)\n"
    )
    verb = Verb(
        "-c X.yaml | RUN [NEW]",
        "Looks at data.",
        "look -c x.yaml",
        [verbs.CONFIG, verbs.RUN, Argument("--full", "Take the time that it takes.")],
    )
    add(monkeypatch, tmp_path, "look", code, verb)
    Path("x.yaml").write_text(
        f"model: {{task: TextClassification, backbone: {bert}}}\ndata: {{train: {toy}}}\n"
    )
    assert main(["look", "-c", "x.yaml", "--full"]) == 0
    assert "{'full': 'true'} TextClassification TextData" in capsys.readouterr().out
    assert error(capsys, "look").startswith(
        "look needs a run or a config: python -m ftlight look -c X.yaml or RUN [NEW]"
    )
    assert "--run is not an option of look" in error(capsys, "look", "-c", "x.yaml", "--run", "r")
    Path("bad.yaml").write_text("model: {task: TextClassification}\ndata: {trian: x}\n")
    assert 'bad.yaml:2: data.trian is not an option of TextData; did you mean "train"?' in error(
        capsys, "look", "-c", "bad.yaml"
    )


def test_short_names_stand_for_options() -> None:
    words = command.Words("fit", ["--seed", "3", "--run=r", "--name", "n", "--ckpt_path", "c"])
    assert words.options == {"seed_everything": "3", "trainer.run": "r", "trainer.name": "n"}
    assert words.own == {"ckpt_path": "c"}
    words = command.Words("fit", ["--model", "A", "--data.class_path=B", "--model.init_args.lr=1"])
    assert words.classes == {"model": "A", "data": "B"}
    assert words.options == {"model.lr": "1"}
    words = command.Words("predict", ["r", "-", "--text", "-x", "--probabilities"])
    assert (words.alone, words.own) == (["r", "-"], {"text": "-x", "probabilities": "true"})


def test_a_verb_has_its_own_options_alone() -> None:
    def check(verb: str, option: str) -> None:
        words = command.Words(verb, [f"--{option}", "x"])
        with pytest.raises(UserError, match=rf"^--{option} is not an option of {verb} \(all: "):
            checks.names(verb, words.options, {})

    others = [("test", "out"), ("export", "text"), ("predict", "wise"), ("init", "model.lr")]
    each(others, check)


def closed_pipe() -> int:
    """A pipe whose reader has left, to write to."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


COMMANDS = [["fit", "--help"], [], ["--version"], ["init", "data.csv"]]


@pytest.mark.processes
def test_output_whose_reader_has_left_ends_quietly(toy: str) -> None:
    Path(toy).rename("data.csv")

    def check(words: list[str]) -> None:
        writer = closed_pipe()
        command = [sys.executable, "-m", "ftlight", *words]
        done = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")

    each(COMMANDS, check)


@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_a_line(toy: str) -> None:
    Path(toy).rename("data.csv")

    def check(words: list[str]) -> None:
        command = [sys.executable, "-m", "ftlight", *words]
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        expected = "ftlight: error: standard output: No space left on device\n"
        assert (done.returncode, done.stderr) == (74, expected)

    each(COMMANDS, check)


def test_a_verb_without_a_model_takes_no_config_and_no_class(capsys: Any) -> None:
    assert error(capsys, "init", "toy.csv", "--model", "Nope") == "--model is not an option of init"
    refused = error(capsys, "init", "toy.csv", "-c", "x.yaml")
    assert refused.startswith("-c is not an option of init")


def test_signs_that_standard_output_cannot_write_are_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main([]) == 0
    say("→ best so far")
    assert b"usage: python -m ftlight VERB \\u2026" in written.getvalue()
    assert written.getvalue().endswith(b"\\u2192 best so far\n")
