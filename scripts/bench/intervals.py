"""Do intervals, tests, sets and thresholds keep what they promise? Counted on simulated test sets.

    OMP_NUM_THREADS=1 python scripts/bench/intervals.py

Each score has a population of 20,000 rows, whose score is the truth. 1,000 test sets are drawn from
it (--sets), and an interval made of each, as runs make them but of 200 resamples (--draws). It
should hold the truth in 95 % of the sets; ✗ marks less than 92 % or more than 98 %. The last column
is what others do: the 2.5th and 97.5th percentiles of the same resamples; for accuracy the normal
approximation, and for Pearson's correlation Fisher's transformation.

Then come false alarms of the paired tests for models that are as good, and what calibration
promises, on 200 resplits (--splits) of logits of a known model, or of a run of yours on a table
that it has not seen: --run RUN TABLE. --sets 0 leaves out what is simulated.

One thread, a few minutes; needs sacrebleu (`pip install ftlight[generation]`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ftlight.metrics import calibration, classes, intervals, regression, spans, texts
from ftlight.metrics.intervals import UNIT, Z, around
from ftlight.metrics.statistics import mcnemar, paired_bootstrap

POPULATION = 20_000
FITTED = 1000
Ends = tuple[float, float]
random = np.random.default_rng(0)


class Score(NamedTuple):
    """A score that is a function of sums over rows.

    Attributes:
        name: what the table calls it.
        rows: what a population holds of each row ``[rows, …]``.
        statistic: the score of sums ``[k]``.
        bounds: least and greatest value.
        parts: terms of the sums ``[rows, k]`` of a sample of the population.
        shown: turns the statistic into the score.
    """

    name: str
    rows: np.ndarray
    statistic: Callable[[Tensor], float]
    bounds: Ends = UNIT
    parts: Callable[[Tensor], Tensor] = lambda sample: sample
    shown: Callable[[float], float] = float


def share(sums: Tensor) -> float:
    return float(sums[0] / sums[1])


# Populations


def means(values: np.ndarray) -> np.ndarray:
    """Values and ones, whose sums give the mean."""
    return np.stack([values, np.ones(len(values))], 1)


def skill(mean: float, sure: float = 4.0) -> np.ndarray:
    """Probability of each row that a part of it is right."""
    return random.beta(mean * sure, (1 - mean) * sure, POPULATION)


def span_counts(mean: float) -> np.ndarray:
    """Correct, predicted and actual spans of rows with two on average."""
    actual, ability = random.poisson(2, POPULATION), skill(mean)
    hit = random.binomial(actual, ability)
    wrong = random.poisson(1.6 * (1 - ability))
    return np.stack([hit, hit + wrong, actual], 1)


def label_counts(mean: float) -> np.ndarray:
    """Twice the hits, and predicted plus actual of five labels."""
    actual = random.random((POPULATION, 5)) < 0.3
    known = random.random((POPULATION, 5)) < skill(mean, 6.0)[:, None]
    predicted = np.where(known, actual, random.random((POPULATION, 5)) < 0.3)
    return np.stack([2 * (actual & predicted).sum(1), actual.sum(1) + predicted.sum(1)], 1)


def sentences(mean: float) -> np.ndarray:
    """Counts of BLEU: lengths are log-normal, longer n-grams match less often."""
    words = random.lognormal(2.9, 0.5, POPULATION).round().clip(4, 80).astype(int)
    wanted = (words * random.normal(1.02, 0.1, POPULATION)).round().clip(3)
    ability = skill(mean, 5.0)
    totals = [words - n for n in range(4)]
    hits = [random.binomial(t, ability ** (1 + n / 2)) for n, t in enumerate(totals)]
    return np.stack([*hits, *totals, words, wanted], 1)


def answers(none: float, whole: float) -> np.ndarray:
    """F1 of answers: some miss, some are exact, the others overlap."""
    kind, partly = random.random(POPULATION), random.beta(3, 2, POPULATION)
    return means(np.select([kind < none, kind > 1 - whole], [0.0, 1.0], partly))


def ranks(middle: float) -> np.ndarray:
    return np.floor(np.exp(random.normal(middle, 1.5, POPULATION))) + 1


def gains() -> np.ndarray:
    """Gain in NDCG@10 of a ranking over one that is a little worse."""
    first = ranks(1.0)
    second = np.where(random.random(POPULATION) < 0.3, ranks(1.2), first)
    return means(ndcg(first) - ndcg(second))


def ndcg(rank: np.ndarray) -> np.ndarray:
    return np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)


def losses(spread: float) -> np.ndarray:
    """Sum of the losses and number of tokens: both log-normal."""
    tokens = random.lognormal(3, 0.8, POPULATION).round().clip(1)
    return np.stack([tokens * random.lognormal(0.3, spread, POPULATION), tokens], 1)


def numbers(noise: float, tails: float) -> np.ndarray:
    """Predictions and truths with errors of Student's t, tails degrees of freedom."""
    true = random.normal(size=POPULATION)
    error = random.standard_t(tails, POPULATION) * math.sqrt((tails - 2) / tails)
    return np.stack([true + noise * error, true], 1)


def heavy(correlation: float) -> np.ndarray:
    """Pairs of Student's t with 4 degrees of freedom."""
    x, y = random.normal(size=(2, POPULATION)) * np.sqrt(4 / random.chisquare(4, POPULATION))
    return np.stack([x, correlation * x + math.sqrt(1 - correlation**2) * y], 1)


def regression_parts(sample: Tensor) -> Tensor:
    return regression.parts_of(sample[:, 0], sample[:, 1])


def scores() -> Iterator[tuple[Score, tuple[int, ...]]]:
    """Scores with the sizes of their test sets."""
    for mean in (0.75, 0.95, 0.99):
        yield Score("F1 of spans", span_counts(mean), spans.f1), (30, 300)
    for mean in (0.7, 0.95):
        yield Score("micro F1 of 5 labels", label_counts(mean), share), (30, 300)
    for mean in (0.4, 0.7):
        parts = sentences(mean)
        yield Score("BLEU", parts, texts.bleu_of, (0.0, 100.0)), (10, 30, 300)
    for none, whole in ((0.2, 0.6), (0.02, 0.9)):
        yield Score("F1 of answers", answers(none, whole), share), (30, 300)
    yield Score("NDCG@10", means(ndcg(ranks(1.0))), share), (30, 300)
    yield Score("recall@10", means(ranks(-2.0) <= 10), share), (30, 300)
    yield Score("reciprocal rank", means(1 / ranks(-2.0)), share), (30, 300)
    yield Score("gain in NDCG@10", gains(), share, (-1.0, 1.0)), (30, 300)
    of_loss = {"statistic": share, "bounds": (0.0, math.inf), "shown": math.exp}
    for spread in (0.4, 0.8):
        yield Score("perplexity", losses(spread), **of_loss), (30, 300)
    of_r2 = {"statistic": regression.r2_of, "bounds": (-math.inf, 1.0), "parts": regression_parts}
    for tails, name in ((100, "R²"), (6, "R², t(6) errors"), (3, "R², t(3) errors")):
        yield Score(name, numbers(0.6, tails), **of_r2), (30, 300)
    of_r = {"statistic": regression.pearson_of, "bounds": (-1.0, 1.0), "parts": regression_parts}
    for name, pairs in (("Pearson", numbers(0.6, 100)), ("Pearson, t(4)", heavy(0.9))):
        yield Score(name, pairs, **of_r), (30, 300)


# Coverage


def row(name: str, rows: int, true: float, ours: np.ndarray, others: np.ndarray) -> str:
    """A row of the table; ends are ``[sets, 2]``."""
    held, usual = (np.mean((e[:, 0] <= true) & (true <= e[:, 1])) for e in (ours, others))
    sides = f"{np.mean(true < ours[:, 0]):.3f} | {np.mean(true > ours[:, 1]):.3f}"
    lost = "" if 0.92 <= held <= 0.98 else " ✗"
    width = np.mean(ours[:, 1] - ours[:, 0])
    cells = f"{true:.3g} | {held:.3f}{lost} | {sides} | {width:.3g} | {usual:.3f}"
    return f"| {name} | {rows:,} | {cells} |"


def percentiles(resampled: Tensor) -> list[float]:
    return np.nanquantile(resampled.numpy(), [0.025, 0.975]).tolist()


def of_sums(score: Score, rows: int, sets: int, draws: int) -> str:
    """How often the interval of a score of sums holds."""
    population, ours, others = torch.from_numpy(score.rows).double(), [], []
    true = score.shown(score.statistic(score.parts(population).sum(0)))
    for _ in range(sets):
        parts = score.parts(population[random.integers(len(population), size=rows)])
        resampled = intervals.resample(parts, score.statistic, draws)
        ends = around(score.statistic(parts.sum(0)), resampled, rows, score.bounds)
        ours.append([score.shown(end) for end in ends])
        usual = percentiles(resampled)
        if score.statistic is regression.pearson_of:
            usual = fisher(score.statistic(parts.sum(0)), rows)
        others.append([score.shown(end) for end in usual])
    return row(score.name, rows, true, np.array(ours), np.array(others))


def fisher(correlation: float, rows: int) -> list[float]:
    middle, half = math.atanh(correlation), Z / math.sqrt(rows - 3)
    return [math.tanh(middle - half), math.tanh(middle + half)]


def of_accuracy(true: float, rows: int, sets: int) -> str:
    shares = random.binomial(rows, true, sets) / rows
    ours = np.array([intervals.wilson(share, rows) for share in shares])
    half = Z * np.sqrt(shares * (1 - shares) / rows)
    return row("accuracy", rows, true, ours, np.stack([shares - half, shares + half], 1))


def of_macro_f1(number: int, rows: int, right: float, skew: float, sets: int, draws: int) -> str:
    """How often the interval of macro F1 holds; the largest class has e^skew times the smallest."""
    ability = (right * (1 + 0.15 * random.standard_normal(number))).clip(0.3, 0.995)
    cells = np.repeat(((1 - ability) / (number - 1))[:, None], number, 1)
    np.fill_diagonal(cells, ability)
    sizes = np.exp(-skew * np.arange(number) / max(number - 1, 1))
    cells *= (sizes / sizes.sum())[:, None]
    true = np.mean(2 * cells.diagonal() / (cells.sum(0) + cells.sum(1)))
    ours, others, rare = [], [], 0
    for _ in range(sets):
        drawn = random.multinomial(rows, cells.ravel()).reshape(number, number)
        matrix = torch.from_numpy(drawn)
        ours.append(classes.bootstrap_macro_f1(matrix, draws))
        others.append(percentiles(classes.resample_macro_f1(matrix, draws)))
        rare += len(classes.rare_classes(matrix))
    name = f"macro F1, {number} classes" + (", skewed" if skew else "")
    warned = f" (warned: {rare / sets:.0f} have under 10 rows)" if rare >= sets else ""
    return row(name + warned, rows, float(true), np.array(ours), np.array(others))


def coverage(sets: int, draws: int) -> Iterator[str]:
    yield "| score | test rows | truth | covered | truth below | above | width | usual |"
    yield "|---|---|---|---|---|---|---|---|"
    for true, rows in ((0.9, 30), (0.9, 200), (0.99, 200)):
        yield of_accuracy(true, rows, sets)
    for number, rows, right, skew in (
        (2, 50, 0.95, 0),
        (2, 200, 0.9, 0),
        (16, 576, 0.84, 0),
        (16, 576, 0.84, 4),
        (77, 3080, 0.93, 0),
        (77, 3080, 0.93, 4),
        (77, 400, 0.9, 0),
    ):
        yield of_macro_f1(number, rows, right, skew, sets, draws)
    for score, sizes in scores():
        for rows in sizes:
            yield of_sums(score, rows, sets, draws)


# Tests of two models, and calibration


def false_alarms(sets: int, draws: int) -> Iterator[str]:
    """How often models that are as good differ by tests at 5 %."""
    yield "| models as good, 5 % tests | rows | McNemar mid-p | paired bootstrap |"
    yield "|---|---|---|---|"
    for right, agree, rows in ((0.8, 0.0, 60), (0.9, 0.0, 400), (0.9, 0.8, 400), (0.93, 0.8, 3080)):
        alarms = np.zeros(2)
        for _ in range(sets):
            new, old = random.random((2, rows)) < right
            new = np.where(random.random(rows) < agree, old, new)
            better = paired_bootstrap(new, old, draws).better
            alarms += mcnemar(new, old) < 0.05, not 0.025 < better < 0.975
        cells = " | ".join(f"{alarm:.3f}" for alarm in alarms / sets)
        yield f"| right on {right}, {agree:.0%} surely alike | {rows:,} | {cells} |"


def known_model() -> tuple[Tensor, Tensor]:
    """Logits 2.5 times too large of 8 classes, and classes drawn by the softmax of the right."""
    logits = torch.from_numpy(5 * random.standard_normal((POPULATION, 8)))
    drawn = logits + torch.from_numpy(random.gumbel(size=logits.shape))
    return 2.5 * logits, drawn.argmax(1)


def of_run(folder: str, table: str) -> tuple[Tensor, Tensor]:
    """Logits of a run for the rows of a table, up to a constant a row, and their classes."""
    import ftlight
    from ftlight.data import files
    from ftlight.data.labelled import Labelled

    predictor = ftlight.load(folder)
    predictor.task.calibration = None
    data = predictor.data
    assert isinstance(data, Labelled)
    rows, labels = list(files.read(files.check(table))), predictor.task.labels
    answers = predictor.predict(rows)
    shares = [[answer["probabilities"][label] for label in labels] for answer in answers]
    targets = [labels.index(str(row[data.label])) for row in rows]
    return torch.tensor(shares).double().clamp(min=1e-300).log(), torch.tensor(targets)


def promises(logits: Tensor, targets: Tensor, splits: int) -> Iterator[str]:
    """What is fitted on some rows, and holds on the others."""
    fitted = min(FITTED, len(targets) // 2)
    found: dict[str, list[float]] = {}
    for _ in range(splits):
        order = torch.from_numpy(random.permutation(len(targets)))
        for name, value in promise(logits[order], targets[order], fitted):
            found.setdefault(name, []).append(value)
    yield f"| fitted on {fitted:,} rows, counted on {len(targets) - fitted:,} | mean | resplits |"
    yield "|---|---|---|"
    for name, values in found.items():
        yield f"| {name} | {np.mean(values):.4g} | {len(values)} |"


def promise(logits: Tensor, targets: Tensor, fitted: int) -> Iterator[tuple[str, float]]:
    """Names and values of one split: the first rows are fitted on."""
    temperature = calibration.fit_temperature(logits[:fitted], targets[:fitted])
    yield "temperature", temperature
    raw, probabilities = logits.softmax(1), (logits / temperature).softmax(1)
    confidence, predicted = probabilities.max(1)
    right = predicted == targets
    new = slice(fitted, None)
    yield "calibration error before", calibration.calibration_error(raw.amax(1)[new], right[new])
    yield "and after", calibration.calibration_error(confidence[new], right[new])
    yield "of a calibrated model", calibration.calibration_floor(confidence[new], draws=20)
    scores = calibration.true_class_scores(probabilities, targets)
    for coverage in (0.8, 0.9, 0.95, 0.98):
        quantile = calibration.conformal_quantile(scores[:fitted], coverage)
        sets = calibration.prediction_sets(probabilities[new], quantile)
        held = sets.gather(1, targets[new][:, None]).double().mean().item()
        yield f"sets of {coverage:.0%}: coverage", held
        yield f"sets of {coverage:.0%}: classes", sets.sum(1).double().mean().item()
    for goal in (0.9, 0.95, 0.98):
        least = calibration.selective_threshold(confidence[:fitted], right[:fitted], goal)
        if least is not None:
            answered = confidence[new] >= least
            yield f"goal of {goal:.0%}: answered", answered.double().mean().item()
            kept = right[new][answered].double().mean().item() >= goal
            yield f"goal of {goal:.0%}: kept", float(kept)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--sets", type=int, default=1000, help="test sets of each row")
    parser.add_argument("--draws", type=int, default=200, help="resamples of each test set")
    parser.add_argument("--splits", type=int, default=200, help="resplits of the logits")
    parser.add_argument("--run", nargs=2, help="of one label a row, and a table with labels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logits, targets = of_run(*options.run) if options.run else known_model()
    tables = [promises(logits, targets, options.splits)]
    if options.sets:
        simulated = [coverage, false_alarms]
        tables = [*(table(options.sets, options.draws) for table in simulated), *tables]
    for table in tables:
        for line in table:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
