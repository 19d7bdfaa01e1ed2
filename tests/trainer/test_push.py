"""An export that is pushed to the Hub and fetched again; why it cannot be, in a line each."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from conftest import each, make_bert, toy_rows, write_csv
from hub_server import Hub, serving
from huggingface_hub import constants

import ftlight
from ftlight.__main__ import main
from ftlight.trainer.push import check, push
from ftlight.utils.errors import UserError

TEXTS = ["a text", "another text"]  # those of the card


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the Hub, to which this process speaks as Ann."""
    with serving() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        template = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "fetched"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_ann")
        yield made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with its test."""
    home = tmp_path_factory.mktemp("pushed")
    files = ["--data.train", write_csv(home / "train.csv", toy_rows(60))]
    files += ["--data.test", write_csv(home / "test.csv", toy_rows(12))]
    model = ["--model", "TextClassification", "--model.backbone", str(make_bert(home / "bert"))]
    limits = "--trainer.max_epochs 1 --trainer.accelerator cpu --trainer.report false".split()
    assert main(["fit", *model, *files, *limits, "--run", str(home / "run")]) == 0
    return home / "run"


def fault(words: list[str], capsys: Any) -> str:
    """The one line that a command fails with."""
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    return str(said.removeprefix("ftlight: error: "))


def printed(lines: str) -> list[dict[str, float]]:
    """The scores that the lines of a card print, which are run as they stand."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(lines, {})
    found = [re.findall(r"'(\w+)': ([\d.e-]+)", line) for line in said.getvalue().splitlines()]
    return [{name: float(value) for name, value in pairs} for pairs in found if pairs]


@pytest.mark.run
def test_what_is_pushed_and_fetched_gives_the_same_scores(
    run: Path, hub: Hub, tmp_path: Path, capsys: Any
) -> None:
    export = ["export", str(run), "--out", "out", "--push", "ann/toy"]
    assert main(export) == 0
    assert f"pushed to {hub.url}/ann/toy (private)" in capsys.readouterr().out
    there, here = hub.repos["ann/toy"]["files"], Path("out")
    assert sorted(there) == sorted(str(p.relative_to(here)) for p in here.rglob("*") if p.is_file())
    assert all(hub.content("ann/toy", name) == (here / name).read_bytes() for name in there)
    card = huggingface_hub.ModelCard.load("ann/toy")
    card.validate()
    lines = card.text.split("```python\n")[1].split("```")[0]
    assert "snapshot_download('ann/toy')" in lines
    scores = printed(lines)
    assert next((tmp_path / "fetched").rglob("model.safetensors")).is_file()
    for answer, found in zip(ftlight.load(str(run)).predict(TEXTS), scores, strict=True):
        assert found == pytest.approx(answer["probabilities"], abs=1e-4)

    (here / "README.md").write_text((here / "README.md").read_text() + "\nIt is Ann's.\n")
    assert main(export) == 0  # again: with what Ann wrote into its card
    assert hub.content("ann/toy", "README.md").endswith(b"It is Ann's.\n")
    assert len(hub.sent) == len(set(hub.sent))  # no weights twice
    (here / "labels.json").write_text("{}")
    line = fault(export, capsys)
    assert line.startswith("out is there already and holds another export (labels.json differs)")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fetched", "out"]


@pytest.mark.run
def test_an_export_that_is_pushed_later_names_its_repo(run: Path, hub: Hub) -> None:
    export = ["export", str(run), "--out", "out"]
    assert main(export) == 0
    assert "FOLDER = 'out'" in Path("out/README.md").read_text()
    assert main([*export, "--push", "ann/later"]) == 0
    there = hub.content("ann/later", "README.md").decode()
    assert "snapshot_download('ann/later')" in there
    assert there == Path("out/README.md").read_text()


@pytest.mark.run
def test_a_push_that_was_cut_goes_on(run: Path, hub: Hub, capsys: Any) -> None:
    hub.refuses = 1
    line = fault(["export", str(run), "--push", "ann/cut"], capsys)
    assert line.startswith("ann/cut is not pushed: the Hub answers 400 (the connection was cut)")
    assert line.endswith("; the same command goes on")
    assert (hub.repos["ann/cut"]["files"], len(hub.sent)) == ({}, 1)
    hub.refuses = None
    assert main(["export", str(run), "--push", "ann/cut"]) == 0
    assert len(hub.sent) == len(set(hub.sent)) == 2
    assert "README.md" in hub.repos["ann/cut"]["files"]


def test_each_refusal_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("---\ntags: [x]\n---\nA card.\n")
    hub.repos["ann/open"] = {"private": False, "files": {}}
    hub.repos["bob/open"] = {"private": False, "files": {}}

    def refuse(repo: str, token: str, expected: str, public: bool = False, **other: str) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("HF_TOKEN", token)
            for name, value in other.items():
                patch.setattr(constants, name, value)
            with pytest.raises(UserError) as caught:
                push(tmp_path / "out", repo, public)
        assert str(caught.value).startswith(f"{repo} is not pushed: {expected}")
        assert "\n" not in str(caught.value)
        assert token not in str(caught.value)

    each(
        [
            ("ann/toy", "hf_nobody", "the Hub does not know the token"),
            ("bob/toy", "hf_of_ann", "the token may not write there (You don't have the rights"),
            ("bob/open", "hf_of_ann", "the token may not write there", True),
            ("ann/toy", "hf_reads_only", "the token may not write there"),
            ("ann/open", "hf_of_ann", "it is there and public; add --public"),
        ],
        refuse,
    )
    closed = "http://127.0.0.1:9"
    refuse("ann/toy", "hf_of_ann", f"{closed} cannot be reached", ENDPOINT=closed)
    (tmp_path / "out" / "README.md").write_text("---\npipeline_tag: x\n---\nA card.\n")
    unknown = 'Invalid metadata in README.md. - "pipeline_tag" is unknown'
    refuse("ann/toy", "hf_of_ann", unknown)


def test_who_can_see_it(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("---\ntags: [x]\n---\nA card.\n")
    hub.repos["ann/shut"] = {"private": True, "files": {}}
    hub.repos["ann/open"] = {"private": False, "files": {}}

    def see(repo: str, public: bool, who: str) -> None:
        assert push(tmp_path / "out", repo, public) == f"{hub.url}/{repo} ({who})"
        assert hub.repos[repo]["private"] == who.startswith("private")

    each(
        [
            ("ann/new", False, "private"),
            ("ann/shown", True, "public"),
            ("ann/open", True, "public"),
            ("ann/shut", False, "private"),
            ("ann/shut", True, "private, as it was: its settings on the Hub can make it public"),
        ],
        see,
    )


def test_what_cannot_be_pushed_is_said_before_the_work(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(repo: str) -> None:
        with pytest.raises(UserError, match=r"--push .*: expected OWNER/NAME"):
            check(repo)

    names = ["toy", "ann/toy/x", "ann/", "/toy", "ann/a--b", "ann/a b", "ann/-a", "ann/a.git"]
    each(
        [*names, "ann/é", "https://hf.co/ann/toy", "ann/a..b", "ann/x\n", "ann/" + "a" * 97], refuse
    )
    for name in ("ann/toy", "a/b", "A-n_n/my.toy_1"):
        check(name)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="--push: no token of the Hub; log in"):
        check("ann/toy")
    Path(constants.HF_TOKEN_PATH).write_text("hf_of_ann")  # as `hf auth login` keeps it
    check("ann/toy")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="--push: HF_HUB_OFFLINE is set"):
        check("ann/toy")


@pytest.mark.run
def test_the_command_says_it_before_the_work(run: Path, capsys: Any) -> None:
    export = ["export", str(run), "--out", "out"]
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert fault([*export, "--push", "ann/toy"], capsys).startswith("--push: HF_HUB_OFFLINE is set")
    assert fault([*export, "--push", "toy"], capsys).startswith("--push 'toy': expected OWNER/NAME")
    assert fault([*export, "--public"], capsys).endswith("add --push OWNER/NAME")
    assert not Path("out").exists()
