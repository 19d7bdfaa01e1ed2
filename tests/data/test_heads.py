"""Very long texts are cut before they are tokenized, and give the tokens that all of them give."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import WORDS, each, save_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ftlight.data import heads, tokens
from ftlight.data import windows as long_texts

SENTENCES = [" ".join(WORDS[i:] + WORDS[:i]) + ". " for i in range(len(WORDS))]


def wrapped(made: Any, trainer: Any) -> Any:
    made.train_from_iterator(SENTENCES * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", sep_token="<sep>"
    )


def tokenizers(folder: Path) -> dict[str, Any]:
    """Tokenizers of each kind: pieces, byte pairs with words and without, unigrams."""
    special = ["<unk>", "<pad>", "<sep>"]
    save_tokenizer(folder)
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    of_pairs = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bare = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    bare.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    of_bare = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, max_token_length=8, show_progress=False
    )
    unigrams = Tokenizer(models.Unigram())
    unigrams.normalizer = normalizers.NFKC()
    unigrams.pre_tokenizer = pre_tokenizers.Metaspace()
    of_unigrams = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    return {
        "pieces": AutoTokenizer.from_pretrained(folder),
        "byte pairs": wrapped(pairs, of_pairs),
        "byte pairs without words": wrapped(bare, of_bare),
        "unigrams": wrapped(unigrams, of_unigrams),
    }


def long_text(draw: random.Random) -> str:
    """Words, numbers, runs of one sign, special tokens, letters of many kinds."""
    pieces = [*SENTENCES, "1234567890" * 7, " " * 90, "\n" * 40, "[SEP]<sep>", "é\u0301ﷺ 漢字" * 9]
    pieces += ["a" * 700, "ab" * 300, "the" * 200, "\u0301" * 50, "x-y_z!?", "👍🏽" * 30, "\t"]
    return "".join(draw.choices(pieces, k=draw.randint(5, 25)))


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LONG": 300, "PER_TOKEN": 1, "FAR": 64, "GROWTH": 2}.items():
        monkeypatch.setattr(heads, name, value)


def whole(tokenizer: Any, texts: list[str], pairs: list[str] | None, longest: int) -> Any:
    """The tokens if all of each text is tokenized."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "LONG", 10**9)
        return tokens.tokenize(tokenizer, texts, pairs, longest)


@pytest.mark.usefixtures("_short")
def test_tokens_are_those_of_all_of_the_text(tmp_path: Path) -> None:
    made = tokenizers(tmp_path)

    def check(name: str, seed: int) -> None:
        draw, tokenizer = random.Random(seed), made[name]
        texts = [long_text(draw), "short", "", "a" * 1500, " " * 1500, "the " * 500]
        texts += [long_text(draw)]
        others = ["b", long_text(draw), long_text(draw), "c", "", "the order " * 9, long_text(draw)]
        for pairs, longest in itertools.product((None, others), (8, 31, 64)):
            cut = tokens.tokenize(tokenizer, texts, pairs, longest)
            all_of_it = whole(tokenizer, texts, pairs, longest)
            for column in set(cut) - {"uncut"}:
                assert cut[column] == all_of_it[column], (column, pairs is None, longest)
            over = [[n > longest for n in some["uncut"]] for some in (cut, all_of_it)]
            assert over[0] == over[1]
        windows = long_texts.tokenize(tokenizer, texts, None, 31)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(heads, "LONG", 10**9)
            expected = long_texts.tokenize(tokenizer, texts, None, 31)
        assert windows["input_ids"] == expected["input_ids"]

    each(itertools.product(made, range(2)), check)


@pytest.mark.usefixtures("_short")
def test_of_a_long_text_little_is_tokenized(tmp_path: Path) -> None:
    text = "".join(SENTENCES * 10)

    def check(name: str, tokenizer: Any) -> None:
        begun, _ = heads.heads(tokenizer, [text, "ok"], None, 64)
        assert len(begun[0]) < len(text) / 8
        assert text.startswith(begun[0])
        uncut = tokens.tokenize(tokenizer, [text], None, 64)["uncut"][0]
        assert abs(uncut / whole(tokenizer, [text], None, 64)["uncut"][0] - 1) < 0.2

    each(tokenizers(tmp_path).items(), check)


def test_one_that_cuts_at_the_beginning_has_all_of_it(tmp_path: Path) -> None:
    tokenizer = tokenizers(tmp_path)["pieces"]
    tokenizer.truncation_side = "left"
    text = "the order " * 20_000
    assert heads.heads(tokenizer, [text], None, 8) == ([text], None)
