"""Fine-tuning of any pre-trained model from one short YAML, on Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ftlight.tasks import HOMES

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ftlight.cli.parser import load as load
    from ftlight.evidence.learned import verdict as verdict
    from ftlight.metrics.intervals import bootstrap as bootstrap
    from ftlight.models.pooling import Pooled as Pooled
    from ftlight.task import EvaluationResult as EvaluationResult
    from ftlight.task import Step as Step
    from ftlight.task import Task as Task
    from ftlight.tasks.causal_lm.data import ChatData as ChatData
    from ftlight.tasks.causal_lm.task import CausalLM as CausalLM
    from ftlight.tasks.image_classification.data import ImageData as ImageData
    from ftlight.tasks.image_classification.task import ImageClassification as ImageClassification
    from ftlight.tasks.masked_lm.data import MaskedData as MaskedData
    from ftlight.tasks.masked_lm.task import MaskedLM as MaskedLM
    from ftlight.tasks.question_answering.data import QAData as QAData
    from ftlight.tasks.question_answering.task import QuestionAnswering as QuestionAnswering
    from ftlight.tasks.retrieval.data import RetrievalData as RetrievalData
    from ftlight.tasks.retrieval.task import Retrieval as Retrieval
    from ftlight.tasks.seq2seq.data import Seq2SeqData as Seq2SeqData
    from ftlight.tasks.seq2seq.task import Seq2Seq as Seq2Seq
    from ftlight.tasks.text_classification.data import TextData as TextData
    from ftlight.tasks.text_classification.task import TextClassification as TextClassification
    from ftlight.tasks.token_classification.data import TokenData as TokenData
    from ftlight.tasks.token_classification.task import TokenClassification as TokenClassification
    from ftlight.trainer.predictor import Predictor as Predictor
    from ftlight.trainer.trainer import Trainer as Trainer
    from ftlight.utils.errors import UserError as UserError

_HOMES = {
    **HOMES,
    "EvaluationResult": "ftlight.task",
    "Pooled": "ftlight.models.pooling",
    "Predictor": "ftlight.trainer.predictor",
    "Step": "ftlight.task",
    "Task": "ftlight.task",
    "Trainer": "ftlight.trainer.trainer",
    "UserError": "ftlight.utils.errors",
    "bootstrap": "ftlight.metrics.intervals",
    "load": "ftlight.cli.parser",
    "verdict": "ftlight.evidence.learned",
}
__all__ = [
    "CausalLM",
    "ChatData",
    "EvaluationResult",
    "ImageClassification",
    "ImageData",
    "MaskedData",
    "MaskedLM",
    "Pooled",
    "Predictor",
    "QAData",
    "QuestionAnswering",
    "Retrieval",
    "RetrievalData",
    "Seq2Seq",
    "Seq2SeqData",
    "Step",
    "Task",
    "TextClassification",
    "TextData",
    "TokenClassification",
    "TokenData",
    "Trainer",
    "UserError",
    "__version__",
    "bootstrap",
    "load",
    "verdict",
]


def __dir__() -> list[str]:
    """The public names, whatever has been imported so far."""
    return __all__


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: ``import ftlight`` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module ftlight has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)
