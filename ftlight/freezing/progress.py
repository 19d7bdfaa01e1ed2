"""Where a run stands in its schedule: the stage, when it started, and how patience fares."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from ftlight.freezing.rates import lr_in_run
from ftlight.freezing.schedule import Stage, check_durations, epochs_of, is_better
from ftlight.utils.errors import UserError

# Key in a checkpoint to attribute. Checkpoints of 0.1 have these keys.
STATE = {
    "stage": "stage",
    "begins": "stage_starts",
    "best": "best",
    "waited": "bad_validations",
    "ended": "ended",
    "solved": "solved",
}

WAY_OUT = "give it as it was, or begin a new run with these weights: fit --from RUN"


class Progress:
    """Where a run stands in its schedule.

    Args:
        stages: those of the schedule.
        step: optimizer step of the run at which the first stage starts.

    >>> progress = Progress([Stage(("head",), steps=10), Stage(("all",))], step=0)
    >>> progress.per_epoch, progress.total = 10, 100
    >>> progress.advance(9), progress.advance(10), progress.stage_starts
    (False, True, [0, 10])
    """

    def __init__(self, stages: Sequence[Stage], step: int) -> None:
        self.stages = list(stages)
        self.stage = 0
        self.stage_starts = [step]
        self.per_epoch = 0  # optimizer steps
        self.total = 0  # optimizer steps from here on; 0 if nothing limits the run
        self.solved: list[int] = []  # stages in which the head has been solved
        self._reset_patience()

    def _reset_patience(self) -> None:
        self.best: float | None = None
        self.bad_validations = 0
        self.ended = False

    @property
    def current(self) -> Stage:
        """The stage that is running."""
        return self.stages[self.stage]

    @property
    def is_last(self) -> bool:
        """Whether the last stage is running."""
        return self.stage + 1 == len(self.stages)

    @property
    def only_solves(self) -> bool:
        """Whether the run takes no steps."""
        return all(stage.solved for stage in self.stages)

    @property
    def steps(self) -> int:
        """Optimizer steps of the run: fewer than its limits if the head is solved at the end."""
        lengths = self.lengths()
        if self.stages[-1].solved and None not in lengths:
            return sum(filter(None, lengths))
        return self.total

    @property
    def solves(self) -> bool:
        """Whether the head is solved in any stage."""
        return any(stage.solved for stage in self.stages)

    @property
    def to_solve(self) -> bool:
        """Whether the head is to be solved now."""
        return self.current.solved and self.stage not in self.solved

    def lengths(self) -> list[int | None]:
        """The most optimizer steps of each stage; None if only patience or the run ends it."""
        return self.nominal(self.total)

    def nominal(self, total: int) -> list[int | None]:
        """The same in a run with so many steps."""
        return [stage.length(self.per_epoch, total) for stage in self.stages]

    def length(self) -> int | None:
        """The most optimizer steps of the running stage; of the last, what is left of the run."""
        if not self.is_last:
            return self.current.length(self.per_epoch, self.total)
        done = self.stage_starts[-1] - self.stage_starts[0]
        return self.total - done if self.total else None

    def epochs(self, total: int) -> list[float]:
        """The most epochs of each stage in a run with so many steps; 0 if nothing limits it."""
        if not total:
            return [1e6] * len(self.stages)
        return epochs_of(self.nominal(total), total, self.per_epoch)

    def check_durations(self, fits: bool) -> None:
        """Checks the durations of the stages against the run.

        Args:
            fits: whether something must be left for the last stage.

        Raises:
            UserError: the stages do not fit into the run, or its length is not known.
        """
        check_durations(self.stages, self.per_epoch, self.total, fits)

    def advance(self, step: int) -> bool:
        """Moves to the stage that is due at an optimizer step. Returns whether it is another."""
        before = self.stage
        while not self.is_last and not self.to_solve:
            length = self.length()
            if not self.ended and (length is None or step - self.stage_starts[-1] < length):
                break
            self.stage += 1
            self.stage_starts.append(step)
            self._reset_patience()
        return self.stage != before

    def at(self, step: int) -> Progress:
        """Where the run stood at a step that it has taken.

        >>> progress = Progress([Stage(("head",), steps=10), Stage(("all",))], step=0)
        >>> progress.stage, progress.stage_starts = 1, [0, 10]
        >>> progress.at(9).stage, progress.at(10).stage
        (0, 1)
        """
        then = copy.copy(self)
        then.stage_starts = [start for start in self.stage_starts if start <= step]
        then.stage = len(then.stage_starts) - 1
        return then

    def lr(self, depth: int, step: int, trained: Sequence[bool]) -> float:
        """Learning rate of a layer at an optimizer step of the run; 0 if it is frozen.

        Args:
            depth: number of layers above this one.
            step: the step.
            trained: whether the layer trains, by stage.
        """
        length = self.length() or self.per_epoch
        starts, total = self.stage_starts, self.steps
        return lr_in_run(self.stages, starts, trained, depth, step, length, total)

    def validated(self, value: float, lower: bool) -> bool:
        """Counts a validation of a stage with patience. Returns whether patience has run out.

        Args:
            value: the monitored value.
            lower: whether lower is better.
        """
        if is_better(value, self.best, lower):
            self.best, self.bad_validations = value, 0
        else:
            self.bad_validations += 1
        patience = self.current.patience
        return patience is not None and self.bad_validations >= patience

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, with the schedule that it belongs to."""
        state = {key: getattr(self, attribute) for key, attribute in STATE.items()}
        return {**state, "schedule": [dataclasses.asdict(stage) for stage in self.stages]}

    def load_state_dict(self, state: dict[str, Any], option: Any = None) -> None:
        """Takes the state of a checkpoint.

        Args:
            state: as :meth:`state_dict` returned it; a run's has its ``options`` too.
            option: ``unfreeze`` of this run.

        Raises:
            UserError: it belongs to another schedule; a line for each option that is another.
        """
        saved = [Stage(**options) for options in state["schedule"]]
        if saved != self.stages:
            then = state.get("options", {}).get("unfreeze", option)
            lines = changes(saved, self.stages, then, option)
            raise UserError("\n".join(f"{line}; {WAY_OUT}" for line in lines))
        state = {"solved": [], **state}  # 0.1 solved none
        for key, attribute in STATE.items():
            setattr(self, attribute, state[key])


def changes(
    then: Sequence[Stage], now: Sequence[Stage], option_then: Any = None, option_now: Any = None
) -> list[str]:
    """A line for each option of the model that makes a schedule another one.

    Args:
        then: the stages that a run began with.
        now: those of this run.
        option_then: ``unfreeze`` that the run began with.
        option_now: that of this run.

    >>> changes([Stage(("all",), lr=2e-3)], [Stage(("all",), lr=1e-3)])
    ['model.lr: the run began with 0.002, this is 0.001']
    """

    def line(option: str, before: Any, after: Any) -> str:
        return f"model.{option}: the run began with {before}, this is {after}"

    if option_then != option_now or list(map(_plan, then)) != list(map(_plan, now)):
        words = [
            option if isinstance(option, str) and option_then != option_now else listed(stages)
            for option, stages in ((option_then, then), (option_now, now))
        ]
        return [line("unfreeze", *words)]
    lines = []
    for before, after in zip(then, now, strict=True):
        if before.solved != after.solved:
            ways = [
                "a head that is solved" if stage.solved else f"one stepped at lr {stage.lr:g}"
                for stage in (before, after)
            ]
            lines.append(line("lr or model.head_fit", *ways))
            continue
        lines += [
            line(name, *(_shown(getattr(stage, name)) for stage in (before, after)))
            for name in ("lr", "layer_decay", "warmup", "lr_schedule", "lr_over")
            if getattr(before, name) != getattr(after, name)
        ]
    return list({text.partition(":")[0]: text for text in reversed(lines)}.values())[::-1]


def _plan(stage: Stage) -> tuple[Any, ...]:
    """What trains in a stage, and what ends it."""
    ends = stage.epochs, stage.steps, stage.fraction, stage.patience, stage.monitor
    return stage.train, *ends


def listed(stages: Sequence[Stage]) -> str:
    """Stages as YAML."""
    return " ".join(map(str, stages))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
