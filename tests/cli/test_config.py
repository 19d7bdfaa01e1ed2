from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.cli import classes, config, moved, source
from ftlight.tasks.text_classification.data import TextData
from ftlight.tasks.text_classification.task import TextClassification
from ftlight.trainer.trainer import Trainer
from ftlight.utils.errors import UserError
from ftlight.utils.foreign import FOREIGN
from ftlight.utils.yaml_file import read_yaml

TASK = "model: {task: TextClassification}\n"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # merge adds folders


def put(text: str, name: str = "x.yaml") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name


def value(text: str) -> Any:
    return read_yaml(put(f"key: {text}\n"))[0]["key"]


def fault_of_read(text: str) -> str:
    with pytest.raises(UserError) as info:
        read_yaml(put(text))
    return str(info.value)


def expand(*texts: str) -> dict[str, Any]:
    merged, places = config.merge([put(text, f"{'xyz'[i]}.yaml") for i, text in enumerate(texts)])
    return config.expand(merged, places)


def fault(*texts: str) -> str:
    with pytest.raises(UserError) as info:
        expand(*texts)
    return str(info.value)


# Reading


def test_places_of_keys() -> None:
    data, places = read_yaml(
        put("# first\nmodel:\n  task: A\n  options: {b: 1,\n    c: 2}\n\ndata: {train: d.csv}\n")
    )
    assert data == {"model": {"task": "A", "options": {"b": 1, "c": 2}}, "data": {"train": "d.csv"}}
    assert places == {
        "model": "x.yaml:2",
        "model.task": "x.yaml:3",
        "model.options": "x.yaml:4",
        "model.options.b": "x.yaml:4",
        "model.options.c": "x.yaml:5",
        "data": "x.yaml:7",
        "data.train": "x.yaml:7",
    }


def names_of(cls: type) -> list[str]:
    """Names of the options of a class."""
    return [o.name for o in classes.parsed(cls)]


def test_empty_file() -> None:
    def check(text: str) -> None:
        assert read_yaml(put(text)) == ({}, {})
        assert expand(text, TASK)["model"]["class_path"].endswith("TextClassification")

    each(["", "# nothing\n"], check)


def test_syntax_error_names_its_line() -> None:
    def check(text: str, line: int) -> None:
        message = fault_of_read(text)
        assert message.startswith(f"x.yaml:{line}: not valid YAML: ")
        assert message.endswith("; check indentation and quotes")
        assert "\n" not in message

    each(
        [
            ("model: {task: A\ndata: {}\n", 2),
            ("model:\n  task: A\n   lr: 1\n", 3),
            ("model:\n\ttask: A\n", 2),
            ("model: 'open\n\n", 3),
            ("a: 1\nb: [1, 2\n", 3),
            ("a: *unknown\n", 1),
            ("a: 1\n---\nb: 2\n", 2),
        ],
        check,
    )


def test_control_character() -> None:
    message = fault_of_read("model: a\n\x07\n")
    assert message.startswith("x.yaml: not valid YAML: ")


def test_something_else_than_a_mapping() -> None:
    def check(text: str, kind: str) -> None:
        assert fault_of_read(text) == f"x.yaml: expected keys such as model: and data:, got {kind}"

    each([("- a\n- b\n", "list"), ("word\n", "str"), ("3\n", "int")], check)


def test_duplicate_keys() -> None:
    def check(text: str, message: str) -> None:
        assert fault_of_read(text) == message

    each(
        [
            (
                "model: A\ndata: B\nmodel: C\n",
                "x.yaml:3: model is given twice (first in line 1); keep one",
            ),
            (
                "model:\n  lr: 1\n  warmup: 0\n  lr: 2\n",
                "x.yaml:4: model.lr is given twice (first in line 2); keep one",
            ),
            (
                "model: {lr: 1, lr: 1}\n",
                "x.yaml:1: model.lr is given twice (first in line 1); keep one",
            ),
            (
                "a: {b: {c: 1,\n c: 2}}\n",
                "x.yaml:2: a.b.c is given twice (first in line 1); keep one",
            ),
        ],
        check,
    )


def test_duplicate_keys_in_a_list() -> None:
    message = fault_of_read(
        "trainer:\n  callbacks:\n    - class_path: A\n      init_args: {every: 1,\n"
        "        every: 2}\n"
    )
    assert message.startswith("x.yaml:5: ")
    assert "every is given twice (first in line 4)" in message


def test_same_key_in_other_places_is_no_duplicate() -> None:
    data, _ = read_yaml(put("model: {labels: [a]}\ndata: {labels: [b]}\nlist: [{k: 1}, {k: 2}]\n"))
    assert data["list"] == [{"k": 1}, {"k": 2}]


def test_missing_file_names_the_nearest() -> None:
    put("", "configs/quickstart.yaml")
    put("", "configs/other.yml")
    with pytest.raises(UserError) as info:
        read_yaml("configs/quikstart.yaml")
    assert (
        str(info.value) == 'configs/quikstart.yaml: no such file; did you mean "quickstart.yaml"?'
    )
    with pytest.raises(UserError) as info:
        read_yaml("nowhere/x.yaml")
    assert str(info.value) == "nowhere/x.yaml: no such file"


def test_file_that_is_no_text() -> None:
    Path("x.yaml").write_bytes(b"model: \xe9\n")
    Path("folder.yaml").mkdir()
    for name in ("x.yaml", "folder.yaml"):
        with pytest.raises(UserError, match=rf"^{name}: cannot be read (as UTF-8 text )?\("):
            read_yaml(name)


def test_byte_order_mark() -> None:
    Path("x.yaml").write_bytes(b"\xef\xbb\xbfmodel: A\n")
    assert read_yaml("x.yaml") == ({"model": "A"}, {"model": "x.yaml:1"})


def test_words_stay_words() -> None:
    def check(word: str) -> None:
        assert value(word) == word
        assert value(f"[{word}, {word}]") == [word, word]

    each(
        [
            "no",
            "No",
            "NO",
            "yes",
            "on",
            "On",
            "off",
            "OFF",
            "y",
            "n",
            "2024-01-31",
            "2024-01-31 10:00:00",
            "1e",
            "e5",
            "1.2.3",
        ],
        check,
    )


def test_words_stay_words_as_keys() -> None:
    def check(word: str) -> None:
        assert read_yaml(put(f"{word}: 1\n")) == ({word: 1}, {word: "x.yaml:1"})

    each(["no", "on", "2024-01-31"], check)


def test_numbers_and_truth() -> None:
    def check(text: str, expected: Any) -> None:
        found = value(text)
        assert found == expected
        assert type(found) is type(expected)

    each(
        [
            ("1e-4", 1e-4),
            ("1E-4", 1e-4),
            ("2e5", 2e5),
            ("+1e3", 1e3),
            ("-1.5e-3", -1.5e-3),
            (".5e1", 5.0),
            ("3.e2", 300.0),
            ("0.1", 0.1),
            ("3", 3),
            ("true", True),
            ("False", False),
            ("TRUE", True),
            ("null", None),
            ("~", None),
            ("", None),
            ("'1e-4'", "1e-4"),
            ('"true"', "true"),
        ],
        check,
    )


def test_times_stay_words() -> None:
    def check(text: str) -> None:
        assert value(text) == text

    each(["10:00:00:00", "1:30"], check)


# Merging


def test_later_files_win_key_by_key() -> None:
    merged, places = config.merge(
        [
            put(
                "model: {task: A, lr: 1, warmup: 2}\ndata: {labels: [a, b]}\n"
                "trainer: {max_epochs: 1, name: n}\nseed_everything: 1\n",
                "a.yaml",
            ),
            put(
                "\nmodel: {lr: 3}\ndata: {labels: [c], batch_size: 4}\ntrainer: {max_epochs: 2}\n",
                "b.yaml",
            ),
            put("seed_everything: 7\ntrainer:\n", "c.yaml"),
        ]
    )
    assert merged == {
        "model": ("A", {"lr": 3, "warmup": 2}),
        "data": (None, {"labels": ["c"], "batch_size": 4}),
        "trainer": {"max_epochs": 2, "name": "n"},
        "seed_everything": 7,
    }
    assert places["model.lr"] == "b.yaml:2"
    assert places["model.warmup"] == "a.yaml:1"
    assert places["seed_everything"] == "c.yaml:1"


def test_merging_nothing() -> None:
    assert config.merge([]) == ({"model": (None, {}), "data": (None, {}), "trainer": {}}, {})


def test_flat_and_class_path_forms_are_the_same() -> None:
    def check(text: str) -> None:
        merged, places = config.merge([put(text)])
        assert merged["model"] == ("A", {"lr": 1})
        assert places["model.lr"] == f"x.yaml:{text.count(chr(10)) + 1}"

    each(
        [
            "model: {task: A, lr: 1}",
            "model: {class_path: A, init_args: {lr: 1}}",
            "model:\n  class_path: A\n  init_args:\n    lr: 1",
        ],
        check,
    )


def test_forms_may_differ_from_file_to_file() -> None:
    merged, _ = config.merge(
        [
            put("model: {task: A, lr: 1, warmup: 2}", "a.yaml"),
            put("model: {class_path: b.B, init_args: {lr: 3}}", "b.yaml"),
        ]
    )
    assert merged["model"] == ("b.B", {"lr": 3, "warmup": 2})
    merged, _ = config.merge(
        ["a.yaml", put("model: C", "c.yaml"), put("data: {class_path: D}", "d.yaml")]
    )
    assert merged["model"] == ("C", {"lr": 1, "warmup": 2})
    assert merged["data"] == ("D", {})


def test_both_forms_in_one_are_refused() -> None:
    def check(text: str, section: str, word: str) -> None:
        with pytest.raises(UserError) as info:
            config.merge([put(f"\n{text}\n")])
        assert (
            str(info.value)
            == f"x.yaml:2: {section} has both forms; use either {word}: with options beside it, "
            "or class_path: and init_args:"
        )

    each(
        [
            ("model: {task: A, class_path: B}", "model", "task"),
            ("model: {class_path: B, lr: 1}", "model", "task"),
            ("model: {class_path: B, init_args: {}, lr: 1}", "model", "task"),
            ("data: {module: A, class_path: B, init_args: {}}", "data", "module"),
        ],
        check,
    )


def test_init_args_alone_are_refused() -> None:
    with pytest.raises(UserError) as info:
        config.merge([put("model: {init_args: {lr: 1}}")])
    assert str(info.value) == "x.yaml:1: model.init_args needs model.class_path"


def test_sections_that_are_no_options() -> None:
    def check(text: str) -> None:
        section = text.partition(":")[0]
        with pytest.raises(UserError, match=rf"^x\.yaml:1: {section}: expected options, got "):
            config.merge([put(text)])

    each(["model: [a]", "model: 3", "data: true", "trainer: [a]", "trainer: word"], check)


def test_names_and_options_of_another_type() -> None:
    def check(text: str) -> None:
        assert fault("data: {}\n" if text.startswith("model") else TASK, text).startswith(
            "y.yaml:1: "
        )

    each(
        [
            "model: {task: 5}",
            "model: {task: [A]}",
            "model: {class_path: A, init_args: word}",
            "data: {module: 1.5}",
        ],
        check,
    )


def test_unknown_sections() -> None:
    def check(key: str, hint: str) -> None:
        with pytest.raises(UserError) as info:
            config.merge([put(f"{TASK}{key}: 1\n")])
        assert (
            str(info.value)
            == f"x.yaml:2: unknown key {key}{hint} (keys: model, data, trainer, seed_everything)"
        )

    each(
        [
            ("modell", '; did you mean "model"?'),
            ("Data", '; did you mean "data"?'),
            ("zzz", ""),
            ("learning_rate", "; ftlight calls it model.lr"),
            ("epochs", "; ftlight calls it trainer.max_epochs"),
            ("model_name_or_path", "; ftlight calls it model.backbone"),
            ("output_dir", "; ftlight calls it trainer.run (--run DIR)"),
            ("seed", "; ftlight calls it seed_everything (--seed N)"),
        ],
        check,
    )


def test_keys_that_are_no_words() -> None:
    def check(key: str) -> None:
        with pytest.raises(UserError, match=r"^x\.yaml(:1)?: unknown key "):
            config.merge([put(f"{key}: {{k: 1}}\n")])

    each(["true", "null", "01", "1.50", "<<"], check)


# Paths


def test_paths_from_the_working_folder_come_first(tmp_path: Path) -> None:
    def check(key: str) -> None:
        put("", "d.csv")
        put("", "configs/d.csv")
        put("", "configs/only.csv")
        merged, _ = config.merge([put(f"data: {{{key}: d.csv}}", "configs/x.yaml")])
        assert merged["data"][1][key] == str(tmp_path / "d.csv")
        merged, _ = config.merge([put(f"data: {{{key}: only.csv}}", "configs/x.yaml")])
        assert merged["data"][1][key] == str(tmp_path / "configs" / "only.csv")

    each(["train", "validation", "test"], check)


def test_paths_that_are_nowhere_stay_as_written() -> None:
    merged, _ = config.merge(
        [put("data: {train: no/such.csv, text: x.yaml}\nmodel: {backbone: owner/model}")]
    )
    assert merged["data"][1] == {"train": "no/such.csv", "text": "x.yaml"}
    assert merged["model"][1] == {"backbone": "owner/model"}


def test_paths_of_the_class_path_form(tmp_path: Path) -> None:
    put("", "c/d.csv")
    Path("c/net").mkdir()
    text = (
        "data: {class_path: D, init_args: {train: d.csv}}\n"
        "model: {class_path: M, init_args: {backbone: net}}"
    )
    merged, _ = config.merge([put(text, "c/x.yaml")])
    assert merged["data"] == ("D", {"train": str(tmp_path / "c" / "d.csv")})
    assert merged["model"] == ("M", {"backbone": str(tmp_path / "c" / "net")})


def test_hub_names_are_no_paths() -> None:
    put("", "hf:a")
    merged, _ = config.merge([put("data: {train: 'hf:a'}")])
    assert merged["data"][1] == {"train": "hf:a"}


def test_an_empty_name_is_no_path() -> None:
    def check(text: str) -> None:
        merged, _ = config.merge([put(text)])
        assert "" in {**merged["data"][1], **merged["model"][1]}.values()

    each(["data: {train: ''}", "model: {backbone: ''}"], check)


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put("", "d.csv")
    merged, _ = config.merge([put("data: {train: ~/d.csv}", "c/x.yaml")])
    assert merged["data"][1] == {"train": str(tmp_path / "d.csv")}


# Names and options


def test_expanded_form() -> None:
    made = expand(
        f"{TASK}data: {{batch_size: 4}}\ntrainer: {{max_epochs: 2}}\nseed_everything: 3\n",
        "model: {lr: 1e-4}",
    )
    assert made == {
        "seed_everything": 3,
        "trainer": {"max_epochs": 2},
        "model": {
            "class_path": "ftlight.TextClassification",
            "init_args": {"lr": 1e-4},
        },
        "data": {
            "class_path": "ftlight.TextData",
            "init_args": {"batch_size": 4},
        },
    }


def test_find_class() -> None:
    def check(name: str) -> None:
        assert classes.find_class(name) is TextClassification
        assert classes.find_class("TextData", home=TextClassification.__module__) is TextData

    each(
        [
            "TextClassification",
            "ftlight.TextClassification",
            "ftlight.tasks.text_classification.task.TextClassification",
            "ftlight.tasks.text_classification.TextClassification",  # as runs of 0.1 have it
        ],
        check,
    )


def test_no_task() -> None:
    def check(text: str) -> None:
        message = fault(text)
        assert message.startswith(
            "no task: write model: {task: …} in the YAML or give --model TASK (tasks: "
        )
        assert "TextClassification" in message

    each(["", "data: {}\n", "model: {lr: 1}\n", "model: {task: }\n"], check)


def test_unknown_task_names_the_nearest() -> None:
    def check(text: str, name: str) -> None:
        message = fault(text.replace("NAME", name))
        assert message.startswith(
            f'x.yaml:2: no class {name}; did you mean "TextClassification"? (tasks: '
        )
        assert message.endswith("; or your_file.Class)")

    texts = ["\nmodel: {task: NAME}\n", "\nmodel: NAME\n", "model:\n  task: NAME\n"]
    names = ["TextClasification", "textclassification", "text_classification"]
    each(itertools.product(texts, names), check)


def test_unknown_class_of_the_class_path_form_names_its_line() -> None:
    message = fault("model:\n  class_path: TextClasification\n  init_args:\n    lr: 1\n")
    assert message.startswith("x.yaml:2: no class TextClasification;")


def test_unknown_class_of_the_class_path_form_that_stands_last() -> None:
    message = fault("model:\n  init_args:\n    lr: 1\n  class_path: TextClasification\n")
    assert message.startswith("x.yaml:4: no class TextClasification;")


def test_unknown_data_module() -> None:
    assert fault(f"{TASK}data:\n  module: TextDat\n").startswith("x.yaml:3: no class TextDat")


def test_unknown_module() -> None:
    assert fault("model: {task: no_such_module_here.Mine}") == (
        "x.yaml:1: no module no_such_module_here for no_such_module_here.Mine; put "
        "no_such_module_here.py beside the YAML"
    )


def test_something_else_than_a_class() -> None:
    def check(name: str) -> None:
        assert fault(f"model: {{task: {name}}}").startswith(f"x.yaml:1: no class {name} (tasks: ")

    each(
        [
            "ftlight.tasks.text_classification.task.Nothing",
            "ftlight.cli.config.TASKS",
            "ftlight.cli.config.merge",
        ],
        check,
    )


def test_unknown_options() -> None:
    def check(text: str, message: str) -> None:
        assert fault(TASK, f"\n{text}\n").startswith(f"y.yaml:2: {message}")
        if "options: " not in message:
            assert fault(TASK, text) == f"y.yaml:1: {message}"

    each(
        [
            (
                "data: {batch_sise: 4}",
                'data.batch_sise is not an option of TextData; did you mean "batch_size"? '
                "(options: batch_size, ",
            ),
            (
                "trainer: {max_epoch: 4}",
                'trainer.max_epoch is not an option of the trainer; did you mean "max_epochs"? '
                "(options: ",
            ),
            (
                "model: {warm_up: 4}",
                'model.warm_up is not an option of TextClassification; did you mean "warmup"? '
                "(options: backbone, ",
            ),
            (
                "model: {zzzzzz: 4}",
                "model.zzzzzz is not an option of TextClassification (options: backbone, ",
            ),
            (
                "model: {learning_rate: 1}",
                "model.learning_rate is not an option; ftlight calls it model.lr",
            ),
            (
                "trainer: {epochs: 1}",
                "trainer.epochs is not an option; ftlight calls it trainer.max_epochs",
            ),
            (
                "model: {epochs: 1}",
                "model.epochs is not an option; ftlight calls it trainer.max_epochs",
            ),
            (
                "model: {model_name_or_path: a}",
                "model.model_name_or_path is not an option; ftlight calls it model.backbone",
            ),
            (
                "trainer: {output_dir: a}",
                "trainer.output_dir is not an option; ftlight calls it trainer.run (--run DIR)",
            ),
            (
                "data: {max_seq_length: 8}",
                "data.max_seq_length is not an option; ftlight calls it data.max_length",
            ),
            (
                "data: {train_file: a}",
                "data.train_file is not an option; ftlight calls it data.train",
            ),
            (
                "model: {batch_size: 8}",
                "model.batch_size is not an option of TextClassification; it belongs under data:",
            ),
            (
                "trainer: {lr: 8}",
                "trainer.lr is not an option of the trainer; it belongs under model:",
            ),
            (
                "data: {max_epochs: 8}",
                "data.max_epochs is not an option of TextData; it belongs under trainer:",
            ),
            ("model: {5: 8}", "model.5 is not an option of TextClassification (options: "),
        ],
        check,
    )


def test_foreign_names_lead_to_options_that_are_there() -> None:
    classes = {"model": TextClassification, "data": TextData, "trainer": Trainer}
    known = {section: names_of(cls) for section, cls in classes.items()}

    def check(name: str) -> None:
        section, _, option = FOREIGN[name].partition(" ")[0].partition(".")
        if option:
            assert option in known[section]
        else:
            assert section in ("run", "seed_everything")

    each(sorted(FOREIGN), check)


def test_unknown_option_of_the_class_path_form() -> None:
    text = "model:\n  class_path: TextClassification\n  init_args:\n    lr: 1\n    wramup: 1\n"
    assert fault(text).startswith(
        'x.yaml:5: model.wramup is not an option of TextClassification; did you mean "warmup"?'
    )


def test_all_faults_at_once_each_with_its_line() -> None:
    lines = fault(
        "model:\n  task: TextClassification\n  learning_rate: 1\n  lr: 2\n  wramup: 1\n",
        "\ndata: {lr: 1}\ntrainer:\n  epochs: 5\n",
    ).splitlines()
    assert [line.partition(" is not an option")[0] for line in lines] == [
        "x.yaml:3: model.learning_rate",
        "x.yaml:5: model.wramup",
        "y.yaml:2: data.lr",
        "y.yaml:4: trainer.epochs",
    ]
    assert lines[2].endswith("it belongs under model:")


def test_options_go_through_to_the_bases() -> None:
    assert {"text", "label", "kind", "train", "batch_size", "encoding"} <= set(names_of(TextData))
    assert {"backbone", "lr", "layer_decay"} <= set(names_of(TextClassification))
    assert {"patience", "run", "max_epochs", "limit_train_batches"} <= set(names_of(Trainer))
    assert not {"self", "base", "kwargs", "c"} & set(names_of(TextData))


def test_tasks_are_files() -> None:
    assert "TextClassification" in classes.task_names()
    assert all(classes.find_class(name).__name__ == name for name in classes.task_names())


# A user's own class

OWN = """
from ftlight import TextClassification, TextData

class Mine(TextClassification):
    def __init__(self, *, sharpness: float = 1.0, **base):
        super().__init__(**base)

class MyData(TextData):
    def __init__(self, train: str | None = None, *, stem: bool = False, **base):
        super().__init__(train, **base)

class Bare(TextClassification):
    data_module = None

    def __init__(self, only: int = 1):
        super().__init__()
"""


def test_own_class_in_a_file_beside_the_yaml(tmp_path: Path) -> None:
    put(OWN, "far/ftlight_test_own_a.py")
    merged, places = config.merge(
        [
            put(
                "model: {task: ftlight_test_own_a.Mine, sharpness: 2, lr: 1}\n"
                "data: {batch_size: 3}",
                "far/x.yaml",
            )
        ]
    )
    made = config.expand(merged, places)
    assert made["model"] == {
        "class_path": "ftlight_test_own_a.Mine",
        "init_args": {"sharpness": 2, "lr": 1},
    }
    assert made["data"]["class_path"] == "ftlight.TextData"
    assert "ftlight_test_own_a" not in sys.modules  # its source has told all
    classes.find_class("ftlight_test_own_a.Mine")
    assert sys.modules["ftlight_test_own_a"].__file__ == str(
        tmp_path / "far" / "ftlight_test_own_a.py"
    )


def test_own_class_written_for_0_1(caplog: pytest.LogCaptureFixture) -> None:
    """Old modules, old names of methods: all work, and a line says each new name."""
    old = OWN.replace(
        "from ftlight import TextClassification, TextData",
        "from ftlight import backbone as bb\n"
        "from ftlight.backbone import Pooled\n"
        "from ftlight.data.text import TextData\n"
        "from ftlight.errors import nearest\n"
        "from ftlight.task import Evidence\n"
        "from ftlight.tasks.text_classification import TextClassification\n"
        "from ftlight.trainer import Trainer",
    )
    methods = (
        "    score = 'f1'\n"
        "    def measure(self, outputs, targets, rows):\n"
        "        return Evidence({}, 1)\n"
    )
    put(old + methods, "ftlight_test_own_old.py")
    config.merge([put("model: {task: ftlight_test_own_old.Bare}")])
    bare: Any = classes.find_class("ftlight_test_own_old.Bare")
    assert bare.primary_metric == "f1"
    assert bare.compute_metrics(None, None, None, None).rows == 1
    assert issubclass(bare, TextClassification)
    said = "\n".join(caplog.messages)
    for words in (
        "ftlight.backbone.Pooled is ftlight.models.pooling.Pooled now",
        "ftlight.data.text.TextData is ftlight.TextData now",
        "ftlight.errors.nearest is ftlight.utils.errors.did_you_mean now",
        "ftlight.tasks.text_classification.TextClassification is ftlight.TextClassification now",
        "ftlight.trainer.Trainer is ftlight.trainer.trainer.Trainer now",
        "ftlight.task.Evidence is called EvaluationResult",
        "Bare.measure is called compute_metrics",
        "Bare.score is called primary_metric",
    ):
        assert words in said


def test_every_module_that_moved_has_its_new_home() -> None:
    homes = {home for homes in moved.MOVED.values() for home in homes}
    for home in homes:
        assert source.file_of(f"ftlight.{home}"), home
    with pytest.raises(AttributeError, match=r"module ftlight\.backbone has no attribute nothing"):
        moved.import_module("json") and sys.modules["ftlight.backbone"].nothing


def test_own_data_module() -> None:
    put(OWN, "ftlight_test_own_b.py")
    made = expand(
        "model: {task: ftlight_test_own_b.Mine}\ndata: {module: ftlight_test_own_b.MyData, "
        "stem: true, label: x}"
    )
    assert made["data"] == {
        "class_path": "ftlight_test_own_b.MyData",
        "init_args": {"stem": True, "label": "x"},
    }
    # by its bare name too, since the task's module is looked in first
    made = expand("model: {task: ftlight_test_own_b.Mine}\ndata: {module: MyData}")
    assert made["data"]["class_path"] == "ftlight_test_own_b.MyData"


def test_options_of_another_class() -> None:
    put(OWN, "ftlight_test_own_c.py")
    message = fault(f"{TASK}data: {{stem: true}}\n", "model: {sharpness: 2}")
    assert [line.partition(" (options")[0] for line in message.splitlines()] == [
        "y.yaml:1: model.sharpness is not an option of TextClassification",
        "x.yaml:2: data.stem is not an option of TextData",
    ]
    message = fault(
        "model: {task: TextClassification, lr: 1}",
        "model: {task: ftlight_test_own_c.Mine}",
        "model: {sharp: 1}",
    )
    assert message.startswith(
        'z.yaml:1: model.sharp is not an option of Mine; did you mean "sharpness"? (options: '
    )


def test_own_class_without_a_data_module() -> None:
    put(OWN, "ftlight_test_own_d.py")
    assert fault("model: {task: ftlight_test_own_d.Bare}") == (
        "ftlight_test_own_d.Bare names no data module of its own: write data: {module: …}"
    )
    # options left from another class
    message = fault("model: {task: ftlight_test_own_d.Bare, lr: 1}\ndata: {module: TextData}")
    assert message == "x.yaml:1: model.lr is not an option of Bare (options: only)"


def test_own_class_that_is_not_there() -> None:
    put(OWN, "ftlight_test_own_e.py")
    assert fault("model: {task: ftlight_test_own_e.Minee}").startswith(
        "x.yaml:1: no class ftlight_test_own_e.Minee"
    )


def test_own_file_with_a_missing_import_says_which() -> None:
    put("import ftlight_no_such_thing\n", "ftlight_test_own_f.py")
    merged, places = config.merge([put("model: {task: ftlight_test_own_f.Mine}")])
    with pytest.raises(ModuleNotFoundError, match="ftlight_no_such_thing"):
        config.expand(merged, places)
