"""The data set and the weights that come with the repository."""

from __future__ import annotations

import csv
import difflib
import hashlib
from collections import Counter
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


def near_duplicates(messages: list[str]) -> list[tuple[str, str]]:
    """Pairs of messages that share more than half of their words and three quarters of their text.

    Such a pair shares a word among the rarer half of each (prefix filter, Chaudhuri et al. 2006),
    so that few of all pairs are compared.
    """
    words = [frozenset(m.split()) for m in messages]
    frequency = Counter(word for each in words for word in each)
    with_rare_word: dict[str, list[int]] = {}
    pairs = []
    for i, own in enumerate(words):
        by_rarity = sorted(own, key=lambda word: (frequency[word], word))
        rarer = by_rarity[: len(own) - len(own) // 2]
        candidates = {j for word in rarer for j in with_rare_word.get(word, ())}
        for j in sorted(candidates):
            if len(own & words[j]) / len(own | words[j]) > 0.5:
                close = difflib.SequenceMatcher(None, messages[j], messages[i]).ratio()
                if close >= 0.75:
                    pairs.append((messages[j], messages[i]))
        for word in rarer:
            with_rare_word.setdefault(word, []).append(i)
    return pairs


def test_no_near_duplicates_within_or_between_splits() -> None:
    messages = [r["message"].lower() for split in SPLITS.values() for r in split]
    assert near_duplicates(messages) == []
    copy = f"{messages[7]} thanks"
    assert near_duplicates([*messages, copy]) == [(messages[7], copy)]


def test_the_weights_are_the_published_ones() -> None:
    weights = Path(locate("sentence-transformers/all-MiniLM-L6-v2")) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
