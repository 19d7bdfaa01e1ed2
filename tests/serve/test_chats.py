from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import each
from serve.served import Client, serving
from serve.test_every_task import serve_run
from tasks.causal_lm.test_tools import WEATHER
from tiny import words_of

from ftlight.__main__ import main
from ftlight.serve import chat_forms
from ftlight.serve.bodies import Inputs
from ftlight.serve.chat_forms import Heading, Reply
from ftlight.serve.chats import Chat, read
from ftlight.serve.limits import Limits, Refused
from ftlight.tasks.causal_lm import speaking
from ftlight.utils.errors import UserError

RUNS = {"bot": Inputs(["messages"], [], chats=True), "tickets": Inputs(["message"], [])}
PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "where is my card"}]


def asked(**given: Any) -> Chat:
    body = json.dumps({"model": "bot", "messages": HI, **given}).encode()
    return read(body, RUNS, Limits(rows=3))


def test_what_is_asked() -> None:
    plain = asked(seed=1, user="me", logprobs=False, response_format={"type": "text"}, n=1)
    assert plain == Chat("bot", plain.messages, seed=1)
    assert [message[:2] for message in plain.messages] == [("user", "where is my card")]
    given = asked(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "Ann"},
        ],
        tools=[WEATHER],
        **{"stop": "END", "temperature": 0.5, "top_p": 1, "seed": -7, "stream": True},
        **{"max_completion_tokens": 9, "max_tokens": 5, "stream_options": {"include_usage": True}},
    )
    assert [message.role for message in given.messages] == ["tools", "system", "user"]
    assert given._replace(messages=[]) == Chat(
        "bot", [], ("weather",), 9, 0.5, 1, -7, ("END",), True, True
    )
    assert asked(tools=[WEATHER], tool_choice="none").tools == ()
    assert asked().seed != asked().seed


def test_what_is_wrong_or_not_supported_is_named() -> None:
    def check(given: dict[str, Any], line: str) -> None:
        with pytest.raises((UserError, Refused), match=line) as caught:
            asked(**given)
        assert "\n" not in str(caught.value)

    user = HI[0]
    each(
        [
            ({"model": "tickets"}, "tickets knows no chats"),
            ({"model": "bott"}, "did you mean"),
            ({"n": 2}, "n: one reply"),
            ({"n": True}, "n: one reply"),
            ({"logprobs": True}, "logprobs: not supported"),
            ({"response_format": {"type": "json_object"}}, "response_format: not supported"),
            ({"frequency_penalty": 0.5}, "frequency_penalty: not supported"),
            ({"functions": []}, "functions: not supported"),
            ({"temprature": 1}, "no option temprature; did you mean"),
            ({"temperature": 3}, "temperature: expected a number from 0 to 2"),
            ({"temperature": True}, "temperature: expected"),
            ({"top_p": -1}, "top_p: expected a number from 0 to 1"),
            ({"max_tokens": 0}, "max_completion_tokens: expected"),
            ({"max_tokens": "9"}, "max_completion_tokens: expected"),
            ({"seed": 2**63}, "seed: expected"),
            ({"stop": [""]}, "stop: expected"),
            ({"stop": ["a"] * 17}, "at most 16"),
            ({"stream": 1}, "stream: expected true or false"),
            ({"stream_options": {"usage": True}}, "stream_options: expected"),
            ({"tool_choice": "required"}, "tool_choice: expected auto or none"),
            ({"tools": [{"name": "a"}]}, "tools: expected"),
            ({"tools": "[]"}, "tools: expected"),
            ({"messages": []}, "without a message of the user"),
            ({"messages": "hi"}, "messages: expected a list"),
            ({"messages": [user] * 4}, "at most 3"),
            ({"messages": [{"role": "gpt", "content": "a"}]}, r"messages\[0\]: role: expected one"),
            ({"messages": [{"role": "user", "content": ""}]}, "is empty"),
            ({"messages": [{**user, "weight": 1}]}, "no key weight"),
            ({"messages": [{**user, "tool_calls": ["x"]}]}, "tool_calls: expected"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
                "holds image_url, only text",
            ),
        ],
        check,
    )
    for body in (b"[]", b"{}", b'{"model": "bot", "messages": null}'):
        with pytest.raises(UserError, match="expected an object such as"):
            read(body, RUNS, Limits())


def test_a_reply_whole_and_as_a_stream() -> None:
    head = Heading("chatcmpl-1", 7, "bot")
    calls = Reply("", 5, 3, "tool_calls", (("get", "{}"),))
    message = chat_forms.whole(head, calls)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "get", "arguments": "{}"}
    sent = chat_forms.events(head, Reply("a", 5, 1), True, True)
    sent += chat_forms.events(head, calls, False, True)
    lines = sent.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert [list(delta) for delta in deltas] == [
        *(["role", "content"], ["content"], ["tool_calls"], []),
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"] == {
        **{"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny run of a decoder."""
    folder = tmp_path_factory.mktemp("bot")
    few = "--trainer.max_steps 3 --trainer.accelerator cpu --trainer.report false --test false"
    words = [*words_of("causal_lm", folder), *few.split(), "--data.max_length", "512"]
    assert main([*words, "--run", str(folder / "run")]) == 0
    return str(folder / "run")


@pytest.fixture
def client(run: str) -> Iterator[Client]:
    with serving({"bot": serve_run(run)}) as made:
        yield made


def stock(client: Client) -> openai.OpenAI:
    url = f"http://{client.host}:{client.port}/v1"
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


@pytest.mark.run
def test_the_client_of_openai_talks_to_a_run(client: Client, tmp_path: Path) -> None:
    row = json.dumps({"messages": HI})
    predicted = client.ask({"rows": [json.loads(row)]}).body["answers"][0]["prediction"]
    with stock(client) as bot:
        assert [model.id for model in bot.models.list()] == ["bot"]
        assert bot.models.retrieve("bot").owned_by == "ftlight"
        with pytest.raises(openai.BadRequestError, match="no run other"):
            bot.models.retrieve("other")
        talk = bot.chat.completions.create
        reply = talk(model="bot", messages=HI)  # type: ignore[call-overload]
        assert reply.choices[0].message.content == predicted
        assert reply.choices[0].finish_reason in ("stop", "length")
        assert reply.usage.completion_tokens <= 4
        drawn = {"model": "bot", "messages": HI, "temperature": 1.5, "max_tokens": 30}
        first, same, other = (talk(**drawn, seed=seed) for seed in (1, 1, 2))
        text = first.choices[0].message.content
        assert text == same.choices[0].message.content != other.choices[0].message.content
        assert first.choices[0].finish_reason == "length"
        assert first.usage.completion_tokens == 30
        stop = text[8:10]
        stopped = talk(**drawn, seed=1, stop=stop)
        assert stopped.choices[0].message.content == text[: text.index(stop)].rstrip()
        assert stopped.choices[0].finish_reason == "stop"
        chunks = list(talk(**drawn, seed=1, stream=True, stream_options={"include_usage": True}))
        parts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert "".join(parts) == text
        assert len([part for part in parts if part]) > 5
        assert chunks[-2].choices[0].finish_reason == "length"
        assert chunks[-1].usage == first.usage


@pytest.mark.run
def test_tools_that_are_called(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 'I look.\nCall: {"name": "weather", "arguments": {"city": "Rome"}}'

    def speak(*given: Any) -> Iterator[speaking.Piece]:
        for number, letter in enumerate(written, 1):
            yield speaking.Piece(letter, number)
        yield speaking.Piece("", len(written), "stop")

    monkeypatch.setattr(speaking, "speak", speak)
    with stock(client) as bot:
        given: Any = {"model": "bot", "messages": HI, "tools": [WEATHER]}
        choice = bot.chat.completions.create(**given).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
        call = choice.message.tool_calls[0]
        assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome"}')
        chunks = list(bot.chat.completions.create(**given, stream=True))
        called = [d.tool_calls for d in (c.choices[0].delta for c in chunks) if d.tool_calls]
        assert called[0][0].function.model_dump() == call.function.model_dump()
        again = [*HI, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "31"}]
        assert bot.chat.completions.create(**{**given, "messages": again}).choices[0]


@pytest.mark.run
def test_what_the_model_cannot_take_is_a_line(client: Client) -> None:
    long = client.ask({"messages": [{"role": "user", "content": "a" * 600}]}, PATH)
    assert long.status == 400
    assert "tokens in the run's chat template, which takes 512" in long.body["error"]["message"]
    for body, status, line in (
        (b"{", 400, "not valid JSON"),
        ({"messages": HI, "n": 3}, 400, "n: one reply"),
        ({"messages": HI, "model": "x"}, 400, "no run x"),
    ):
        reply = client.ask(body, PATH)
        assert reply.status == status
        assert line in reply.body["error"]["message"]
        assert reply.body["error"]["type"] == "invalid_request_error"
    assert client.ask({"messages": HI}, PATH).status == 200


@pytest.mark.run
def test_a_client_that_leaves_ends_its_reply(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, more, ended = threading.Event(), threading.Event(), threading.Event()

    def speak(*given: Any) -> Iterator[speaking.Piece]:
        try:
            for number in range(1, 10**9):
                yield speaking.Piece("word ", number)
                said.set()
                more.wait(60)
        finally:
            ended.set()

    def left(stream: bool) -> None:
        said.clear()
        ended.clear()
        connection = client.connection()
        connection.request("POST", PATH, json.dumps({"messages": HI, "stream": stream}))
        if stream:
            assert connection.getresponse().readline().startswith(b"data: ")
        assert said.wait(60)
        connection.close()
        more.set()
        assert ended.wait(60)
        more.clear()

    with monkeypatch.context() as patch:
        patch.setattr(speaking, "speak", speak)
        each([(True,), (False,)], left)
    assert client.ask({"messages": HI}, PATH).status == 200


@pytest.mark.run
def test_a_failure_in_a_stream_is_an_event(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(*given: Any) -> Iterator[speaking.Piece]:
        yield speaking.Piece("word", 1)
        raise KeyError("secret of the model")

    monkeypatch.setattr(speaking, "speak", speak)
    assert client.ask({"messages": HI}, PATH).status == 500
    with stock(client) as bot:
        stream = bot.chat.completions.create(model="bot", messages=HI, stream=True)  # type: ignore[call-overload]
        with pytest.raises(openai.APIError, match="the server failed"):
            list(stream)
