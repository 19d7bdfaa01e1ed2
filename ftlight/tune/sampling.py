"""How the settings of a trial are drawn: by a sampler, or in turn of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ftlight.tune.space import Parameter, as_json

BEGUN = 10  # trials that are drawn at random before the others learn from them


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
