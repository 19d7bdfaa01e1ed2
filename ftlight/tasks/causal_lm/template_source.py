"""Jinja sources of chat templates: the tokenizer's own, and a plain one."""

from __future__ import annotations

from typing import Any

from ftlight.utils.errors import UserError

PLAIN = (
    "{{ START }}{% if tools %}{{ 'Tools: ' + tools | tojson + '\\n' }}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' }}{% if message['reasoning_content'] %}"
    "{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ message['content'] }}{% for call in message['tool_calls'] or [] %}"
    "{{ '\\n' if message['content'] or not loop.first }}"
    "{{ 'Call: ' + call['function'] | tojson }}{% endfor %}{{ eos_token }}"
    "{% else %}{{ message['role'].capitalize() + ': ' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""The template for a model without one: plain words, and the end-of-text token after a reply."""


def own(tokenizer: Any) -> tuple[str | None, str | None]:
    """The tokenizer's own chat template, and another one for chats with tools, if it has them."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        return template.get("default"), template.get("tool_use")
    return template, None


def plain(tokenizer: Any) -> str:
    """Returns the plain template for a tokenizer, with its begin-of-text token if it uses one.

    Raises:
        UserError: It has no end-of-text token.
    """
    if tokenizer.eos_token is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no end-of-text token to end a reply;"
            " set eos_token in its files"
        )
    bos = tokenizer.bos_token_id
    starts = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return PLAIN.replace("{{ START }}", "{{ bos_token }}" if starts else "")
