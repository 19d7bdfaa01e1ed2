"""How an exported model is loaded and asked with transformers alone."""

from __future__ import annotations

from ftlight.tasks.question_answering.data import QAData

LOADS = """\
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
import torch

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForQuestionAnswering.from_pretrained(FOLDER).eval()
cut = {{"truncation": "only_second", "max_length": {limit}, "stride": {overlap}, "padding": True}}
windows = tokenizer(
    question, context, **cut,
    return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="pt",
)
places, _ = windows.pop("offset_mapping"), windows.pop("overflow_to_sample_mapping")
parts = [windows.sequence_ids(i) for i in range(len(places))]
inside = torch.tensor([[part == 1 for part in window] for window in parts])
none = {null}
with torch.no_grad():
    out = model(**windows)
outside = ~(inside | none)
start = out.start_logits.masked_fill(outside, -torch.inf).log_softmax(1)
end = out.end_logits.masked_fill(outside, -torch.inf).log_softmax(1)
spans = start[:, :, None] + end[:, None, :]
spans = spans.masked_fill(~(inside[:, :, None] & inside[:, None, :]), -torch.inf)
short = torch.ones_like(spans[0], dtype=torch.bool).triu().tril({most} - 1)
spans = spans.masked_fill(~short, -torch.inf)
window, first, last = torch.unravel_index(spans.argmax(), spans.shape)
{probability}
answer = context[places[window, first, 0] : places[window, last, 1]].strip()"""
NO_ANSWER = """
odds = (start + end)[none].min() - spans.max() - model.config.no_answer_threshold
if odds > 0:
    answer, probability = "", (odds / {heat!r}).sigmoid()"""
PROBABILITY = "probability = spans.max().exp()"
CALIBRATED = """\
calibrated = [(logits[window] / {heat!r}).log_softmax(0) for logits in (start, end)]
probability = (calibrated[0][first] + calibrated[1][last]).exp()"""


def loads(data: QAData, longest: int, no_answer: bool, heat: float) -> str:
    """The lines that find an answer, as ``predict`` does.

    Args:
        data: The data module of the run.
        longest: The most tokens of an answer.
        no_answer: Whether a text may have none.
        heat: The temperature of the probabilities.
    """
    null = 'windows["attention_mask"].cumsum(1) == 1'  # the first token
    if data.tokenizer.cls_token_id is not None:
        null = 'windows["input_ids"] == tokenizer.cls_token_id'
    lines = LOADS.format(
        limit=data.max_length,
        overlap=data.overlap,
        most=longest,
        null=null,
        probability=PROBABILITY if heat == 1.0 else CALIBRATED.format(heat=heat),
    )
    return lines + (NO_ANSWER.format(heat=heat) if no_answer else "")
