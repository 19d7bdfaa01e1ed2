"""BLEU, chrF and ROUGE against the packages that define them."""

from __future__ import annotations

import builtins
import math
import random
from typing import Any

import pytest
from conftest import each

from ftlight.metrics import texts, words
from ftlight.metrics.subsequences import lcs_length
from ftlight.utils.errors import UserError

REAL = [
    (
        "The Phoenix is a cheap pub, near Crowne Plaza Hotel.",
        ["The Phoenix is a cheap pub near the Crowne Plaza Hotel.", "A cheap pub: Phoenix."],
    ),
    ("It isn't family-friendly; prices: £20-25!", ["It's not family friendly, and costs £20-25."]),
    (
        "Person1 asks Person2 out.\nThey go to the cinema.",
        ["They go to the cinema.\n\nPerson1 had asked Person2 out.", "Cinema.", ""],
    ),
    ("", ["nothing was generated here"]),
    ("the the the the the", ["the cat sat on the mat", "THE THE"]),
    ("one two", ["one two"]),
]


# Language: two texts, and the tokenizer that BLEU should have for it.
SCRIPTS = {
    "Chinese": ("我们昨天在北京看了一场电影。", "他用 Transformers 5.1 训练新的模型!", "zh"),
    "Traditional Chinese": ("這家餐廳離皇冠廣場酒店很近。", "我昨天買了兩本書。", "zh"),
    "Japanese": (
        "昨日は東京で映画を見ました。",
        "レストランはホテルの近くにあります。",
        "char",
    ),
    "Thai": ("เมื่อวานนี้เราไปดูหนังที่กรุงเทพ", "ร้านอาหารนี้อยู่ใกล้โรงแรม", "char"),
    "Lao": ("ຂ້ອຍມັກອ່ານປຶ້ມຢູ່ເຮືອນ", "ຮ້ານນີ້ຢູ່ໃກ້ໂຮງແຮມ", "char"),
    "Khmer": ("ខ្ញុំចូលចិត្តអានសៀវភៅនៅផ្ទះ", "ហាងនេះនៅជិតសណ្ឋាគារ", "char"),
    "Burmese": ("ကျွန်တော်စာအုပ်ဖတ်ရတာကြိုက်တယ်", "ဒီဆိုင်ကဟိုတယ်နားမှာရှိတယ်", "char"),
    "Korean": ("우리는 어제 서울에서 영화를 보았습니다.", "이 식당은 호텔 근처에 있습니다.", "13a"),
    "Russian": (
        "Вчера мы посмотрели фильм в Москве.",
        "Ресторан рядом с этой гостиницей.",
        "13a",
    ),
    "Greek": ("Χθες είδαμε μια ταινία στην Αθήνα.", "Το εστιατόριο είναι κοντά στο σταθμό.", "13a"),
    "Arabic": ("شاهدنا أمس فيلمًا في القاهرة.", "المطعم قريب جدًا من الفندق الكبير.", "13a"),
    "Hebrew": ("אתמול ראינו סרט בתל אביב.", "המסעדה קרובה מאוד למלון הגדול.", "13a"),
    "Persian": ("دیروز در تهران فیلم می‌دیدیم.", "رستوران خیلی نزدیک هتل است.", "13a"),
    "Hindi": ("हमने कल दिल्ली में एक फिल्म देखी।", "यह रेस्तरां होटल के बहुत पास है।", "13a"),
    "Vietnamese": (
        "Hôm qua chúng tôi xem phim ở Hà Nội.",
        "Nhà hàng rất gần khách sạn.",
        "13a",
    ),
    "German": (
        "Gestern sahen wir in München einen Film.",
        "Größe und Straße sind gleich.",
        "13a",
    ),
    "English": ("Yesterday we saw a film in London.", "The pub is near the Crowne Plaza.", "13a"),
}


def made(count: int, seed: int) -> tuple[list[str], list[list[str]]]:
    """Texts of few words on several lines, which have many equally long common subsequences.

    Each has one to four references.
    """
    draw = random.Random(seed)

    def text(most: int) -> str:
        return "".join(
            f"{draw.choice('abcdef.')}{draw.choice([' ', ' ', ' ', chr(10)])}"
            for _ in range(draw.randrange(most))
        )

    return [text(30) for _ in range(count)], [
        [text(40) for _ in range(draw.randrange(1, 5))] for _ in range(count)
    ]


CASES = [([p for p, _ in REAL], [r for _, r in REAL]), made(60, 0), made(60, 1)]


def test_bleu_and_chrf_are_sacrebleus() -> None:
    def check(predictions: list[str], references: list[list[str]]) -> None:
        import sacrebleu

        streams: Any = [[r[i] if i < len(r) else None for r in references] for i in range(4)]
        assert (
            texts.bleu(predictions, references)
            == sacrebleu.corpus_bleu(predictions, streams).score
            > 0
        )
        assert (
            texts.chrf(predictions, references)
            == sacrebleu.corpus_chrf(predictions, streams).score
            > 0
        )

    each(CASES, check)


def test_a_perfect_text_of_any_script_scores_all() -> None:
    def check(language: str, first: str, second: str, tokenizer: str) -> None:
        predictions, references = [first, second], [[first], [second]]
        assert words.bleu_tokenizer([first, second]) == tokenizer
        assert texts.tokenizer_of("auto", references) == tokenizer
        assert texts.bleu(predictions, references, tokenizer) == pytest.approx(100)
        rouge = texts.rouge(predictions, references)
        assert rouge == dict.fromkeys(texts.KINDS, 1.0)
        found = texts.rouge([first], [[second]])
        assert found["rouge2"] < 0.5  # not simply everything is right

    each([(name, *case) for name, case in SCRIPTS.items()], check)


def test_bleu_of_any_script_is_sacrebleus_of_that_tokenizer() -> None:
    def check(language: str, first: str, second: str, tokenizer: str) -> None:
        import sacrebleu

        cut = len(first) * 4 // 5
        predictions = [first[:cut] + second[-3:], second[2:], first]
        references = [[first, second], [second, first[3:]], [first[:-4], second]]
        streams = [list(stream) for stream in zip(*references, strict=True)]
        expected = sacrebleu.corpus_bleu(predictions, streams, tokenize=tokenizer).score
        assert texts.bleu(predictions, references, tokenizer) == expected
        assert 1 < expected < 99

    each([(name, *case) for name, case in SCRIPTS.items()], check)


def test_rouge_of_any_script_is_rouge_scores_with_our_words() -> None:
    class Words:
        def tokenize(self, text: str) -> list[str]:
            return words.words(text)

    def check(language: str, first: str, second: str, tokenizer: str) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        prediction = first[: len(first) // 2] + second[len(second) // 2 :]
        expected = RougeScorer(["rouge1", "rougeL"], tokenizer=Words()).score(first, prediction)
        rows = texts.rouge_rows([prediction], [[first]], ["rouge1", "rougeL"])
        for kind in ("rouge1", "rougeL"):
            assert rows[kind][0] == pytest.approx(expected[kind].fmeasure, abs=1e-12)
            assert 0 < rows[kind][0] < 1

    each([(name, *case) for name, case in SCRIPTS.items()], check)


def test_words_of_all_ascii_characters_are_those_of_rouge_score() -> None:
    from rouge_score.tokenizers import DefaultTokenizer

    draw = random.Random(4)
    text = "".join(draw.choices([chr(c) for c in range(128)] + list("aB1 "), k=5000))
    assert words.words(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


def test_words_of_other_scripts() -> None:
    cases = [
        ("用 BERT-base 训练3个模型", ["用", "bert", "base", "训", "练", "3", "个", "模", "型"]),
        ("カメラ1台", ["カ", "メ", "ラ", "1", "台"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("हिन्दी है।", ["हिन्दी", "है"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("Cafe\u0301 naïve, STRASSE straße", ["café", "naïve", "strasse", "straße"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("١٢٣ ৪৫", ["١٢٣", "৪৫"]),
        ("😀 «…» — _", []),
    ]

    def check(text: str, expected: list[str]) -> None:
        import unicodedata

        assert words.words(text) == [unicodedata.normalize("NFC", word) for word in expected]

    each(cases, check)


def test_the_script_of_most_words_chooses_the_tokenizer_of_bleu() -> None:
    chinese, english = SCRIPTS["Chinese"][1], SCRIPTS["English"][0]
    cases = [
        ([chinese], "zh"),  # more Latin letters than Han ones
        ([chinese, *[english] * 5], "13a"),
        ([english, "東京"], "13a"),
        (["東京都渋谷区の天気", "気象庁"], "char"),
        (["今天の天气很好我们一起去公园散步吧大家都很高兴"], "zh"),  # one kana among many Han
        ([], "13a"),
        (["…", "😀"], "13a"),
    ]

    def check(references: list[str], tokenizer: str) -> None:
        assert words.bleu_tokenizer(references) == tokenizer

    each(cases, check)


def test_a_tokenizer_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"ja-mecab needs a library: pip install 'sacrebleu\[ja\]'"):
        texts.tokenizer_of("ja-mecab", [])
    wrong: Any = "13"
    with pytest.raises(UserError, match='no tokenizer 13; did you mean "13a"'):
        texts.tokenizer_of(wrong, [])
    assert texts.tokenizer_of("intl", [["我们"]]) == "intl"


def test_parts_of_bleu_add_up() -> None:
    predictions, references = made(20, 2)
    parts = texts.bleu_parts(predictions, references)
    assert parts.shape == (20, 10)
    half = texts.bleu(predictions[:7], references[:7])
    assert texts.bleu_of(parts[:7].sum(0)) == half != texts.bleu_of(parts.sum(0))


def test_rouge_is_that_of_rouge_score() -> None:
    def check(predictions: list[str], references: list[list[str]]) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        kinds = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
        rows = texts.rouge_rows(predictions, references, kinds)
        scorer = RougeScorer(kinds)
        for i, (prediction, several) in enumerate(zip(predictions, references, strict=True)):
            expected = scorer.score_multi(several, prediction)
            for kind in kinds:
                assert rows[kind][i] == pytest.approx(expected[kind].fmeasure, abs=1e-12), (
                    kind,
                    prediction,
                    several,
                )
        means = texts.rouge(predictions, references)
        assert means["rougeLsum"] == pytest.approx(sum(rows["rougeLsum"]) / len(predictions))
        assert means["rougeL"] != means["rougeLsum"]

    each(CASES, check)


def test_longest_common_subsequence_of_long_texts() -> None:
    draw = random.Random(3)
    a, b = ([draw.choice("abcd") for _ in range(n)] for n in (150, 130))
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    assert lcs_length(a, b) == table[-1][-1] == lcs_length(b, a)
    assert lcs_length([], b) == lcs_length(a, []) == 0


def test_nothing_to_measure_is_not_a_number() -> None:
    values = [texts.bleu([], []), texts.chrf([], []), *texts.rouge([], []).values()]
    assert len(values) == 6
    assert all(map(math.isnan, values))
    assert math.isnan(texts.bleu(["the cat"], [["the cat", "a cat"]]))  # no four words anywhere
    assert all(map(math.isnan, texts.rouge(["x", "?"], [["?!", "…"], ["😀"]]).values()))
    assert texts.bleu(["the cat"], [["the cat", "a cat sat down"]]) == 0
    assert texts.rouge(["x", "?"], [["?!", "…"], ["y"]]) == dict.fromkeys(texts.KINDS, 0)


def test_perplexity() -> None:
    assert texts.perplexity(3 * math.log(7), 3) == pytest.approx(7)
    assert math.isnan(texts.perplexity(0.0, 0))
    assert math.isnan(texts.perplexity(math.nan, 2))
    assert texts.perplexity(math.inf, 2) == texts.perplexity(1e6, 1) == math.exp(700)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="rouge0 is not a ROUGE"):
        texts.rouge(["a"], [["a"]], ["rouge0"])


def test_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install ftlight\[generation\]"):
        texts.bleu(["a"], [["a"]])
