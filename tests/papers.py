"""Word and PDF files made by hand, whole and hostile."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx(path: Path, *paragraphs: str) -> Path:
    """Writes a Word file of these paragraphs."""
    runs = (f"<w:r><w:t>{escape(text)}</w:t></w:r>" for text in paragraphs)
    return raw_docx(path, "".join(f"<w:p>{run}</w:p>" for run in runs))


def raw_docx(path: Path, body: str, head: str = "", part: str = "word/document.xml") -> Path:
    """Writes a Word file with this XML in its body and, before the root, its head."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "_rels/.rels",
            '<Relationships><Relationship Id="rId1" Target="docProps/core.xml" Type="x/core"/>'
            f'<Relationship Id="rId2" Target="/{part}" Type="x/officeDocument"/></Relationships>',
        )
        archive.writestr(
            part,
            f'<?xml version="1.0" encoding="UTF-8"?>{head}<w:document xmlns:w="{WORD}" '
            'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
            f"<w:body>{body}</w:body></w:document>",
        )
    return path


def pdf(path: Path, *pages: str) -> Path:
    """Writes a PDF with a line of ASCII on each page; one without a line has nothing to read."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        shown = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET" if text else "0 0 300 300 re f"
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Resources"
            f" << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * i} 0 R >>",
            f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream",
        ]
    data, starts = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        starts.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n"
    entries = "".join(f"{start:010} 00000 n \n" for start in starts)
    size, table = len(objects) + 1, len(data)
    data += f"xref\n0 {size}\n0000000000 65535 f \n{entries}"
    data += f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n"
    path.write_bytes(data.encode("ascii"))
    return path


def bomb(path: Path, size: int = 40 << 20) -> Path:
    """Writes a Word file that unpacks to a thousand times its size."""
    return docx(path, "A" * size)


def laughs(path: Path) -> Path:
    """Writes a Word file with entities of entities, which would fill the memory."""
    names = ["lol", *(f"lol{i}" for i in range(1, 10))]
    pairs = itertools.pairwise(names)
    declared = "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in pairs)
    return raw_docx(
        path,
        "<w:p><w:r><w:t>&lol9;</w:t></w:r></w:p>",
        f'<!DOCTYPE lolz [<!ENTITY lol "lol">{declared}]>',
    )
