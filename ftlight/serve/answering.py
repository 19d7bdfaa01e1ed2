"""Requests answered by the model of a run, several of them in common batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ftlight.explain.explanation import plain
from ftlight.explain.rows import explain
from ftlight.serve.batches import Steps
from ftlight.serve.bodies import Asked
from ftlight.serve.embeddings import Texts, Vectors
from ftlight.serve.speech import Conversation, converse
from ftlight.trainer.predicted import Predicted, Request
from ftlight.trainer.predictor import Predictor
from ftlight.utils.errors import UserError, unknown

log = logging.getLogger(__name__)
PLACE = "rows"
Answer = dict[str, Any]


def reply(
    predictor: Predictor, requests: Sequence[Asked | Texts | Conversation]
) -> list[list[Answer] | Vectors | Steps[list[Answer]] | Exception]:
    """Answers requests of all kinds, those of rows together; arguments as of :func:`answer`."""
    asked = [request for request in requests if isinstance(request, Asked)]
    found = iter(answer(predictor, asked) if asked else [])
    answers: list[list[Answer] | Vectors | Steps[list[Answer]] | Exception] = []
    for request in requests:
        if isinstance(request, Asked):
            answers.append(next(found))
        elif isinstance(request, Texts):
            answers.append(embed(predictor, request))
        else:
            answers.append(say(predictor, request))
    return answers


def say(predictor: Predictor, conversation: Conversation) -> Steps[list[Answer]]:
    """Replies to a chat token by token; its client is told directly, so the answer is empty."""
    try:
        yield from converse(predictor.task, conversation)
    except Exception as error:
        raise _logged(error) from None
    return []


def embed(predictor: Predictor, request: Texts) -> Vectors | Exception:
    """The vectors of texts, or why there are none."""
    task: Any = predictor.task
    try:
        vectors, count = task.embed(request.rows, request.prompt)
    except Exception as error:
        return _logged(error)
    return Vectors(vectors.cpu().numpy(), count)


def answer(predictor: Predictor, requests: Sequence[Asked]) -> list[list[Answer] | Exception]:
    """Answers requests together; if one of them cannot be, each alone.

    Args:
        predictor: the model.
        requests: what is asked.

    Returns:
        For each request an answer to each of its rows, or why there are none.
    """
    try:
        wanted = [Request(r.rows, r.at_least, r.coverage) for r in requests]
        found = predictor.answer_together(wanted, PLACE)
    except Exception as error:
        if len(requests) == 1:
            return [_logged(error)]
        return [answer(predictor, [request])[0] for request in requests]
    return [_finished(predictor, *pair) for pair in zip(requests, found, strict=True)]


def _finished(predictor: Predictor, request: Asked, found: Predicted) -> list[Answer] | Exception:
    """The answers to a request with what explains them, and with the fields that are wanted."""
    answers = found.of_all_rows()
    try:
        if request.explain:
            for row in explain(predictor, request.rows, PLACE, request.explain):
                answers[row.number]["why"] = [plain(why) for why in row.why]
        return [_finite(chosen) for chosen in choose(answers, request.fields)]
    except Exception as error:
        return _logged(error)


def choose(answers: Sequence[Answer], fields: Sequence[str]) -> list[Answer]:
    """The answers with some of their fields; one that some answers lack is left out there.

    Raises:
        UserError: none of them has such a field.

    >>> choose([{"prediction": "a", "score": 1.0}], ["score"])
    [{'score': 1.0}]
    """
    if not fields:
        return list(answers)
    known = dict.fromkeys(name for answer in answers for name in answer)
    for name in fields:
        if answers and name not in known:
            raise UserError(unknown("fields: no field", name, known, "fields"))
    return [{name: answer[name] for name in fields if name in answer} for answer in answers]


def _finite(value: Any) -> Any:
    """A value of JSON with null for what is no number, such as the score of nothing found.

    >>> _finite({"score": float("nan"), "items": [1.0, float("inf")]})
    {'score': None, 'items': [1.0, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _logged(error: Exception) -> Exception:
    """An error; in the log unless the request itself is at fault."""
    if not isinstance(error, UserError):
        log.error("a request could not be answered", exc_info=error)
    return error
