"""Forms of input for fuzz.py: a whole example of each, the commands that read it, what harms it."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import string
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mutations
import papers
import toys

BIG = "x" * 300_000
BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    *(mutations.flip, mutations.spoil, mutations.cut, mutations.zero),
]
PIECES = [
    *("\0", "\x1b[31m", "\u202e", "\ufeff", "\ud800", '"' * 2001, "'", ",", ";", "\t", "\r"),
    *("\n", "=cmd|' /C calc'!A0", "9" * 5000, "1e999", "nan", "-0", "[" * 3000, "{" * 3000),
    *("&lt;", "<x>", "../../x", "%s%n{0}", "null", "\\u0000"),
    *("a" * 90_000 + " ", "é " * 30_000, "\u0301" * 20_000),
    *("|" * 3000, "\n" * 5000, " " * 50_000, BIG, "!!python/object:os.system x", "*a", "&a [*a]"),
]


class Form(NamedTuple):
    """A form of input.

    Attributes:
        source: file or folder of a whole example, below the folder of :func:`make`.
        commands: words that read it; IT stands for it, RUN and CONFIG for the kind's own.
        kind: of the run and the config that the commands use.
        inside: which files of a folder are harmed; of a packed file, whether its parts are.
    """

    source: str
    commands: Sequence[str]
    kind: str = "text"
    inside: str = ""


NOW = "--run NEW --trainer.max_steps 1 --test false"
CHECK = "check -c CONFIG --data.train IT --data.test null"
TABLE = ("init IT", CHECK, "predict RUN IT --out NEW")
SPLIT = f"fit -c CONFIG --data.train IT --data.test null {NOW}"
READ = ("init IT", CHECK, SPLIT)
FIT = f"fit -c IT {NOW}"
MODEL = f"fit -c CONFIG --model.backbone IT {NOW}"
TUNE = "tune -c CONFIG --sweep IT --run NEW --trials 1 --budget 1s"
RUN = ("predict IT ROWS --out NEW", "test IT", "report IT --out NEW.html")
FORMS = {
    "csv": Form("rows.csv", (*TABLE, SPLIT)),
    "tsv": Form("rows.tsv", TABLE),
    "jsonl": Form("rows.jsonl", TABLE),
    "json": Form("rows.json", TABLE),
    "csv.gz": Form("rows.csv.gz", TABLE, inside="gz"),
    "xlsx": Form("rows.xlsx", TABLE, inside="zip"),
    "parquet": Form("rows.parquet", TABLE),
    "txt": Form("rows.txt", ("init IT --task MaskedLM", "predict RUN IT --out NEW")),
    "docx": Form(
        "paper.docx", ("init IT --task CausalLM", "predict RUN IT --out NEW"), inside="zip"
    ),
    "pdf": Form("paper.pdf", ("init IT --task CausalLM", "predict RUN IT --out NEW")),
    "folder of pictures": Form("pictures", READ, "images", "*/*.png"),
    "zip of pictures": Form("pictures.zip", READ, "images", "zip"),
    "conll": Form("words-train.conll", READ, "tokens"),
    "squad": Form("squad-train.json", READ, "answers"),
    "chats": Form("chat-train.jsonl", READ, "chat"),
    "pairs": Form("pairs-train.csv", READ, "pairs"),
    "ratings": Form("events-train.csv", (CHECK, SPLIT), "events"),
    "config": Form("text.yaml", (FIT, "check -c IT")),
    "sweep": Form("sweep.yaml", (TUNE,)),
    "run": Form("run", RUN, "", "*.*"),
    "model": Form("bert", (MODEL,), inside="*.json"),
    "chat model": Form("chatty", (MODEL,), "chat", "*.j*"),
    "command line": Form("rows.csv", ()),
}


def make(home: Path) -> None:
    """Writes a whole example of each form, beside what toys.py makes."""
    import pyarrow.csv
    import pyarrow.parquet

    toys.make(home)
    rows = (home / "text-train.csv").read_text()
    (home / "rows.csv").write_text(rows)
    (home / "rows.tsv").write_text(rows.replace(",", "\t"))
    (home / "rows.csv.gz").write_bytes(gzip.compress(rows.encode(), mtime=0))
    cells = [line.split(",") for line in rows.splitlines()]
    objects = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    (home / "rows.json").write_text(json.dumps(objects, indent=1))
    (home / "rows.txt").write_text("".join(row["text"] + "\n" for row in objects))
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(home / "rows.csv"), home / "rows.parquet")
    write_xlsx(home / "rows.xlsx", cells)
    write_docx(home / "paper.docx", [row["text"] for row in objects])
    papers.pdf(home / "paper.pdf", *(row["text"] for row in objects[:2]))
    shutil.copytree(home / "images" / "test", home / "pictures")
    shutil.make_archive(str(home / "pictures"), "zip", home / "pictures")
    shutil.copytree(home / "llama", home / "chatty")
    template = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    (home / "chatty" / "chat_template.jinja").write_text(template)
    sweep = {"lr": {"min": 1e-4, "max": 1e-2}, "unfreeze": {"values": ["head", "all"]}}
    sweep = {f"model.{name}": values for name, values in sweep.items()}
    (home / "sweep.yaml").write_text(
        json.dumps({"method": "random", "parameters": sweep}, indent=1)
    )
    for kind, config in configs().items():
        (home / f"{kind}.yaml").write_text(json.dumps(config, indent=1))


def configs() -> dict[str, dict[str, Any]]:
    """The config of each kind."""
    names = {
        "text": "text, single label",
        "images": "images, not augmented, head",
        "tokens": "tokens",
        "answers": "answers",
        "chat": "chat",
        "pairs": "pairs, t5",
        "events": "recommendation",
    }
    cases = toys.cases()
    return {
        kind: {
            **cases[name],
            "trainer": {**toys.TRAINER, "enable_progress_bar": False, "report": False},
        }
        for kind, name in names.items()
    }


def write_xlsx(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Writes a spreadsheet of texts."""
    sheet = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    schema = "http://schemas.openxmlformats.org"
    links, main = f"{schema}/officeDocument/2006/relationships", f"{schema}/spreadsheetml/2006/main"
    package = f"{schema}/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml"'
        f' ContentType="{kind}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
        f' Type="{links}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{links}"><sheets><sheet name="One"'
        ' sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{links}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData>'
        "</worksheet>",
    }
    _zip(path, {name: text.encode() for name, text in parts.items()})


def write_docx(path: Path, paragraphs: Sequence[str]) -> None:
    """Writes a Word file."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    document = f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>'
    _zip(path, {"word/document.xml": document.encode()})


def _zip(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)


# Harm


def harm(form: Form, it: Path, draw: random.Random) -> None:
    """Harms an example, or a part of it, in one to three ways."""
    file = it
    if it.is_dir():
        file = draw.choice(sorted(p for p in it.rglob(form.inside) if p.is_file()))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if not file.is_file():
            return  # the last harm took it away
        if form.inside in ("zip", "gz") and draw.random() < 0.7:
            _harm_inside(file, form.inside, draw)
        elif file.suffix == ".parquet" and draw.random() < 0.7:
            _harm_table(file, draw)
        elif draw.random() < 0.4 and file.suffix != ".conll":
            _harm_file(file, draw)
        else:
            file.write_bytes(_harmed(file.read_bytes(), draw))


def _harm_file(file: Path, draw: random.Random) -> None:
    """One of the ways of ``faults``; those of values need a file that is whole."""
    whole = file.read_bytes()
    try:
        mutations.mutate(file, file.parent, draw.randrange(40), draw)
    except Exception:  # whatever readers of broken files raise
        file.write_bytes(_harmed(whole, draw))


def _harm_inside(path: Path, kind: str, draw: random.Random) -> None:
    """Harms what a packed file unpacks to."""
    try:
        if kind == "gz":
            content = _harmed(gzip.decompress(path.read_bytes()), draw)
            path.write_bytes(gzip.compress(content, mtime=0))
            return
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        name = draw.choice(list(parts))
    except Exception:  # it was harmed before, and may hold nothing
        path.write_bytes(_harmed(path.read_bytes(), draw))
        return
    how = draw.random()
    content = parts.pop(name)
    if how < 0.1:
        name = draw.choice(("../" + name, "/" + name, name.upper(), name + "\0", "a" * 300))
    if how < 0.9:
        parts[name] = _harmed(content, draw)
    _zip(path, parts)


def _harm_table(path: Path, draw: random.Random) -> None:
    """Gives a Parquet file other values or types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        path.write_bytes(_harmed(path.read_bytes(), draw))
        return
    size = len(table)
    columns: list[list[Any]] = [
        *([None] * size, [float("nan")] * size, [b"\xff\xfe"] * size, [[1]] * size),
        *([{"a": [None]}] * size, [2**63 - 1] * size, [True] * size, ["a" * 100_000] * size),
        *([[["a"]]] * size, [""] * size, ["\x1b[0m"] * size, list(range(size))),
    ]
    name = draw.choice(table.column_names)
    number = table.column_names.index(name)
    how = draw.random()
    if how < 0.7:
        table = table.set_column(number, name, pa.array(draw.choice(columns)))
    elif how < 0.8:
        table = table.slice(0, draw.randrange(3))
    elif how < 0.9:
        table = table.append_column(name, table.column(name))
    else:
        pieces = [piece.encode(errors="replace").decode() for piece in PIECES[:8]]
        table = table.rename_columns([draw.choice(pieces) + n for n in table.column_names])
    pq.write_table(table, path)


def _harmed(data: bytes, draw: random.Random) -> bytes:
    """Bytes with one harm: of a disk, of an editor, or of somebody who means it."""
    how = draw.random()
    if how < 0.35:
        return draw.choice(BYTES)(data, draw)
    piece = draw.choice(PIECES).encode(errors="surrogatepass")
    at = draw.randrange(len(data) + 1)
    if how < 0.7:
        return data[:at] + piece + data[at:]
    lines = data.split(b"\n")
    row = draw.randrange(len(lines))
    if how < 0.8:
        lines[row:row] = [lines[row]] * draw.choice((1, 2, 2000))
    elif how < 0.85:
        del lines[row]
    elif how < 0.95:
        parts = lines[row].split(b",")
        parts[draw.randrange(len(parts))] = piece
        lines[row] = b",".join(parts)
    else:
        lines[row] = b",".join(b"column%d" % i for i in range(5000))
    return b"\n".join(lines)


WORDS = [
    *("fit", "check", "init", "predict", "report", "tune", "auto", "explain", "compare", "export"),
    *("baselines", "test", "validate", "-c", "CONFIG", "RUN", "IT", "--help", "--version", "NEW"),
    *("--data.batch_size", "--data.workers", "--data.max_bytes", "--data.max_length", "--seeds"),
    *("--trainer.max_epochs", "--trainer.devices", "--folds", "--jobs", "--trials", "--budget"),
    *("--model.lr", "--model.unfreeze", "--rows", "--name", "--run", "--seed", "--text", "--out"),
    *("--data.text", "--data.label", "--data.labels", "--model", "--data", "--trainer.precision"),
    *("-1", "0", "100000", "1000000000000", "9" * 5000, "1e999", "nan", "[", "{a: b}", "[1, 2]"),
    *("../../x", "/", "", "-", "--", "=", "\x1b[31m", "é", "hf:x/y", "os.system", "true", "null"),
]


def command_line(draw: random.Random) -> list[str]:
    """Words of a command line that mostly begins as one should; what it would train is short."""
    begun = draw.choice(
        (["fit", "-c", "CONFIG"], ["predict", "RUN"], ["check", "-c", "CONFIG"], [])
    )
    words = [*begun, *draw.choices(WORDS, k=draw.randint(1, 4))]
    if draw.random() < 0.2:
        at = draw.randrange(len(words))
        words[at] += "".join(draw.choices(string.printable, k=draw.randint(1, 5)))
    if "fit" in words:
        words += ["--trainer.max_steps", "1", "--test", "false"]
    return words
