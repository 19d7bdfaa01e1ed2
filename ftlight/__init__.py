"""Fine-tuning of any pre-trained model from one short YAML, on Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ftlight.cli.parser import load as load
    from ftlight.task import Task as Task
    from ftlight.tasks.causal_lm.data import ChatData as ChatData
    from ftlight.tasks.causal_lm.task import CausalLM as CausalLM
    from ftlight.tasks.image_classification.data import ImageData as ImageData
    from ftlight.tasks.image_classification.task import ImageClassification as ImageClassification
    from ftlight.tasks.masked_lm.task import MaskedData as MaskedData
    from ftlight.tasks.masked_lm.task import MaskedLM as MaskedLM
    from ftlight.tasks.question_answering.task import QAData as QAData
    from ftlight.tasks.question_answering.task import QuestionAnswering as QuestionAnswering
    from ftlight.tasks.retrieval.data import RetrievalData as RetrievalData
    from ftlight.tasks.retrieval.task import Retrieval as Retrieval
    from ftlight.tasks.seq2seq.data import Seq2SeqData as Seq2SeqData
    from ftlight.tasks.seq2seq.task import Seq2Seq as Seq2Seq
    from ftlight.tasks.text_classification.data import TextData as TextData
    from ftlight.tasks.text_classification.task import TextClassification as TextClassification
    from ftlight.tasks.token_classification.task import TokenClassification as TokenClassification
    from ftlight.tasks.token_classification.task import TokenData as TokenData
    from ftlight.trainer.trainer import Trainer as Trainer

_HOMES = {
    "CausalLM": "ftlight.tasks.causal_lm.task",
    "ChatData": "ftlight.tasks.causal_lm.data",
    "ImageClassification": "ftlight.tasks.image_classification.task",
    "ImageData": "ftlight.tasks.image_classification.data",
    "MaskedData": "ftlight.tasks.masked_lm.task",
    "MaskedLM": "ftlight.tasks.masked_lm.task",
    "QAData": "ftlight.tasks.question_answering.task",
    "QuestionAnswering": "ftlight.tasks.question_answering.task",
    "Retrieval": "ftlight.tasks.retrieval.task",
    "RetrievalData": "ftlight.tasks.retrieval.data",
    "Seq2Seq": "ftlight.tasks.seq2seq.task",
    "Seq2SeqData": "ftlight.tasks.seq2seq.data",
    "Task": "ftlight.task",
    "TextClassification": "ftlight.tasks.text_classification.task",
    "TextData": "ftlight.tasks.text_classification.data",
    "TokenClassification": "ftlight.tasks.token_classification.task",
    "TokenData": "ftlight.tasks.token_classification.task",
    "Trainer": "ftlight.trainer.trainer",
    "load": "ftlight.cli.parser",
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
