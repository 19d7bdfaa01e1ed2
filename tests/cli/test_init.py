from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import each, toy_rows, write_csv

from ftlight.__main__ import main
from ftlight.cli import config, draft, guess
from ftlight.cli.command import Words
from ftlight.cli.verbs import init
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import read_yaml


def said(*words: str) -> str:
    """What init prints."""
    return init.run(Words("init", words))


def made(*words: str) -> dict[str, Any]:
    """What init prints, read as the config that it is."""
    Path("made.yaml").write_text(said(*words), encoding="utf-8")
    data, _ = read_yaml("made.yaml")
    return data


def data_of(*words: str) -> dict[str, Any]:
    """The data of a config for a file that has no test beside it, without the share held out."""
    data = dict(made(*words)["data"])
    assert data.pop("test_split") == 0.2
    return data


def fault(*words: str) -> str:
    with pytest.raises(UserError) as info:
        said(*words)
    return str(info.value)


def jsonl(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


ROWS = toy_rows(30)


# From data


def test_yaml_of_a_csv() -> None:
    write_csv(Path("toy.csv"), ROWS)
    text = said("toy.csv")
    assert text.splitlines()[0] == "# from toy.csv: 30 rows, 3 labels: bad 10, good 10, late 10"
    assert made("toy.csv") == {
        "model": {"task": "TextClassification", "backbone": draft.SENTENCE_ENCODER},
        "data": {"train": "toy.csv", "test_split": 0.2, "text": "text", "label": "label"},
    }


def test_yaml_is_one_that_fit_takes() -> None:
    write_csv(Path("toy.csv"), ROWS)
    Path("made.yaml").write_text(said("toy.csv"))
    expanded = config.expand(*config.merge(["made.yaml"]))
    assert expanded["data"]["init_args"]["train"] == str(Path("toy.csv").absolute())


def test_comments_are_options_once_uncommented() -> None:
    write_csv(Path("toy.csv"), ROWS)
    lines = said("toy.csv").splitlines()
    assert [line.strip().split(":")[0] for line in lines if line.strip().startswith("#")] == [
        "# from toy.csv",
        "# validation",
        "# trainer",
    ]
    Path("made.yaml").write_text(
        "\n".join(
            [
                lines[0],
                *(
                    line.replace("# ", "", 1) if line.strip()[0] == "#" else line
                    for line in lines[1:]
                ),
            ]
        )
    )
    expanded = config.expand(*config.merge(["made.yaml"]))
    assert expanded["trainer"] == {"max_epochs": 5}
    assert expanded["data"]["init_args"]["validation"] == "FILE"


def test_verb_prints_the_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(Path("toy.csv"), ROWS)
    assert main(["init", "toy.csv"]) == 0
    assert capsys.readouterr().out == said("toy.csv")
    assert main(["init", "toi.csv"]) == 2
    assert (
        capsys.readouterr().err
        == 'ftlight: error: toi.csv: no such file; did you mean "toy.csv"?\n'
    )


def test_label_column_by_its_name() -> None:
    def check(label: str) -> None:
        write_csv(
            Path("a.csv"),
            [(str(i), label_, text) for i, (text, label_) in enumerate(ROWS)],
            ("id", label, "message"),
        )
        assert data_of("a.csv") == {"train": "a.csv", "text": "message", "label": label}

    each(["label", "Category", "intent", "SENTIMENT", "y", "topic"], check)


def test_label_column_by_its_values() -> None:
    write_csv(
        Path("a.csv"),
        [(text, label, str(i)) for i, (text, label) in enumerate(ROWS)],
        ("body", "what", "number"),
    )
    assert data_of("a.csv") == {"train": "a.csv", "text": "body", "label": "what"}


def test_label_column_that_cannot_be_told() -> None:
    write_csv(Path("a.csv"), [(f"some text {i}", f"{i}") for i in range(20)], ("body", "number"))
    assert (
        fault("a.csv") == "which column is the label? Give --label COLUMN (columns: body, number)"
    )
    assert made("a.csv", "--label", "number")["data"]["label"] == "number"


def test_label_column_as_given() -> None:
    rows = [(text, label, label[0]) for text, label in ROWS]
    write_csv(Path("a.csv"), rows, ("body", "label", "what"))
    for words in (("a.csv", "--label", "what"), ("--label", "what", "a.csv")):
        assert data_of(*words) == {"train": "a.csv", "text": "body", "label": "what"}


def test_label_column_that_is_not_there() -> None:
    write_csv(Path("a.csv"), ROWS)
    assert (
        fault("a.csv", "--label", "labl")
        == 'a.csv: no column labl; did you mean "label"? (columns: text, label)'
    )


def test_kind_is_told() -> None:
    def check(values: list[str], head: str) -> None:
        write_csv(Path("a.csv"), [(f"some text {i}", values[i % len(values)]) for i in range(30)])
        lines = said("a.csv").splitlines()
        assert lines[0] == f"# from a.csv: 30 rows, {head}"
        assert "  label: label  # others: none" in lines

    each(
        [
            (["0", "1", "1"], "2 labels: 1 20, 0 10"),
            (["0.5", "1", "2.5"], "a number for each (regression)"),
            (["a|b", "a", "c|a"], "several labels each, 3 labels: a 30, b 10, c 10"),
            (["u", "v", "w", "x", "y", "z"], "6 labels: u 5, v 5, w 5, x 5, y 5, z 5"),
        ],
        check,
    )


def test_lists_are_several_labels() -> None:
    jsonl(
        "a.jsonl",
        [
            {"text": f"some text {i}", "label": "x", "marks": ["a", "b"] if i % 2 else []}
            for i in range(9)
        ],
    )
    data = data_of("a.jsonl")
    assert data == {"train": "a.jsonl", "text": "text", "label": "marks"}
    assert "# others: label" in said("a.jsonl")


def test_labels_in_lists_are_counted() -> None:
    jsonl(
        "a.jsonl",
        [{"text": f"some text {i}", "label": ["a", "b"] if i % 2 else ["a"]} for i in range(9)],
    )
    assert (
        said("a.jsonl").splitlines()[0]
        == "# from a.jsonl: 9 rows, several labels each, 2 labels: a 9, b 4"
    )


def test_other_columns_are_named() -> None:
    write_csv(
        Path("a.csv"),
        [(label, f"{text} and more", text) for text, label in ROWS],
        ("label", "body", "title"),
    )
    text = said("a.csv")
    assert (
        "  text: body  # or several that are joined: [body, title]; or text_pair: title\n" in text
    )
    assert "  label: label  # others: title\n" in text


def test_files_named_like_other_splits() -> None:
    Path("d").mkdir()
    for name in ("train", "dev", "test"):
        write_csv(Path(f"d/{name}.csv"), ROWS)
    text = said("d/train.csv")
    assert made("d/train.csv")["data"] == {
        "train": "d/train.csv",
        "validation": "d/dev.csv",
        "test": "d/test.csv",
        "text": "text",
        "label": "label",
    }
    assert "# validation" not in text
    write_csv(Path("d/valid.csv"), ROWS)
    assert made("d/train.csv")["data"]["validation"] == "d/valid.csv"
    assert "validation" not in made("d/test.csv")["data"]  # only beside a file named train


def test_all_rows_are_counted() -> None:
    write_csv(Path("a.csv"), toy_rows(guess.SAMPLE + 4))
    assert said("a.csv").startswith("# from a.csv: 2,004 rows, 3 labels: bad 668, good 668")


def test_other_formats() -> None:
    def check(name: str) -> None:
        rows = [{"text": text, "label": label} for text, label in ROWS]
        if name == "a.parquet":
            pq.write_table(pa.Table.from_pylist(rows), name)
        elif name == "a.jsonl":
            jsonl(name, rows)
        elif name == "a.tsv":
            Path(name).write_text("text\tlabel\n" + "".join(f"{t}\t{k}\n" for t, k in ROWS))
        else:
            Path(name).write_bytes(gzip.compress(Path(write_csv(Path("a.csv"), ROWS)).read_bytes()))
        assert data_of(name) == {"train": name, "text": "text", "label": "label"}

    each(["a.parquet", "a.tsv", "a.jsonl", "a.csv.gz"], check)


def test_names_that_yaml_reads_otherwise() -> None:
    def check(column: str) -> None:
        write_csv(Path("a.csv"), ROWS, (column, "label"))
        data = data_of("a.csv")
        assert data["text"] == column
        write_csv(Path("a.csv"), ROWS, ("text", column))
        assert data_of("a.csv", "--label", column)["label"] == column

    each(
        [
            "Text #1",
            "what: this",
            "1",
            "true",
            "null",
            "1e5",
            "- a",
            "{a}",
            "'a",
            "a, b",
            "ä ö",
            "no",
            "a\nb",
            "[x",
        ],
        check,
    )


def test_files_that_yaml_reads_otherwise() -> None:
    def check(name: str) -> None:
        write_csv(Path(name), ROWS)
        assert data_of(f"./{name}" if name[0] == "-" else name)["train"] == name

    each(["a #1.csv", "a: b.csv", "- a.csv"], check)


def test_labels_of_several_lines() -> None:
    write_csv(Path("a.csv"), [(text, f"{label}\nmodel: x") for text, label in ROWS])
    assert made("a.csv")["model"]["task"] == "TextClassification"


def test_columns_that_hold_objects_are_left_out() -> None:
    jsonl("a.jsonl", [{"text": text, "label": label, "meta": {"id": 1}} for text, label in ROWS])
    assert data_of("a.jsonl") == {"train": "a.jsonl", "text": "text", "label": "label"}


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    write_csv(Path("a.csv"), [*ROWS, ("without", ""), ("without", "")])
    assert data_of("a.csv")["on_missing_label"] == "skip"
    assert "# 2 rows have no label and are left out" in said("a.csv")


def test_labels_that_are_written_in_several_ways_are_joined() -> None:
    more = [("one more", "Good"), ("two more", "LATE "), ("three more", "go od")]
    write_csv(Path("a.csv"), [*ROWS, *more])
    assert data_of("a.csv")["fold_labels"] is True
    count = sum(label == "late" for _, label in ROWS)
    assert (
        "fold_labels: true  # joins 'good' (10) and 'Good' (1) and 'go od' (1);"
        f" 'late' ({count}) and 'LATE' (1)"
    ) in said("a.csv")
    assert f"3 labels: good 12, late {count + 1}" in said("a.csv")
    assert "# a.csv: 1 row has blanks around the label, which are taken off (first" in said("a.csv")
    assert "kept apart" not in said("a.csv")


def test_umlauts_that_are_written_out_are_joined() -> None:
    labels = [*["Kündigung"] * 9, *["Kuendigung"] * 3, *["Straße"] * 9, *["Strasse"] * 2]
    write_csv(Path("a.csv"), [(f"text {i}", label) for i, label in enumerate(labels)])
    assert data_of("a.csv")["fold_labels"] is True
    assert "joins 'Kündigung' (9) and 'Kuendigung' (3); 'Straße' (9)" in said("a.csv")


def test_a_test_file_that_writes_labels_in_another_way_is_used() -> None:
    write_csv(Path("train.csv"), ROWS)
    write_csv(Path("test.csv"), [*ROWS[:9], ("one more", "Good")])
    data = made("train.csv")["data"]
    assert (data["test"], data["fold_labels"]) == ("test.csv", True)


def test_labels_that_a_letter_tells_apart_are_named_and_not_joined() -> None:
    labels = [*["complaint"] * 9, *["complant"] * 2, *["Süd"] * 9, *["Sud"] * 9]
    write_csv(Path("a.csv"), [(f"text {i}", label) for i, label in enumerate(labels)])
    assert "fold_labels" not in data_of("a.csv")
    assert (
        "# labels that a letter tells apart: 'Sud' (9) and 'Süd' (9); 'complaint' (9) and"
        " 'complant' (2); if they are one, write them alike in the file"
    ) in said("a.csv")


def test_letters_of_handwriting_are_kept_apart() -> None:
    write_csv(Path("a.csv"), [(f"some text {i}", "aAbB"[i % 4]) for i in range(40)])
    assert "fold_labels" not in data_of("a.csv")
    assert "to join them set data.fold_labels: true" in said("a.csv")


def test_a_test_file_that_fit_could_not_read_is_left_out_with_the_reason() -> None:
    write_csv(Path("train.csv"), ROWS)
    write_csv(Path("test.csv"), [*ROWS[:9], ("what is this", "odd")])
    assert made("train.csv")["data"]["test_split"] == 0.2
    assert "  # test is left out: test.csv:11: label 'odd' is not in train" in said("train.csv")
    write_csv(Path("test.csv"), ROWS[:9])
    assert made("train.csv")["data"]["test"] == "test.csv"


def test_the_encoding_is_written_for_all_files() -> None:
    for name, rows in (("train", ROWS), ("test", ROWS[:6])):
        lines = [f"{text} caf\u00e9;{label}" for text, label in rows]
        Path(f"{name}.csv").write_text("\n".join(["text;label", *lines]), encoding="cp1252")
    data = made("train.csv")["data"]
    assert (data["encoding"], data["test"]) == ("cp1252", "test.csv")


def test_many_labels_are_said_in_short() -> None:
    write_csv(Path("a.csv"), [(f"text {i}", f"l{i % 20:02}") for i in range(99)])
    assert said("a.csv").splitlines()[0] == (
        "# from a.csv: 99 rows, 20 labels: l00 5, l01 5, l02 5 \u2026, the fewest l19 4"
    )


@pytest.mark.processes
def test_torch_is_not_imported() -> None:
    write_csv(Path("a.csv"), ROWS)
    code = "import sys; from ftlight.__main__ import main; main(['init', 'a.csv']);"
    code += "print([name for name in ('torch', 'datasets', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# Faults


def test_header_only() -> None:
    write_csv(Path("a.csv"), [])
    assert fault("a.csv") == "a.csv has a header but no rows"


def test_no_text_column() -> None:
    write_csv(Path("a.csv"), [("x",), ("y",), ("x",), ("y",)], ("label",))
    assert fault("a.csv") == "a.csv has no text column beside label (columns: label)"


def test_rows_whose_columns_have_no_name() -> None:
    for content in ('{"": 1}\n{"": 2}\n', "{}\n{}\n", '[{"": "x"}]'):
        Path("a.json").write_text(content)
        assert fault("a.json") == "a.json has no column with a name"


def test_faults_of_the_file_are_passed_on() -> None:
    Path("a.csv").write_text("text,label\na,b,c\n")
    assert fault("a.csv").startswith("a.csv:2: too many fields")
    Path("folder").mkdir()
    assert fault("folder").startswith("folder is a folder;")


def test_one_file_is_needed() -> None:
    names = ", ".join(init.examples())
    for words in ((), ("a.csv", "b.csv"), ("--label", "x")):
        assert fault(*words) == f"init needs one data file, or one of the examples {names}"


def test_option_without_a_value() -> None:
    def check(word: str) -> None:
        assert fault("a.csv", word) == f"{word} needs a value"

    each(["--label", "--task"], check)


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "a.csv", "--labl", "x"]) == 2
    assert capsys.readouterr().err == (
        'ftlight: error: --labl is not an option of init; did you mean "--label"? '
        "(all: python -m ftlight init --help)\n"
    )
    assert main(["init", "a.csv", "-x", "y"]) == 2
    assert "error: -x is not an option of init (all:" in capsys.readouterr().err


def test_options_with_an_equals_sign() -> None:
    def check(word: str) -> None:
        write_csv(Path("a.csv"), ROWS, ("body", "what"))
        assert data_of("a.csv", word)["label"] == "what"

    each(["--label=what", "--task=TextClassification"], check)


def test_unknown_task() -> None:
    write_csv(Path("a.csv"), ROWS)
    message = fault("a.csv", "--task", "TextClasification")
    assert message.startswith(
        'no task TextClasification; did you mean "TextClassification"? (tasks: '
    )
    assert made("a.csv", "--task", "TextClassification")["model"]["task"] == "TextClassification"


SQUAD = {
    "context": "Ann ran",
    "qas": [{"question": "who", "answers": [{"text": "Ann", "answer_start": 0}]}],
}
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def test_the_task_is_told_by_the_data() -> None:
    def check(name: str, content: Any, task: str, options: dict[str, str]) -> None:
        Path(name).write_text(content if isinstance(content, str) else json.dumps(content) + "\n")
        found = made(name)
        assert found["model"]["task"] == task
        assert found["data"]["train"] == name
        assert options.items() <= found["data"].items()
        config.expand(
            {"model": (task, {}), "data": (None, found["data"]), "trainer": {}}, {}
        )  # knows all options

    squad = {"data": [{"title": "t", "paragraphs": [SQUAD]}]}
    for path in ("cats/1.JPG", "x/1.avif", "x/1.HEIC", "x/1.jpe"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    pictures = "photo,label\nx/1.avif,cat\nx/1.HEIC,dog\n"
    each(
        [
            ("a.conll", "Ann\tB-PER\nran\tO\n", "TokenClassification", {}),
            ("a.txt", "Ann B-PER\nran O\n\n-DOCSTART- x\n", "TokenClassification", {}),
            ("a.jsonl", {"tokens": ["Ann"], "ner_tags": ["B-PER"]}, "TokenClassification", {}),
            (
                "a.jsonl",
                {"text": "Ann ran", "entities": [[0, 3, "PER"]]},
                "TokenClassification",
                {},
            ),
            ("a.json", json.dumps(squad), "QuestionAnswering", {}),
            ("a.json", json.dumps(squad, indent=1), "QuestionAnswering", {}),
            ("a.csv", "question,context,answer\nwho,Ann ran,Ann\n", "QuestionAnswering", {}),
            ("a.jsonl", {"messages": CHAT}, "CausalLM", {}),
            ("a.csv", "prompt,completion\nhi,hello\n", "CausalLM", {}),
            ("a.csv", "query,positive\nhi,hello\n", "Retrieval", {}),
            (
                "a.csv",
                "dialogue,summary\nhi,hello\n",
                "Seq2Seq",
                {"source": "dialogue", "target": "summary"},
            ),
            (
                "a.csv",
                "file,class\ncats/1.JPG,cat\nx/1.jpe,dog\n",
                "ImageClassification",
                {"image": "file", "label": "class"},
            ),
            ("a.csv", pictures, "ImageClassification", {"image": "photo"}),
            (
                "a.csv",
                "article,target\nx,pos\ny,neg\nz,pos\nu,neg\n",
                "TextClassification",
                {"label": "target"},
            ),
        ],
        check,
    )


def test_interactions_need_the_table_of_items_beside_them() -> None:
    Path("a.csv").write_text(
        "userId,movieId,rating,timestamp\n1,1,3,4\n1,2,3,5\n1,3,3,6\n1,4,5,7\n"
    )
    assert fault("a.csv").startswith("a.csv holds users, items and times: put a table of items")
    Path("items.csv").write_text("movieId,title\n1,Heat\n2,Alien\n3,Tron\n4,Up\n")
    for words in ((), ("--task", "Retrieval")):
        data = made("a.csv", *words)["data"]
        columns = {"user": "userId", "item": "movieId", "time": "timestamp", "text": "title"}
        assert data == {"train": "a.csv", **columns, "items": "items.csv", "held_out": 1}


def test_a_folder_is_images_or_its_data_file() -> None:
    Path("photos/cat").mkdir(parents=True)
    assert fault("photos").startswith("photos is a folder; name one of its files (cat)")
    for name in ("cat", "dog"):
        Path(f"photos/{name}").mkdir(exist_ok=True)
        Path(f"photos/{name}/1.avif").touch()
    assert made("photos")["model"]["task"] == "ImageClassification"
    Path("set").mkdir()
    write_csv(Path("set/train.csv"), ROWS)
    write_csv(Path("set/other.csv"), ROWS)
    Path("set/LICENSE.txt").write_text("free")
    assert made("set")["data"]["train"] == "set/train.csv"
    Path("set/train.csv").rename("set/mine.csv")
    assert fault("set").startswith("set is a folder; name one of its files (")
    Path("set/other.csv").unlink()
    assert made("set")["data"]["train"] == "set/mine.csv"


def test_plain_text_names_both_tasks() -> None:
    Path("a.txt").write_text("once upon a time\n")
    assert "--task MaskedLM" in fault("a.txt")
    assert made("a.txt", "--task", "MaskedLM")["model"]["task"] == "MaskedLM"
    assert made("a.txt", "--task=CausalLM")["model"]["task"] == "CausalLM"
    assert "no such file" in fault("b.csv", "--task", "Retrieval")


# Examples


def test_example_is_copied_with_its_data(tmp_path: Path) -> None:
    def check(name: str) -> None:
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            text = said(name)
            copied = Path(f"{name}.yaml").read_bytes()
            assert copied == init.examples()[name].read_bytes()
            assert text.startswith(f"copied {name}.yaml")
            assert ("not shipped" in text) == (not any(Path().glob("*/")))
            assert text.endswith(f"\nnext: python -m ftlight fit -c {name}.yaml\n")
            data = config.expand(*config.merge([f"{name}.yaml"]))["data"]["init_args"]
            for split in ("train", "validation", "test") if "not shipped" not in text else ():
                path = data.get(split)
                if path is not None and not path.startswith("hf:"):
                    assert Path(path).is_relative_to(Path.cwd())
                    assert Path(path).is_file()

    each(sorted(init.examples()), check)


def test_quickstart_is_shipped_with_its_data() -> None:
    assert said("quickstart").splitlines()[0] == "copied quickstart.yaml, support/"
    assert sorted(p.name for p in Path("support").iterdir()) == [
        "test.csv",
        "train.csv",
        "validation.csv",
    ]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for there in ("quickstart.yaml", "support"):
        folder = tmp_path / f"with {there}"
        folder.mkdir()
        with contextlib.chdir(folder):
            Path(there).mkdir() if there == "support" else Path(there).write_text("mine")
            expected = f"{there} exists; nothing is overwritten. Run init in another folder"
            assert fault("quickstart") == expected
            assert [p.name for p in Path().iterdir()] == [there]
            assert there == "support" or Path(there).read_text() == "mine"


def test_a_file_comes_before_an_example_of_its_name() -> None:
    shutil.copytree(init.examples()["quickstart"].parent / "support", "quickstart")
    assert made("quickstart")["data"]["train"] == "quickstart/train.csv"


def test_a_name_like_an_example_names_it() -> None:
    assert "quickstart" in fault("quickstar").partition("quickstar:")[2]


def test_examples_are_configs() -> None:
    assert "quickstart" in init.examples()
    for path in init.examples().values():
        assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_a_folder_of_documents_for_each_label_is_text_classification(capsys: Any) -> None:
    for label in ("pos", "neg"):
        for i in range(8):
            path = Path(f"docs/{label}/{i}.{'md' if i % 2 else 'txt'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"a {label} thing {i}")
    assert main(["init", "docs"]) == 0
    out = capsys.readouterr().out
    assert "a folder of documents for each label; 16 rows, 2 labels: neg 8, pos 8" in out
    assert yaml.safe_load(out)["data"] == {"train": "docs", "test_split": 0.2}
    Path("flat").mkdir()
    for i in range(2):
        Path(f"flat/{i}.md").write_text("x")
    assert main(["init", "flat"]) == 2
    assert "predict RUN FOLDER reads them" in capsys.readouterr().err


def test_a_column_without_a_name_is_no_label() -> None:
    Path("a.csv").write_text("review,stars,\n" + "".join(f"thing {i},{i % 3},\n" for i in range(9)))
    assert made("a.csv")["data"]["label"] == "stars"
