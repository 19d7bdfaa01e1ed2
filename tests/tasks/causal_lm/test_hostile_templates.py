"""Chat templates that loop or allocate without end, with the chats that make them do so."""

from __future__ import annotations

import resource
import signal
from typing import Any

import pytest
from conftest import each
from tiny.causal_lm import byte_tokenizer

from ftlight.tasks.causal_lm import template_source
from ftlight.tasks.causal_lm.chat_template import Template
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils import bounded
from ftlight.utils.errors import UserError

PLAIN = "{% for m in messages %}{{ m['role'] + m['content'] }}</s>{% endfor %}"
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
GROWS = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}"
CHAT = [Message("user", "hello"), Message("assistant", "yes")]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: Any = (0.2, 2**28)
    monkeypatch.setattr(bounded.bounded.__wrapped__, "__defaults__", limits)  # type: ignore[attr-defined]


def test_templates_that_loop_or_allocate_without_end_are_one_line() -> None:
    tokenizer = byte_tokenizer([])
    cases = [
        (LOOPS, "it takes more than 0.2 s"),
        (GROWS + "{% endfor %}{{ ns.x }}", "it takes more than 256 MB"),
        ("{{ 'a' * 99999999999 }}", "it takes more than 256 MB"),
        ("{{ '%9999999999d' % 5 }}", "it takes more than 256 MB"),
        ("{{ lipsum(n=99999999) }}", "it takes more than 0.2 s"),
        ("{{ 9 ** 9 ** 9 }}", "computes a power"),
        ("{% generation %}{{ 9 ** 9 ** 9 }}{% endgeneration %}", "computes a power"),
        ("{% set x = messages|length %}{{ x * x }}", "multiplies two values"),
        (" " * 2_000_000, "has more than 1,000,000 characters"),
    ]

    def check(source: str, said: str) -> None:
        with pytest.raises(UserError, match=said) as raised:
            Template(tokenizer, PLAIN + source)
        assert "data.template: plain" in str(raised.value)

    each(cases, check)


def test_limits_are_as_before_when_a_template_is_done() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)
    assert Template(byte_tokenizer([]), PLAIN).text(CHAT) == "userhello</s>assistantyes</s>"
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_a_chat_that_makes_a_template_loop_makes_the_next_fail_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = "{% if messages[0]['content'] == 'loop' %}" + LOOPS + "{% endif %}" + PLAIN
    template = Template(byte_tokenizer([]), source)
    assert template.text(CHAT)
    with pytest.raises(UserError, match="it takes more than"):
        template.text([Message("user", "loop")])
    monkeypatch.setattr(template.tokenizer, "apply_chat_template", None)  # is not called again
    with pytest.raises(UserError, match="it takes more than"):
        template.encode(CHAT)


def test_products_that_cannot_grow_are_no_fault() -> None:
    fine = (
        "{{ '-' * 40 }}{{ 2 * loop.index0 }}{{ ' ' * (loop.index - 1) }}"
        "{{ messages|length * depth }}{{ '\\n' * blank }}"
    )
    assert not template_source.fault(fine)
    assert not template_source.fault("{% for m in messages %}{% break %}{% endfor %}")
