"""Passwords and keys of a config: told by their names or found in the environment; kept out of files, logs and messages."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import yaml

HIDDEN = "<secret, not kept>"
LEAST = 8  # characters of a value of the environment that is looked for in others
ALWAYS = {
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "authorization",
}
ALWAYS |= {"apikey", "apikeys", "apitoken"}
ABOUT = {
    "column",
    "count",
    "field",
    "file",
    "length",
    "name",
    "path",
}  # last word of what is about a secret
# The words before key or token that make it a part of a text, a table or a mapping.
COMMON = {
    "key": set(
        "by cache class column data dict field group id image index item join label lookup map metric monitor".split()
    )
    | set("partition primary foreign record row sort state target text unique value".split()),
    "token": set(
        "additional begin bos bot box class classification cls decoder end eos eot extra first fim forced image".split()
    )
    | set(
        "input label last mask max min next num pad padding per prefix previous sep special start stop suffix text unk word".split()
    ),
}
MANY = {
    "keys": set("access api private secret ssh".split()),
    "tokens": set("access api auth bearer hf hub refresh".split()),
}
NOTHING = {"", "true", "false", "null", "none"}
_LINK = re.compile(r"(?<=://)[^/\s:@]*:([^/\s@]+)(?=@)")
_QUERY = re.compile(r"[?&]([\w.-]+)=([^&#\s]+)")


def words(name: str) -> list[str]:
    """The words of a name, in small letters.

    >>> words("trainer.logger.apiKey"), words("HF_TOKEN")
    (['trainer', 'logger', 'api', 'key'], ['hf', 'token'])
    """
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def is_secret(name: str) -> bool:
    """Whether a value of this name is a secret: password or secret as a word of it, or key or token as its last.

    >>> [n for n in ("api_key", "hf_token", "token", "tokenizer", "pad_token", "label_key", "max_new_tokens") if is_secret(n)]
    ['api_key', 'hf_token', 'token']
    """
    parts = words(name.rpartition(".")[2])
    before, last = ["", "", *parts][-2:]
    if ALWAYS & set(parts):
        return last not in ABOUT
    return (last in COMMON and before not in COMMON[last]) or before in MANY.get(last, ())


def of_environment(environment: Mapping[str, str] | None = None) -> set[str]:
    """Values of the environment under the name of a secret, where they are long enough not to be ordinary words."""
    environment = os.environ if environment is None else environment
    return {value for name, value in environment.items() if len(value) >= LEAST and is_secret(name)}


def within(data: Any, name: str = "") -> set[str]:
    """The secrets in a nested structure, by their names; texts that are YAML or links are looked into.

    >>> sorted(within({"a": [{"api_key": "x1"}], "b": '{"token": "x2"}', "c": "http://me:x3@host"}))
    ['x1', 'x2', 'x3']
    """
    if isinstance(data, Mapping):
        return set().union(*(within(v, str(k)) for k, v in data.items()))
    if isinstance(data, (list, tuple)):
        return set().union(*(within(v, name) for v in data))
    return {str(data)} if _hidden(name, data) else _inside(data) if isinstance(data, str) else set()


def _hidden(name: str, value: Any) -> bool:
    """Whether a plain value is a secret by its name: a text; a number only where the name leaves no doubt."""
    if isinstance(value, str):
        return is_secret(name) and value.lower() not in NOTHING and value != HIDDEN
    return type(value) in (int, float) and is_secret(name) and bool(ALWAYS & set(words(name)))


def _inside(text: str) -> set[str]:
    found = set(_LINK.findall(text)) | {
        value for name, value in _QUERY.findall(text) if is_secret(name)
    }
    if text.lstrip()[:1] in ("{", "["):
        try:
            return found | within(yaml.safe_load(text))
        except yaml.YAMLError:
            return found
    return found


def hide(text: str, secrets: Iterable[str]) -> str:
    """A text without secrets; short ones only where they stand alone.

    >>> hide("got 'pw1', wanted pw12", ["pw1"])
    "got '<secret, not kept>', wanted pw12"
    """
    for secret in sorted({s for s in secrets if s and s != HIDDEN}, key=len, reverse=True):
        for form in dict.fromkeys((secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])):
            alone = re.escape(form) if len(form) >= LEAST else rf"(?<!\w){re.escape(form)}(?!\w)"
            text = re.sub(alone, HIDDEN, text)
    return text


def redact(data: Any, more: Collection[str] | None = None, name: str = "") -> Any:
    """A nested structure with a placeholder for each secret.

    Args:
        data: mappings, lists and plain values.
        more: other texts to hide wherever they are; by default those of the environment.
        name: name of the value.

    >>> redact({"url": "http://me:pw@host", "api_key": "7", "lr": 0.1}, ())
    {'url': 'http://me:<secret, not kept>@host', 'api_key': '<secret, not kept>', 'lr': 0.1}
    """
    more = of_environment() if more is None else more
    if isinstance(data, Mapping):
        return {k: redact(v, more, str(k)) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [redact(v, more, name) for v in data]
    if _hidden(name, data):
        return HIDDEN
    return hide(data, {*more, *_inside(data)}) if isinstance(data, str) else data


def given(argv: Sequence[str]) -> set[str]:
    """The secrets of a command line, as ``--option value`` or ``--option=value``."""
    return set().union(*(within(value, name) for name, value in _pairs(argv)))


def _pairs(argv: Sequence[str]) -> list[tuple[str, str]]:
    """The words of a command line, each with the option that it is a value of."""
    found, name = [], ""
    for word in argv:
        option, equals, value = word.partition("=") if word.startswith("-") else ("", "", "")
        found.append((option if equals else name, value if equals else word))
        name = option if not equals else ""
    return found


def command(argv: Sequence[str]) -> list[str]:
    """A command line without its secrets.

    >>> command(["fit", "--model.api_key", "abc", "--data.token=def", "--model.tokenizer", "abc"])
    ['fit', '--model.api_key', '<secret, not kept>', '--data.token=<secret, not kept>', '--model.tokenizer', 'abc']
    """
    everywhere = of_environment() | {s for s in given(argv) if len(s) >= LEAST}
    made = []
    for word, (name, value) in zip(argv, _pairs(argv), strict=True):
        made.append(word[: len(word) - len(value)] + str(redact(value, everywhere, name)))
    return made


def left_out(data: Any, key: str = "") -> list[str]:
    """Dotted names of the values that are placeholders of secrets.

    >>> left_out({"model": {"api_key": HIDDEN, "lr": 1}, "trainer": {"logger": [{"url": f"http://me:{HIDDEN}@host"}]}})
    ['model.api_key', 'trainer.logger.0.url']
    """
    if isinstance(data, str):
        return [key] if HIDDEN in data else []
    items = (
        data.items()
        if isinstance(data, Mapping)
        else enumerate(data)
        if isinstance(data, (list, tuple))
        else ()
    )
    return [found for k, v in items for found in left_out(v, f"{key}.{k}" if key else str(k))]
