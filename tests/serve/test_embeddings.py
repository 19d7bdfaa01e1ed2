from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from conftest import each
from serve.served import serving
from serve.test_every_task import serve_run
from tiny import words_of

from ftlight.__main__ import main
from ftlight.serve.bodies import Inputs
from ftlight.serve.embeddings import Texts, Vectors, read, reply
from ftlight.serve.limits import Limits, Refused
from ftlight.utils.errors import UserError

RUNS = {"search": Inputs(["query"], [], True), "tickets": Inputs(["message"], [])}


def test_what_is_asked_and_what_is_wrong() -> None:
    def of(**given: Any) -> Texts:
        body = json.dumps({"model": "search", "input": "a", **given}).encode()
        return read(body, RUNS, Limits(rows=2))

    assert of() == Texts("search", ["a"])
    assert of(
        input=["a", "b"], input_type="document", encoding_format="base64", user="me"
    ) == Texts("search", ["a", "b"], "document", True)

    def check(given: dict[str, Any], line: str) -> None:
        with pytest.raises((UserError, Refused), match=line):
            of(**given)

    each(
        [
            ({"model": "tickets"}, "tickets makes no vectors"),
            ({"model": "serch"}, "did you mean"),
            ({"input": [[1, 2]]}, "expected a text or a list of texts"),
            ({"input": []}, "expected a text or a list of texts"),
            ({"input": ["a"] * 3}, "3 texts; at most 2"),
            ({"dimensions": 3}, "leave it out"),
            ({"encoding_format": "int8"}, "expected float or base64"),
            ({"input_type": "passage"}, "expected query or document"),
            ({"inputs": "a"}, "no option inputs"),
        ],
        check,
    )
    with pytest.raises(UserError, match="expected an object such as"):
        read(b"[]", RUNS, Limits())


def test_vectors_are_sent_as_numbers_or_bytes() -> None:
    vectors = Vectors(np.array([[0.5, -2.0]], dtype=np.float32), 3)
    plain = reply(Texts("a", ["x"]), vectors)
    assert plain["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, -2.0]}]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    coded = reply(Texts("a", ["x"], coded=True), vectors)["data"][0]["embedding"]
    assert coded == "AAAAPwAAAMA="


@pytest.mark.run
def test_the_client_of_openai_gets_the_vectors_of_the_model(tmp_path: Path) -> None:
    few = "--trainer.max_steps 3 --trainer.accelerator cpu --trainer.report false --test false"
    assert main([*words_of("retrieval", tmp_path), *few.split(), "--run", "run"]) == 0
    assert main(["export", "run", "--out", "stock"]) == 0
    from sentence_transformers import SentenceTransformer

    texts = ["a small blue film", "refund", "the late parcel is not here and I want my money"]
    expected = SentenceTransformer("stock", device="cpu").encode_query(texts)
    with serving({"run": serve_run("run")}) as client:
        url = f"http://{client.host}:{client.port}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as stock:
            found = stock.embeddings.create(model="run", input=texts)
            assert [item.index for item in found.data] == [0, 1, 2]
            given = np.array([item.embedding for item in found.data])
            np.testing.assert_allclose(given, expected, atol=1e-5)
            assert found.usage.total_tokens > len(texts)
            with pytest.raises(openai.BadRequestError, match="no run other"):
                stock.embeddings.create(model="other", input=texts)
        plain = client.ask({"input": texts[0]}, "/v1/embeddings").body["data"][0]["embedding"]
        np.testing.assert_allclose(plain, expected[0], atol=1e-5)
        answer = client.ask({"rows": [{"history": texts[0]}]})
        assert answer.status == 200
