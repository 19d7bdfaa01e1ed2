"""Question answering as ONNX: its inputs, and the lines that find answers in contexts."""

from __future__ import annotations

import math
from typing import Any

from ftlight.data import files, tokens
from ftlight.models.portable import Portable, text_lines, tokenizer
from ftlight.tasks.question_answering.data import QAData

QUESTIONS = ("who wrote it?", "when was it written, and where?")
CONTEXTS = ("It was written by Ada.", "It was written in London, in 1843, and printed there.")
PREDICT = """\
PLAIN = Tokenizer.from_str(TOKENIZER.to_str())
PLAIN.no_truncation()


def predict(rows):
    pairs = [[cell(row, SETTINGS[name]) for name in ("question", "context")] for row in rows]
    texts = [(shortened(question), context) for question, context in pairs]
    windows = [[row, *row.overflowing] for row in TOKENIZER.encode_batch(texts)]
    ends = np.cumsum([len(row) for row in windows])[:-1]
    found = run([window for row in windows for window in row], len(rows))
    parts = zip(texts, windows, *(np.split(logits, ends) for logits in found))
    return [answered(context, *part) for (_, context), *part in parts]


def shortened(question):
    ends = [end for _, end in PLAIN.encode(question, add_special_tokens=False).offsets]
    return question[: ends[SETTINGS["half"] - 1]] if len(ends) > SETTINGS["half"] else question


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def answered(context, windows, start, end):
    inside = np.array([[part == 1 for part in window.sequence_ids] for window in windows])
    first = np.array([NONE for window in windows]).argmax(1)
    none = np.arange(inside.shape[1]) == first[:, None]
    logs = [log_softmax(np.where(inside | none, x, -np.inf).astype(float)) for x in (start, end)]
    short = np.tri(*inside.shape[1:] * 2, SETTINGS["longest"] - 1) * np.tri(*inside.shape[1:] * 2).T
    spans = logs[0][:, :, None] + logs[1][:, None, :]
    spans[~(inside[:, :, None] & inside[:, None, :] & (short > 0))] = -np.inf
    window, *places = np.unravel_index(spans.argmax(), spans.shape)
    begin, stop = (windows[window].offsets[place][i] for i, place in enumerate(places))
    hot = [log_softmax(x[window] / SETTINGS["heat"])[i] for x, i in zip(logs, places)]
    begin += len(context[begin:stop]) - len(context[begin:stop].lstrip())
    text = context[begin:stop].strip()
    said = {"prediction": text, "score": np.exp(sum(hot)), "start": begin, "end": begin + len(text)}
    return said
"""
NO_ANSWER = """\
    odds = (logs[0] + logs[1])[none].min() - spans.max() - SETTINGS["threshold"]
    said["no_answer"] = 1 / (1 + np.exp(-odds / SETTINGS["heat"]))
    if odds > 0:
        said |= {"prediction": "", "score": said["no_answer"], "start": None, "end": None}
    return said
"""
# What stands for no answer: the class token, or the first that is read.
NONE = {True: 'np.array(window.ids) == SETTINGS["class"]', False: "window.attention_mask"}


def portable(data: QAData, longest: int, threshold: float, heat: float) -> Portable:
    """What an ONNX folder of a finder of answers needs.

    Args:
        data: the data module.
        longest: the most tokens of an answer.
        threshold: log-odds above which there is no answer; infinite if there always is one.
        heat: temperature of the probabilities.

    Raises:
        UserError: it has no fast tokenizer.
    """
    tokens.check_places(data.tokenizer)
    texts = zip(QUESTIONS, CONTEXTS, strict=True)
    rows = [{files.LINE: 1, data.question: q, data.context: c} for q, c in texts]
    settings: dict[str, Any] = {
        "question": data.question,
        "context": data.context,
        "half": data.max_length // 2,
        "longest": longest,
        "heat": heat,
    }
    class_token = data.tokenizer.cls_token_id
    if class_token is not None:
        settings["class"] = class_token
    body = PREDICT.replace("NONE", NONE[class_token is not None])
    if threshold < math.inf:
        settings["threshold"] = threshold
        body = body.removesuffix("    return said\n") + NO_ANSWER
    return Portable(
        data.collate(data.encode_rows(rows, "")[[0, 1]], [0, 1])["inputs"],
        ["start_logits", "end_logits"],
        settings,
        text_lines("Finds answers to questions", body),
        tokenizer(data.tokenizer, data.max_length, data.overlap, "only_second"),
    )
