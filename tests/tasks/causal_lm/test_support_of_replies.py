"""Support of a reply: the mean log-probability of its tokens behind the prompt."""

from __future__ import annotations

import math
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
import torch
from conftest import each
from tiny.causal_lm import make_decoder
from tiny.supports import asked_of, reaches_words, support_of

import ftlight
from ftlight import Predictor, UserError
from ftlight.data import tokens
from ftlight.tasks.causal_lm.messages import Message, names

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "where is my card"},
    {"role": "assistant", "content": "here"},
    {"role": "user", "content": "and the parcel"},
]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Llama without a chat template, whose pad token ends texts."""
    return make_decoder(tmp_path_factory.mktemp("decoder"), pad_token="</s>")


@pytest.fixture(scope="module")
def chatter(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Qwen with a chat template of its own."""
    folder = tmp_path_factory.mktemp("chatter")
    special = ("<|im_start|>", "<|im_end|>")
    return make_decoder(folder, "qwen2", special, pad_token="<unk>", chat_template=CHATML)


def speaker(backbone: str, plain: bool = False, new: int = 8, **options: Any) -> Predictor:
    data = ftlight.ChatData(tokenizer=backbone, **options)
    data.kept = {"format": "text"} if plain else {}
    return Predictor(ftlight.CausalLM(backbone, max_new_tokens=new), data)


def by_hand(model: Predictor, prompt: str, reply: str) -> float:
    """The mean log-probability of a reply's tokens, from logits of the model alone."""
    tokenizer = model.data.tokenizer
    before, said = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, reply)
    )
    with torch.inference_mode():
        logs = model.task.model(torch.tensor([before + said])).logits[0].log_softmax(-1)
    return float(logs[len(before) - 1 : -1].gather(1, torch.tensor(said)[:, None]).mean())


def test_support_of_a_reply_is_that_of_its_tokens_and_its_end(decoder: str, chatter: str) -> None:
    def check(backbone: str, plain: bool, prompts: list[str], reply: str) -> None:
        model = speaker(backbone, plain, new=64)
        rows: list[dict[str, Any]] = [{"messages": CHAT}, {"messages": CHAT[1:2]}]
        if plain:
            rows = [{"text": "where is"}, {"text": "a"}]
        asked = [model.task.asked({"prediction": text})[0] for text in ("it is here", "lost")]
        said = [reply.format("it is here"), reply.format("lost")]
        expected = [by_hand(model, *pair) for pair in zip(prompts, said, strict=True)]
        assert support_of(model, rows, asked).tolist() == pytest.approx(expected, abs=1e-4)
        assert reaches_words(model, rows, asked)

    start = "<|im_start|>"
    chatml = "".join(f"{start}{m['role']}\n{m['content']}<|im_end|>\n" for m in CHAT)
    short = f"{start}user\nwhere is my card<|im_end|>\n{start}assistant\n"
    said = "<s>System: be kind\nUser: where is my card\nAssistant: here</s>"
    prompts = [f"{said}User: and the parcel\nAssistant:", "<s>User: where is my card\nAssistant:"]
    each(
        [
            (chatter, False, [f"{chatml}{start}assistant\n", short], "{}<|im_end|>"),
            (decoder, False, prompts, " {}</s>"),
            (decoder, True, ["<s>where is", "<s>a"], " {}</s>"),
        ],
        check,
    )


def test_the_probability_of_a_reply_is_its_score(chatter: str) -> None:
    model = speaker(chatter)
    tokenizer, body = model.data.tokenizer, model.task.model
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    torch.manual_seed(1)
    head = torch.nn.Linear(32, len(tokenizer))
    head.weight.data *= 20
    head.bias.data.fill_(-1e4)  # says letters
    head.bias.data[tokenizer.convert_tokens_to_ids([*ascii_lowercase])] = 0.0
    head.bias.data[end] = 10.0
    body.lm_head = head
    rows = [{"messages": [{"role": "user", "content": f"{i} {'?' * i}"}]} for i in range(12)]
    answers, asked = model.predict(rows), [parts[0] for parts in asked_of(model, rows)]
    assert [part.name for part in asked] == [answer["prediction"] for answer in answers]
    found = [math.exp(value) for value in support_of(model, rows, asked).tolist()]
    assert found == pytest.approx([answer["score"] for answer in answers], rel=1e-4)
    assert {part.key[-1] == end for part in asked} == {True, False}  # some are cut


def test_texts_of_messages_can_be_changed_in_every_format(chatter: str) -> None:
    data = speaker(chatter).data
    messages = {"system": "be kind", "user": "where is my card", "assistant": "here"}
    expected = {**messages, "user 2": "and the parcel"}
    turns = [{"from": m["role"], "value": m["content"]} for m in CHAT]
    history = [["where is my card", "here"]]
    rows: list[dict[str, Any]] = [
        {"messages": [*CHAT, {"role": "assistant", "content": "a reply"}]},
        {"conversations": turns, "id": 3},
        {"instruction": "and the parcel", "history": history, "system": "be kind"},
        {"prompt": CHAT, "completion": ""},
    ]

    def check(row: dict[str, Any]) -> None:
        assert data.texts_of(row) == expected
        changed = data.with_texts(row, {"user": "where <unk>", "user 2": ""})
        data.set_predict([row, data.with_texts(row, {}), changed])
        chats = data.sets["predict"][[0, 1, 2]]["chat"]
        assert chats[0] == chats[1]
        assert data.texts_of(changed) == {
            "system": "be kind",
            "user": "where <unk>",
            "assistant": "here",
        }
        ids = data.prompt(data._asked({**changed, "__line__": 1}, ""), 500)
        assert ids.count(data.tokenizer.unk_token_id) == 1

    each([(row,) for row in rows], check)
    assert data.texts_of({"text": "where"}) == {"user": "where"}
    tools = Message("tools", "[]")
    assert names([tools, Message("assistant", ""), Message("user", "a")]) == ["", "", "user"]


def test_a_plain_text_is_one_text_and_may_be_empty(decoder: str) -> None:
    model = speaker(decoder, plain=True)
    row = {"text": "where is my card"}
    assert model.data.texts_of(row) == row
    asked = model.task.asked({"prediction": "lost"}) * 2
    found = support_of(model, [model.data.with_texts(row, {"text": ""}), row], asked)
    assert float(found[0]) == pytest.approx(by_hand(model, "<s>", " lost</s>"), abs=1e-4)
    assert found[0] != found[1]


def test_what_is_no_chat_has_no_support(chatter: str) -> None:
    model = speaker(chatter, on_bad_chat="skip")
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "nobody", "content": "a"}]},
        {"messages": CHAT},
    ]
    assert model.data.texts_of(rows[0]) == {}
    assert model.data.with_texts(rows[0], {"user": "a"}) == rows[0]
    asked = asked_of(model, rows)
    assert (asked[0], len(asked[1])) == ([], 1)
    assert support_of(model, rows, asked[1] * 2).isnan().tolist() == [True, False]
    strict = speaker(chatter)
    with pytest.raises(UserError):
        strict.data.texts_of(rows[0])


def test_what_hides_a_word_ends_no_text(decoder: str, tmp_path: Path) -> None:
    tokenizer = speaker(decoder).data.tokenizer
    assert tokens.hidden(tokenizer) == "<unk>"
    gpt2 = make_decoder(tmp_path / "gpt2", "gpt2", unk_token="</s>")
    assert tokens.hidden(speaker(gpt2).data.tokenizer) == ""
