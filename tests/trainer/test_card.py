"""The card of an export: true to the run's files, valid for the Hub, harmless, and it loads."""

from __future__ import annotations

import contextlib
import html.parser
import io
import json
import re
import shutil
from pathlib import Path

import markdown_it
import pytest
from conftest import ROOT, each, make_bert, toy_rows, write_csv
from hostile import HOSTILE, MARKUP
from hub_server import faults
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from tiny import words_of
from tiny.image_classification import square

from ftlight.__main__ import main
from ftlight.trainer.card import SHOWN
from ftlight.trainer.card_data import plain
from ftlight.utils import secrets
from ftlight.utils.markdown import inline
from ftlight.utils.printable import UNSEEN, printable

TASKS = sorted(path.parent.name for path in (ROOT / "ftlight" / "tasks").glob("*/task.py"))
LIMITS = "--trainer.max_epochs 1 --trainer.accelerator cpu --trainer.report false".split()
OWN = {"h1", "h2", "p", "ul", "li", "strong", "code", "pre"}
OWN |= {"table", "thead", "tbody", "tr", "th", "td"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page of HTML."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text, self.blocks = "", 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag."""
        self.tags.add(tag)
        self.attributes |= set(attrs)
        self.blocks += tag == "pre"

    def handle_comment(self, data: str) -> None:
        """Notes a comment, which nobody sees."""
        self.tags.add("!--")

    def handle_data(self, data: str) -> None:
        """Notes a text."""
        self.text += data


def page_of(markdown: str) -> Page:
    """Markdown as a browser shows it that lets HTML through."""
    return Page(markdown_it.MarkdownIt("commonmark").enable("table").render(markdown))


def card_of(folder: Path) -> ModelCard:
    """The card of an export, which must be valid."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert faults(text) == []
    return ModelCard(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with groups and its test."""
    home = tmp_path_factory.mktemp("carded")
    header = ("text", "label", "language")
    rows = [(*row, "en" if i % 2 else "de") for i, row in enumerate(toy_rows(120))]
    files = ["--data.train", write_csv(home / "train.csv", rows[:60], header)]
    files += ["--data.test", write_csv(home / "test.csv", rows[60:], header)]
    model = ["--model", "TextClassification", "--model.backbone", str(make_bert(home / "bert"))]
    groups = ["--data.groups", "[language]"]
    assert main(["fit", *model, *files, *groups, *LIMITS, "--run", str(home / "run")]) == 0
    return home / "run"


@pytest.mark.run
@pytest.mark.parametrize("task", TASKS)
def test_the_lines_of_every_card_run_as_they_stand(task: str, tmp_path: Path) -> None:
    sizes = ["--trainer.limit_train_batches", "2"]
    assert main([*words_of(task, tmp_path), "--run", "made", *LIMITS, *sizes]) == 0
    assert main(["export", "made", "--out", "stock"]) == 0
    for name in ("a.jpg", "b.jpg"):
        Path(name).write_bytes(square(3)[1])
    card = card_of(Path("stock"))
    with contextlib.redirect_stdout(io.StringIO()):
        exec(card.text.split("```python\n")[1].split("```")[0], {})
    tested = json.loads(Path("made/test_metrics.json").read_text())
    results = model_index_to_eval_results(card.data.to_dict()["model-index"])[1]
    for result in results:
        name = (result.metric_name or "").partition(" ")[0]
        assert result.metric_value == pytest.approx(tested[f"test/{name}"], abs=1e-6)
        assert result.task_type == card.data.pipeline_tag
        low = tested.get(f"test/{name}_low")
        assert low is None or f"interval {low:.4f} to " in (result.metric_name or "")
    assert results
    text = page_of(card.text).text
    for part in ("Intended use", "How to load", "Data", "Results", "Limits", "Training"):
        assert f"\n{part}\n" in text
    assert str(tmp_path) not in card.content


@pytest.mark.run
def test_a_card_tells_what_the_files_of_the_run_tell(run: Path, tmp_path: Path) -> None:
    there = tmp_path / "run"
    shutil.copytree(run, there)
    above = {"gain": -0.25, "low": -0.5, "high": -0.125, "p": 0.03, "p_holm": 0.06}
    models = [
        {"name": "TF-IDF", "train_rows": 60, "score": 0.5, "low": 0.4, "high": 0.6, "weights": 9},
        {"name": "this run", "train_rows": 60, "score": 0.25, "low": 0.2, "high": 0.3},
    ]
    models[0]["run_above"], models[1]["run_above"] = above, None
    measured = {"split": "test", "rows": 60, "score": "accuracy", "models": models}
    said = {**measured, "verdict": ["fine-tuning did not pay: keep TF-IDF"]}
    (there / "baselines.json").write_text(json.dumps(said))
    levels = {"0.9": {"threshold": 0.75, "answered": 0.5}, "0.99": None}
    known = {"temperature": 1.0, "rows": 93, "error": 0.125, "floor": 0.0625, "unit": "rows"}
    (there / "calibration.json").write_text(json.dumps({**known, "at_least": levels}))
    assert main(["export", str(there), "--out", "best"]) == 0
    card = card_of(Path("best"))
    tested = json.loads((there / "test_metrics.json").read_text())
    ends = f"{tested['test/accuracy_low']:.4f} to {tested['test/accuracy_high']:.4f}"
    verdict = json.loads((there / "verdict.json").read_text())["sentence"]
    digest = json.loads((there / "run.json").read_text())["data_sha256"]["test"]
    group = tested["groups"]["language"]["by_group"]["de"]
    for part in (
        f"On 60 test rows its accuracy is {tested['test/accuracy']:.4f} (95 % interval {ends}).",
        f"| accuracy | {tested['test/accuracy']:.4f} | {ends} |",
        "It knows 3 labels: bad, good, late.",
        f"| test | test.csv | 60 | `{digest[:16]}` |",
        "| TF-IDF | 60 | 0.5000 | 0.4000 to 0.6000 | -0.2500 (-0.5000 to -0.1250) |",
        "- fine-tuning did not pay: keep TF-IDF",
        f"| de | {group['rows']} | {group['accuracy']:.4f} |",
        "Calibration error (ECE) 0.125 on 93 rows of validation",
        "| 90 % | 0.75 | 50 % |",
        "| 99 % | not reachable | – |",
        f"- What training says of itself: {verdict}.",
        "- 60 test rows tell little",
        "does not know the language, the domain or the licence of its data",
        "| seed | 0 |",
    ):
        assert part in card.text, part
    lines = [json.loads(line) for line in (there / "findings.jsonl").read_text().splitlines()]
    for finding in lines:
        assert (finding["message"] in card.text) == (finding["kind"] != "read")
    examples = [line["example"] for line in lines if line["example"]]
    assert examples  # texts of rows, which may be private
    assert not [example for example in examples if example in card.text]
    assert {"base_model", "datasets", "license", "language"} & set(card.data.to_dict()) == set()

    assert main(["export", str(there), "--out", "end", "--ckpt_path", "last"]) == 0
    end = card_of(Path("end"))
    assert "These are the weights of the checkpoint last, not the best ones." in end.text
    assert "It was not tested" in end.text  # the test was of others
    assert "model-index" not in end.data.to_dict()
    assert "Beside cheap models" not in end.text
    assert verdict not in end.text


@pytest.mark.run
def test_what_the_run_knows_of_the_hub_is_metadata(run: Path, tmp_path: Path) -> None:
    there = tmp_path / "run"
    shutil.copytree(run, there)
    facts = json.loads((there / "run.json").read_text())
    facts |= {"backbone": "org/some-bert", "seed": None}
    (there / "run.json").write_text(json.dumps(facts))
    config = (there / "config.yaml").read_text()
    files = re.sub(r"(train|test): .*\.csv", r"\1: hf:org/tickets:small@main", config)
    (there / "config.yaml").write_text(files)
    assert main(["export", str(there), "--out", "stock"]) == 0
    card = card_of(Path("stock"))
    assert "| seed |" not in card.text  # as of a run from Python without one
    data = card.data
    assert data.model_name == "TextClassification on org/some-bert"  # not the base model's
    assert (data.base_model, data.datasets) == ("org/some-bert", ["org/tickets"])
    assert data.eval_results is not None
    assert {result.dataset_type for result in data.eval_results} == {"org/tickets"}
    assert (data.library_name, data.pipeline_tag) == (
        "sentence-transformers",
        "text-classification",
    )


def test_no_text_is_more_than_text() -> None:
    def check(text: str) -> None:
        shown = " ".join(printable(text).split())
        line = inline(text)
        for around in ("{}", "- {}", "- **look**: {}", "a {} b", "| x |\n|---|\n| {} |"):
            page = page_of(around.replace("{}", line))
            assert page.tags <= OWN
            assert not page.attributes
            assert shown in page.text
        assert not UNSEEN.search(line)
        assert not re.search(r"(?<!\\)://|www(?<!\\)\.", line)  # a link by itself
        assert "\n" not in line
        assert not re.search(r"(?<!\\)(\\\\)*\|", line)
        assert "\n" not in plain(text)

    each([*HOSTILE, *MARKUP, "card_type", "3.5", "a: b", "é 漢 😀 العربية"], check)
    assert inline("card_type 3.5 (x) a: b") == "card_type 3.5 (x) a: b"  # and stays readable
    assert inline("x" * 400, most=10) == "xxxxxxxxx…"


@pytest.mark.run
def test_hostile_labels_columns_and_names_reach_no_card(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-proj-Zx81kQw93LmRt52Vb7Yp"
    monkeypatch.setenv("SOME_API_KEY", secret)
    labels = [f"{text.strip()} {i}" for i, text in enumerate([*HOSTILE, *MARKUP])]
    labels = [label.replace("\x00", "") for label in labels if "\n" not in label]
    groups = ["<img onerror=x>|`\x1b[31m", secret]
    texts = [(f"{label} word {i}", label) for label in labels for i in range(4)]
    rows = [(*row, groups[i // 4 % 2]) for i, row in enumerate(texts)]
    header = ("te|xt", "<b>label\x1b[31m", "<img onerror=x>|`\u202e")
    name = "in \u202e`<i>|.csv"
    train = write_csv(tmp_path / f"train {name}", [*rows[::4], *rows[1::4], *rows[2::4]], header)
    test = write_csv(tmp_path / name, rows[3::4], header)
    model = ["--model", "TextClassification", "--model.backbone", bert, "--data.text", header[0]]
    data = [
        "--data.train",
        train,
        "--data.test",
        test,
        "--data.label",
        header[1],
        "--data.kind",
        "single",
    ]
    data += ["--data.groups", json.dumps([header[2]])]
    assert main(["fit", *model, *data, *LIMITS, "--run", "run"]) == 0
    assert main(["export", "run", "--out", "out `<b>\u202e"]) == 0
    folder = Path("out `<b>\u202e")
    card = card_of(folder)
    assert not UNSEEN.search(card.content)
    assert secret not in card.content
    page = page_of(card.text)
    assert secrets.HIDDEN in page.text
    for text in (groups[0], header[2], name):
        assert printable(text) in page.text
    assert page.tags <= OWN
    assert page.attributes == {("class", "language-python")}
    assert page.blocks == 1
    for label in json.loads(Path("run/labels.json").read_text())["labels"][:SHOWN]:
        assert " ".join(printable(label).split()) in page.text
    for line in card.text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    assert set(card.data.to_dict()) <= {
        *("library_name", "pipeline_tag", "tags", "metrics", "model-index")
    }
    with contextlib.redirect_stdout(io.StringIO()):
        exec(card.text.split("```python\n")[1].split("```")[0], {})
