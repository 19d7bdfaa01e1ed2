"""What is to be said of a run at its end, and what to try next: rules on plain values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from ftlight.evidence.verdict import Facts, Verdict
from ftlight.metrics.classes import auroc
from ftlight.metrics.statistics import Z, paired_bootstrap, random_score, wilson
from ftlight.utils.format import counted, number

FEW_VALIDATION = 30  # rows of validation, below which nothing is said
FEW_TO_TELL = 100  # rows of validation, below which a verdict says that they tell little
SURE = 0.01  # p-value of chance, above which a run has shown nothing
LITTLE = 0.1  # of a score beyond that of guessing, below which hardly anything is right
FEW_STEPS = 20  # optimizer steps, below which what was not learned may be too little time
FEW_ROWS = 100  # of train, below which nothing learned may be too little to learn from
HIGH_RATE = 2.0  # times the highest rate that ftlight would choose
FITTED = 0.5  # of the same: a run below it has learned train
FALLS = 0.04  # of the loss of a constant answer, by which validations improve while a run learns
TELLS = 0.68  # AUROC of its confidence, from which on a model is less sure where it errs
NOISY, LEAST_WRONG = 0.1, 15  # share and number of wrong answers from which on that says something
BY_HEART = 0.2  # of the loss of a constant answer, below which train is learned by heart
ROWS_A_LABEL = 20  # of train, below which more of them are likely to help
GOOD = 0.95  # score of rows from which on nothing is missing
MANY = 6  # validations, from which on a run may be too long
FLAT = 0.02  # of the loss of a constant answer, by which a validation loss may miss the lowest one
LATE = 0.5  # share of a run by which all must have been gained, if it is too long
MORE_ROWS = "try: more labelled rows, or model.unfreeze: head"
DROP = 0.05  # of the score of rows, by which a test is much worse than validation


def decide(facts: Facts) -> Verdict:
    """The first of these that applies; a run of which none does is fine.

    Args:
        facts: what the run keeps.
    """
    for rule in RULES:
        if (found := rule(facts)) is not None:
            return found
    return _fine(facts)


# The rules, in their order: what makes the evidence of later ones worthless comes first


def rate_too_high(facts: Facts) -> Verdict | None:
    """Training diverged, or a high rate threw it far back."""
    fit, losses = facts.fit, facts.train_losses
    if fit is None or facts.constant_loss is None:
        return None
    rises = fit > 1.1 and facts.start is None and losses[-1] > losses[0]
    lost = not math.isfinite(fit) or rises or facts.skipped > max(1, 0.01 * facts.total)
    thrown = fit > FITTED or losses[0] > facts.constant_loss
    if not lost and not (facts.rate >= HIGH_RATE and thrown and not _is_good(facts)):
        return None
    said = (
        f"rate too high: train/loss began with {number(losses[0])} and ended at"
        f" {number(losses[-1])}, where a constant answer has {number(facts.constant_loss)}"
    )
    if facts.skipped:
        said += f", and {counted(facts.skipped, 'step')} had no finite loss or gradient"
    if facts.rate > 1:
        said += f"; the rate is {number(facts.rate)} times the highest that ftlight would choose"
    way = "leave model.lr out" if facts.rate > 1 else "lower model.lr to a tenth"
    return Verdict("rate too high", said, {"fit": fit, "rate": facts.rate}, f"try: {way}")


def not_validated(facts: Facts) -> Verdict | None:
    """There is nothing to judge by."""
    if any(map(math.isfinite, facts.scores)):
        return None
    return Verdict(
        "not validated",
        "not judged: without validation rows nobody knows whether it learned anything of use",
        {},
        "try: data.validation: FILE, or data.validation_split: 0.1",
    )


def worse_than_base(facts: Facts) -> Verdict | None:
    """The weights before the first step are better, or may be."""
    if facts.start is None or len(facts.start[0]) < FEW_VALIDATION:
        return None
    before, after = facts.start
    compared = paired_bootstrap(after, before)
    figures = {"before": float(before.mean()), "after": float(after.mean()), **compared._asdict()}
    words = f"{number(before.mean())} → {number(after.mean())} on {counted(len(before), 'row')}"
    if compared.better <= 0.025:
        said = f"worse than untuned: keep {facts.base}, which was better ({words})"
        way = "try: look at the labels, a third of model.lr, or more rows"
        return Verdict("worse than base", said, figures, way)
    if compared.better < 0.975:
        said = f"cannot tell whether it is better than {facts.base} ({words})"
        return Verdict("cannot tell", said, figures, "try: more validation rows")
    return None


def too_few_to_tell(facts: Facts) -> Verdict | None:
    """So few validation rows tell nothing."""
    count = 0 if facts.rows is None else len(facts.rows)
    if facts.rows is None or count >= FEW_VALIDATION:
        return None
    low, high = wilson(float(np.clip(facts.rows.mean(), 0, 1)), count)
    said = f"cannot tell: {counted(count, 'validation row', 'are')} too few"
    if _are_shares(facts.rows):
        said += f" (a score of {number(facts.rows.mean())} may be {low:.2f} to {high:.2f})"
    way = "try: more of them, such as data.validation_split: 0.3"
    return Verdict("cannot tell", said, {"validation_rows": count}, way)


def nothing_learned(facts: Facts) -> Verdict | None:
    """Answers are no better than chance: no signal, or too little time or data to find it."""
    if facts.rows is None:
        return None
    if facts.chance is not None:
        p = min(1.0, random_score(facts.rows, facts.chance) * max(1, len(facts.scores)))
        if p < SURE:
            return None
        expected = float(facts.chance.mean())
        figures = {"score": float(facts.rows.mean()), "chance": expected, "p": p}
        words = (
            f"the score of {counted(len(facts.rows), 'validation row')} is"
            f" {number(facts.rows.mean())}, and {number(expected)} if answers are dealt at random"
        )
    elif facts.floor is not None and not facts.best >= facts.floor + LITTLE:
        figures, words = {"score": facts.best}, f"{facts.monitor} is {number(facts.best)}"
    else:
        return None
    if _has_few_rows(facts):
        said = f"too few rows: {facts.train_rows:,} of train taught nothing beyond chance ({words})"
        return Verdict("too few rows", said, figures, MORE_ROWS)
    if facts.longer and (facts.total < FEW_STEPS or _still_falls(facts)):
        said = f"too short: no better than chance after {counted(facts.total, 'step')} ({words})"
        return Verdict("too short", said, figures, f"try: {facts.longer}")
    return Verdict(
        "no signal",
        f"no signal: no better than chance, as if labels were shuffled: {words}",
        figures,
        "look at the labels and the columns: python -m ftlight check RUN --full",
    )


def steps_in_vain(facts: Facts) -> Verdict | None:
    """No step made the head that was solved before them better."""
    if facts.kept != 0 or not facts.total:
        return None
    said = f"worse than untuned: {counted(facts.total, 'step')} made {facts.base} no better"
    way = "it is what was kept; try: model.unfreeze: head"
    return Verdict("worse than base", said, {"steps": facts.total}, way)


def too_short(facts: Facts) -> Verdict | None:
    """It still improved when a limit ended it, or had only begun to learn."""
    if not facts.longer or _is_good(facts):
        return None
    if _still_falls(facts):
        last, before = facts.losses[-1], facts.losses[-2]
        figures = {"before": before, "last": last, "steps": facts.total}
        said = (
            f"it still improved when it ended (val/loss {number(before)} →"
            f" {number(last)} between the last two validations)"
        )
    elif facts.total < FEW_STEPS and facts.fit is not None and facts.fit > FITTED:
        loss = facts.train_losses[-1]
        figures = {"loss": loss, "constant": facts.constant_loss or loss, "steps": facts.total}
        said = (
            f"it had only begun to learn train when it ended after"
            f" {counted(facts.total, 'step')} (train/loss {number(loss)}, where a constant answer"
            f" has {number(figures['constant'])})"
        )
    else:
        return None
    return Verdict("too short", f"too short: {said}", figures, f"try: {facts.longer}")


def too_few_rows(facts: Facts) -> Verdict | None:
    """Much is missing, and labels have few rows."""
    if facts.rows is None or not _has_few_rows(facts) or _is_good(facts):
        return None
    each = f" ({number(facts.train_rows / facts.labels)} a label)" if facts.labels else ""
    said = (
        f"too few rows: {facts.train_rows:,} of train{each} teach no more than {facts.monitor}"
        f" {number(facts.best)}"
    )
    figures = {"train_rows": facts.train_rows, "labels": facts.labels, "score": facts.best}
    return Verdict("too few rows", said, figures, MORE_ROWS)


def too_long(facts: Facts) -> Verdict | None:
    """Nothing was gained in most of the run: no better score beyond chance, no lower loss."""
    losses = facts.losses
    if len(losses) < MANY or not facts.longer or not all(map(math.isfinite, losses)):
        return None
    near = min(losses) + FLAT * (facts.constant_loss or losses[0])
    scores, best = [facts.sign * score for score in facts.scores], facts.sign * facts.best
    slack = _noise(facts) if facts.sign > 0 else math.inf  # a loss that is the score is judged once
    enough = (i for i, loss in enumerate(losses) if loss <= near and scores[i] >= best - slack)
    at = next(enough, len(losses) - 1)
    if facts.steps[at] > LATE * facts.total:
        return None
    epoch = sum(step <= facts.steps[at] for step in facts.train_steps) or at + 1
    said = (
        "overfitting, trained too long: nothing was gained beyond chance after step"
        f" {facts.steps[at]:,} of {facts.total:,} (val/loss {number(losses[at])} then,"
        f" {number(losses[-1])} at the end)"
    )
    figures = {
        "step": facts.steps[at],
        "steps": facts.total,
        "loss": losses[at],
        "last": losses[-1],
    }
    return Verdict("overfitting", said, figures, f"try: trainer.max_epochs: {epoch + 1}")


def as_sure_of_wrong(facts: Facts) -> Verdict | None:
    """Wrong answers are as sure as right ones: labels are wrong, or were learned by heart.

    A sound model is less sure where it errs. What makes labels wrong it does not know, so that
    answers are wrong among sure and unsure ones alike.
    """
    if facts.rows is None or facts.sure is None:
        return None
    right = facts.rows >= 1
    wrong = int((~right).sum())
    if min(wrong, len(right) - wrong) < LEAST_WRONG or wrong < NOISY * len(right):
        return None
    area = auroc(torch.from_numpy(facts.sure), torch.from_numpy(right))
    if area + _area_error(area, wrong, len(right) - wrong) >= TELLS:
        return None
    words = (
        f"{wrong:,} of {counted(len(right), 'validation row')} are wrong, and it is as sure of them"
        f" as of the others (AUROC of its confidence {area:.2f})"
    )
    way = "look at the labels in doubt: python -m ftlight check RUN --full"
    figures = {"auroc": area, "wrong": wrong}
    if facts.fit is not None and facts.fit < BY_HEART:
        loss = number(facts.train_losses[-1])
        said = f"overfitting: train is learned by heart (train/loss {loss}), but {words}"
        return Verdict("overfitting", said, figures, f"try: fewer epochs, or more rows; {way}")
    return Verdict("label noise", f"label noise likely: {words}", figures, way)


def worse_on_test(facts: Facts) -> Verdict | None:
    """Test rows are much harder than validation rows."""
    if facts.rows is None or facts.test is None or min(len(facts.rows), len(facts.test)) < 30:
        return None
    gap = float(facts.rows.mean() - facts.test.mean())
    error = math.sqrt(facts.rows.var() / len(facts.rows) + facts.test.var() / len(facts.test))
    if gap < 3 * error or gap < DROP * (1 if _are_shares(facts.rows) else abs(facts.rows.mean())):
        return None
    said = (
        f"good on validation, worse on test: the mean score of rows is {number(facts.rows.mean())}"
        f" there and {number(facts.test.mean())} here, beyond chance: rows differ, or those of"
        " validation are too like train"
    )
    figures = {"validation": float(facts.rows.mean()), "test": float(facts.test.mean())}
    return Verdict("worse on test", said, figures, "see: python -m ftlight check RUN TEST")


RULES: tuple[Callable[[Facts], Verdict | None], ...] = (
    rate_too_high,
    not_validated,
    worse_than_base,
    too_few_to_tell,
    nothing_learned,
    steps_in_vain,
    too_short,
    too_few_rows,
    too_long,
    as_sure_of_wrong,
    worse_on_test,
)


def _fine(facts: Facts) -> Verdict:
    """No fault was found; that it is fine is said if it is known to be better than something."""
    said = f"no fault found: {facts.monitor} {number(facts.best)}"
    figures = {"score": facts.best}
    if facts.rows is not None and facts.chance is not None:
        expected = number(facts.chance.mean())
        said += f" (score of rows {number(facts.rows.mean())}, by chance {expected})"
    elif facts.start is not None:
        said += f", better than {facts.base}"
    elif facts.rows is None or facts.floor is None:
        return Verdict("cannot tell", f"{said}, but what chance gives is not known", figures, "")
    count = 0 if facts.rows is None else len(facts.rows)
    if count < FEW_TO_TELL:
        said += f"; {counted(count, 'validation row', 'tell')} little"
    return Verdict("fine", said, {**figures, "validation_rows": count}, "")


def _has_few_rows(facts: Facts) -> bool:
    """Whether labels have so few rows of train that more of them are likely to help."""
    return 0 < facts.train_rows < max(FEW_ROWS, ROWS_A_LABEL * facts.labels)


def _still_falls(facts: Facts) -> bool:
    """Whether the last validation is the best so far, by more than noise."""
    losses = facts.losses
    if len(losses) < 2 or not all(map(math.isfinite, losses)):
        return False
    return min(losses[:-1]) - losses[-1] > FALLS * (facts.constant_loss or losses[-1])


def _is_good(facts: Facts) -> bool:
    """Whether little is missing: the upper end of the score of rows is near 1."""
    if facts.rows is None or not _are_shares(facts.rows):
        return False
    return wilson(float(facts.rows.mean()), len(facts.rows))[1] >= GOOD


def _are_shares(rows: np.ndarray) -> bool:
    return bool(len(rows)) and 0 <= rows.min() <= rows.max() <= 1


def _noise(facts: Facts) -> float:
    """Half the 95 % interval of the score of rows."""
    if facts.rows is None:
        return 0.0
    return Z * float(facts.rows.std()) / math.sqrt(len(facts.rows))


def _area_error(area: float, wrong: int, right: int) -> float:
    """Standard error of an AUROC (Hanley and McNeil 1982)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (right - 1) * (one - area**2) + (wrong - 1) * (two - area**2)
    return math.sqrt(max(0.0, spread) / (right * wrong))
