"""The text of PDF files, by pypdf in a process of its own with limits of time and memory.

Files that send a parser round for ever are what its advisories are about, and no check of ours
finds them all: what takes too long or too much is ended from outside.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ftlight.utils.errors import UserError

SECONDS = 60  # of a processor, for one file
PATIENCE = 300  # seconds of a clock: those that wait for something, or where no processor's count
BYTES = 2**31  # of address space, the interpreter's own included
CHILD = Path(__file__).with_name("pdf_child.py")


class Bad(Exception):
    """A PDF that has no text to give; says why."""


class Reader:
    """Reads PDFs one after another in a child process, which starts with the first.

    Args:
        most: most characters of a text.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def text(self, path: Path) -> str:
        """The text of a PDF, page after page.

        Raises:
            Bad: it has none, or cannot be read; says why.
            UserError: pypdf is not installed.
        """
        answer = self._ask(path)
        if "fault" in answer:
            self._end()  # whatever that has left behind in it
            raise Bad(answer["fault"])
        text: str = answer["text"]
        if not text.strip():
            raise Bad("no text in it, only images of pages perhaps: an OCR program can read those")
        return text

    def _ask(self, path: Path) -> dict[str, str]:
        """What the child answers: a text or a fault."""
        if importlib.util.find_spec("pypdf") is None:
            raise UserError("PDFs need pypdf: pip install ftlight[documents]")
        child = self.child = self.child or _start(self.most)
        assert child.stdin is not None
        assert child.stdout is not None
        ended = threading.Event()

        def end() -> None:
            ended.set()
            child.kill()

        late = threading.Timer(PATIENCE, end)
        late.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # then there is no answer either
                child.stdin.write(json.dumps(str(path)) + "\n")
                child.stdin.flush()
            line = child.stdout.readline()
        finally:
            late.cancel()
        if line.endswith("\n"):
            answer: dict[str, str] = json.loads(line)
            return answer
        status = child.wait()
        if ended.is_set():
            return {"fault": f"it took more than {PATIENCE:g} s"}
        if status == -getattr(signal, "SIGXCPU", 0):
            return {"fault": f"it took more than {SECONDS:g} s of a processor"}
        return {"fault": f"pypdf ended on it (status {status})"}

    def _end(self) -> None:
        """Ends the child, if there is one."""
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            with contextlib.suppress(BrokenPipeError):
                child.communicate()


def _start(most: int) -> subprocess.Popen[str]:
    # -P: the folder of the script must not hide modules of other libraries
    words = [sys.executable, "-P", str(CHILD), str(SECONDS), str(BYTES), str(most)]
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
        encoding="utf-8",
    )
