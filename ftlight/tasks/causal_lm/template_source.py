"""Jinja sources of chat templates: the tokenizer's own, and a plain one."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from ftlight.utils.errors import UserError

MOST = 1_000_000  # characters of a template; those of models have thousands

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


class _Generation(Extension):
    """The tag that templates for training put around replies."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Reads what is between the tag and its end."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def fault(source: str) -> str:
    """What may make a template compute without end, in words; empty if nothing may.

    Loops and memory are bounded when it is rendered, but a single product or power of numbers of
    millions of digits cannot be interrupted.

    >>> fault("{{ messages[0] }}{{ ' ' * 4 }}"), fault("{{ 9 ** 9 ** 9 }}")
    ('', 'computes a power, which no chat template needs')
    """
    if len(source) > MOST:
        return f"has more than {MOST:,} characters"
    try:
        parsed = Environment(extensions=[_Generation, "jinja2.ext.loopcontrols"]).parse(source)
    except (TemplateError, RecursionError, ValueError):
        return ""  # whoever renders it says why
    if parsed.find(nodes.Pow):
        return "computes a power, which no chat template needs"
    for product in parsed.find_all(nodes.Mul):
        if not (_is_small(product.left) or _is_small(product.right)):
            return "multiplies two values, which no chat template needs"
    return ""


def _is_small(node: nodes.Node) -> bool:
    """Whether a value is a number that is written there, or one of a loop or of a length."""
    if isinstance(node, nodes.Filter):
        return node.name in ("length", "count")
    if isinstance(node, nodes.Getattr):
        return isinstance(node.node, nodes.Name) and node.node.name == "loop"
    if isinstance(node, (nodes.Add, nodes.Sub)):
        return _is_small(node.left) and _is_small(node.right)
    return isinstance(node, nodes.Const)
