"""README and docs: their lines run as they stand, on tiny models with the names of the real ones.

A ``yaml`` block is the file that its first line names. A ``bash`` block is lines of
``python -m ftlight``; a ``text`` block of an error behind it is what its last line says, with … for
the working folder and TIME for the time of a run. ``python`` blocks of a page share their names.
``console`` and other ``text`` blocks are only shown.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import make_bert, toy_rows, write_csv
from tiny.causal_lm import make_decoder, write_chats
from tiny.image_classification import make_resnet, square, write_zip
from tiny.question_answering import squad
from tiny.seq2seq import orders
from tiny.token_classification import conll

from ftlight.__main__ import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "scripts" / "bench" / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = ("console", "text")
FAULT = "ftlight: error: "


class Block(NamedTuple):
    """A fenced block: its language, its text, and the error that follows it."""

    kind: str
    body: str
    fault: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order; an error belongs to the block before it."""
    found: list[Block] = []
    for kind, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind == "text" and body.startswith(FAULT):
            found[-1] = found[-1]._replace(fault=body.strip())
        else:
            found.append(Block(kind, body, ""))
    return found


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


# What the pages take for granted


def make_t5(folder: Path) -> None:
    """Writes a T5 of a few thousand parameters."""
    import torch
    from conftest import save_tokenizer
    from transformers import T5Config, T5ForConditionalGeneration

    size = save_tokenizer(folder)
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=size, decoder_start_token_id=0, pad_token_id=0, eos_token_id=3, **sizes
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)


def make_films(folder: Path) -> None:
    """Writes films, and what nine users saw of them."""
    films = [(f"f{i}", f"the {toy_rows(30)[i][0]} {i}", "good|bad") for i in range(30)]
    write_csv(folder / "films.csv", films, ("film", "title", "genres"))
    seen = [(f"u{u}", f"f{(3 * u + t) % 30}", str(1000 + t)) for u in range(9) for t in range(14)]
    write_csv(folder / "ratings.csv", seen, ("user", "film", "timestamp"))


def make_data(folder: Path) -> None:
    """Writes the files that the pages name."""
    for name in ("tickets", "entities", "squad", "reviews"):
        (folder / name).mkdir()
    for split, count in (("train", 60), ("validation", 12), ("test", 15)):
        rows = toy_rows(count)
        write_csv(folder / "tickets" / f"{split}.csv", rows, ("message", "intent"))
        stars = [(text, str(1 + "bad late good".split().index(word))) for text, word in rows]
        write_csv(folder / "reviews" / f"{split}.csv", stars, ("review", "stars"))
    regions = [(*row, ("north", "south")[i % 2]) for i, row in enumerate(toy_rows(60))]
    write_csv(folder / "tickets" / "regions.csv", regions, ("message", "intent", "region"))
    write_csv(folder / "new.csv", toy_rows(9), ("message", "intent"))
    write_csv(
        folder / "broken.csv", [("where is it", "late"), ("good card", "")], ("message", "intent")
    )
    conll(folder / "entities" / "train.conll", 24)
    conll(folder / "entities" / "test.conll", 8)
    squad(folder / "squad", 24, "train.json", impossible=5)
    squad(folder / "squad", 8, "test.json", impossible=5)
    write_csv(
        folder / "questions.csv", [("where is my parcel", "it is lost")], ("question", "context")
    )
    write_chats(folder / "chats.jsonl", 30)
    (folder / "asked.txt").write_text("where is my card\nand my refund\n", encoding="utf-8")
    write_csv(folder / "dialogues.csv", orders(20), ("dialogue", "summary"))
    write_zip(folder / "photos.zip", {"train": 24, "val": 9, "test": 9})
    (folder / "photo.jpg").write_bytes(square(1)[1])
    (folder / "notes.txt").write_text("\n".join(text for text, _ in toy_rows(60)), encoding="utf-8")
    make_films(folder)
    for number, (text, word) in enumerate(toy_rows(30)):
        document = folder / "letters" / word / f"{number}.txt"
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_text(text, encoding="utf-8")
    (folder / "inbox").mkdir()
    (folder / "inbox" / "new.md").write_text("# a small parcel\n\nis late", encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and tiny models under the names that the pages have from the hub."""
    folder = tmp_path_factory.mktemp("docs")
    make_data(folder)
    makers: dict[str, Callable[[Path], Any]] = {
        "sentence-transformers/all-MiniLM-L6-v2": lambda path: make_bert(path, num_hidden_layers=6),
        "HuggingFaceTB/SmolLM2-135M-Instruct": make_decoder,
        "google-t5/t5-small": make_t5,
        "google/mobilenet_v2_1.0_224": make_resnet,
    }
    for name, make in makers.items():
        (folder / name).mkdir(parents=True)
        make(folder / name)
    return folder


# Running a page


def run_line(line: str) -> int:
    """Runs one line of a shell in this process. Returns its exit status."""
    words = shlex.split(line, comments=True)
    assert words[:3] == ["python", "-m", "ftlight"], (
        f"only ftlight's own lines can run here: {line}"
    )
    if "<" in words:
        at = words.index("<")
        opened = Path(words[at + 1]).open(encoding="utf-8")
        with opened as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", file)
            return main(words[3:at])
    if ">" not in words:
        return main(words[3:])
    at = words.index(">")
    with Path(words[at + 1]).open("w", encoding="utf-8") as file, redirect_stdout(file):
        return main(words[3:at])


def run_bash(block: Block, capsys: Any) -> None:
    """Runs the lines of a block; all but one with an error behind it must succeed."""
    here = str(Path.cwd())
    lines = [line for line in block.body.replace("\\\n", "").splitlines() if line.strip()]
    for line in lines:
        capsys.readouterr()
        status = run_line(line)
        said = capsys.readouterr()
        if block.fault and line == lines[-1]:
            told = re.sub(r"\d{4}-\d\d-\d\d_[\d-]+", "TIME", said.err.strip().replace(here, "…"))
            assert (status, told) == (2, block.fault), line
        else:
            assert status == 0, f"{line}\n{said.out}{said.err}"


def write_config(body: str) -> str:
    """Writes a config to the file that its first line names."""
    named = re.match(r"# (\S+\.yaml)\n", body)
    assert named, f"the first line of a config must name its file: {body}"
    Path(named[1]).write_text(body, encoding="utf-8")
    return named[1]


@pytest.mark.run
@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_lines_of_a_page_run(page: Path, place: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    names: dict[str, Any] = {}
    untrained: set[str] = set()  # configs that no line after them trains
    for block in blocks(page):
        if block.kind == "yaml":
            untrained.add(write_config(block.body))
        elif block.kind == "bash":
            run_bash(block, capsys)
            untrained -= set(block.body.split())
        elif block.kind == "python":
            exec(compile(block.body, relative(page), "exec"), names)
        else:
            assert block.kind in SHOWN, (
                f"{block.kind or 'a block without a language'}: {block.body}"
            )
    for config in untrained:
        assert main(["fit", "-c", config, "--trainer.max_steps", "1", "--test", "false"]) == 0


def test_every_page_of_docs_has_lines_that_run() -> None:
    for page in PAGES:
        assert {block.kind for block in blocks(page)} & {"bash", "python"}, relative(page)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", LINKING, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_option_that_a_page_names_is_one(capsys: Any) -> None:
    tasks = re.findall(
        r"^\| `(\w+)` \| .+ \| .+ \| .+ \|$", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE
    )
    for task in tasks:
        assert main(["fit", "--help", "all", "--model", task]) == 0
    known = set(re.findall(r"--((?:model|data|trainer)\.\w+)", capsys.readouterr().out))
    known |= {"model.task", "data.module", "trainer.run", "trainer.max_time"}
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        named = set(re.findall(r"`(?:--)?((?:model|data|trainer)\.\w+)(?!\w|\()", text))
        assert named <= known, f"{relative(page)}: {sorted(named - known)}"


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 200


def test_the_picture_of_the_schedule_is_that_of_the_schedule() -> None:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    drawn = (ROOT / "docs" / "schedule.svg").read_text(encoding="utf-8")
    assert drawn == pictures.draw_schedule(), "run python scripts/pictures.py schedule"


@pytest.mark.parametrize("picture", ["schedule", "screen"])
def test_pictures_load_nothing(picture: str) -> None:
    drawn = (ROOT / "docs" / f"{picture}.svg").read_text(encoding="utf-8")
    links = set(re.findall(r"https?://[^\s\"<>]+", drawn))
    assert links <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}  # rich names itself
