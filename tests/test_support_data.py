"""The embedded data set and weights are what the README says."""

from __future__ import annotations

import csv
import difflib
import hashlib
from collections import Counter
from itertools import combinations
from pathlib import Path

from ftlight.models.loading import locate

FOLDER = Path(__file__).parent.parent / "configs" / "support"
SPLITS = {
    s: list(csv.DictReader((FOLDER / f"{s}.csv").open(encoding="utf-8")))
    for s in ("train", "validation", "test")
}


def test_size_and_balance() -> None:
    assert sum(map(len, SPLITS.values())) >= 800
    intents = {r["intent"] for r in SPLITS["train"]}
    assert len(intents) >= 12
    for rows in SPLITS.values():
        counts = Counter(r["intent"] for r in rows)
        assert set(counts) == intents
        assert max(counts.values()) - min(counts.values()) <= 1


def test_lengths_vary() -> None:
    words = sorted(len(r["message"].split()) for r in SPLITS["train"])
    assert words[len(words) // 20] <= 6
    assert words[-len(words) // 20] >= 40


def test_no_near_duplicates() -> None:
    """Neither between splits nor within them: few shared words, or else little shared text."""
    rows = [(s, r["message"].lower()) for s, split in SPLITS.items() for r in split]
    words = [frozenset(m.split()) for _, m in rows]
    for i, j in combinations(range(len(rows)), 2):
        shared = len(words[i] & words[j])
        if shared * 2 > len(words[i]) and shared / len(words[i] | words[j]) > 0.5:
            close = difflib.SequenceMatcher(None, rows[i][1], rows[j][1]).ratio()
            assert close < 0.75, (rows[i], rows[j])


def test_the_weights_are_the_published_ones() -> None:
    weights = Path(locate("sentence-transformers/all-MiniLM-L6-v2")) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
