"""What an exported ONNX model needs beside its graph: tokenizer, settings, lines of Python.

The lines run without torch, transformers and ftlight: with onnxruntime, numpy, and tokenizers or
Pillow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

HEAD = '''\
"""DOES: python predict.py [BATCH] < ROWS.jsonl > ANSWERS.jsonl."""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
IMPORTS

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text("utf-8"))
MODEL = InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
'''
READS_TEXT = """\
TOKENIZER = Tokenizer.from_file(str(HERE / "tokenizer.json"))


def cell(row, name):
    value = row
    for part in [name] if name in row else name.split("."):
        value = value[int(part) if isinstance(value, list) else part]
    is_empty = value is None or value != value
    return "" if is_empty else value if isinstance(value, str) else json.dumps(value)


def run(texts, rows):
    found, most = [], max(rows, 8)  # of a long text's windows no more at once than of rows
    for part in (texts[i : i + most] for i in range(0, len(texts), most)):
        fields = zip(MODEL.get_inputs(), ("ids", "attention_mask", "type_ids"))
        arrays = {i.name: np.array([getattr(t, f) for t in part], np.int64) for i, f in fields}
        found.append(MODEL.run(None, arrays))
    return [np.concatenate(of_parts) for of_parts in zip(*found)]
"""
MAIN = """\


if __name__ == "__main__":
    rows = [json.loads(line) for line in sys.stdin.buffer if line.strip()]
    size = int([*sys.argv, 32][1])
    for start in range(0, len(rows), size):
        for row, answer in zip(rows[start:], predict(rows[start : start + size])):
            print(json.dumps({**row, **answer}))
"""


class Portable(NamedTuple):
    """A task as it runs elsewhere.

    Attributes:
        inputs: a batch of two rows or more, to trace the model on; of texts ids, mask and types.
        outputs: names of what the model gives; ``vectors`` if that is one tensor.
        settings: what the lines read from settings.json.
        lines: predict.py.
        tokenizer: the tokenizer of the package tokenizers; None if the model reads no texts.
        finish: writes other files into the folder once ``task.model`` runs the graph.
    """

    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    settings: Mapping[str, Any]
    lines: str
    tokenizer: Any = None
    finish: Callable[[Path], None] | None = None


def text_lines(does: str, body: str, imports: str = "") -> str:
    """The lines that predict rows of texts.

    Args:
        does: what they do, in words.
        body: the function ``predict(rows)``, which may call ``cell(row, column)``, the text of a
            cell as ``predict`` reads it, and ``run(encodings, rows)`` with the number of rows.
        imports: what it needs of the standard library.
    """
    head = HEAD.replace("IMPORTS", "from tokenizers import Tokenizer")
    return _lines(does, head + READS_TEXT + "\n\n" + body, imports)


def image_lines(does: str, body: str) -> str:
    """The lines that predict rows of images; ``body`` is the function ``predict(rows)``."""
    head = HEAD.replace("IMPORTS", "from PIL import Image, ImageOps")
    return _lines(does, head + "\n\n" + body, "")


def _lines(does: str, text: str, imports: str) -> str:
    text = text.replace("DOES", does).replace("import sys\n", f"{imports}import sys\n")
    return text + MAIN


def tokenizer(made: Any, longest: int, stride: int = 0, strategy: str = "longest_first") -> Any:
    """A tokenizer of transformers as one of tokenizers, which cuts and pads by itself.

    Args:
        made: a fast tokenizer, see :func:`ftlight.data.tokens.check_places`.
        longest: the most tokens of a text or window.
        stride: tokens that two windows share.
        strategy: which text of a pair is cut: longest_first, only_first or only_second.
    """
    from tokenizers import Tokenizer

    plain = Tokenizer.from_str(made.backend_tokenizer.to_str())
    plain.enable_truncation(
        longest, stride=stride, strategy=strategy, direction=made.truncation_side
    )
    plain.enable_padding(
        direction=made.padding_side, pad_id=made.pad_token_id, pad_token=made.pad_token
    )
    return plain
