"""Fine-tuning of any pre-trained model from one short YAML, on Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ftlight.cli import load as load
    from ftlight.data.chats import ChatData as ChatData
    from ftlight.data.image_data import ImageData as ImageData
    from ftlight.data.pairs import Seq2SeqData as Seq2SeqData
    from ftlight.data.retrieval import RetrievalData as RetrievalData
    from ftlight.data.text import TextData as TextData
    from ftlight.task import Task as Task
    from ftlight.tasks.causal_lm import CausalLM as CausalLM
    from ftlight.tasks.image_classification import ImageClassification as ImageClassification
    from ftlight.tasks.masked_lm import MaskedData as MaskedData
    from ftlight.tasks.masked_lm import MaskedLM as MaskedLM
    from ftlight.tasks.question_answering import QAData as QAData
    from ftlight.tasks.question_answering import QuestionAnswering as QuestionAnswering
    from ftlight.tasks.retrieval import Retrieval as Retrieval
    from ftlight.tasks.seq2seq import Seq2Seq as Seq2Seq
    from ftlight.tasks.text_classification import TextClassification as TextClassification
    from ftlight.tasks.token_classification import TokenClassification as TokenClassification
    from ftlight.tasks.token_classification import TokenData as TokenData
    from ftlight.trainer import Trainer as Trainer

_HOMES = {
    "CausalLM": "ftlight.tasks.causal_lm",
    "ChatData": "ftlight.data.chats",
    "ImageClassification": "ftlight.tasks.image_classification",
    "ImageData": "ftlight.data.image_data",
    "MaskedData": "ftlight.tasks.masked_lm",
    "MaskedLM": "ftlight.tasks.masked_lm",
    "QAData": "ftlight.tasks.question_answering",
    "QuestionAnswering": "ftlight.tasks.question_answering",
    "Retrieval": "ftlight.tasks.retrieval",
    "RetrievalData": "ftlight.data.retrieval",
    "Seq2Seq": "ftlight.tasks.seq2seq",
    "Seq2SeqData": "ftlight.data.pairs",
    "Task": "ftlight.task",
    "TextClassification": "ftlight.tasks.text_classification",
    "TextData": "ftlight.data.text",
    "TokenClassification": "ftlight.tasks.token_classification",
    "TokenData": "ftlight.tasks.token_classification",
    "Trainer": "ftlight.trainer",
    "load": "ftlight.cli",
}
__all__ = [
    "CausalLM",
    "ChatData",
    "ImageClassification",
    "ImageData",
    "MaskedData",
    "MaskedLM",
    "QAData",
    "QuestionAnswering",
    "Retrieval",
    "RetrievalData",
    "Seq2Seq",
    "Seq2SeqData",
    "Task",
    "TextClassification",
    "TextData",
    "TokenClassification",
    "TokenData",
    "Trainer",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: ``import ftlight`` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module ftlight has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)
