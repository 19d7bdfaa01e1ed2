"""SQuAD's published scripts, evaluate-v1.1.py and evaluate-v2.0.py, as oracles."""

from __future__ import annotations

import collections
import re
import string
from typing import Any


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def f1_1(prediction: str, truth: str) -> float:
    """evaluate-v1.1.py."""
    p, t = normalize_answer(prediction).split(), normalize_answer(truth).split()
    common = collections.Counter(p) & collections.Counter(t)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(p), 1.0 * num_same / len(t)
    return (2 * precision * recall) / (precision + recall)


def f1_2(truth: str, prediction: str) -> float:
    """evaluate-v2.0.py."""
    gold = normalize_answer(truth).split() if truth else []
    pred = normalize_answer(prediction).split() if prediction else []
    if len(gold) == 0 or len(pred) == 0:
        return int(gold == pred)
    return f1_1(prediction, truth)


def score_1(prediction: str, truths: list[str]) -> tuple[float, float]:
    exact = max(float(normalize_answer(prediction) == normalize_answer(t)) for t in truths)
    return exact, max(f1_1(prediction, t) for t in truths)


def score_2(prediction: str, truths: list[str]) -> tuple[float, float]:
    gold = [t for t in truths if normalize_answer(t)] or [""]
    exact = max(int(normalize_answer(g) == normalize_answer(prediction)) for g in gold)
    return exact, max(f1_2(g, prediction) for g in gold)


def find_best_thresh(preds: Any, scores: Any, na_probs: Any, has_ans: Any) -> tuple[float, float]:
    cur_score = best_score = sum(1 for k in has_ans if not has_ans[k])
    best_thresh = 0.0
    for qid in sorted(na_probs, key=lambda k: na_probs[k]):
        cur_score += scores[qid] if has_ans[qid] else (-1 if preds[qid] else 0)
        if cur_score > best_score:
            best_score, best_thresh = cur_score, na_probs[qid]
    return best_score / len(scores), best_thresh
