"""Chats with tools: the tokens of the model's own template, and a loss on the right ones."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import each
from tiny.causal_lm import byte_tokenizer, make_decoder
from tiny.tool_templates import SPECIAL, TEMPLATES

from ftlight.__main__ import main
from ftlight.data.sources import Source
from ftlight.tasks.causal_lm import (
    chat_template,
    formats,
    readers,
    template_source,
    truncation,
)
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm.audit import audit
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.errors import UserError

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TOOLS = [WEATHER, {"type": "function", "function": {"name": "time", "parameters": {}}}]


def call(name: str = "weather", number: int = 1, **arguments: Any) -> dict[str, Any]:
    """A call as OpenAI writes it, with arguments as an object."""
    function = {"name": name, "arguments": arguments}
    return {"id": f"abcdefgh{number}", "type": "function", "function": function}


def result(content: str, number: int = 1) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"abcdefgh{number}", "content": content}


SYSTEM = {"role": "system", "content": "Be kind."}
ASKED = {"role": "user", "content": "Is it warm in Rome?"}
CALLED = {"role": "assistant", "content": "", "tool_calls": [call(city="Rome")]}
WARM = {"role": "assistant", "content": "Yes, 31 degrees."}
THANKS = [
    {"role": "user", "content": "And at what time?"},
    {"role": "assistant", "content": "At noon."},
]
CHAT = [SYSTEM, ASKED, CALLED, result("31"), WARM, *THANKS]
# What each template makes of the call, with the token that ends the turn.
CALL = {
    "qwen2.5": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    "<|im_end|>",
    "qwen3": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    "<|im_end|>",
    "llama3.1": '{"name": "weather", "parameters": {"city": "Rome"}}<|eot_id|>',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}, "id": "abcdefgh1"'
    "}]</s>",
    "plain": 'Call: {"name": "weather", "arguments": {"city": "Rome"}}</s>',
}
ENDS = {
    **{"qwen2.5": "<|im_end|>", "qwen3": "<|im_end|>", "llama3.1": "<|eot_id|>"},
    **{"mistral": "</s>", "plain": "</s>"},
}


def template(name: str) -> chat_template.Template:
    tokenizer = byte_tokenizer(list(SPECIAL))
    return chat_template.Template(
        tokenizer, TEMPLATES[name] if name in TEMPLATES else template_source.plain(tokenizer)
    )


def read(row: dict[str, Any], replied: bool = True) -> list[Message]:
    """The messages of a row, as a table stores them."""
    kind = formats.detect(row, formats.Columns(), "f")
    return chat.load(chat.dump(formats.read(row, kind, formats.Columns(), "f:1", replied)))


def oracle(
    made: chat_template.Template, turns: Any, tools: Any, prompts: bool = False
) -> list[int]:
    """The tokens of transformers itself."""
    ids = made.tokenizer.apply_chat_template(
        turns,
        tools=tools,
        chat_template=made.source,
        add_generation_prompt=prompts,
        return_dict=False,
    )
    return list(ids)


def learned(made: chat_template.Template, messages: list[Message]) -> list[str]:
    """Text of each run of tokens that have a loss."""
    sample = made.encode(messages)
    pairs = zip(sample.ids, sample.loss_mask, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1])
    return [
        made.tokenizer.decode([t for t, _ in run]).strip() for has_loss, run in runs if has_loss
    ]


ALL = [*TEMPLATES, "plain"]


def test_tokens_are_those_of_the_template_and_replies_and_calls_have_a_loss() -> None:
    def check(name: str) -> None:
        made = template(name)
        row = {"messages": CHAT, "tools": TOOLS}
        messages = read(row)
        assert made.encode(messages).ids == oracle(made, CHAT, TOOLS)
        lead = "<think>\n\n</think>\n\n" if name == "qwen3" else ""
        end = ENDS[name]
        said = [CALL[name], f"{WARM['content']}{end}", f"{lead}At noon.{end}"]
        assert learned(made, messages) == said
        assert made.tokenizer.convert_tokens_to_ids(end) in made.ends
        fault = "the content of message 1 (system); put it into" if name == "mistral" else ""
        assert fault in audit(made, messages).fault
        assert audit(made, read({**row, "messages": CHAT[1:]})).fault == ""
        call_alone = made.last_reply(messages[:4])
        assert call_alone.endswith(CALL[name].removesuffix(end).removeprefix("[TOOL_CALLS] "))

    each(ALL, check)


def test_a_prompt_is_that_of_the_template() -> None:
    """After a question, and after the result of a tool; a reply at the end is left out."""

    def check(name: str, upto: int) -> None:
        made = template(name)
        messages = read({"messages": CHAT[: upto + 1], "tools": TOOLS}, replied=False)
        asked = truncation.upto_reply(messages)[0]
        ids = truncation.prompt(made, asked, 10_000)
        assert ids == oracle(made, CHAT[:upto], TOOLS, prompts=True)

    each(itertools.product(ALL, [2, 4, 6]), check)


def test_arguments_are_text_or_an_object_as_the_template_wants_them() -> None:
    """Qwen2.5, Llama and Mistral would write text as text within text."""

    def check(name: str) -> None:
        made = template(name)
        function = {"name": "weather", "arguments": '{"city": "Rome"}'}
        texts = [{**CALLED["tool_calls"][0], "function": function}]  # type: ignore[index]
        turns = [SYSTEM, ASKED, {**CALLED, "tool_calls": texts}, result("31"), WARM, *THANKS]
        messages = read({"messages": turns, "tools": TOOLS})
        assert made.encode(messages).ids == oracle(made, CHAT, TOOLS)

    each(ALL, check)


def test_a_template_that_wants_text_gets_text() -> None:
    """And no content beside calls: arguments are joined to text, as in DeepSeek's."""
    source = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '<U>' + m['content'] }}"
        "{% elif m['role'] == 'assistant' and m['content'] is undefined %}"
        "{% for t in m['tool_calls'] %}{{ '<C>' + t['function']['name'] + '\n```json\n' "
        "+ t['function']['arguments'] + '\n```<E>' }}{% endfor %}"
        "{% elif m['role'] == 'assistant' %}"
        "{{ '<A>' + m['content'] + '<E>' }}{% else %}{{ '<R>' + m['content'] }}{% endif %}"
        "{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
    )
    made = chat_template.Template(byte_tokenizer(["<U>", "<A>", "<C>", "<R>", "<E>"]), source)
    messages = read({"messages": [ASKED, CALLED, result("31"), WARM]})
    text = '<C>weather\n```json\n{"city": "Rome"}\n```<E>'
    assert text in made.text(messages)
    assert learned(made, messages) == [text, "<A>Yes, 31 degrees.<E>"]


def test_a_call_may_end_with_a_token_of_its_own_or_with_none() -> None:
    """As in gpt-oss, and in GLM, whose turns end where the next begins."""
    source = (
        "{% for m in messages %}{{ '<U>' if m.role == 'user' else '<R>' if m.role == 'tool' "
        "else '<A>' }}{{ m.content }}{% for t in m.tool_calls or [] %}"
        "{{ t.function.name + ' ' + t.function.arguments | tojson + '<C>' }}{% endfor %}"
        "{% if m.role == 'assistant' and not m.tool_calls %}{{ '<E>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<A>' }}{% endif %}"
    )
    messages = read({"messages": [ASKED, CALLED, result("31"), WARM, *THANKS]})
    said = ['weather {"city": "Rome"}', "Yes, 31 degrees.", "At noon."]
    tokenizer = byte_tokenizer(["<U>", "<A>", "<R>", "<C>", "<E>"])
    made = chat_template.Template(tokenizer, source)
    assert learned(made, messages) == [f"{said[0]}<C>", f"{said[1]}<E>", f"{said[2]}<E>"]
    assert made.ends == sorted(tokenizer.convert_tokens_to_ids(["</s>", "<C>", "<E>"]))
    unended = source.replace("'<C>'", "''").replace("'<E>'", "''")
    made = chat_template.Template(tokenizer, unended)
    assert learned(made, messages) == [*said[:2], f"{said[2]}</s>"]


def test_several_calls_and_a_text_beside_a_call() -> None:
    two = {"role": "assistant", "tool_calls": [call(city="Rome"), call("time", 2)]}
    spoken = {"role": "assistant", "content": "I will look.", "tool_calls": [call(city="Rome")]}

    def check(name: str) -> None:
        made = template(name)
        many = [ASKED, two, result("31"), result("noon", 2), WARM]
        messages = read({"messages": many, "tools": TOOLS})
        if name == "llama3.1":
            assert "single tool-calls at once" in audit(made, messages).fault
        else:
            given = [ASKED, {"content": "", **two}, *many[2:]]
            assert made.encode(messages).ids == oracle(made, given, TOOLS)
            assert len(learned(made, messages)) == 2
            assert '"time"' in learned(made, messages)[0]
        said = read({"messages": [ASKED, spoken, result("31"), WARM], "tools": TOOLS})
        if name in ("llama3.1", "mistral"):  # they write the call alone
            fault = (
                "the model's chat template leaves out the content beside tool_calls of message 2"
            )
            assert audit(made, said).fault == f"{fault} (assistant)"
        else:
            ids = oracle(made, [ASKED, spoken, result("31"), WARM], TOOLS)
            assert made.encode(said).ids == ids
            assert learned(made, said)[0].startswith("I will look.\n")

    each(ALL, check)


def test_thoughts_are_handed_to_the_template_and_named_where_it_does_not_use_them() -> None:
    thoughtful = {**WARM, "reasoning_content": "The tool says 31."}
    turns = [ASKED, CALLED, result("31"), thoughtful]

    def check(name: str) -> None:
        made = template(name)
        messages = read({"messages": turns, "tools": TOOLS})
        assert made.encode(messages).ids == oracle(made, turns, TOOLS)
        unused = audit(made, messages).unused
        if name in ("qwen3", "plain"):
            thoughts = "<think>\nThe tool says 31.\n</think>\n\nYes, 31 degrees."
            assert learned(made, messages)[-1] == thoughts + ENDS[name]
            assert "reasoning_content" not in unused
        else:
            assert learned(made, messages)[-1] == f"{WARM['content']}{ENDS[name]}"
            assert "reasoning_content" in unused

    each(ALL, check)


def test_ids_are_made_as_the_template_wants_them() -> None:
    """Mistral's refuses all but nine letters and digits; data have other ids, or none."""
    made = template("mistral")
    for given in ({"id": "call_0123"}, {}):
        bare = {"type": "function", "function": CALLED["tool_calls"][0]["function"]}  # type: ignore[index]
        turns = [ASKED, {"role": "assistant", "tool_calls": [{**bare, **given}]}]
        turns += [{"role": "tool", "content": "31"}, WARM]
        if given:
            turns[2]["tool_call_id"] = given["id"]
        said = made.text(read({"messages": turns, "tools": TOOLS}))
        assert (
            '"id": "call00000"}]</s>[TOOL_RESULTS] {"content": 31, "call_id": "call00000"}' in said
        )


def test_what_a_template_cannot_say_is_found() -> None:
    chatml = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] or '') "
        "+ '<|im_end|>\n' }}{% endfor %}"
    )
    made = chat_template.Template(byte_tokenizer(list(SPECIAL)), chatml)
    leaves = "the model's chat template leaves out"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"messages": [ASKED, WARM], "tools": TOOLS}, f"{leaves} the tools"),
        ({"messages": [ASKED, CALLED, WARM]}, f"{leaves} tool_calls of message 2 (assistant)"),
        ({"messages": [ASKED, WARM]}, ""),
        ({"messages": [SYSTEM, ASKED, {"role": "tool", "content": "1"}, WARM]}, ""),
    ]

    def check(row: dict[str, Any], fault: str) -> None:
        assert audit(made, read(row)).fault == fault

    each(cases, check)
    developer = {**SYSTEM, "role": "developer"}
    assert "system\nBe kind." in made.text(read({"messages": [developer, ASKED, WARM]}))
    own = chatml.replace("{% for", "{% if messages[0].role == 'developer' %}{% endif %}{% for", 1)
    named = chat_template.Template(made.tokenizer, own)
    assert "developer\nBe kind." in named.text(read({"messages": [developer, ASKED, WARM]}))


def test_a_template_for_tools_beside_the_default_one() -> None:
    tokenizer = byte_tokenizer(list(SPECIAL))
    default = "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    tokenizer.chat_template = {"default": default, "tool_use": TEMPLATES["qwen2.5"]}
    made = chat_template.Template(tokenizer, *template_source.own(tokenizer))
    for turns, tools in ((CHAT, TOOLS), ([ASKED, WARM], None)):
        theirs = tokenizer.apply_chat_template(turns, tools=tools, return_dict=False)
        assert made.encode(read({"messages": turns, "tools": tools})).ids == theirs


# Formats


def test_the_shapes_in_which_data_have_tools() -> None:
    function = {"name": "weather", "arguments": {"city": "Rome"}}
    bare = [{"name": "weather", "parameters": {}}]
    wrapped = [{"type": "function", "function": bare[0]}]
    asked, warm = Message("user", "a"), Message("assistant", "c")
    calls = {"tool_calls": [{"type": "function", "function": function}]}
    messages = [asked, Message("assistant", "", more=calls), Message("tool", "b"), warm]
    tools = Message("tools", json.dumps(wrapped))
    user, reply = {"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}
    silent = {"role": "assistant", "content": None}
    got = {"role": "tool", "content": "b"}
    sharegpt = [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": json.dumps(function)},
        {"from": "observation", "value": "b"},
        {"from": "gpt", "value": "c"},
    ]
    seen = [*messages]
    seen[2] = Message("tool", "b", more={"role": "observation"})
    turns = [user, {**silent, "tool_calls": [function]}, got, reply]
    cases = [
        ({"conversations": sharegpt, "tools": json.dumps(bare)}, [tools, *seen]),
        ({"messages": turns, "tools": wrapped}, [tools, *messages]),
        ({"messages": turns, "functions": bare}, [tools, *messages]),
        ({"messages": turns, "tools": bare[0]}, [tools, *messages]),
        ({"messages": turns, "tools": [json.dumps(bare[0])]}, [tools, *messages]),
        ({"messages": turns, "tools": "[]"}, messages),
        ({"messages": turns, "tools": None}, messages),
        ({"messages": str(turns), "tools": str(wrapped)}, [tools, *messages]),  # of pandas
        (
            {"messages": [{"role": "system", "content": "", "tools": bare}, *turns]},
            [tools, *messages],
        ),
        (
            {"messages": [user, {**silent, "function_call": function}, got, reply]},
            messages,
        ),
        (
            {"messages": [user, {**silent, "tool_calls": json.dumps([function])}, got, reply]},
            messages,
        ),
        (
            {
                "messages": [
                    user,
                    {**silent, "tool_calls": [function]},
                    {**got, "content": None},
                    reply,
                ]
            },
            [*messages[:2], Message("tool", ""), warm],
        ),
        (
            {
                "messages": [
                    user,
                    {**silent, "tool_calls": [function]},
                    {**got, "content": {"t": 1}},
                    reply,
                ]
            },
            [*messages[:2], Message("tool", '{"t": 1}'), warm],
        ),
        ({"messages": [user, {**reply, "tool_calls": []}]}, [asked, warm]),
        # a call that is none stays what the assistant said
        (
            {"conversations": [sharegpt[0], {"from": "function_call", "value": "{}"}]},
            [asked, Message("assistant", "{}")],
        ),
        (
            {"prompt": [user, reply, user], "completion": [reply], "tools": wrapped},
            [tools, asked, warm._replace(in_loss=False), asked, warm],
        ),
        ({"prompt": json.dumps([user]), "completion": reply}, [asked, warm]),
    ]

    def check(row: dict[str, Any], found: list[Message]) -> None:
        assert read(row) == found

    each(cases, check)


def test_history_comes_before_the_instruction() -> None:
    row = {"instruction": "c", "input": "", "output": "d"}
    before = [Message("user", "a"), Message("assistant", "b")]
    last = [Message("user", "c"), Message("assistant", "d")]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    cases: list[tuple[Any, list[Message]]] = [
        ([["a", "b"]], [*before, *last]),
        ('[["a", "b"]]', [*before, *last]),
        ("[['a', 'b']]", [*before, *last]),
        (turns, [*before, *last]),
        ([["a", "b"], ["a", "b"]], [*before, *before, *last]),
        *((empty, last) for empty in ([], "[]", "", None)),
    ]

    def check(history: Any, found: list[Message]) -> None:
        assert read({**row, "history": history}) == found
        system = Message("system", "s")
        assert read({**row, "history": history, "system": "s"}) == [system, *found]
        prompted = read({"prompt": "c", "completion": "d", "history": history})
        assert [m[:2] for m in prompted] == [m[:2] for m in found]
        assert [m.in_loss for m in prompted if m.role == "assistant"][-1]

    each(cases, check)
    with pytest.raises(UserError, match=r'f:1: history\[0\] is "a", expected \[question, reply\]'):
        read({**row, "history": ["a"]})


def rows_of(path: Path, lines: list[Any], on_bad_chat: readers.OnBadChat) -> list[dict[str, Any]]:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = Source(str(path), "train", suffixes=readers.SUFFIXES)
    return list(readers.read_rows(source, formats.Columns(), on_bad_chat, ""))


def test_bad_rows_are_left_out_and_their_faults_are_kept() -> None:
    good = {"messages": [ASKED, WARM], "id": 7, "source": None}
    bad = [
        {"messages": [ASKED]},
        {"messages": [{"role": "narrator", "content": "a"}, WARM]},
        {"other": 1},
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": ""}]}]},
        {"messages": [ASKED, WARM], "tools": "weather"},
    ]
    rows = rows_of(Path("a.jsonl"), [good, *bad[:2], good, *bad[2:]], "skip")
    assert [row["line"] for row in rows] == [1, 4]
    faults = [fault for row in rows for fault in json.loads(row["__bad"])]
    assert [fault.split(": ")[0] for fault in faults] == [f"a.jsonl:{n}" for n in (2, 3, 5, 6, 7)]
    assert [row["__unused"] for row in rows] == ['["id"]'] * 2
    with pytest.raises(UserError, match=r"a\.jsonl:2: .* \(data.on_bad_chat: skip leaves such"):
        rows_of(Path("a.jsonl"), [good, *bad], "error")
    with pytest.raises(UserError, match=r"a\.jsonl: no row is a chat; the first: a\.jsonl:1: "):
        rows_of(Path("a.jsonl"), bad, "skip")


def test_parquet_gives_no_row_the_keys_of_others(tmp_path: Path) -> None:
    """Its structs have all keys of the column, None where a row has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for name, arguments in (("weather", {"city": "Rome"}), ("time", {"zone": 1})):
        function = {"name": name, "parameters": {"properties": {name: {"type": "string"}}}}
        made = {"name": name, "arguments": arguments}
        turns = [ASKED, {"role": "assistant", "content": None, "tool_calls": [made]}]
        rows.append({"messages": turns, "tools": [{"type": "function", "function": function}]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = Source(str(tmp_path / "a.parquet"), "train", suffixes=readers.SUFFIXES)
    stored = list(readers.read_rows(source, formats.Columns(), "error", ""))
    assert [chat.load(row["messages"]) for row in stored] == [read(row) for row in rows]


# Cutting


def test_an_exchange_is_not_cut_between_a_call_and_its_result() -> None:
    made = template("qwen2.5")
    turns: list[Any] = [SYSTEM]
    for number in range(8):
        asked = {"role": "user", "content": f"Question {number}?"}
        said = {"role": "assistant", "content": f"Answer {number}."}
        turns += [asked, CALLED, result(f"result {number}"), said]
    messages = read({"messages": turns, "tools": TOOLS})
    limit = made.count(messages) // 2
    samples = truncation.samples(made, messages, limit)
    assert len(samples) > 1
    found = []
    for sample in samples:
        assert len(sample.ids) <= limit
        text = made.tokenizer.decode(sample.ids)
        assert text.count("<tools>\n{") == 1  # each has the tools
        assert text.count("<tool_response>") == text.count("</tool_response>")
        pairs = zip(sample.ids, sample.loss_mask, strict=True)
        found.append(made.tokenizer.decode([t for t, kept in pairs if kept]))
    for number in range(8):
        assert "".join(found).count(f"Answer {number}.") == 1
    assert "".join(found).count('{"name": "weather"') == 8


def test_a_long_result_is_cut_before_the_reply_to_it() -> None:
    made = template("qwen2.5")
    messages = read({"messages": [ASKED, CALLED, result("x" * 3000), WARM], "tools": TOOLS})
    (sample,) = truncation.samples(made, messages, 1500)
    text = made.tokenizer.decode(sample.ids)
    assert 1400 < len(sample.ids) <= 1500
    assert text.endswith("Yes, 31 degrees.<|im_end|>\n")
    assert '"city": "Rome"' in text
    assert sample.lost > 1000


# The data module


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny decoder with a chat template that knows tools."""
    folder = tmp_path_factory.mktemp("qwen")
    source = TEMPLATES["qwen3"]
    made = make_decoder(folder, "qwen2", SPECIAL, pad_token="<unk>", chat_template=source)
    for name, key in {
        "config": "max_position_embeddings",
        "tokenizer_config": "model_max_length",
    }.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), key: 2048}))
    return made


MANY = {"messages": [ASKED, {**CALLED, "name": "it"}, result("31"), WARM], "id": 1}
DROPPED = {"messages": [ASKED, {"role": "critic", "content": "no"}, WARM]}
UNSAID = {"messages": [ASKED, {"role": "system", "content": ""}, WARM]}


def chats(rows: list[Any], backbone: str, **options: Any) -> ChatData:
    Path("c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ChatData("c.jsonl", tokenizer=backbone, validation_split=0, **options)
    data.setup("fit")
    return data


def test_what_is_left_out_or_not_used_is_named_once_with_its_count(qwen: str) -> None:
    data = chats([MANY, DROPPED, MANY, UNSAID], qwen, on_bad_chat="skip")
    assert len(data.sets["train"]) == 2
    notes = "\n".join(data.notes)
    assert "train: columns not used: id (2 rows)" in notes
    assert "train: keys of messages not used: name (2 rows), tool_call_id (2 rows)" in notes
    assert "train: 2 rows are left out (data.on_bad_chat); the first: c.jsonl:2: " in notes
    assert "unknown role critic" in notes
    assert data.rows("train", [1])[0]["line"] == 3
    with pytest.raises(UserError, match=r"c\.jsonl:2: messages\[1\]: unknown role critic"):
        chats([MANY, DROPPED], qwen)


def test_a_chat_that_the_template_cannot_say_is_an_error_or_left_out(tmp_path: Path) -> None:
    special = ("<|im_start|>", "<|im_end|>")
    source = (
        "{% for m in messages %}{% if m['role'] == 'tool' %}"
        "{{ raise_exception('no tools here') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    )
    own = make_decoder(tmp_path / "own", "qwen2", special, chat_template=source)
    good = {"messages": [ASKED, WARM]}
    rows = [good, {"messages": [ASKED, CALLED, result("31"), WARM]}, good]
    way_out = r"\(data.template: plain can say it; data.on_bad_chat: skip leaves such rows out\)"
    with pytest.raises(UserError, match=rf"c\.jsonl:2: .* no tools here {way_out}"):
        chats(rows, own)
    data = chats(rows, own, on_bad_chat="skip")
    assert data.load_split("train")["line"][:] == [1, 3]
    assert any("train: 1 row is left out" in note for note in data.notes)
    assert len(chats(rows, own, template="plain").sets["train"]) == 3
    with pytest.raises(UserError, match=r"c\.jsonl: no chat is left; the first: c\.jsonl:1: "):
        chats(rows[1:2], own, on_bad_chat="skip")
    asked = {"messages": rows[1]["messages"][:3], "__line__": 4}
    with pytest.raises(UserError, match=rf"new\.jsonl:4: .* no tools here {way_out}"):
        chats(rows[:1], own).encode_rows([asked], "new.jsonl")
    assert data.encode_rows([asked], "new.jsonl")["chat"] == [""]


@pytest.mark.run
def test_chats_with_tools_are_trained_on_scored_and_predicted(qwen: str, tmp_path: Path) -> None:
    row = {"messages": CHAT[:3], "tools": TOOLS}
    (tmp_path / "c.jsonl").write_text(f"{json.dumps(row)}\n" * 12 + '{"messages": []}\n')
    words = (
        f"fit --model CausalLM --model.backbone {qwen} --data.train c.jsonl --run r "
        "--trainer.max_epochs 1 --trainer.accelerator cpu --data.batch_size 6 "
        "--model.max_new_tokens 4 --data.max_length 2048 --data.on_bad_chat skip "
        "--data.test_split 0.2 --data.validation_split 0"
    )
    assert main(words.split()) == 0
    metrics = json.loads(Path("r/test_metrics.json").read_text())
    assert metrics["test/rougeL"] >= 0  # a call is a reference
    lines = [{"messages": CHAT[:2], "tools": TOOLS}, {"messages": []}]
    (tmp_path / "ask.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["predict", "r", "ask.jsonl"]) == 0
    answers = [json.loads(t) for t in Path("r/predictions/ask.jsonl").read_text().splitlines()]
    assert isinstance(answers[0]["prediction"], str)
    assert answers[1]["prediction"] is None
