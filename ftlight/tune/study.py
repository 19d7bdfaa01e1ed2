"""The study of a tune, which all its processes share: what its trials have shown so far."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ftlight.tune import journal, planning
from ftlight.tune.sampling import BEGUN, Sampler

NAME = "tune"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
REPEATS = 10  # trials in a row with settings of others, after which there are no more


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


def name_of(number: int) -> str:
    """The folder of a trial.

    >>> name_of(7)
    'trial-007'
    """
    return f"trial-{number:03}"


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that have a score of their own, the best first; of equal ones the first."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    trials = [trial for trial in trials if "same_as" not in trial.user_attrs]
    return sorted(trials, key=lambda trial: (-score(trial), trial.number))


def whole(study: Study) -> list[FrozenTrial]:
    """The finished trials that were not cut short, the best first."""
    return [trial for trial in finished(study) if trial.state == TrialState.COMPLETE]


def score(trial: FrozenTrial) -> float:
    """The score of a trial, of which more is better."""
    return float(trial.user_attrs["score"])


def seconds(trial: FrozenTrial) -> float:
    """What a trial took."""
    return float(trial.user_attrs.get("seconds", 0.0))


def whole_seconds(study: Study) -> float:
    """What the longest of the best whole trials took; 0 if none has ended."""
    return max((seconds(trial) for trial in whole(study)[: planning.TOP]), default=0.0)


def exhausted(study: Study) -> bool:
    """Whether the last trials had settings that were tried before: there are no others near."""
    last = study.get_trials(deepcopy=False)[-REPEATS:]
    return len(last) == REPEATS and all("same_as" in trial.user_attrs for trial in last)


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
