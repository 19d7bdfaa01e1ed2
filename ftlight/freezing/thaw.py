"""Applies ``unfreeze: auto`` while a task trains: tries depths, keeps what surely is better."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import WeightAveraging

from ftlight.data.module import DataModule
from ftlight.freezing import auto, copies
from ftlight.freezing.auto import Search
from ftlight.freezing.callback import Freezing
from ftlight.freezing.rates import lr_in_search
from ftlight.training import lightning_internals, optim
from ftlight.training.fsdp import FSDP2
from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
OTHERWISE = "gradual"  # the schedule if there is too little to decide by


class Thawing(Freezing):
    """Thaws as deep as validation is sure that it pays (``unfreeze: auto``).

    The head comes first, solved and validated, then stepped from where it began. Then the best
    depth so far trains for half an epoch, and from the same weights the next one; a validation
    decides which of the two goes on, with its optimizer state. The rest of the run trains at the
    best depth; if there is none, the run ends with the solved head. The search is part of a
    checkpoint, with the copies of what may have to come back.

    Attributes:
        search: where the search stands; None if another schedule is run instead.
        kept: weights and optimizer state from before the stage that trains.
        control: those after as many steps of the best depth so far as the next one takes.
        solved: the solved head.
    """

    search: Search | None = None
    kept: copies.Copy | None = None
    control: copies.Copy | None = None
    solved: copies.Copy | None = None

    @property
    def state_key(self) -> str:
        """The key in checkpoints: that of any schedule, so that another one's is refused."""
        return "Freezing"

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        """Begins a search.

        Raises:
            UserError: the weights are divided among processes, or averaged.
        """
        if stage == "fit":
            self.option, self.search = "auto", None
            self.kept = self.control = self.solved = None
            if isinstance(trainer.strategy, FSDP2):
                raise UserError(
                    "model.unfreeze: auto cannot take back weights that fsdp2 divides among"
                    " processes; use trainer.strategy: ddp, or another schedule"
                )
            if callbacks_of(trainer, WeightAveraging):
                raise UserError(
                    "model.unfreeze: auto cannot take steps back in an average of the weights;"
                    " leave the average out, or give another schedule"
                )
        super().setup(trainer, task, stage)
        if stage == "fit":
            self.search = Search(len(self.progress.stages), began=trainer.global_step)

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """Validates at the end of each depth, beside when the options say so."""
        super().on_train_start(trainer, task)
        lightning_internals.validate_when(trainer, lambda: self._is_due(trainer))

    def _is_due(self, trainer: Any) -> bool:
        return self.search is not None and self.search.is_due(trainer.global_step)

    def count(self, trainer: Any) -> None:
        """Counts the steps of the run, and looks whether there is enough to decide by.

        Raises:
            UserError: there is no validation data.
        """
        super().count(trainer)
        if self.search is None:
            return
        if not sum(trainer.num_val_batches) and not trainer.fast_dev_run:
            raise UserError(
                "model.unfreeze: auto decides by validation, and there is no validation data;"
                f" give data.validation, or another schedule such as {OTHERWISE}"
            )
        if self.search.scores is None and (why := self._too_little(trainer)):
            log.info("model.unfreeze: auto: %s; it is %s instead", why, OTHERWISE)
            self._run_instead(trainer)
            super().count(trainer)
            return
        if self.search.scores is None:
            is_solved, self.search.count = self.progress.solves, len(self.progress.stages)
            self.search.start = int(is_solved)
            self.search.steps = 0 if is_solved else auto.trial_steps(self.progress.per_epoch)
        self.recount(trainer)
        self._plan_store(trainer)

    def _solve(self, trainer: Any) -> None:
        """Keeps the head as it was before it is solved."""
        if self.search is not None and self.progress.to_solve:
            if self.kept is not None:  # a validation was stopped, and it is solved again
                copies.put_back(self.kept, self.task.model, trainer.optimizers[0])
            self.kept = self._copy(trainer)
        super()._solve(trainer)

    def _copy(self, trainer: Any) -> copies.Copy:
        """A copy of what the stage trains."""
        return copies.take(
            self.task.model, self.trainable_params[self.stage], trainer.optimizers[0]
        )

    def _too_little(self, trainer: Any) -> str:
        """Why nothing could be decided, or nothing."""
        data, total = trainer.datamodule, self.progress.total
        if trainer.fast_dev_run:
            return "this is a dry run"
        if isinstance(data, DataModule):
            rows = len(data.sets["validation"])
            if rows < auto.LEAST_ROWS:
                return f"{rows} validation rows decide nothing (at least {auto.LEAST_ROWS})"
        trial = auto.trial_steps(self.progress.per_epoch)
        if 0 < total < 3 * trial:
            return f"{total:,} steps are too few to try depths for {trial:,} each"
        return ""

    def _run_instead(self, trainer: Any) -> None:
        """Changes to the schedule that needs no search."""
        self.option, self.search, store = OTHERWISE, None, self.stores[self.stage]
        start = self.progress.stage_starts
        self.resolve(self.task)
        self.progress.stage_starts = start
        self._enter(trainer, store)

    def _total(self, trainer: Any, back: int = 0) -> int:
        """Optimizer steps of the whole run, without those taken back; 0 if nothing limits it.

        Args:
            trainer: the trainer.
            back: steps that are about to be taken back.
        """
        in_vain = self.search.in_vain if self.search else 0
        return optim.total_steps(trainer, in_vain + back)

    def recount(self, trainer: Any) -> None:
        """Counts the steps of the run, without those that were taken back."""
        total = self._total(trainer) - self.progress.stage_starts[0]
        self.progress.total = self.task.total_steps = max(0, total)

    def _left(self, trainer: Any, back: int = 0) -> int | None:
        """Optimizer steps that the run has left; None if nothing limits it.

        Args:
            trainer: the trainer.
            back: steps that are about to be taken back.
        """
        total = self._total(trainer, back)
        return max(0, total - trainer.global_step + back) if total else None

    def _plan_store(self, trainer: Any) -> None:
        """Plans the store of this depth alone, for all steps that it may get: what follows is open.

        A depth that has a store goes on reading it. Nothing depends on where a run resumes.
        """
        search = self.search
        assert search is not None
        self.stores, cut = [None] * len(self.progress.stages), self.cut(self.stage)
        if cut not in search.stored:
            total = self._total(trainer)
            epochs = max(0, total - search.began) / self.progress.per_epoch if total else 1e6
            if self.plan_stores(trainer, [self.stage], [epochs])[0] is None:
                return
            search.stored.append(cut)
        self.stores[self.stage] = cut

    # Deciding

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        """Decides on the depth that has been tried.

        Raises:
            UserError: the task does not say how good each row is.
        """
        super().on_validation_end(trainer, task)
        if not self.fitting or trainer.sanity_checking or not self._is_due(trainer):
            return
        assert self.search is not None
        outcomes = task.row_outcomes("val")
        if not outcomes:
            raise UserError(
                f"{type(task).__name__}.row_scores: unfreeze: auto compares depths row by row:"
                " return a number per row, or give row_losses in Step"
            )
        scores = trainer.strategy.broadcast(outcomes["scores"].numpy())
        compared = self.search.judge(scores)
        if compared is not None:
            fate = "kept" if self.search.pending == "kept" else "not kept"
            depth = ", ".join(self.progress.current.train)
            log.info(
                "%s: %s (better with probability %.2f): %s",
                *(depth, auto.line(compared, scores), compared.better, fate),
            )
            self._end_with_head(trainer, self.search)

    def _end_with_head(self, trainer: Any, search: Search) -> None:
        """Ends the run if no depth is better than the head, and none is left to try."""
        back = self._to_take_back(trainer)
        following = search.next_depth(self._left(trainer, back), self.progress.per_epoch)
        if following is None and search.best <= search.start and self.progress.solves:
            log.info("model.unfreeze: auto: the solved head: no depth is surely better")
            trainer.should_stop = True

    # Going on

    def _advance(self, trainer: Any) -> None:
        if self.search is None:
            super()._advance(trainer)
        elif self.search.pending:
            if self.search.pending == "control":
                self.control = self._copy(trainer)
                self._take_back(trainer, self.search)
            self._put_back(trainer)
            self._move(trainer, self.search)

    def _move(self, trainer: Any, search: Search) -> None:
        """Begins the next depth, or goes on with the best one."""
        store, left = self.stores[self.stage], self._left(trainer)
        was_solved = self.stage < search.start
        if was_solved:
            self.solved = self._copy(trainer)
        self.progress.stage = search.advance(trainer.global_step, left, self.progress.per_epoch)
        self.progress.stage_starts = [self.progress.stage_starts[0], trainer.global_step]
        self.entered = None  # the same stage may go on with a store
        self.recount(trainer)
        self._plan_store(trainer)
        self._enter(trainer, store)
        if search.over:
            best = ", ".join(self.progress.stages[search.best].train)
            log.info("model.unfreeze: auto: %s", search.found(best))
        if not search.is_control:
            log.info(self.line())
        if was_solved and not search.over:
            assert self.kept is not None
            copies.put_back(self.kept, self.task.model, trainer.optimizers[0])
        self.kept = None if search.over else self._copy(trainer)
        if search.is_control or search.over:
            self.control = None

    def _due_stage(self, trainer: Any) -> int:
        if self.search is None:
            return super()._due_stage(trainer)
        if not self.search.pending:
            return self.stage
        ahead, back = copy.copy(self.search), self._to_take_back(trainer)
        step, left = trainer.global_step - back, self._left(trainer, back)
        return ahead.advance(step, left, self.progress.per_epoch)

    def _to_take_back(self, trainer: Any) -> int:
        """Optimizer steps of a control that has ended, or of a lost depth that had none."""
        assert self.search is not None
        lost = self.search.pending == "lost" and self.control is None
        is_due = lost or self.search.pending == "control"
        return trainer.global_step - self.search.began if is_due else 0

    def _take_back(self, trainer: Any, search: Search) -> None:
        """Takes back the steps of the stage."""
        assert self.kept is not None
        copies.put_back(self.kept, self.task.model, trainer.optimizers[0])
        steps = self._to_take_back(trainer)
        lightning_internals.take_back_steps(trainer, steps)
        search.in_vain += steps

    def _put_back(self, trainer: Any) -> None:
        """Puts what was better in the place of a depth that is not kept."""
        search = self.search
        if search is None or search.pending != "lost":
            return
        self._take_back(trainer, search)
        if self.control is not None:  # which had as many steps
            copies.put_back(self.control, self.task.model, trainer.optimizers[0])
        search.pending, self.kept, self.control = "back", None, None

    def on_train_end(self, trainer: Any, task: Any) -> None:
        """Puts back what was not kept, if the run ends with it; without a depth, the head."""
        self._put_back(trainer)
        search = self.search
        if search is None or self.solved is None or search.best > search.start:
            return
        if self.stage <= search.start or search.pending == "back":
            copies.put_back(self.solved, task.model, trainer.optimizers[0])

    @property
    def is_final(self) -> bool:
        """Whether the depth is found."""
        return super().is_final if self.search is None else self.search.over

    def lr_of(self, group: Mapping[str, Any], step: int) -> float:
        """The learning rate of an optimizer group at a step; 0 if it is frozen."""
        if self.search is None:
            return super().lr_of(group, step)
        if group["layer"] not in self.trainable_layers[self.stage]:
            return 0.0
        since = (step - self.progress.stage_starts[0], step - self.search.began)
        total = self.progress.total
        length = self.search.steps or total
        return lr_in_search(self.progress.current, group["depth"], *since, length, total)

    # Words

    def line(self) -> str:
        """The depth in one line, and for how long it is tried."""
        if self.search is None or self.search.over or not self.search.steps:
            return super().line()
        return f"{super().line()}; compared after {self.search.steps:,} steps"

    # State

    def state_dict(self) -> dict[str, Any]:
        """Where the search stands, and the copies that may have to come back."""
        search = {} if self.search is None else self.search.state_dict()
        copied = {"kept": self.kept, "control": self.control, "solved_head": self.solved}
        return {**super().state_dict(), "search": search, **copied}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes a search, or the schedule that was run instead of one.

        Raises:
            UserError: the checkpoint belongs to another schedule; shows both.
        """
        if self.fitting and state.get("search"):
            self.search, self.kept = Search.from_state(state["search"]), state["kept"]
            self.control, self.solved = state.get("control"), state.get("solved_head")
        elif self.fitting and "search" in state:
            self.option, self.search = OTHERWISE, None
            self.resolve(self.task)
        super().load_state_dict(state)
