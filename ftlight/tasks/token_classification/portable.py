"""A finder of entities as ONNX: its inputs, and the lines that read words and say spans."""

from __future__ import annotations

import sys
import unicodedata

from ftlight.data import files, tokens
from ftlight.models.portable import Portable, text_lines, tokenizer
from ftlight.tasks.token_classification import tags
from ftlight.tasks.token_classification.data import TokenData, tag_names
from ftlight.tasks.token_classification.windows import spaced

TEXTS = ("a text of a few words", "another text, of a few more words than the first one has")
# A word is read in the window in which its first piece has most context.
PREDICT = """\
def document(row):
    words = row.get(SETTINGS["tokens"])
    if words is None or SETTINGS["text"] in row and not any(isinstance(w, str) for w in words):
        text = cell(row, SETTINGS["text"])
        return text, [word.span() for word in re.finditer(SETTINGS["word"], text)]
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()  # a space between words
    return " ".join(words), [(a, a + len(word)) for a, word in zip(starts, words)]


def predict(rows):
    texts, places = zip(*map(document, rows))
    words = [[WORD for a, b in row] for text, row in zip(texts, places)]
    encoded = TOKENIZER.encode_batch(words, is_pretokenized=True)
    windows = [[row, *row.overflowing] for row in encoded]
    logits = run([window for row in windows for window in row], len(rows))[0]
    found = iter(logits * SETTINGS["factor"])
    answers = []
    for text, row, of_row in zip(texts, places, windows):
        best, entities, last = [(-1, 1.0, "O")] * len(row), [], ""
        for window, logits in zip(of_row, found):
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            inside = [i for i, word in enumerate(window.word_ids) if word is not None]
            for word, i in {window.word_ids[i]: i for i in reversed(inside)}.items():
                context, tag = min(i - inside[0], inside[-1] - i), SETTINGS["tags"][p[i].argmax()]
                if context > best[word][0]:
                    best[word] = context, float(p[i].max()), tag
        for (start, end), (_, p, tag) in zip(row, best):
            if tag[0] == "I" and tag[2:] == last:
                entities[-1] = {**entities[-1], "end": end, "p": [*entities[-1]["p"], p]}
            elif tag != "O":
                entities.append({"type": tag[2:], "text": "", "start": start, "end": end, "p": [p]})
            last = tag[2:]
        for entity in entities:
            entity["text"] = text[entity["start"] : entity["end"]]
            entity["score"] = round(float(np.mean(entity.pop("p"))), 4)
        answers.append({"prediction": entities, "score": min((p for _, p, _ in best), default=1.0)})
    return answers
"""
# With the space before it, as byte-level vocabularies have it.
WORD = {False: "text[a:b]", True: '" " * text[max(a - 1, 0) : a].isspace() + text[a:b]'}


def portable(data: TokenData, heat: float) -> Portable:
    """What an ONNX folder of a finder of entities needs.

    Args:
        data: the data module.
        heat: temperature of the probabilities.

    Raises:
        UserError: it has no fast tokenizer.
    """
    tokens.check_places(data.tokenizer)
    rows = [{files.LINE: 1, data.layout.text: text} for text in TEXTS]
    settings = {
        "text": data.layout.text,
        "tokens": data.layout.tokens,
        "tags": tag_names(data.labels),
        "factor": 1 / heat,
        "word": word_pattern(),
    }
    body = PREDICT.replace("WORD", WORD[spaced(data.tokenizer)], 1)
    return Portable(
        data.collate(data.encode_rows(rows, "")[[0, 1]], [0, 1])["inputs"],
        ["logits"],
        settings,
        text_lines("Finds entities in texts", body, "import re\n"),
        tokenizer(data.tokenizer, data.max_length, data.stride),
    )


def word_pattern() -> str:
    """A regular expression that finds the words of a text as :func:`.tags.split` does.

    >>> import re
    >>> re.findall(word_pattern(), "Paris, 3.5 km")
    ['Paris', ',', '3', '.', '5', 'km']
    """
    alone, joins = [], []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        kind = unicodedata.category(character)[0]
        if kind == "M" or character == "\u200d":
            joins.append(code)
        elif kind in "PS" or tags.UNSPACED.match(character):
            alone.append(code)
    return rf"[{_ranges(alone)}][{_ranges(joins)}]*|[^\s{_ranges(alone)}]+"


def _ranges(codes: list[int]) -> str:
    """Characters, ascending, as the ranges of a class in a regular expression."""
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in found)
