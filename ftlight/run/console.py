"""What a person sees while a run goes on: one table at the start, progress, one table at the end; nothing else."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch import Tensor

console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120
)


def silence_libraries() -> None:
    """Silences what a user can do nothing about: tips, adverts and hints of the libraries below."""
    for name in (
        "lightning",
        "lightning.pytorch",
        "lightning.fabric",
        "datasets",
        "torch.distributed",
        "fsspec",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    # such as: num_workers is low, the log folder is not empty, modules are in eval mode
    ours = logging.getLogger("ftlight")
    if not ours.handlers:
        ours.setLevel(logging.INFO)
        ours.addHandler(_Lines())
    for module in (
        "lightning",
        "torch",
        "jsonargparse",
        "torchmetrics",
        "transformers",
        "datasets",
        "wandb",
    ):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


class _Lines(logging.Handler):
    """Prints what ftlight has to say as plain lines, on the first process."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a line."""
        if getattr(rank_zero_only, "rank", 0) in (None, 0):
            console.print(record.getMessage())


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Prints name and value pairs as one table."""
    grid = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    console.print(grid)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Prints a table with a header."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        made.add_column(name, no_wrap=True)
    for row in rows:
        made.add_row(*row)
    console.print(made)
    if note:
        console.print(note)


def confusions(matrix: Tensor, labels: Sequence[str], most: int = 5) -> list[str]:
    """The most frequent confusions of a matrix ``[actual, predicted]``, as words."""
    wrong = matrix.clone().fill_diagonal_(0)
    size = len(labels)
    cells = sorted(((int(n), i) for i, n in enumerate(wrong.flatten().tolist()) if n), reverse=True)
    return [f"{labels[i // size]} taken for {labels[i % size]}: {n}" for n, i in cells[:most]]
