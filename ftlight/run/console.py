"""The screen of a run: one table at the start, progress, one table at the end; nothing else."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, cast

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from torch import Tensor

from ftlight.utils.printable import printable

LOGGERS = (
    *("lightning", "lightning.pytorch", "lightning.fabric"),
    *("datasets", "torch.distributed", "fsspec"),
)
WARNERS = (
    *("lightning", "torch", "jsonargparse", "torchmetrics"),
    *("transformers", "datasets", "wandb"),
)


class Output:
    """Standard output, which may lie on a full disk: a run goes on without it.

    Attributes:
        lost: why something could not be written; empty if all could.
    """

    lost = ""

    def write(self, text: str) -> int:
        """Writes a text, if that is possible."""
        self._attempt(lambda: sys.stdout.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered, if that is possible."""
        self._attempt(sys.stdout.flush)

    def gap(self) -> str:
        """Why lines are lost though what follows them can be written; empty if none are."""
        lost, self.lost = self.lost, ""
        self.flush()
        return "" if self.lost else lost

    def _attempt(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except BrokenPipeError:  # the reader has left, as head does
            raise
        except OSError as error:
            self.lost = error.strerror or str(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


class Screen(Console):
    """A console that can go on without a reader.

    Attributes:
        on_no_reader: called if the reader of the output has left, as ``head`` does; if None, the
            program ends.
    """

    on_no_reader: Callable[[], None] | None = None

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """What is written, without what texts of others would do to a terminal."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Writes to nowhere from now on, or ends the program."""
        if self.on_no_reader is None:
            super().on_broken_pipe()
        else:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.on_no_reader()


output = Output()
console = Screen(
    file=cast(IO[str], output),
    highlight=False,
    markup=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() else 120,
)


def silence_libraries() -> None:
    """Silences messages of libraries that a user cannot act on, such as tips and adverts."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    ours = logging.getLogger("ftlight")
    if not ours.handlers:
        ours.setLevel(logging.INFO)
        ours.addHandler(_Lines())
    # such as: num_workers is low, the log folder is not empty, modules are in eval mode
    for module in WARNERS:
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


class _Lines(logging.Handler):
    """Prints ftlight's own messages as plain lines, on the first process only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a message."""
        if getattr(rank_zero_only, "rank", 0) in (None, 0):
            console.print(record.getMessage())


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Prints pairs of name and value as one table."""
    grid = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    console.print(grid)


def grid(
    head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "", wraps: str = ""
) -> None:
    """Prints a table with a header.

    Args:
        head: Names of the columns.
        rows: Cells of each row.
        note: A line below the table.
        wraps: The column that is wrapped if the table is too wide; the others stay whole.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        table.add_column(name, no_wrap=name != wraps)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if note:
        console.print(note)


def confusions(matrix: Tensor, labels: Sequence[str], most: int = 5) -> list[str]:
    """Describes the most frequent confusions of a matrix ``[actual, predicted]``, a line each."""
    wrong = matrix.clone().fill_diagonal_(0).flatten().tolist()
    size = len(labels)
    cells = sorted(((int(count), i) for i, count in enumerate(wrong) if count), reverse=True)
    lines = []
    for count, i in cells[:most]:
        lines.append(f"{labels[i // size]} taken for {labels[i % size]}: {count}")
    return lines
