"""Folders of documents: what is read, what is left out and why, and labels by folders."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from pathlib import Path
from typing import Any

import papers
import pytest
from conftest import each

from ftlight.data import document_text, documents, files, pdf
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.masked_lm.data import MaskedData
from ftlight.tasks.question_answering.data import QAData
from ftlight.tasks.retrieval.data import RetrievalData
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.tasks.text_classification.data import TextData
from ftlight.tasks.token_classification.data import TokenData
from ftlight.utils.errors import UserError

STRANGE = "Grüße 😀\r\nzwei\r\n"


def put(name: str, content: str | bytes = "a text") -> Path:
    path = Path("docs") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(**how: Any) -> tuple[dict[str, str], list[str]]:
    """Text of each document by its file, and the remarks."""
    with collected() as remarks:
        rows = list(documents.read(Path("docs"), **how))
    assert all(row["file"] == row[files.LINE] for row in rows)
    return {row["file"]: row["text"] for row in rows}, remarks


def why(make: Any, name: str) -> str:
    """Why a document is left out that stands beside a good one."""
    put("good.txt")
    made = Path("docs") / name
    make(made)
    found, remarks = read()
    made.unlink()
    assert found == {"good.txt": "a text"}
    (line,) = remarks
    start = f"docs: 1 of 2 documents left out ({name}): "
    assert line.startswith(start)
    return line.removeprefix(start)


def test_text_files_are_read_to_the_character() -> None:
    put("b/a.txt", STRANGE)
    put("bom.TXT", b"\xef\xbb\xbf" + STRANGE.encode())
    put("wide.md", STRANGE.encode("utf-16"))
    papers.docx(Path("docs/c.docx"), "Grüße 😀", "<zwei>")
    found, remarks = read()
    assert found == {
        "b/a.txt": STRANGE,
        "bom.TXT": STRANGE,
        "c.docx": "Grüße 😀\n<zwei>\n",
        "wide.md": STRANGE,
    }
    assert not remarks


def test_an_encoding_is_that_of_the_option() -> None:
    put("a.txt", "Grüße".encode("cp1252"))
    put("b.txt", "plain")
    assert read(encoding="cp1252")[0] == {"a.txt": "Grüße", "b.txt": "plain"}
    with pytest.raises(UserError, match="utf-99 is not an encoding that Python knows"):
        read(encoding="utf-99")


def test_the_encoding_of_a_document_that_is_not_utf_8_is_guessed() -> None:
    good = {"a.txt": "Grüße", "b/c.txt": "schöne Straße", "d.md": "Привет, где мой заказ?"}
    encodings = {"a.txt": "cp1252", "b/c.txt": "cp1252", "d.md": "cp1251"}
    for name, text in good.items():
        put(name, text.encode(encodings[name]))
    put("plain.txt", "Grüße")
    found, remarks = read()
    assert found == {**good, "plain.txt": "Grüße"}
    assert remarks == [
        "docs: 3 documents are not in UTF-8, and read in an encoding that is guessed (d.md as"
        " cp1251; a.txt, b/c.txt as cp1252); look at the letters with marks"
    ]
    assert TextData().read_predict("docs/a.txt")[0]["text"] == "Grüße"


def test_what_spells_nothing_is_left_out() -> None:
    def check(content: bytes) -> None:
        (Path("docs") / "bad.txt").unlink(missing_ok=True)
        assert why(lambda path: path.write_bytes(content), "bad.txt").startswith(
            "not in utf-8; set"
        )

    each(
        [
            (bytes([7, 0x90, 0xE9, *b"caf\xe9 "]),),
            ("Grüße, schöne Straße".encode() + b"\xff",),  # damaged UTF-8
            (b"\xff\xfea\0b",),
        ],
        check,
    )


def test_hidden_and_other_files_are_counted_in_one_line() -> None:
    for name in ("a.txt", ".b.txt", ".git/c.txt", "~$d.docx", "e.doc", "f.doc", "g"):
        put(name)
    os.mkfifo("docs/pipe.txt")  # reading it would wait for ever
    found, (line,) = read()
    assert list(found) == ["a.txt"]
    assert line == (
        "docs: 7 files are left out, no documents: 3 hidden, 2 .doc, 1 without a suffix, 1 .txt"
    )


def test_documents_without_text_and_many_faults_take_few_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for i in range(30):
        put(f"{i:02}.txt", " \n")
    put("good.txt")
    (line,) = read()[1]
    assert line.startswith("docs: 30 of 31 documents left out (00.txt, 01.txt, ")
    assert line.endswith(" and 10 more): no text in it")
    monkeypatch.setattr(documents, "REASONS", 2)
    put("b.docx")
    papers.raw_docx(Path("docs/c.docx"), "<broken")
    remarks = read()[1]
    assert [line.partition(" left out ")[0] for line in remarks] == [
        "docs: 30 of 33 documents",
        "docs: 2 of 33 documents",
    ]
    assert remarks[1].endswith("(b.docx, c.docx): of these each for another reason")


def test_a_folder_in_which_nothing_can_be_read_is_an_error() -> None:
    put("a.txt", "")
    put("b.docx")
    with pytest.raises(UserError) as info:
        read()
    assert str(info.value).splitlines() == [
        "docs: 1 of 2 documents left out (a.txt): no text in it",
        "docs: 1 of 2 documents left out (b.docx): no Word file (File is not a zip file)",
    ]
    with pytest.raises(UserError) as info:
        TextData().read_predict("docs/b.docx")
    assert str(info.value).endswith("docs/b.docx: no Word file (File is not a zip file)")
    put("other/x.doc")
    with pytest.raises(UserError, match=r"is a folder; name one of its files \(x.doc\), or a"):
        files.check("docs/other")


def test_a_whole_disk_is_refused_before_it_is_read() -> None:
    for name in ("/", "/usr/.."):
        with pytest.raises(UserError, match=r"^/.*: this is a whole disk; name the folder"):
            documents.names(Path(name))


def test_what_a_word_file_shows_is_its_text() -> None:
    body = (
        "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>one</w:t><w:tab/><w:t>two</w:t><w:br/><w:t>three</w:t></w:r>"
        "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
        "<w:p><mc:AlternateContent><mc:Choice><w:r><w:t>box</w:t></w:r></mc:Choice>"
        "<mc:Fallback><w:r><w:t>box</w:t></w:r></mc:Fallback></mc:AlternateContent></w:p>"
    )
    put("x.txt")
    papers.raw_docx(Path("docs/a.docx"), body, part="word/document2.xml")
    assert read()[0]["a.docx"] == "one\ttwo\nthree\ncell\nbox\n"


def test_hostile_word_files_are_left_out_with_a_line() -> None:
    def external(path: Path) -> None:
        head = '<!DOCTYPE d [<!ENTITY secret SYSTEM "file:///etc/passwd">]>'
        papers.raw_docx(path, "<w:p><w:r><w:t>&secret;</w:t></w:r></w:p>", head)

    def links_out(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../word/document.xml", "<a/>")

    def large(path: Path) -> None:
        papers.docx(path, "a")
        with zipfile.ZipFile(path, "a") as archive:
            archive.getinfo("word/document.xml").file_size = 1 << 30
            archive.comment = os.urandom(100)

    cases = [
        (papers.bomb, "times as large unpacked, as those of a zip bomb are"),
        (large, "times as large unpacked, as those of a zip bomb are"),
        (papers.laughs, "it declares entities, which no Word file does and XML bombs do"),
        (external, "it declares entities, which no Word file does and XML bombs do"),
        (links_out, "leads out of it"),
        (lambda path: papers.raw_docx(path, "<w:p>"), "its XML is broken"),
        (lambda path: path.write_text("Dear Sir"), "no Word file (File is not a zip file)"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "it has no part word/document.xml"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "it has a password"),
        (lambda path: papers.docx(path, ""), "no text in it"),
    ]

    def check(make: Any, said: str) -> None:
        assert said in why(make, "x.docx")

    each(cases, check)


def test_a_file_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_text, "MOST", 1 << 20)
    assert "larger than 1 MB" in why(lambda p: p.write_bytes(b"a" * (1 << 20) + b"a"), "x.txt")

    def random_words(path: Path) -> None:
        papers.docx(path, os.urandom(1 << 20).hex())

    assert "larger than 1 MB" in why(random_words, "x.docx")
    monkeypatch.setattr(document_text, "MOST", (1 << 20) + (1 << 19))
    assert "its text unpacks to 2 MB, more than 1" in why(random_words, "x.docx")


@pytest.mark.processes
def test_pdfs_are_read_page_by_page() -> None:
    put("a.txt")
    papers.pdf(Path("docs/b.pdf"), "one small parcel", "two")
    papers.pdf(Path("docs/scan.pdf"), "", "")
    put("c.pdf", b"%PDF-1.4 and no more")
    found, remarks = read()
    assert found == {"a.txt": "a text", "b.pdf": "one small parcel\ntwo"}
    assert [line.partition(" left out ")[2].partition(" (Str")[0] for line in remarks] == [
        "(c.pdf): pypdf cannot read it",
        "(scan.pdf): no text in it, only images of pages perhaps: an OCR program can read those",
    ]


CHILD = """
import os, sys, threading
from ftlight.data import pdf_child
def text(path, most):
    if "loop" in path:
        while True:
            pass
    if "wait" in path:
        threading.Event().wait()
    if "fill" in path:
        return "x" * 10**12
    if "crash" in path:
        os._exit(3)
    return os.path.basename(path)
pdf_child._text = text
pdf_child.main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.processes
def test_a_pdf_that_never_ends_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("child.py").write_text(CHILD)
    monkeypatch.setattr(pdf, "CHILD", Path("child.py").resolve())
    monkeypatch.setattr(pdf, "SECONDS", 1)
    for name in ("a", "crash", "fill", "loop", "z"):
        put(f"{name}.pdf")
    found, remarks = read()
    assert found == {"a.pdf": "a.pdf", "z.pdf": "z.pdf"}
    assert remarks == [
        "docs: 1 of 5 documents left out (crash.pdf): pypdf ended on it (status 3)",
        "docs: 1 of 5 documents left out (fill.pdf): it takes more than 2 GB of memory",
        "docs: 1 of 5 documents left out (loop.pdf): it took more than 1 s of a processor",
    ]
    for path in Path("docs").iterdir():
        path.rename(path.with_name("wait.pdf"))
    put("a.txt")
    monkeypatch.setattr(pdf, "PATIENCE", 1)
    assert read()[1] == ["docs: 1 of 2 documents left out (wait.pdf): it took more than 1 s"]


def test_without_pypdf_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.pdf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"PDFs need pypdf: pip install ftlight\[documents\]"):
        read()


# Labels and splits


def test_labels_are_folders() -> None:
    for name in ("good/1.txt", "good/deep/2.txt", "bad/3.txt"):
        put(name, name)
    data = TextData("docs", validation_split=0)
    table = data.load_split("train")
    assert table["label"][:] == ["bad", "good", "good"]
    assert table["line"][:] == ["bad/3.txt", "good/1.txt", "good/deep/2.txt"]
    assert any("by folders" in note for note in data.notes)
    put("alone.txt")
    with pytest.raises(UserError) as info:
        TextData("docs", validation_split=0).load_split("train")
    assert str(info.value) == (
        "docs/alone.txt is in no folder of a class; move it into one, or give a table with columns"
        " text, label"
    )


def test_folders_named_for_splits_are_splits() -> None:
    for split in ("train", "val", "test"):
        for label in ("good", "bad"):
            put(f"{split}/{label}/1.txt", f"{split} {label}")
    data = TextData("docs")
    assert {s: data.load_split(s)["text"][:] for s in ("train", "validation", "test")} == {
        "train": ["train bad", "train good"],
        "validation": ["val bad", "val good"],
        "test": ["test bad", "test good"],
    }
    assert data.notes[:2] == ["validation: found in docs", "test: found in docs"]
    assert len(data.read_predict("docs")) == 6
    # plain texts have no classes
    for split in ("train", "test"):
        put(f"plain/{split}/1.txt", split)
    texts = ChatData("docs/plain", validation_split=0)
    assert [len(texts.load_split(split)) for split in ("train", "test")] == [1, 1]


def test_errors_name_the_document() -> None:
    for name in ("train/good/1.txt", "train/bad/2.txt", "test/worse/3.txt"):
        put(name, name)
    data = TextData("docs", validation_split=0)
    with pytest.raises(UserError, match=r"docs/test/worse/3.txt: label 'worse' is not in train"):
        data.numbers(data.load_split("test"), "test")
    assert data.places("train") == ["train/bad/2.txt", "train/good/1.txt"]
    with pytest.raises(UserError, match=r"letters/x/2.txt: column text is empty"):
        files.filled({"text": " ", files.LINE: "x/2.txt"}, "text", "letters/")
    with pytest.raises(UserError, match=r"docs/\S+: no column spans or entities"):
        TokenData("docs").load_split("train")


def test_a_changed_document_is_other_data() -> None:
    put("a/1.txt", "one")
    put("b/2.txt", "two")
    before = Source("docs").digest()
    assert Source("docs/").digest() == before
    os.utime("docs/a/1.txt", (0, 0))
    assert Source("docs").digest() == before  # a copy of the folder is the same
    put("a/1.txt", "ONE")
    assert Source("docs").digest() != before


def test_each_task_takes_documents_to_predict_in_its_own_column() -> None:
    put("b.txt", "two")
    put("a/1.txt", "one")
    cases = [
        (TextData(text="message"), "message"),
        (TokenData(text="body"), "body"),
        (Seq2SeqData(source="dialogue"), "dialogue"),
        (MaskedData(), "text"),
        (ChatData(), "text"),
        (RetrievalData(query="question"), "question"),
    ]

    def check(data: Any, column: str) -> None:
        rows = [
            {k: v for k, v in row.items() if k != "__line__"} for row in data.read_predict("docs")
        ]
        assert rows == [{"file": "a/1.txt", column: "one"}, {"file": "b.txt", column: "two"}]

    each(cases, check)
    data = QAData()
    with pytest.raises(UserError, match=r"docs: no column question \(columns: file, text\)"):
        data.encode_rows(data.read_predict("docs"), "docs")


def test_a_document_by_itself() -> None:
    path = papers.docx(put("a.docx"), "one")
    data = TextData()
    (row,) = data.read_predict(str(path))
    assert row == {"file": "a.docx", "text": "one\n", files.LINE: 1}
    assert data.source_at(str(path)).digest() == Source(str(path)).digest()
    with pytest.raises(UserError, match=r"no Word file \(File is not a zip file\)"):
        data.read_predict(str(put("b.docx")))
    with pytest.raises(UserError, match=r"c.md is empty"):
        data.read_predict(str(put("c.md", "")))


def test_a_text_file_to_predict_is_one_document_and_a_line_says_so() -> None:
    path = str(put("d.txt", STRANGE))
    Path("e.txt").write_text("a text")
    for data in (TextData(), TokenData(), Seq2SeqData(source="text"), RetrievalData(query="text")):
        with collected() as remarks:
            assert data.read_predict(path) == [{"file": "d.txt", "text": STRANGE, files.LINE: 1}]
        (line,) = remarks
        assert line == (
            "d.txt: read as one document; for a text in each line give it to standard input:"
            " predict RUN - < d.txt"
        )
        assert data.is_place("e.txt")
        assert not data.is_place("f.txt")
        assert not data.is_place("~nobody-here/e.txt")  # a text, not a traceback
    with collected() as remarks:
        TextData().read_predict(str(put("one.txt", "a single line\n")))
    assert not remarks
    for data in (QAData(), TextData(text_pair="other")):
        with pytest.raises(UserError, match=r"d.txt: format .txt is not known"):
            data.read_predict(path)
