"""Words of any script: what ROUGE counts, and how BLEU should split the texts of a language."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Literal

Tokenizer = Literal["auto", "13a", "intl", "zh", "char", "ja-mecab", "ko-mecab", "none"]
"""How BLEU splits texts, by sacrebleu's names; auto chooses by the script of the references."""

HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
# Thai, Lao, Tibetan, Burmese, Khmer, and smaller scripts of the region.
SOUTHEAST = (
    "\u0e01-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
)
ASCII_WORD = re.compile(r"[a-z0-9]+")
KANA_SHARE = 0.05  # of Han and kana, from which on a text is Japanese: Chinese borrows の at most


@functools.cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Patterns of a word, and of a Han, a kana and a Southeast Asian one.

    Made when a text that is not ASCII is first met: Python's ``re`` has no class of marks, so it is
    listed from the Unicode database.
    """
    every = map(chr, range(sys.maxunicode + 1))
    marks = "".join(c for c in every if unicodedata.category(c)[0] == "M")
    # Joiners shape the letters beside them, as in Persian and Hindi, and do not divide words.
    marks = f"[{re.escape(marks)}\u200c\u200d]"
    alone = f"[{HAN}{KANA}{SOUTHEAST}]"
    word = rf"(?=[^\W_])(?:{alone}{marks}*|(?:(?!{alone})[^\W_]|{marks})+)"
    return tuple(re.compile(p) for p in (word, f"[{HAN}]", f"[{KANA}]", f"[{SOUTHEAST}]"))


def words(text: str) -> list[str]:
    """Splits a text into lower-case words as ROUGE counts them.

    A word is a run of letters, marks and digits of Unicode; where words have no spaces between them
    (Han, kana, Thai, Lao, Tibetan, Khmer, Burmese), each character with its marks is one. For ASCII
    that is what the package rouge-score does; of other texts it drops all letters but a to z, and
    so cuts "naïve" into "na" and "ve".

    >>> words("It's 5 o'clock, naïve Größe.")
    ['it', 's', '5', 'o', 'clock', 'naïve', 'größe']
    >>> words("用 BERT-base 训练")
    ['用', 'bert', 'base', '训', '练']
    >>> words("हिन्दी की किताब"), words("한국어 문장")
    (['हिन्दी', 'की', 'किताब'], ['한국어', '문장'])
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    return _patterns()[0].findall(unicodedata.normalize("NFC", text).lower())


def bleu_tokenizer(references: Iterable[str]) -> Tokenizer:
    """Chooses how BLEU should split texts, by the script that most words of the references have.

    A character of a script without spaces counts as a word. ``zh`` is for Chinese, which sacrebleu
    splits into characters and leaves whole what is Latin between them; ``char`` for Japanese, Thai
    and the other scripts without spaces; ``13a``, the default of sacrebleu, for all else. Japanese
    never gets ``ja-mecab`` by itself: a score would change with what is installed.

    >>> bleu_tokenizer(["我们用 Transformers 训练模型"]), bleu_tokenizer(["東京に行きます"])
    ('zh', 'char')
    >>> bleu_tokenizer(["The word 東京 means Tokyo"]), bleu_tokenizer(["오늘은 날씨가 좋다"])
    ('13a', '13a')
    """
    spaced = han = kana = southeast = 0
    for text in references:
        found = words(text)
        if text.isascii():
            spaced += len(found)
            continue
        _, is_han, is_kana, is_southeast = _patterns()
        for word in found:
            if is_han.match(word):
                han += 1
            elif is_kana.match(word):
                kana += 1
            elif is_southeast.match(word):
                southeast += 1
            else:
                spaced += 1
    if spaced >= han + kana + southeast:
        return "13a"
    is_chinese = han > southeast and kana < KANA_SHARE * (han + kana)
    return "zh" if is_chinese else "char"
