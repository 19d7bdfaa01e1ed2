"""What the source tells of a class is what the parser knows once it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import each
from jsonargparse import ArgumentError, ArgumentParser

from ftlight.cli import classes, config, options, values
from ftlight.cli.help import kind
from ftlight.tasks import HOMES

SHIPPED = [f"{HOMES[name]}.{name}" for name in classes.task_names()]
DATA = [f"{home}.{name}" for name, home in HOMES.items() if home.endswith(".data")]
ALL = [
    *SHIPPED,
    *DATA,
    config.TRAINER,
    "ftlight.data.module.DataModule",
    "ftlight.task.Task",
    "lightning.Trainer",
]


def told(path: str) -> options.Described | None:
    return options.describe(*path.rpartition(".")[::2])


def test_source_and_parser_agree() -> None:
    def check(path: str) -> None:
        found, cls = told(path), classes.find_class(path)
        assert found is not None
        assert (classes.public(found.path), found.data_module) == (
            classes.class_path(cls),
            getattr(cls, "data_module", None),
        )
        parsed = classes.parsed(cls)
        assert [o.name for o in found.options] == [o.name for o in parsed]
        for option, other in zip(found.options, parsed, strict=True):
            assert (option.default, option.help) == (other.default, other.help), option.name
            assert kind(option.full_type) == kind(other.full_type), option.name

    each(ALL, check)


def says(parser: ArgumentParser, name: str, value: Any) -> str:
    """What is said of a value that the parser refuses; nothing where it takes it."""
    try:
        parser.parse_object({"c": {name: value}})
    except ArgumentError as error:
        return values.explain(str(error.message), {})
    return ""


def test_values_are_refused_with_the_words_of_the_parser() -> None:
    types: set[str] = set()  # words are those of a type: each is asked once, in one of its classes
    refused = 0

    def check(path: str) -> None:
        nonlocal refused
        found, parser = told(path), ArgumentParser(exit_on_error=False)
        assert found is not None
        options = [o for o in found.options if o.full_type not in types]
        types.update(o.full_type for o in options)
        others = {o.name for o in found.options} - {o.name for o in options}
        cls = classes.find_class(path)
        parser.add_class_arguments(cls, "c", fail_untyped=False, skip=others)
        for option in options:
            for value in (
                "fast",
                "meen",
                "skipp",
                "Auto",
                "warn",
                "true",
                "no",
                "null",
                "nan",
                "1e-4",
                "2.5",
                2.5,
                "3",
                3,
                2.0,
            ):
                wrong = values.fault(option.full_type, value)
                if wrong and "out of range" not in wrong:  # which the parser does not check
                    said = says(parser, option.name, value).replace("got 0.0001", "got 1e-4")
                    assert said == f"c.{option.name}: {wrong}"
                    refused += 1

    each([*SHIPPED, *DATA, config.TRAINER], check)
    assert refused > 200


OWN = """
import ftlight
from ftlight import TextClassification as Base
from ftlight.data.text import TextData
from somewhere import Foreign, wrapped

class Plain(Base):
    '''Is plain.

    Args:
        sharpness: how sharp.
    '''
    def __init__(self, backbone: str, sharpness=1.0, *args, **base):
        super().__init__(backbone, *args, lr=1.0, **base)

class Bare(Plain):
    pass

class Through(ftlight.TextClassification):
    data_module = "mine.Data"

    def __init__(self, only: "int | None" = None):
        super().__init__("x", labels=["a"])

class Popped(Base):
    def __init__(self, backbone: str, **base):
        self.mine = base.pop("mine", 1)
        super().__init__(backbone, **base)

class Kept(Base):
    def __init__(self, backbone: str, **base):
        self.base = base
        super().__init__(backbone, **base)

class Two(Base, Mixed):
    def __init__(self, **base):
        super().__init__(**base)

class OfAnother(Foreign):
    def __init__(self, **base):
        super().__init__(**base)

class Made(Base, metaclass=Meta): ...

@wrapped
class Decorated(Base): ...

class Wrapped(Base):
    @wrapped
    def __init__(self, a: int = 1): ...

class Conditional(Base):
    if True:
        def __init__(self, a: int = 1): ...

class Named(Base):
    data_module = TextData.__name__

class Twice(Base): ...
Twice = wrapped(Twice)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("own")
    (folder / "ftlight_test_signatures.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "ftlight_test_signatures"  # type: ignore[misc]


def test_own_classes(own: str) -> None:
    plain, bare, through = (told(f"{own}.{name}") for name in ("Plain", "Bare", "Through"))
    assert plain is not None
    assert bare is not None
    assert through is not None
    names = [o.name for o in plain.options]
    assert names[:3] == ["backbone", "sharpness", "pooling"]
    assert "warmup" in names
    assert "lr" not in names  # given
    assert {o.name: (o.type, o.default, o.help) for o in plain.options}["sharpness"] == (
        "float",
        1.0,
        "how sharp.",
    )
    assert [o.name for o in bare.options] == names
    assert bare.data_module == "ftlight.TextData"
    assert [(o.name, o.type) for o in through.options] == [("only", "int | None")]
    assert through.data_module == "mine.Data"


def test_what_the_source_does_not_tell_for_certain_is_left_to_the_import(own: str) -> None:
    def check(name: str) -> None:
        assert told(f"{own}.{name}") is None

    each(
        [
            "Popped",
            "Kept",
            "Two",
            "OfAnother",
            "Made",
            "Decorated",
            "Wrapped",
            "Conditional",
            "Named",
            "Twice",
            "Foreign",
            "wrapped",
            "Nothing",
        ],
        check,
    )


def test_sources_that_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(text: str) -> None:
        name = f"ftlight_test_odd_{abs(hash(text))}"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        assert told(f"{name}.Mine") is None

    each(
        ["x = (", "\0", "from ftlight import *\n", "from . import Mine\n", "import Mine\n", ""],
        check,
    )


CASES = [
    ["--help"],
    ["--version"],
    ["frobnicate"],
    ["init", "none.csv"],
    ["fit", "--help"],
    ["fit", "--help", "all", "--model", "Seq2Seq"],
    ["test", "--help"],
    ["fit"],
    ["fit", "-c", "none.yaml"],
    ["fit", "-c", "bad.yaml"],
    ["fit", "-c", "good.yaml", "--model.lrr", "1"],
    ["fit", "-c", "good.yaml", "--model.lr", "fast"],
    ["fit", "-c", "good.yaml", "--data.test", "none.csv"],
    ["fit", "-c", "good.yaml", "--ckpt_path", "none.ckpt"],
    ["fit", "-c", "good.yaml"],
    ["fit", "--model", "my_own.Mine", "--model.sharp", "1"],
    ["fit", "--model", "nowhere.Mine"],
    ["fit", "--resume", "nowhere"],
    ["predict", "nowhere", "x.csv"],
    ["test", "run", "--data.test", "none.csv"],
    ["predict", "run", "none.csv"],
]


@pytest.mark.processes
def test_faults_and_help_need_neither_torch_nor_lightning(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("model: {task: TextClassification}\ndata: {trian: x}\n")
    (tmp_path / "good.yaml").write_text(
        "model: {task: TextClassification, backbone: x/y}\ndata: {train: none.csv}\n"
    )
    (tmp_path / "my_own.py").write_text(
        "from ftlight import TextClassification\n\nclass Mine(TextClassification):\n"
        "    def __init__(self, *, sharpness: float = 1.0, **base):\n"
        "        super().__init__(**base)\n"
    )
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "run" / "config.yaml").write_text(
        "model: {task: TextClassification, backbone: x/y}\ndata: {train: none.csv}\n"
    )
    code = (
        "import sys; from ftlight.__main__ import main\n"
        f"for words in {CASES!r}:\n"
        "    main(words)\n"
        "    heavy = {'torch', 'lightning', 'transformers', 'datasets', 'numpy', 'pandas', "
        "'jsonargparse'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("ftlight: error: ")]
    assert len(lines) == 16
    assert lines[4].startswith(
        'ftlight: error: bad.yaml:2: data.trian is not an option of TextData; did you mean "train"?'
    )
    assert lines[9] == "ftlight: error: good.yaml:2: data.train: none.csv: no such file"
    assert lines[10].startswith(
        'ftlight: error: --model.sharp is not an option of fit; did you mean "--model.sharpness"?'
    )
