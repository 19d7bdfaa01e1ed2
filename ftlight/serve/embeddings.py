"""Vectors of texts, in the form of OpenAI's embeddings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from ftlight.serve.bodies import Inputs, run_of, value_of
from ftlight.serve.limits import Limits, Refused
from ftlight.utils.errors import UserError, unknown

OPTIONS = ("model", "input", "encoding_format", "input_type", "dimensions", "user")
Prompt = Literal["query", "document"]
EXAMPLE = '{"model": "…", "input": ["…"]}'


class Texts(NamedTuple):
    """Texts whose vectors are asked for.

    Attributes:
        model: name of the run.
        rows: the texts.
        prompt: what they are.
        coded: whether vectors are sent as bytes in base64.
    """

    model: str
    rows: list[str]
    prompt: Prompt = "query"
    coded: bool = False


class Vectors(NamedTuple):
    """Vectors of texts.

    Attributes:
        values: ``float32 [texts, width]``.
        tokens: number of tokens of all texts.
    """

    values: np.ndarray[Any, Any]
    tokens: int


def read(body: bytes, runs: Mapping[str, Inputs], limits: Limits) -> Texts:
    """What a body asks.

    Raises:
        UserError: it cannot be understood, or the run makes no vectors.
        Refused: there are too many texts.
    """
    given = value_of(body, EXAMPLE)
    if not isinstance(given, dict) or "input" not in given:
        raise UserError(f"body: expected an object such as {EXAMPLE}")
    for option in given:
        if option not in OPTIONS:
            raise UserError(unknown("body: no option", option[:60], OPTIONS, "options"))
    model = run_of(given.get("model"), runs)
    if not runs[model].embeds:
        raise UserError(f"model: {model} makes no vectors; those of the task Retrieval do")
    texts = [given["input"]] if isinstance(given["input"], str) else given["input"]
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise UserError("input: expected a text or a list of texts")
    if len(texts) > limits.rows:
        raise Refused(413, f"input: {len(texts):,} texts; at most {limits.rows:,} in a request")
    if given.get("dimensions") is not None:
        raise UserError("dimensions: vectors are sent whole; leave it out")
    form = _one_of(given, "encoding_format", ("float", "base64"))
    prompt = cast(Prompt, _one_of(given, "input_type", ("query", "document")))
    return Texts(model, texts, prompt, form == "base64")


def _one_of(given: Mapping[str, Any], option: str, known: Sequence[str]) -> str:
    """The value of an option; the first of those known if it is not given.

    Raises:
        UserError: it is another.
    """
    value = given.get(option)
    if value is not None and value not in known:
        raise UserError(f"{option}: expected {' or '.join(known)}")
    return value or known[0]


def reply(asked: Texts, vectors: Vectors) -> dict[str, Any]:
    """The answer to a request, as OpenAI's clients read it."""
    data = []
    for number, vector in enumerate(vectors.values.astype("<f4")):
        coded = base64.b64encode(vector.tobytes()).decode() if asked.coded else vector.tolist()
        data.append({"object": "embedding", "index": number, "embedding": coded})
    usage = {"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}
