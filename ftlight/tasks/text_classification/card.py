"""The lines of Python that print what an exported text classifier says, for its model card."""

from __future__ import annotations

from typing import NamedTuple

from ftlight.data.labels import Kind
from ftlight.models.windows import WindowPooling

POOLED = """\
# transformers may report a pooler as missing: nothing here uses it
from sentence_transformers import SentenceTransformer
import json, torch
labels = json.load(open(f"{FOLDER}/labels.json"))["labels"]
logits = torch.tensor(SentenceTransformer(FOLDER).encode(texts))
for text, row in zip(texts, logits.LINK.tolist()):
    print(text, dict(zip(labels, row)))"""

POOLED_VALUES = """\
from sentence_transformers import SentenceTransformer
values = SentenceTransformer(FOLDER).encode(texts)  # [rows, 1], in the units of the targets"""

NATIVE = """\
from transformers import pipeline
print(pipeline("text-classification", FOLDER)(texts, truncation=True))"""

NATIVE_PAIRS = """\
from transformers import pipeline
classify = pipeline("text-classification", FOLDER)
print(classify([{"text": a, "text_pair": b} for a, b in pairs], truncation=True))"""

WINDOWS = {
    True: """\
# encode() cuts a text after LONGEST tokens; this reads all of it, in windows, as in training
from sentence_transformers import SentenceTransformer
import json, torch
model = SentenceTransformer(FOLDER, device="cpu").eval()
tokenizer, run = model.tokenizer, lambda inputs: model(inputs)["sentence_embedding"]
""",
    False: """\
# pipeline() cuts a text after LONGEST tokens; this reads all of it, in windows, as in training
from transformers import AutoModelForSequenceClassification, AutoTokenizer
import json, torch
model = AutoModelForSequenceClassification.from_pretrained(FOLDER).eval()
tokenizer, run = AutoTokenizer.from_pretrained(FOLDER), lambda inputs: model(**inputs).logits
""",
}

READ = """\
labels = json.load(open(f"{FOLDER}/labels.json"))["labels"]
for text in texts:
    windows = tokenizer(text, truncation=True, max_length=LONGEST, stride=STRIDE, padding=True,
                        return_overflowing_tokens=True, return_tensors="pt")
    windows.pop("overflow_to_sample_mapping")
    with torch.inference_mode():
        logits = run(dict(windows)).float().POOL
    print(text, dict(zip(labels, logits.LINK.tolist())))"""

PAIRS = """\
labels = json.load(open(f"{FOLDER}/labels.json"))["labels"]
for first, second in pairs:  # the longer is divided; the other may take half of a window
    side = len(tokenizer.tokenize(first)) <= len(tokenizer.tokenize(second))
    windows = tokenizer(first, second, truncation="only_second" if side else "only_first",
                        max_length=LONGEST, stride=STRIDE, padding=True,
                        return_overflowing_tokens=True, return_tensors="pt")
    windows.pop("overflow_to_sample_mapping")
    with torch.inference_mode():
        logits = run(dict(windows)).float().POOL
    print(first, second, dict(zip(labels, logits.LINK.tolist())))"""


class Reading(NamedTuple):
    """How texts longer than a window are read.

    Attributes:
        longest: tokens of a window.
        stride: tokens that two share.
        pooling: how their logits become one.
    """

    longest: int
    stride: int
    pooling: WindowPooling


def lines(kind: Kind, pooled: bool, pairs: bool, reading: Reading | None) -> str:
    """The lines of Python for ``texts``, or ``pairs``, with the folder as ``FOLDER``.

    Args:
        kind: kind of labels.
        pooled: whether sentence-transformers loads the folder, not transformers.
        pairs: whether a row is two texts.
        reading: how long texts are read; None if they are cut.
    """
    link = {"single": "softmax(-1)", "multi": "sigmoid()"}.get(kind)
    if reading is None:
        if not pooled:
            return NATIVE_PAIRS if pairs else NATIVE
        text = POOLED.replace("LINK", link) if link else POOLED_VALUES
        return text.replace("texts", "pairs") if pairs else text
    text = WINDOWS[pooled] + (PAIRS if pairs else READ)
    if link is None:
        text = text.replace(", dict(zip(labels, logits.LINK.tolist()))", ", logits.item()")
        text = text.replace('labels = json.load(open(f"{FOLDER}/labels.json"))["labels"]\n', "")
        text = text.replace("import json, torch", "import torch")
    pool = {"mean": "mean(0)", "max": "amax(0)"}[reading.pooling]
    names = {"LINK": link or "", "POOL": pool}
    names |= {"LONGEST": str(reading.longest), "STRIDE": str(reading.stride)}
    for name, value in names.items():
        text = text.replace(name, value)
    return text
