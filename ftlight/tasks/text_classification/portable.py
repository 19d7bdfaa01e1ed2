"""A text classifier as ONNX: its inputs, and the lines that read texts and say labels."""

from __future__ import annotations

from typing import Any

from ftlight.data import files, tokens, windows
from ftlight.models.portable import Portable, text_lines, tokenizer
from ftlight.models.windows import WindowPooling
from ftlight.tasks import onnx_labels
from ftlight.tasks.classification import Classification
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError

TEXTS = ("a text of a few words", "another text, of a few more words than the first one has")
PREDICT = """\
def predict(rows):
    answers = []
    texts = ["\\n".join(cell(row, name) for name in SETTINGS["text"]) for row in rows]
"""
CUT = """\
    found = run(TOKENIZER.encode_batch([text or SETTINGS["blank"] for text in texts]), len(rows))[0]
    for logits in found.astype(float) * SETTINGS["factor"] + SETTINGS["shift"]:
"""
PAIRS = """\
    others = [cell(row, SETTINGS["text_pair"]) for row in rows]
    found = run(TOKENIZER.encode_batch(list(zip(texts, others))), len(rows))[0]
    for logits in found.astype(float) * SETTINGS["factor"] + SETTINGS["shift"]:
"""
WINDOWS = """\
    encoded = TOKENIZER.encode_batch([text or SETTINGS["blank"] for text in texts])
    windows = [[row, *row.overflowing] for row in encoded]
    found = run([window for row in windows for window in row], len(rows))[0].astype(float)
    ends = np.cumsum([len(row) for row in windows])
    for part in np.split(found * SETTINGS["factor"] + SETTINGS["shift"], ends[:-1]):
        logits = part.POOL(axis=0)
"""


def portable(task: Classification, data: TextData, pooling: WindowPooling) -> Portable:
    """What an ONNX folder of a text classifier needs.

    Args:
        task: the task.
        data: its data module.
        pooling: how the logits of the windows of a text become one.

    Raises:
        UserError: it reads long pairs in windows, or has no fast tokenizer.
    """
    tokens.check_places(data.tokenizer)
    in_windows = data.long_text == "window"
    if in_windows and data.text_pair:
        raise UserError(
            "--format onnx: this run reads long pairs of texts in windows, which --format hf alone"
            " can; fit with model.long_text: cut"
        )
    stride = windows.overlap(data.tokenizer, data.max_length, pairs=False) if in_windows else 0
    strategy = "only_first" if in_windows else "longest_first"
    settings: dict[str, Any] = {"text": data.text, **onnx_labels.settings(task)}
    if data.text_pair:
        settings["text_pair"] = data.text_pair
        body = PAIRS
    else:
        settings["blank"] = _blank(data.tokenizer)
        body = WINDOWS.replace("POOL", pooling) if in_windows else CUT
    rows = [{files.LINE: 1, **dict.fromkeys(data.columns, text)} for text in TEXTS]
    return Portable(
        data.collate(data.encode_rows(rows, "")[[0, 1]], [0, 1])["inputs"],
        ["logits"],
        settings,
        text_lines("Classifies texts", PREDICT + body + onnx_labels.LINES[task.kind]),
        tokenizer(data.tokenizer, data.max_length, stride, strategy),
    )


def _blank(made: Any) -> str:
    """What is read for an empty text: a token, if the tokenizer gives it none."""
    token: str = made.convert_ids_to_tokens(tokens.blank(made))
    return "" if made("")["input_ids"] else token
