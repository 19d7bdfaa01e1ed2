"""Reads PDFs; :mod:`ftlight.data.pdf` starts it as a script of its own.

Each line of standard input is the path of a PDF as JSON, each line of standard output its text or
its fault.
"""

from __future__ import annotations

import json
import sys


def main(seconds: float, size: int, most: int) -> None:
    """Answers until standard input ends.

    Args:
        seconds: seconds of a processor for a file, after which the system ends this process.
        size: bytes of address space.
        most: most characters of a text.
    """
    for line in sys.stdin:
        _limit(seconds, size)
        path = json.loads(line)
        try:
            answer = {"text": _text(path, most)}
        except MemoryError:
            answer = {"fault": f"it takes more than {size >> 30} GB of memory"}
        except Exception as error:  # whatever a parser of broken files raises
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            answer = {"fault": f"pypdf cannot read it ({first})"}
        print(json.dumps(answer), flush=True)


def _limit(seconds: float, size: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _text(path: str, most: int) -> str:
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("it has a password; save it without one")
    pages, length = [], 0
    for page in reader.pages:
        pages.append(page.extract_text())
        length += len(pages[-1])
        if length > most:
            raise ValueError(f"its text has more than {most:,} characters")
    # halves of surrogate pairs are no text
    text = "\n".join(pages)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
