r"""Runs every task's config on real data and checks the scores with each field's own scorers.

python scripts/bench/tasks.py --data DATA --models MODELS [--only ner qa …] [--seeds 0 1 2] \
    [--out DIR]

DATA holds the folders that the configs name (wnut17/, squad/, …), MODELS the folders stories260k/
and mobilenet_v2/ (or leave it out to take the hub's). `before` is the score on the test data of the
model as it starts (`validate -c`). `check` is the score that seqeval, SQuAD's rules or sacrebleu
give for the predictions that the run wrote.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HOME = Path(__file__).resolve().parents[2]
csv.field_size_limit(2**31 - 1)
Rows = list[dict[str, Any]]


def seqeval_f1(rows: Rows) -> float:
    """Span F1 by seqeval, from the spans of gold and prediction."""
    from seqeval.metrics import f1_score

    def tags(text: str, spans: Rows) -> list[str]:
        found, at = [], 0
        for word in text.split(" "):
            inside = next((s for s in spans if s["start"] <= at < s["end"]), None)
            found.append(
                "O"
                if inside is None
                else f"{'B' if inside['start'] == at else 'I'}-{inside['type']}"
            )
            at += len(word) + 1
        return found

    gold = [tags(r["text"], json.loads(r["spans"] or "[]")) for r in rows]
    return float(f1_score(gold, [tags(r["text"], json.loads(r["prediction"])) for r in rows]))


def squad_f1(rows: Rows) -> float:
    """F1 by the rules of SQuAD's evaluate-v1.1."""

    def words(text: str) -> list[str]:
        plain = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", plain).split()

    def f1(found: str, gold: str) -> float:
        a, b = words(found), words(gold)
        same = sum((Counter(a) & Counter(b)).values())
        return 2 * same / (len(a) + len(b)) if same else 0.0

    return statistics.fmean(
        max(f1(r["prediction"], a) for a in json.loads(r["answers"])) for r in rows
    )


def sacrebleu_score(rows: Rows) -> float:
    """Corpus BLEU by sacrebleu."""
    import sacrebleu

    several = [json.loads(r["references"]) for r in rows]
    streams = [
        [r[i] if i < len(r) else None for r in several] for i in range(max(map(len, several)))
    ]
    return float(sacrebleu.corpus_bleu([r["prediction"] for r in rows], streams).score)


class Case(NamedTuple):
    """A config, metrics to show, a test file to score before training, a model, and a check."""

    metrics: tuple[str, ...]
    test: str | None = None
    model: str | None = None
    check: Callable[[Rows], float] | None = None
    options: tuple[str, ...] = ()


CASES = {
    "ner": Case(("f1",), "wnut17/test.conll", check=seqeval_f1),
    "qa": Case(("f1", "exact"), "squad/test.json.gz", check=squad_f1),
    "chat": Case(("perplexity",), model="stories260k"),
    "data_to_text": Case(("bleu", "rougeLsum"), check=sacrebleu_score),
    "images": Case(("accuracy", "f1"), model="mobilenet_v2"),
    "recommend": Case(
        (
            "recall@10",
            "popularity_recall@10",
            "untuned_recall@10",
            "ndcg@10",
            "popularity_ndcg@10",
            "untuned_ndcg@10",
        )
    ),
    "search": Case(("recall@1", "ndcg@10", "untuned_ndcg@10")),
    "adapt": Case(("perplexity",), "banking77/test.csv"),
    "fewshot": Case(("accuracy", "f1"), "banking77/test.csv"),
}


def ftlight(*words: str, cwd: Path) -> str:
    """Runs a command. Returns what it printed.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ftlight", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def measure(
    name: str, case: Case, seeds: list[int], data: Path, models: Path | None, out: Path
) -> list[list[str]]:
    """Runs a config with each seed. Returns rows of the table."""
    words = ["-c", str(HOME / "configs" / f"{name}.yaml"), *case.options]
    if case.model and models:
        words += ["--model.backbone", str(models / case.model)]
    before: dict[str, str] = {}
    if case.test:
        said = " ".join(
            ftlight("validate", *words, "--data.validation", case.test, cwd=data).split()
        )
        before = {
            m: found[1]
            for m in case.metrics
            if (found := re.search(rf"\b{re.escape(m)} ([\d.e+-]+)", said))
        }
    values: dict[str, list[float]] = {m: [] for m in case.metrics}
    seconds, checks, last = [], [], {}
    for seed in seeds:
        folder, begun = out / f"{name}-{seed}", time.perf_counter()
        ftlight("fit", *words, "--seed", str(seed), "--run", str(folder), cwd=data)
        seconds.append(time.perf_counter() - begun)
        last = json.loads((folder / "test_metrics.json").read_text())
        for metric in case.metrics:
            values[metric].append(last[f"test/{metric}"])
        if case.check:
            with (folder / "test_predictions.csv").open(newline="", encoding="utf-8") as file:
                checks.append(case.check(list(csv.DictReader(file))))
    table = []
    for metric, found in values.items():
        ends = [last.get(f"test/{metric}_{end}") for end in ("low", "high")]
        interval = f"{ends[0]:.4g} to {ends[1]:.4g}" if None not in ends else ""
        each = ", ".join(f"{v:.4f}" for v in found)
        check = ", ".join(f"{c:.4f}" for c in checks) if metric == case.metrics[0] else ""
        took = f"{statistics.median(seconds):.0f}" if metric == case.metrics[0] else ""
        table.append(
            [
                name,
                metric,
                before.get(metric, ""),
                f"{statistics.fmean(found):.4f}",
                each,
                interval,
                check,
                took,
            ]
        )
    return table


def main() -> None:
    """Runs the cases and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--models", type=Path, help="folder of models that are no hub ids")
    parser.add_argument(
        "--only", nargs="*", choices=list(CASES), default=list(CASES), help="cases to run"
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0], help="seeds of each")
    parser.add_argument(
        "--out", type=Path, help="folder for the runs, kept; a temporary one if not given"
    )
    options = parser.parse_args()
    models = options.models and options.models.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.out or Path(temporary)).resolve()
        header = [
            "config",
            "metric",
            "before",
            "mean",
            "each seed",
            "95 % interval of the last",
            "check",
            "seconds",
        ]
        print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
        for name in options.only:
            for row in measure(
                name, CASES[name], options.seeds, options.data.resolve(), models, out
            ):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
