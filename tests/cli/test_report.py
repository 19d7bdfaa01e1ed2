"""``report``, and the page at the end of ``fit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, each, toy_rows, write_csv
from report import made
from report.reader import check

from ftlight.__main__ import main
from ftlight.cli import reporting
from ftlight.report import page


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made.make_run(tmp_path / "run")


@pytest.mark.run
def test_fit_ends_with_a_page_unless_it_is_told_not_to(
    fit: Run, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = write_csv(Path("test.csv"), toy_rows(41))
    folder = fit("--data.test", test, "--trainer.report", "true")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["report", "run/report.html"]
    text = check((folder / "report.html").read_text()).text
    assert "f1 of 41 test rows" in text
    assert "python -m ftlight baselines run" in text
    learned = json.loads((folder / "run.json").read_text())["learning"]
    assert learned["stages"][0]["begins"] == 0
    assert learned["rates"][0][0] == 0
    found = json.loads((folder / "test_metrics.json").read_text())
    assert sum(cell[2] for cell in found["confusion"]) == 41
    right = sum(cell[2] for cell in found["confusion"] if cell[0] == cell[1])
    assert right / 41 == pytest.approx(found["test/accuracy"])
    folder = fit("--trainer.report", "false", name="without")
    assert not (folder / "report.html").exists()
    assert "report" not in capsys.readouterr().out.splitlines()[-1].split()

    def fails(*_: object) -> str:
        raise ZeroDivisionError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(page, "of_runs", fails)
        fit("--data.test", test, "--trainer.report", "true", name="other")  # which succeeds
    assert "no page was made: no luck" in capsys.readouterr().out.splitlines()[-1]
    # a page is no part of a run: these differ in nothing but their name
    assert main(["report", "run", "other"]) == 0
    assert "In what they differ" not in Path("report.html").read_text()


def test_a_page_of_a_run(run: Path, capsys: Any) -> None:
    assert main(["report", "run"]) == 0
    assert capsys.readouterr().out.startswith("run/report.html: ")
    text = check((run / "report.html").read_text()).text
    assert "my card was charged twice" in text
    assert main(["report", "run", "--rows", "0", "--out", "page.html"]) == 0
    text = check(Path("page.html").read_text()).text
    assert "my card was charged twice" not in text
    made.make_run(Path("other"), seed=1)
    assert main(["report", "run", "other"]) == 0
    assert "2 runs side by side" in Path("report.html").read_text()


def test_what_cannot_be_reported_is_refused_in_a_line(run: Path, capsys: Any) -> None:
    Path("mine.html").write_text("a page of mine")

    def refused(words: list[str], said: str) -> None:
        capsys.readouterr()
        assert main(["report", *words]) == 2
        assert said in capsys.readouterr().err

    each(
        [
            ([], "report needs a run: python -m ftlight report RUN"),
            (["nothing"], "nothing is not a run"),
            (
                ["run", "--rows", "many"],
                "--rows: expected a whole number from 0 to 100,000",
            ),
            (["run", "--out", "run"], "--out run is a folder; name a file in it"),
            (["run", "--out", "mine.html"], "is there, and is no page of ftlight"),
            (["run", "--out", "run/config.yaml"], "is there, and is no page of ftlight"),
            (["run", "--model.lr", "1"], "--model.lr is not an option of report"),
        ],
        refused,
    )
    (run / "verdict.json").write_text("{")
    refused(["run"], "verdict.json: not valid JSON")
    assert Path("mine.html").read_text() == "a page of mine"


def test_a_page_follows_a_run_until_it_has_its_verdict(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = json.loads((run / "run.json").read_text())
    told = (run / "verdict.json").read_text()
    (run / "verdict.json").unlink()
    made.dump(run / "run.json", {**about, "status": "running"})
    seen: list[str] = []

    def advance(seconds: float) -> None:
        """What the run does while the page waits for it."""
        seen.append((run / "report.html").read_text())
        if len(seen) == 1:
            with (run / "metrics.csv").open("a") as file:
                file.write("1099,10,val/f1,0.99\n")
        elif len(seen) == 2:
            made.dump(run / "run.json", about)
        else:
            (run / "verdict.json").write_text(told)

    monkeypatch.setattr(reporting.time, "sleep", advance)
    monkeypatch.setattr(reporting.folder, "is_locked", lambda folder: True)
    assert main(["report", "run", "--follow"]) == 0
    assert len(seen) == 3
    assert ['http-equiv="refresh"' in html for html in seen] == [True, True, False]
    assert "1,100" not in seen[0]
    assert "1,100" in seen[1]
    last = (run / "report.html").read_text()
    assert 'http-equiv="refresh"' not in last
    assert "Fine: no fault found." in check(last).text


def test_a_page_does_not_follow_a_run_whose_process_is_gone(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    made.dump(run / "run.json", {**about, "status": "running"})
    (run / "verdict.json").unlink()
    assert main(["report", "run", "--follow"]) == 0
    text = check((run / "report.html").read_text()).text
    assert "Run has not ended, or was killed" in text
    assert "python -m ftlight fit --resume run" in text


def test_a_folder_that_a_process_has_locked_is_known(run: Path) -> None:
    from ftlight.run import folder

    assert not folder.is_locked(run)
    (run / folder.LOCK).write_text("")
    assert not folder.is_locked(run)
