"""The callback that has a run end in time and cooled: it plans its steps, and may lower them."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch.callbacks import Callback, Timer

from ftlight.freezing import callback, cost
from ftlight.run.budget import UNPLANNED, Budget
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import rehearsal
from ftlight.trainer.legs import between_validations, legs_of, rate_of
from ftlight.training import optim
from ftlight.training.lightning_internals import callbacks_of, is_dry_run
from ftlight.training.plan import LATE, SPARE, Leg, Rate, is_news, learned, plan, seconds, why
from ftlight.utils.distributed import first_decides
from ftlight.utils.format import span

log = logging.getLogger(__name__)
MOST_EPOCHS = 30  # if max_epochs is not given
REVIEWS = 10  # of a plan, beside those after validations
# To load the best weights, look at the test and write what a run leaves: seconds, and a share of
# those that passed before the plan, since a machine that is slow to begin is slow to end.
CLOSING, AS_START = 2.0, 0.1


class TimeLimit(Callback):
    """Plans the steps that fit into the time limit of a run, and ends it by the clock if need be.

    The plan comes before the first step, from a rehearsal that leaves no trace. After each
    validation, and each tenth of the steps, it may be lowered by what was learned, never raised.

    Args:
        run: state of the run.
        budget: its time limit.
    """

    def __init__(self, run: RunState, budget: Budget) -> None:
        self.run = run
        self.budget = budget
        self.work = self.worked = 0.0  # units of work that were timed, and their seconds
        self.units: dict[tuple[int, int | None], float] = {}  # of a step, by stage and store
        self.validation = 0.0  # seconds of the last one
        self.since: float | None = None  # when the step began that is timed
        self.validates_since: float | None = None
        self.stage = 0
        self.said: int | None = None  # steps of the last lower plan that a line told

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """Plans the steps, or goes on with the plan of a checkpoint."""
        run, budget = self.run, self.budget
        if run.budget is None or is_dry_run(trainer):  # the run began without a plan
            run.budget = None
            return
        if reason := rehearsal.obstacle(trainer):
            log.info("the clock alone ends the run, cooled or not: %s", reason)
            run.budget, run.auto_epochs = None, False
            return
        if run.auto_epochs and (trainer.max_epochs or -1) < 0:
            trainer.fit_loop.max_epochs = MOST_EPOCHS
        if not budget.totals:
            self._plan(trainer, task)
        elif budget.before:
            left = f"{span(budget.used)} of {span(budget.seconds)} are used"
            log.info("%s; the plan was %s steps", left, f"{budget.total:,}")
            callback.of(trainer).count(trainer)
            self._review(trainer)
        self._set_clock(trainer)

    def _plan(self, trainer: Any, task: Task) -> None:
        budget, done, schedule = self.budget, trainer.global_step, callback.of(trainer)
        budget.totals = [] if optim.total_steps(trainer) else [[done, UNPLANNED]]
        schedule.count(trainer)  # which heads are solved, and the steps of an epoch
        most, stage = optim.total_steps(trainer), cost.dearest(schedule)
        budget.totals = []
        if stage is None:  # the head is solved, and no step taken
            return
        found = rehearsal.rehearse(trainer, task, schedule, stage, budget.seconds)
        rate = rate_of(trainer, stage, found)
        test = found.test if self.run.test else 0.0

        def legs(total: int) -> list[Leg]:
            return legs_of(trainer, total, rate, found.epoch, fresh=True)

        def decide() -> Budget:
            budget.rate = [rate.work, rate.validation, found.epoch]
            budget.reserve = CLOSING + AS_START * budget.used + test
            budget.test = test
            left = (1 - SPARE) * (budget.seconds - budget.reserve - budget.used)
            total = plan(rate, left, legs, most, done)
            budget.totals, budget.about = [[done, total]], seconds(rate, legs(total), done)
            return budget

        planned = first_decides(trainer, decide)
        for name in ("rate", "reserve", "test", "totals", "about"):
            setattr(budget, name, getattr(planned, name))
        if budget.total == done + 1:
            log.info(
                "%s is too short for more than one step: %s had passed before it, a validation"
                " takes %s, the test %s",
                *(span(budget.seconds), span(budget.used), span(rate.validation), span(test)),
            )

    def _set_clock(self, trainer: Any) -> None:
        """Has Lightning's timer count from the start of fit, and leave room for the test."""
        budget = self.budget
        offset = budget.used + budget.reserve - LATE * budget.seconds
        for timer in callbacks_of(trainer, Timer):
            timer.load_state_dict({"time_elapsed": {"train": offset}})

    # Learning

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Notes which stage the step is of, and how long a validation and its saves took."""
        stage = callback.of(trainer).stage
        if self.validates_since is not None and stage == self.stage:
            self.validation = self.budget.used - self.validates_since
        if stage != self.stage:
            self.since = None  # what was stored for the stage is no part of its steps
        self.stage, self.validates_since = stage, None

    def on_train_batch_end(self, trainer: Any, task: Any, *rest: Any) -> None:
        """Times the step, and reviews the plan after each tenth."""
        now, schedule = self.budget.used, callback.of(trainer)
        if self.since is not None:
            place = schedule.stage, schedule.stores[schedule.stage]
            if place not in self.units:
                self.units[place] = cost.of_stage(schedule, *place)
            self.work += self.units[place] / trainer.accumulate_grad_batches
            self.worked += now - self.since
        self.since, total = now, self.budget.total
        if total > 0 and trainer.global_step % max(1, total // REVIEWS) == 0:
            self._review(trainer)

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        """Times the validation."""
        if not trainer.sanity_checking:
            self.validates_since, self.since = self.budget.used, None

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        """Reviews the plan."""
        since = self.validates_since
        trains = self.run.fitting and trainer.state.fn == "fit" and not trainer.sanity_checking
        if trains and since is not None:
            self.validation = max(self.validation, self.budget.used - since)
            self._review(trainer)

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        """Leaves what an epoch begins with out of the time of its first step."""
        self.since = None

    def _review(self, trainer: Any) -> None:
        """Lowers the plan if it does not fit any more; all processes come here together."""
        budget, done = self.budget, trainer.global_step
        if self.run.budget is None or not budget.totals or done >= budget.total:
            return
        work, validation, epoch = budget.rate
        planned = Rate(work, validation, between_validations(trainer))
        rate = learned(planned, self.work, self.worked, self.validation)

        def legs(total: int) -> list[Leg]:
            return legs_of(trainer, total, rate, epoch)

        def decide() -> int:
            left = budget.seconds - self._reserve(rate) - budget.used
            if seconds(rate, legs(budget.total), done) <= left:
                return budget.total
            return plan(rate, left, legs, budget.total, done)

        if (total := first_decides(trainer, decide)) < budget.total:
            if is_news(total, self.said):
                before = f"{total:,} steps instead of {self.said or budget.total:,}"
                log.info("%s: %s: %s", span(budget.seconds), before, why(planned, rate))
                self.said = total
            budget.totals.append([done, total])
            callback.of(trainer).recount(trainer)

    def _reserve(self, rate: Rate) -> float:
        """Seconds for the test and the end, if a row takes as long as in the last validation."""
        planned = self.budget.rate[1]
        longer = max(0.0, rate.validation / planned - 1) if planned else 0.0
        return self.budget.reserve + self.budget.test * longer
