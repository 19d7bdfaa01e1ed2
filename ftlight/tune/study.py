"""The trials of a tune in Optuna's words: which is next, whose process is gone, how each ended."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ftlight.run import folder
from ftlight.tune import journal
from ftlight.tune.space import Parameter, as_json
from ftlight.utils.errors import UserError, WriteError

NAME = "tune"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
BEGUN = 10  # trials that are drawn at random before the others learn from them
REPEATS = 10  # trials in a row with settings of others, after which there are no more
POLL = 0.05  # seconds between two tries to be next


class Sampler(BaseSampler):
    """Draws settings anew for each trial from the number of it, so that no restart changes them.

    The first trial has the values of the config as it is.

    Args:
        method: bayes for multivariate TPE, else random; of a grid all choices come in turn.
        seed: seed of the draws.
        own: values of the config, for those parameters that hold them.
    """

    def __init__(self, method: str, seed: int, own: Mapping[str, Any]) -> None:
        self.method, self.seed, self.own = method, seed, own
        self.inner = self._made(0)

    def _made(self, number: int) -> BaseSampler:
        seed = (self.seed * 100_003 + number) % 2**32
        if self.method == "bayes":
            return TPESampler(seed=seed, n_startup_trials=BEGUN)
        return RandomSampler(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Makes the draws of a trial."""
        self.inner = self._made(trial.number)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is drawn together: nothing of the first trial."""
        if trial.number == 0:
            return {}
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draws values together."""
        return self.inner.sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws a value alone; the first trial has that of the config."""
        if trial.number == 0:
            return self.own[param_name]
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Does nothing: the number of a trial is its seed."""


class Given(NamedTuple):
    """A trial to run.

    Attributes:
        trial: Optuna's.
        settings: options that it changes.
        held: open file that keeps others from running it.
        is_new: whether no process ran it before.
    """

    trial: Trial
    settings: Mapping[str, Any]
    held: IO[str]
    is_new: bool

    @property
    def name(self) -> str:
        """Name of its folder."""
        return name_of(self.trial.number)


def name_of(number: int) -> str:
    """The folder of a trial.

    >>> name_of(7)
    'trial-007'
    """
    return f"trial-{number:03}"


def opened(home: Path, method: str, seed: int, own: Mapping[str, Any]) -> Study:
    """Opens the study of a tune, or makes it.

    Args:
        home: folder of the tune.
        method: bayes, random or grid.
        seed: seed of the draws.
        own: the config's own values of parameters, as Optuna has them.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(journal.opened(home / "journal.log"))
        return optuna.create_study(
            study_name=NAME,
            storage=storage,
            load_if_exists=True,
            direction="maximize",  # scores of which less is better are told as negative
            sampler=Sampler(method, seed, own),
            pruner=optuna.pruners.NopPruner(),
        )


def suggest(trial: Trial, parameter: Parameter) -> Any:
    """The value of a parameter in a trial; choices are text to Optuna, since some are lists."""
    name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
    if parameter.choices is not None:
        by_text = {as_json(choice): choice for choice in parameter.choices}
        return by_text[trial.suggest_categorical(name, list(by_text))]
    if parameter.log:  # Optuna has no steps on a logarithmic scale
        if parameter.whole:
            return parameter.exact(trial.suggest_int(name, int(low), int(high), log=True))
        return parameter.exact(trial.suggest_float(name, low, high, log=True))
    if step is not None:
        high = parameter.exact(low + (high - low + 1e-9 * step) // step * step)
    if parameter.whole:
        whole = trial.suggest_int(name, int(low), int(high), step=int(step or 1))
        return parameter.exact(whole)
    return parameter.exact(trial.suggest_float(name, low, high, step=step))


def own_values(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a config has of parameters, as Optuna has them, if they hold them."""
    found = {}
    for parameter in parameters:
        if parameter.name in values and parameter.holds(values[parameter.name]):
            value = values[parameter.name]
            found[parameter.name] = as_json(value) if parameter.choices is not None else value
    return found


def settle(trial: Trial, parameters: Sequence[Parameter], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a trial changes; none of the first, which is the config as it is."""
    settings = {}
    for parameter in parameters:
        if trial.number == 0 and parameter.name not in own:
            continue  # a value that the space lacks
        settings[parameter.name] = suggest(trial, parameter)
    return {} if trial.number == 0 else settings


def claim(home: Path, name: str) -> IO[str] | None:
    """Takes a piece of work for this process, until the file is closed or the process ends.

    Returns:
        None if another process has it.
    """
    place = home / "claims" / name
    place.mkdir(parents=True, exist_ok=True)
    try:
        return folder.lock(place)
    except WriteError:
        raise
    except UserError:
        return None


def take(
    study: Study, home: Path, parameters: Sequence[Parameter], own: Mapping[str, Any], most: float
) -> Given | None:
    """The next trial for this process: one whose process is gone, else a new one.

    Args:
        study: the study.
        home: folder of the tune.
        parameters: what varies.
        own: the config's own values.
        most: trials that are to be finished.

    Returns:
        None if enough are finished, or others run them, or a grid has no more.
    """
    while (turn := claim(home, "next")) is None:
        time.sleep(POLL)
    with turn:
        given = left(study, home)
        is_new = given is None
        if given is None:
            states = (*FINISHED, TrialState.RUNNING)
            trials = study.get_trials(deepcopy=False, states=states)
            if sum("same_as" not in trial.user_attrs for trial in trials) >= most:
                return None
            if is_grid(study) and not enqueue(study, parameters):
                return None
            trial = study.ask()
            while (held := claim(home, name_of(trial.number))) is None:
                time.sleep(POLL)  # another process looks whether it is run
            given = trial, held
        trial, held = given
        return Given(trial, settle(trial, parameters, own), held, is_new)


def is_grid(study: Study) -> bool:
    """Whether all choices are tried in turn."""
    return isinstance(study.sampler, Sampler) and study.sampler.method == "grid"


def enqueue(study: Study, parameters: Sequence[Parameter]) -> bool:
    """Lets the next trial have the next choice of a grid; false if all were tried."""
    trials = study.get_trials(deepcopy=False)
    if not trials or any(trial.state == TrialState.WAITING for trial in trials):
        return True  # the first one is the config as it is; one was left behind by a kill
    names = [parameter.name for parameter in parameters]
    tried = {tuple(trial.params.get(name) for name in names) for trial in trials}
    for choice in itertools.product(*(map(as_json, p.choices or ()) for p in parameters)):
        if choice not in tried:
            study.enqueue_trial(dict(zip(names, choice, strict=True)))
            return True
    return False


def left(study: Study, home: Path) -> tuple[Trial, IO[str]] | None:
    """A trial that runs by its record, and whose process is gone: the lock of its run is free."""
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        name = name_of(frozen.number)
        held = claim(home, name)
        if held is None:
            continue
        if folder.is_locked(home / name):  # a training has outlived the process that started it
            held.close()
            continue
        from ftlight.utils import internals  # not above: it loads torch

        return Trial(study, internals.id_of_trial(frozen)), held
    return None


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that have a score of their own, the best first; of equal ones the first."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    trials = [trial for trial in trials if "same_as" not in trial.user_attrs]
    return sorted(trials, key=lambda trial: (-score(trial), trial.number))


def score(trial: FrozenTrial) -> float:
    """The score of a trial, of which more is better."""
    return float(trial.user_attrs["score"])


def others_run(study: Study, home: Path) -> bool:
    """Whether a trial is run by another process, or by a training that outlived its own."""
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        held = claim(home, name_of(frozen.number))
        if held is None:
            return True
        held.close()
        if folder.is_locked(home / name_of(frozen.number)):
            return True
    return False


def same_as(study: Study, given: Given) -> FrozenTrial | None:
    """A trial that has ended with the very settings of another; it would end as that did."""
    mine = given.trial.params
    return next((trial for trial in finished(study) if trial.params == mine), None)


def exhausted(study: Study) -> bool:
    """Whether the last trials had settings that were tried before: there are no others near."""
    last = study.get_trials(deepcopy=False)[-REPEATS:]
    return len(last) == REPEATS and all("same_as" in trial.user_attrs for trial in last)


def tell(
    study: Study, given: Given, score: float, rungs: Mapping[int, float], pruned: bool
) -> None:
    """Records how a trial ended.

    Args:
        study: the study.
        given: the trial.
        score: its best score, of which more is better.
        rungs: its best score at each rung that it reached.
        pruned: whether it was cut short there.
    """
    for number, value in rungs.items():
        given.trial.report(value, number)
    given.trial.set_user_attr("score", score)
    given.trial.set_user_attr("settings", dict(given.settings))
    if pruned:
        study.tell(given.trial.number, state=TrialState.PRUNED)
    else:
        study.tell(given.trial.number, score)


def tell_failure(study: Study, given: Given, why: str) -> None:
    """Records that a trial failed, with the last line of its log."""
    given.trial.set_user_attr("failure", why)
    given.trial.set_user_attr("settings", dict(given.settings))
    study.tell(given.trial.number, state=TrialState.FAIL)


def hopeless(study: Study, since: datetime = datetime.min) -> str:
    """The last line of three trials that failed one after another; empty if there are none.

    Args:
        study: the study.
        since: when this process began: what failed before may have been mended.
    """
    told = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    told.sort(key=lambda trial: trial.datetime_complete or datetime.min)
    last = [t for t in told[-3:] if (t.datetime_complete or datetime.min) >= since]
    if len(last) < 3 or any(trial.state != TrialState.FAIL for trial in last):
        return ""
    return str(last[-1].user_attrs.get("failure", ""))


def importance(study: Study) -> dict[str, float]:
    """How much each parameter decides, by PED-ANOVA; empty if too few trials tell.

    Watanabe et al. 2023, "PED-ANOVA: Efficiently quantifying hyperparameter importance in arbitrary
    subspaces" (arXiv:2304.10255).
    """
    if len(finished(study)) < BEGUN:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):
            return {}
    return {name: float(value) for name, value in found.items()}
