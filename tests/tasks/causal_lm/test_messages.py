"""Chats: formats, templates, which tokens are learned, cutting at turns."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import each
from tiny.causal_lm import byte_tokenizer, piece_tokenizer

from ftlight.data.sources import Source
from ftlight.tasks.causal_lm import (
    audit,
    chat_template,
    formats,
    places,
    readers,
    template_source,
    truncation,
)
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm.formats import Columns
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.errors import UserError

NAMES = Columns()


def talk(*contents: str, system: str = "") -> list[Message]:
    """User and assistant in turns."""
    found = [Message(("user", "assistant")[i % 2], c) for i, c in enumerate(contents)]
    return [Message("system", system), *found] if system else found


def source(path: Path) -> Source:
    return Source(str(path), "train", suffixes=readers.SUFFIXES)


def rows(path: Path, lines: list[dict[str, Any]], **names: str) -> list[list[Message]]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return [
        chat.load(r["messages"])
        for r in readers.read_rows(source(path), Columns(**names), "error", "")
    ]


# Formats

HI = talk("hi", "hello")
ASKED = {"role": "user", "content": "hi"}
REPLY = {"role": "assistant", "content": "hello"}
GPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
WEIGHTED = [
    {"role": "developer", "content": "s"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b", "weight": 0},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d", "weight": 1},
]


def test_formats(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": " hi\n"}]
    weighted = [
        Message("system", "s", more={"role": "developer"}),
        Message("user", "a"),
        Message("assistant", "b", False),
        Message("user", "c"),
        Message("assistant", "d"),
    ]
    cases = [
        ({"messages": [ASKED, REPLY]}, HI),
        ({"messages": [{"role": "user", "content": parts}, REPLY]}, HI),
        ({"messages": json.dumps([ASKED, REPLY])}, HI),
        ({"id": "x", "conversations": GPT}, HI),
        ({"conversations": GPT, "system": "be kind"}, talk("hi", "hello", system="be kind")),
        ({"prompt": "hi", "completion": "hello"}, HI),
        ({"prompt": [ASKED], "completion": [REPLY]}, HI),
        ({"prompt": "hi", "completion": '[{"a": 1}]'}, talk("hi", '[{"a": 1}]')),
        ({"instruction": "hi", "input": "", "output": "hello"}, HI),
        ({"instruction": "add", "input": "1 2", "output": 3}, talk("add\n\n1 2", "3")),
        ({"messages": WEIGHTED}, weighted),
        ({"text": "once upon"}, [Message("text", "once upon")]),
    ]

    def check(line: dict[str, Any], found: list[Message]) -> None:
        assert rows(tmp_path / "a.jsonl.gz", [line]) == [found]

    each(cases, check)


def test_columns_of_ones_own(tmp_path: Path) -> None:
    line = {"question": "hi", "answer": "hello"}
    columns = {"prompt": "question", "completion": "answer"}
    assert rows(tmp_path / "a.jsonl", [line], **columns) == [HI]
    (tmp_path / "a.csv").write_text("question,answer\nhi,hello\n01,NA\n")
    found = list(
        readers.read_rows(source(tmp_path / "a.csv"), Columns("question", "answer"), "error", "")
    )
    assert [chat.load(r["messages"]) for r in found] == [HI, talk("01", "NA")]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"messages": [[ASKED, REPLY]]}), tmp_path / "a.parquet")
    (row,) = readers.read_rows(source(tmp_path / "a.parquet"), NAMES, "error", "")
    assert (chat.load(row["messages"]), row["format"], row["line"]) == (HI, "messages", 1)


def test_faults_name_file_and_line() -> None:
    silent = {"role": "assistant", "content": None}
    unlearned = {"role": "assistant", "content": "b", "weight": 0}
    cases = [
        ({"messages": [ASKED]}, "a.jsonl:2: a chat without a reply of the assistant"),
        (
            {"messages": [{"role": "asistant", "content": "hi"}]},
            'a.jsonl:2: messages[0]: unknown role asistant; did you mean "assistant"?',
        ),
        (
            {"messages": [{"role": "narrator", "content": "hi"}]},
            "a.jsonl:2: messages[0]: unknown role narrator (roles: system",
        ),
        (
            {"messages": [{"role": "user", "content": " "}, REPLY]},
            "a.jsonl:2: message 1 (user) is empty",
        ),
        ({"messages": [ASKED, silent]}, "a.jsonl:2: message 2 (assistant) is empty"),
        ({"messages": ["hi", "hello"]}, 'a.jsonl:2: messages[0] is "hi", expected {"role"'),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "a.jsonl:2: messages[0] holds image_url, only text",
        ),
        ({"messages": [ASKED, unlearned]}, "without a reply"),
        ({"messages": '[{"role": "user"'}, "a.jsonl:2: column messages is not valid JSON"),
        ({"messages": [ASKED], "tools": "[" * 9999}, "column tools is not valid JSON"),
        ({"messages": [ASKED], "tools": "9" * 9999}, "column tools is not valid JSON"),
        ({"conversations": []}, "a.jsonl:2: no column messages"),
    ]

    def check(line: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError) as error:
            rows(Path("a.jsonl"), [{"messages": [ASKED, REPLY]}, line])
        assert words in str(error.value)
        assert "\n" not in str(error.value)

    each(cases, check)


def test_other_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no chats in columns mesages, x; did you mean "messages"'):
        rows(tmp_path / "a.jsonl", [{"mesages": [], "x": 1}])


def test_a_chat_to_answer_needs_no_reply() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"messages": [ASKED]}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"prompt": "hi"}, "prompt"),
        ({"instruction": "hi", "output": ""}, "instruction"),
    ]

    def check(row: dict[str, Any], format: Any) -> None:
        assert formats.read(row, format, NAMES, "f:1", replied=False) == [Message("user", "hi")]

    each(cases, check)


def test_paragraphs(tmp_path: Path) -> None:
    cases = [
        ("one\ntwo\n", [(1, "one"), (2, "two")]),
        ("one\ntwo\n\n \nthree\nfour", [(1, "one\ntwo"), (5, "three\nfour")]),
        ("\n\none\n\n", [(3, "one")]),
    ]

    def check(text: str, found: list[tuple[int, str]]) -> None:
        (tmp_path / "a.txt").write_text(text)
        read = readers.read_rows(source(tmp_path / "a.txt"), NAMES, "error", "")
        assert [(r["line"], chat.load(r["messages"])[0].content) for r in read] == found

    each(cases, check)


def test_no_text_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(UserError, match="has no rows"):
        list(readers.read_rows(source(tmp_path / "a.txt"), NAMES, "error", ""))


# Templates

EACH = "{% for m in messages %}"
CHATML = (
    EACH + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set s = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set ms = messages[1:] %}"
    "{% else %}{% set s = '' %}{% set ms = messages %}{% endif %}{% for m in ms %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (s if loop.first else '') + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = EACH + (
    "{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = "{{ bos_token }}" + EACH + (
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)  # fmt: skip
VICUNA = EACH + (
    "{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}"
    "{{ '\nUSER: ' + m['content'] }}"
    "{% else %}{{ '\nASSISTANT: ' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nASSISTANT:' }}{% endif %}"
)
THINKS = (  # Qwen3: earlier replies lose their thoughts, the last one has at least empty ones
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    + EACH + "{% set c = m['content'] %}{% if m['role'] == 'assistant' %}{% set t = '' %}"
    "{% if '</think>' in c %}"
    "{% set t = c.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last %}"
    "{{ '<|im_start|>assistant\n<think>\n' + t + '\n</think>\n\n' + c + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>assistant\n' + c + '<|im_end|>\n' }}{% endif %}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + c + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip
MARKED = EACH + (
    "{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] | upper }}{% endgeneration %}"
    "{% else %}{{ m['content'] | upper }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "llama2": LLAMA2,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "vicuna": VICUNA,
    "thinks": THINKS,
    "marked": MARKED,
}
TOKENS = (
    "<|im_start|> <|im_end|> <|start_header_id|> <|end_header_id|> <|eot_id|> "
    "<start_of_turn> <end_of_turn>"
).split()


def template(name: str, pieces: bool = False) -> chat_template.Template:
    tokenizer = piece_tokenizer(TOKENS) if pieces else byte_tokenizer(TOKENS)
    source = TEMPLATES[name] if name in TEMPLATES else template_source.plain(tokenizer)
    return chat_template.Template(tokenizer, source)


def learned_parts(made: chat_template.Template, sample: chat_template.Sample) -> list[str]:
    """Text of each run of learned tokens."""
    parts: list[list[int]] = []
    for i, (token, learned) in enumerate(zip(sample.ids, sample.loss_mask, strict=True)):
        if learned:
            parts = parts if i and sample.loss_mask[i - 1] else [*parts, []]
            parts[-1].append(token)
    return [made.tokenizer.decode(p) for p in parts]


CHAT = talk("Where is it?", "On its way.", "When?", "On its way, I said: assistant user.")


def test_replies_and_what_ends_them_are_learned_and_nothing_else() -> None:
    cases = [
        ("plain", ["</s>", "</s>"]),
        ("chatml", ["<|im_end|>", "<|im_end|>"]),
        ("llama2", [" </s>", " </s>"]),
        ("llama3", ["<|eot_id|>", "<|eot_id|>"]),
        ("gemma", ["<end_of_turn>", "<end_of_turn>"]),
        ("vicuna", ["", "</s>"]),
        ("thinks", ["<|im_end|>", "<|im_end|>"]),
    ]

    def check(name: str, ends: list[str], pieces: bool) -> None:
        made = template(name, pieces)
        sample = made.encode(CHAT)
        lead = "<think>\n\n</think>\n\n" if name == "thinks" else ""
        said = [p.strip() for p in learned_parts(made, sample)]
        assert said == [f"{CHAT[1].content}{ends[0]}", f"{lead}{CHAT[3].content}{ends[1]}"]

    each(((*case, pieces) for case in cases for pieces in (False, True)), check)


def test_tokens_are_those_of_apply_chat_template_in_training_and_generation() -> None:
    names = "plain chatml llama2 llama3 gemma vicuna thinks".split()

    def check(name: str, pieces: bool) -> None:
        made = template(name, pieces)
        sample = made.encode(CHAT)
        tokenizer = made.tokenizer
        tokenizer.chat_template = made.source  # as it is exported
        given = [{"role": m.role, "content": m.content} for m in CHAT]
        ids = tokenizer.apply_chat_template(given, return_dict=False)
        assert ids == sample.ids[: len(sample.ids) - len(made.closing)]
        learned = sample.loss_mask
        last = max(i for i in range(len(learned)) if learned[i] and not learned[i - 1])
        prompt = tokenizer.apply_chat_template(
            given[:-1], add_generation_prompt=True, return_dict=False
        )
        assert sample.ids[:last] == prompt == truncation.prompt(made, CHAT[:-1], 10_000)

    each(itertools.product(names, (False, True)), check)


def test_the_system_is_not_learned() -> None:
    def check(name: str) -> None:
        made = template(name)
        (said,) = learned_parts(made, made.encode(talk("a", "b", system="Be kind.")))
        said = said.removesuffix(made.ending or "</s>").strip()
        assert said.removeprefix("<think>\n\n</think>\n\n") == "b"

    each(["plain", "chatml", "llama2", "llama3", "vicuna", "thinks"], check)


def test_a_reply_of_weight_zero_is_not_learned() -> None:
    made = template("chatml")
    sample = made.encode([CHAT[0], CHAT[1]._replace(in_loss=False), *CHAT[2:]])
    assert learned_parts(made, sample) == [f"{CHAT[3].content}<|im_end|>"]


def test_the_plain_template_adds_no_tokens_and_says_what_it_says() -> None:
    made = template("plain")
    text = "<s>User: a\nAssistant: b</s>User: c\nAssistant: d</s>"
    assert made.text(talk("a", "b", "c", "d")) == text
    assert made.text(talk("a", "b", "c"), True) == "<s>User: a\nAssistant: b</s>User: c\nAssistant:"
    assert made.ends == [made.tokenizer.eos_token_id]


def test_thoughts_are_learned_where_the_template_shows_them() -> None:
    made = template("thinks")
    thinking = talk("a", "<think>\nfirst\n</think>\n\nb", "c", "<think>\nthen\n</think>\n\nd")
    assert learned_parts(made, made.encode(thinking)) == [
        "b<|im_end|>",
        "<think>\nthen\n</think>\n\nd<|im_end|>",
    ]


def test_a_template_that_changes_words_is_followed_by_its_own_marks() -> None:
    made = template("marked")
    assert learned_parts(made, made.encode(CHAT)) == [
        "ON ITS WAY.<|im_end|>",
        "ON ITS WAY, I SAID: ASSISTANT USER.<|im_end|>",
    ]
    source = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    unmarked = chat_template.Template(made.tokenizer, source)
    assert unmarked.encode(CHAT) == made.encode(CHAT)  # by where the prompt ends
    source = EACH + "{{ loop.length ~ m['content'] | length }}{% endfor %}"
    lost = chat_template.Template(made.tokenizer, source)
    fault = r"rewrites message 2 so that the reply cannot be found .*data.template: plain"
    with pytest.raises(UserError, match=fault):
        lost.encode(CHAT)


def test_a_template_that_refuses_a_chat_says_why() -> None:
    twice = [Message("user", "a"), Message("user", "b"), Message("assistant", "c")]
    fault = "refuses a chat of user, user, assistant: roles must alternate"
    with pytest.raises(UserError, match=fault):
        template("llama2").encode(twice)
    with pytest.raises(UserError, match="System role not supported"):
        template("gemma").encode(talk("a", "b", system="s"))


def test_a_greeting_and_turns_of_one_role_in_a_row() -> None:
    made = template("plain")
    greeted = [
        Message("assistant", "Hello!"),
        Message("user", "a"),
        Message("user", "b"),
        Message("assistant", "c"),
        Message("assistant", "d"),
    ]
    learned = [part.strip() for part in learned_parts(made, made.encode(greeted))]
    assert learned == ["Hello!</s>", "c</s>", "d</s>"]


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = byte_tokenizer([])
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        template_source.plain(tokenizer)


# Cutting

QUESTIONS = [f"question {i} {'x' * (i % 7)}" for i in range(0, 40, 2)]
REPLIES = [f"answer {i} {'y' * (i % 5)}" for i in range(1, 40, 2)]
TURNS = itertools.chain(*zip(QUESTIONS, REPLIES, strict=True))
LONG = talk(*TURNS, system="Be kind.")


def reply_in(part: str) -> str:
    """The message that learned text holds."""
    return next(m.content for m in LONG if m.content in part)


def test_long_chats_are_cut_at_turns_and_every_reply_is_learned_once() -> None:
    cases = itertools.product(["plain", "chatml", "llama2", "vicuna", "thinks"], [150, 200, 311])

    def check(name: str, limit: int) -> None:
        made = template(name)
        samples = truncation.samples(made, LONG, limit)
        assert len(samples) > 2
        assert all(len(s.ids) <= limit and s.lost == 0 for s in samples)
        parts = itertools.chain(*(learned_parts(made, sample) for sample in samples))
        assert [reply_in(part) for part in parts] == REPLIES
        for s in samples:
            text = made.tokenizer.decode(s.ids)
            assert text.count("Be kind.") == 1
            assert text.index("question") < text.index("answer")

    each(cases, check)


def test_the_last_piece_has_the_turns_before_that_fit() -> None:
    made = template("plain")
    whole = made.encode(LONG)
    first, last = truncation.samples(made, LONG, len(whole.ids) - 1)
    assert len(learned_parts(made, last)) == 1
    assert len(last.ids) > 0.8 * len(whole.ids)  # not the last exchange alone
    assert sum(last.loss_mask) + sum(first.loss_mask) == sum(whole.loss_mask)


def test_a_chat_that_fits_is_one_sample_and_a_last_question_is_left_out() -> None:
    made = template("plain")
    longer = [*CHAT, Message("user", "thanks")]
    assert truncation.samples(made, longer, 10_000) == [made.encode(CHAT)]


def test_an_exchange_too_long_is_cut_at_the_left_of_the_prompt_and_the_right_of_the_reply() -> None:
    made = template("plain")
    asked = talk("x" * 300 + "END", "yes")
    (long_prompt,) = truncation.samples(made, asked, 100)
    text = made.tokenizer.decode(long_prompt.ids)
    assert text.startswith("<s>User: xx")
    assert text.endswith("xxEND\nAssistant: yes</s>")
    assert 90 < len(long_prompt.ids) <= 100
    assert long_prompt.lost == len(made.encode(asked).ids) - len(long_prompt.ids)
    (long_reply,) = truncation.samples(made, talk("x" * 300, "y" * 300), 100)
    assert len(long_reply.ids) == 100
    assert made.tokenizer.decode(long_reply.ids).endswith("yyy")
    assert 45 <= sum(long_reply.loss_mask) <= 60


def test_a_prompt_drops_the_oldest_turns() -> None:
    def check(room: int) -> None:
        made = template("plain")
        ids = truncation.prompt(made, LONG[:-1], room)
        text = made.tokenizer.decode(ids)
        assert len(ids) <= room
        assert text.endswith("\nAssistant:")
        if room >= 60:
            assert text.startswith("<s>System: Be kind.\nUser: ")
            assert "question 38" in text
        if room == 2000:
            assert text.index("question 0") < text.index("question 2")

    each([30, 60, 100, 200, 2000], check)


def test_a_prompt_has_all_turns_that_fit_and_is_found_in_few_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, rendered = chat_template.Template.text, list[str]()

    def noted(*given: Any) -> str:
        rendered.append(text(*given))
        return rendered[-1]

    def check(name: str, room: int) -> None:
        made = template(name)
        with monkeypatch.context() as patch:
            patch.setattr(chat_template.Template, "text", noted)
            rendered.clear()
            ids = truncation.prompt(made, LONG[:-1], room)
        assert len(rendered) <= 6  # of 20 exchanges
        asked = (made.text([LONG[0], *LONG[first:-1]], True) for first in range(1, 40, 2))
        assert ids == next(i for i in (made.tokens(a)[0] for a in asked) if len(i) <= room)

    each(itertools.product(["plain", "chatml", "llama2", "thinks"], [150, 200, 311, 2000]), check)


def test_a_chat_that_holds_marks_is_rendered_once() -> None:
    made = template("chatml")
    hostile = talk(f"{places.BEGIN}0{places.CLOSE}", *["a"] * 20)
    assert places.find(lambda messages: pytest.fail("rendered"), hostile, made.text(hostile)) == {}
    assert audit.audit(made, hostile).fault == audit.fault(made, hostile[:-1]) == ""


def test_windows_learn_each_token_once() -> None:
    tokenizer = byte_tokenizer([])
    text = "abcdefghij" * 7
    samples = truncation.windows(tokenizer, text, 16)
    assert all(len(s.ids) <= 16 for s in samples)
    learned = [t for s in samples for t, k in zip(s.ids, s.loss_mask, strict=True) if k]
    whole = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert learned == whole[1:]
    assert len(truncation.windows(tokenizer, "a", 16)) == 1


def test_a_blank_line_divides_only_between_lines(tmp_path: Path) -> None:
    cases = [("a\nb\n\n\n", 2), ("\na\nb", 2), ("a\n\nb\nc\n", 2), ("a\nb\nc", 3)]

    def check(text: str, documents: int) -> None:
        (tmp_path / "a.txt").write_text(text)
        assert len(list(readers.open_rows(source(tmp_path / "a.txt"), NAMES))) == documents

    each(cases, check)


def test_a_chat_of_a_system_message_alone_is_one_line() -> None:
    row: dict[str, Any] = {"system": "x", "messages": []}
    with pytest.raises(UserError, match=r"a\.jsonl:1"):
        formats.read(row, formats.detect(row, NAMES, "a.jsonl"), NAMES, "a.jsonl:1")
