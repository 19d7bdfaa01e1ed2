"""The state of a run, which the trainer and its callbacks share."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

from ftlight.run.budget import Budget, seconds_of
from ftlight.run.folder import short
from ftlight.utils.errors import UserError
from ftlight.utils.spent import Meter

Unsaved = Literal["warn", "stop"]


def interval(every: int | str) -> tuple[int, float]:
    """Optimizer steps and seconds between checkpoints; 0 steps if time alone counts.

    Raises:
        UserError: it is neither a number of steps nor a duration.

    >>> interval(500), interval("10m"), interval("90s")
    ((500, inf), (0, 600.0), (0, 90.0))
    """
    if isinstance(every, int) or every.isdigit():
        if int(every) > 0:
            return int(every), float("inf")
    elif seconds := seconds_of(every):
        return 0, seconds
    raise UserError(
        f"trainer.save_every: {every} is not how often to save;"
        " give steps (500) or a time (30s, 10m, 2h)"
    )


@dataclasses.dataclass
class RunState:
    """What a run was asked for, and what became of it so far.

    Attributes:
        given: folder asked for, which need not exist yet; None for ``runs/NAME/TIME``.
        resume: whether the run in ``given`` is resumed.
        name: name of the run.
        wandb: W&B project, or None.
        test: whether the best checkpoint is tested after training.
        report: whether the command makes a page that shows the run.
        tracks_to_end: whether the trainer ends the run in W&B; else the command does, which has a
            verdict and a page to show there.
        patience: validations without a better score after which training stops; 0 for no limit,
            None until it is settled.
        calibration: file with the calibration of a run that validates nothing.
        too_few: validation rows, if they are so few that they end no run.
        max_steps: optimizer steps after which training stops; -1 for no limit.
        save_every: optimizer steps, or a time such as 10m, between checkpoints.
        unsaved: what to do if a checkpoint cannot be written: warn, or stop.
        saves: whether checkpoints are kept.
        auto_epochs: whether the number of epochs is set by the size of the data.
        meter: measures what a fit takes, from its beginning on; None before.
        begun: ``time.monotonic()`` at the beginning of the command; 0 if that is not known.
        budget: the time that the run may take, and the steps planned for it; None for no limit.
        config: config of the run, as config.yaml records it.
        lacks: options that its config cannot hold, with why.
        folder: folder of the run, once it is known.
        lock: open file that keeps the folder for this process.
        ckpt_path: checkpoint that training starts from, or None.
        source: run whose weights training starts with, or None.
        taken: what was taken of its weights, in words.
        rows: what decides the rows and their order, as :func:`ftlight.trainer.same_rows.facts` has
            it.
        fitting: whether ``fit`` runs, with its validations and its test.
        between_steps: whether a validation comes between two steps, not after a batch.
        obey: saves and stops if a signal asks for it; for long work between two steps.
        unwritten: what should be on the disk and is not, by its path in the folder, and why.
        waiting: checkpoints that wait in memory for room: their bytes, on the first process.
        wise: what was last mixed of pre-trained and fine-tuned weights: share, checkpoint, scores.
    """

    given: str | None = None
    resume: bool = False
    name: str = "run"
    wandb: str | None = None
    test: bool = True
    report: bool = True
    tracks_to_end: bool = True
    patience: int | None = None
    calibration: str | None = None
    too_few: int = 0
    max_steps: int = -1
    save_every: int | str = "10m"
    unsaved: Unsaved = "warn"
    saves: bool = True
    auto_epochs: bool = False
    meter: Meter | None = None
    begun: float = 0.0
    budget: Budget | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    lacks: dict[str, str] = dataclasses.field(default_factory=dict)
    folder: Path | None = None
    lock: IO[str] | None = None
    ckpt_path: str | None = None
    source: str | None = None
    taken: str = ""
    rows: dict[str, Any] = dataclasses.field(default_factory=dict)
    fitting: bool = False
    between_steps: bool = False
    obey: Callable[[Any], None] | None = None
    unwritten: dict[str, str] = dataclasses.field(default_factory=dict)
    waiting: dict[Path, bytes] = dataclasses.field(default_factory=dict)
    wise: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks what was asked for.

        Raises:
            UserError: it makes no sense.
        """
        interval(self.save_every)
        if self.resume and self.given is None:
            raise UserError("trainer.resume: give the folder of the run: trainer.run (--run DIR)")

    def begin(self) -> None:
        """Starts the clocks of a fit."""
        self.meter = Meter()
        if self.budget is not None:
            begun = self.begun or time.monotonic()
            self.budget.begun, self.budget.before, self.budget.totals = begun, 0.0, []
        self.begun = 0.0

    @property
    def home(self) -> Path:
        """The folder of the run: what it has, else what was asked for, else the working folder."""
        return self.folder or Path(self.given or ".")

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.home / "checkpoints"

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint; None if none is kept."""
        return self.checkpoints / "best.ckpt" if self.saves and self.folder else None

    def note(self, path: Path, problem: str) -> None:
        """Notes why a file could not be written; nothing is wrong with it if that is empty."""
        self.unwritten.pop(self._name(path), None)
        if problem:
            self.unwritten[self._name(path)] = problem

    def is_unwritten(self, path: Path) -> bool:
        """Whether a file should be on the disk and is not."""
        return self._name(path) in self.unwritten

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.home) if path.is_relative_to(self.home) else path)

    @property
    def most_steps(self) -> int:
        """Optimizer steps after which training stops, asked for or planned; -1 for no limit."""
        return self._least(self.budget.total if self.budget else -1)

    @property
    def first_steps(self) -> int:
        """The same as it was first planned."""
        return self._least(self.budget.first if self.budget else -1)

    def _least(self, planned: int) -> int:
        return min((steps for steps in (planned, self.max_steps) if steps > 0), default=-1)

    @property
    def resume_command(self) -> str:
        """The command that resumes the run."""
        return f"python -m ftlight fit --resume {shlex.quote(short(self.home))}"

    @property
    def goes_on(self) -> bool:
        """Whether training starts from one of the run's own checkpoints."""
        return self.resume and self.folder is not None and self.owns(self.ckpt_path)

    def owns(self, path: str | None) -> bool:
        """Whether a checkpoint is one of this run."""
        return path is not None and Path(path).resolve().parent == self.checkpoints.resolve()


def state_of(trainer: object) -> RunState | None:
    """The state of a trainer's run; None if the trainer is not ftlight's."""
    state = getattr(trainer, "run", None)
    return state if isinstance(state, RunState) else None
