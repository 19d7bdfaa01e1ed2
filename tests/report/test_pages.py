"""Pages about runs that are written by hand: what is in them, and what never is."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import each
from report import made
from report.reader import check

from ftlight.report import page
from ftlight.run import folder
from ftlight.utils.errors import UserError

SECTIONS = [
    "Verdict",
    "Beside cheap models",
    "What to do next",
    "The data",
    "How it learned",
    "The test",
    "Classes",
    "Whom it fails",
    "What a probability is worth",
    "Rows to look at",
    "What it cost",
    "Where it comes from",
]
SENTENCE = "my parcel is late and nobody answers"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make_run(tmp_path_factory.mktemp("runs") / "tickets")


def jpeg(width: int = 320, height: int = 240) -> bytes:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3)).astype("uint8")
    data = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).save(data, "JPEG", quality=80)
    return data.getvalue()


def test_the_sections_of_a_page_in_their_order(run: Path) -> None:
    found = check(page.of_runs([run]))
    places = [found.text.index(f"\n{name}") for name in SECTIONS]
    assert places == sorted(places)
    for said in (
        "The f1 of 200 test rows is 0.9",
        "Fine: no fault found.",
        "Fine-tuning paid: 0.9000, and the best cheap model 0.8843.",
        "python -m ftlight check runs/x --full",
        "data.on_leak: drop",
        "all, from step 400, rate 5e-5",
        "the weights of step 900 are kept",
        "difference 0.2000, ratio 0.8000",
        "4 of 88 rows change their answer with words exchanged (4.5 %).",
        "876 J (processor seconds at 10 W a core, which is assumed)",
        "run once, then read from the store: stage 1, 2",
        "990 MB",
        "ababab",
    ):
        assert said in found.text, said


def test_hostile_texts_labels_columns_and_files_are_text(tmp_path: Path) -> None:
    run = made.make_run(tmp_path / "x", 12, 120, hostile=True)
    found = check(page.of_runs([run]))
    for text in made.HOSTILE[:6]:
        assert text in found.text, text
    assert "{{7*7}}" in found.text
    assert "⟨U+202E⟩gnp.exe⟨U+2066⟩" in found.text
    assert "nul␀bell␇escape␛[31m" in found.text
    assert "�half" in found.text
    many = check(page.of_runs([made.make_run(tmp_path / "y", 30, 120, hostile=True)]))
    assert made.HOSTILE[1] in many.text  # as a pair of labels
    hostile = [made.explained(0, text) for text in made.HOSTILE]
    assert made.HOSTILE[0] in check(page.of_explanations(hostile, made.HOSTILE[2])).text


def test_a_word_of_a_megabyte_is_cut_with_the_count_of_the_rest(tmp_path: Path) -> None:
    run = made.make_run(tmp_path / "x")
    long = "x" * 1_000_000
    made.write_table(
        run / "wrong.csv",
        [{"why": "wrong", long: long, "label": long, "line": long, "prediction": long}],
    )
    made.dump(run / "verdict.json", made.verdict(long))
    text = json.loads((run / "test_metrics.json").read_text())
    text["classes"] = {long: {"f1": 0.5, "recall": 0.5, "support": 4}}
    made.dump(run / "test_metrics.json", text)
    explained = [made.explained(0, f"{long} {SENTENCE}")]
    html = page.of_runs([run], 20, explained)
    assert len(html) < 100_000
    assert "more characters" in check(html).text


def test_explained_rows_show_their_words_in_shades_and_their_check(run: Path) -> None:
    found = [made.explained(0, SENTENCE), made.explained(1, SENTENCE, holds=False)]
    html = page.of_runs([run], 6, found)
    text = check(html).text
    assert (
        text.count("Removing the top 20 % of the words lowers p by 0.61; at random by 0.22.") == 1
    )
    assert text.count("Not to be trusted: what weighs most here does no better") == 1
    assert text.count(SENTENCE) == 2  # whole, whatever is shaded
    assert '<mark class="f5">my</mark> <mark class="a1">parcel</mark> is' in html
    assert "Weighs most: my .61, nobody .61, late .30, parcel −.10, answers −.10" in text
    assert "The nearest rows of train" in text


def test_pictures_are_drawn_with_their_parts_as_far_as_there_is_room(run: Path) -> None:
    small, large = jpeg(), jpeg(3000, 2000)
    html = page.of_runs([run], 50, [made.explained_picture(i, small) for i in range(50)])
    shown = min(50, len((run / "wrong.csv").read_text().splitlines()) - 1)
    found = check(html)
    pictures = found.all("image")
    assert len(pictures) == shown
    assert {(i["width"], i["height"]) for i in pictures} == {("320", "240")}
    assert len(html) < 2_000_000
    html = page.of_runs([run], 20, [made.explained_picture(i, large) for i in range(20)])
    assert len(html) < 2_000_000
    assert "pictures are left out, for the size of this page" in check(html).text


def test_a_page_of_77_classes_is_small(tmp_path: Path) -> None:
    html = page.of_runs([made.make_run(tmp_path / "x", 77, 3080)])
    assert len(html.encode()) < 150_000
    text = check(html).text
    assert "The other 61" in text
    assert "taken for" in text


def test_what_a_run_lacks_is_left_out(run: Path, tmp_path: Path) -> None:
    files = [file.name for file in run.iterdir() if file.name != "config.yaml"]

    def without(name: str) -> None:
        copy = tmp_path / name
        shutil.copytree(run, copy)
        (copy / name).unlink()
        check(page.of_runs([copy]))

    each(files, without)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "config.yaml", bare)
    text = check(page.of_runs([bare])).text
    assert "It has not been measured yet." in text
    assert "How it learned" not in text


def test_a_damaged_file_is_named_in_a_line(run: Path, tmp_path: Path) -> None:
    def damage(name: str, text: str, said: str) -> None:
        copy = tmp_path / f"{name}-{len(text)}"
        shutil.copytree(run, copy)
        (copy / name).write_text(text)
        with pytest.raises(UserError, match=said):
            page.of_runs([copy])

    each(
        [
            ("test_metrics.json", "{", "test_metrics.json: not valid JSON"),
            ("test_metrics.json", '{"classes": 3}', "classes: expected an object"),
            ("verdict.json", '{"kind": "fine"}', "verdict.json: has no sentence"),
            ("baselines.json", '{"models": [{"name": 3}]}', "models.0.name: expected text"),
            ("findings.jsonl", '{"level": "bad"}\n', "level: expected know or look or stop"),
            ("findings.jsonl", '{"level": "look"}\n', "findings.jsonl:1"),
            ("run.json", '{"learning": {"stages": [3]}}', "stages.0: expected an object"),
            ("outcomes-validation.npz", "PK", "is damaged"),
            ("calibration.json", '{"coverage": {"": 1}}', "coverage: expected numbers as names"),
            ("calibration.json", '{"at_least": {"0.9||": null}}', "numbers as names, got '0.9||'"),
        ],
        damage,
    )


def test_runs_side_by_side_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    runs = [made.make_run(tmp_path / name, seed=i) for i, name in enumerate(("one", "two"))]
    text = check(page.of_runs(runs)).text
    assert "f1 of 200 rows of test; differences to the first are paired" in text
    assert "neither, as far as these rows tell" in text
    (runs[1] / "outcomes-test.npz").unlink()
    (runs[1] / "outcomes-validation.npz").unlink()
    text = check(page.of_runs(runs)).text
    assert "Not compared: " in text
    assert "has no outcomes of its rows" in text


def test_texts_that_were_written_stand_beside_their_references(run: Path, tmp_path: Path) -> None:
    def shown(row: dict[str, str], wanted: list[str], target: str = "") -> None:
        copy = tmp_path / f"{len(row)}-{target}"
        shutil.copytree(run, copy)
        options = {"init_args": {"target": target}} if target else {}
        made.dump(copy / "config.yaml", {"data": options})
        made.dump(copy / "test_metrics.json", {"test/bleu": 7.8})
        made.write_table(copy / "test_predictions.csv", [row])
        text = check(page.of_runs([copy])).text
        assert "What it writes" in text
        for part in wanted:
            assert part in text, part

    chat = json.dumps([["user", "where is it", True], ["assistant", "it is <here>", True]])
    each(
        [
            ({"messages": chat, "prediction": "rrr"}, ["user: where is it", "it is <here>", "rrr"]),
            (
                {"given": "red", "references": '["the red", "a red"]', "prediction": "green"},
                ["red", "the red", "a red", "green"],
            ),
            ({"a": "long text", "b": "short", "prediction": "p", "score": "1"}, ["short"], "b"),
        ],
        shown,
    )


def test_only_a_page_of_a_running_run_reads_itself_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made.make_run(tmp_path / "x")
    refresh = '<meta http-equiv="refresh" content="5">'
    assert refresh not in page.of_runs([run], follows=True)
    about = json.loads((run / "run.json").read_text())
    made.dump(run / "run.json", {**about, "status": "running"})
    assert refresh not in page.of_runs([run], follows=True)  # its process is gone
    monkeypatch.setattr(folder, "is_locked", lambda path: True)
    assert refresh in page.of_runs([run], follows=True)
    assert refresh not in page.of_runs([run])


def test_a_file_that_is_no_page_is_never_overwritten(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page.write(path, page.of_runs([run]))
    page.check(path)
    path.write_text("a page of somebody else")
    with pytest.raises(UserError, match=r"is there, and is no page of ftlight"):
        page.check(path)


def test_the_templates_are_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    from jinja2 import UndefinedError

    render: Callable[..., str] = page._render
    with pytest.raises(UndefinedError):
        render("explained.html", "x", 0)
