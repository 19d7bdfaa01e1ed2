"""Keeps passwords and keys of configs and command lines out of files, logs and messages.

A value is secret by its name, by its form, or by being the value of a secret in the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from ftlight.utils import secret_forms
from ftlight.utils.yaml_file import Loader

HIDDEN = "<secret, not kept>"
LEAST = 8  # characters of a secret that is hidden inside longer words, too
MOST = 100_000  # of a text that is read as YAML: of millions it would take minutes
ALWAYS = {
    *("secret", "secrets", "password", "passwords", "passwd", "passphrase", "authorization"),
    *("credential", "credentials", "apikey", "apikeys", "apitoken", "auth", "bearer", "jwt"),
    *("pat", "pwd", "passcode", "cookie", "cookies", "webhook", "connectionstring", "dsn"),
}
# last words of names that describe a secret and do not hold it
ABOUT = {
    *("column", "count", "field", "file", "length", "name", "path", "type", "method", "mode"),
    *("scheme", "header", "enabled", "provider", "kind", "env", "expiry", "ttl", "timeout"),
    *("limit", "policy", "domain", "version", "required", "retries", "host", "port", "user"),
    *("id", "prefix", "strength", "store", "manager", "class"),
}
PLACES = {"PWD", "OLDPWD"}  # variables of the environment with folders
# Words before key or token in the name of a secret. Others, as in label_key or pad_token, mostly
# name parts of texts, tables and mappings: there a value is secret if it looks generated.
BEFORE = {
    *("access", "api", "app", "auth", "bearer", "client", "encryption", "hf", "hook", "hub"),
    *("license", "master", "private", "refresh", "secret", "service", "session", "signing", "ssh"),
}
_GENERATED = re.compile(r"(?=.*[a-zA-Z])(?=.*[0-9])[\w.:+/=~-]{16,}")
NOTHING = {"", "true", "false", "null", "none"}
_LINK = re.compile(r"(?<=://)[^/\s:@]*:([^/\s@]+)(?=@)")
_OPTION = re.compile(r"(?<![\w.-])--?([a-zA-Z][\w.-]*)[=\s]\s*([^\s\"',]+)")
_VARIABLE = re.compile(r"(?:^|[\s;,])([A-Za-z_]\w*)=([^\s;,\"']+)")
_QUERY = re.compile(r"[?&]([\w.-]+)=([^&#\s]+)")


def words(name: str) -> list[str]:
    """Splits a name into its words, in lower case.

    >>> words("trainer.logger.apiKey"), words("HF_TOKEN")
    (['trainer', 'logger', 'api', 'key'], ['hf', 'token'])
    """
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def is_secret(name: str, value: str = "") -> bool:
    """Whether a name is that of a secret: with password or secret, or ending in key or token.

    Args:
        name: name of the value; a dotted name counts by its last part.
        value: the value, which decides for names such as ``bot_token``.

    >>> [n for n in ("api_key", "hf_token", "token", "pad_token", "label_key") if is_secret(n)]
    ['api_key', 'hf_token', 'token']
    >>> is_secret("bot_token", "[BOT]"), is_secret("bot_token", "1234:abcdefghijklmn")
    (False, True)
    """
    parts = words(name.rpartition(".")[2])
    before, last = ["", "", *parts][-2:]
    if ALWAYS & set(parts):
        return last not in ABOUT
    if last in ("keys", "tokens"):
        return before in BEFORE
    if last not in ("key", "token"):
        return False
    return before in BEFORE or not before or _GENERATED.fullmatch(value) is not None


def of_environment(environment: Mapping[str, str] | None = None) -> set[str]:
    """Secrets among the values of the environment, too long to be ordinary words."""
    environment = os.environ if environment is None else environment
    found: set[str] = set()
    for name, value in environment.items():
        if len(value) >= LEAST and name not in PLACES:
            found |= {value} if _in_environment(name) else secret_forms.find(value)
    return found


def _in_environment(name: str) -> bool:
    """Whether a variable is a secret; every key or token is, for none is about a table."""
    return is_secret(name) or words(name)[-1:] in (["key"], ["token"])


def within(data: Any, name: str = "", seen: set[tuple[int, str]] | None = None) -> set[str]:
    """Collects the secrets in a nested structure by name, also those inside texts of YAML and URLs.

    >>> sorted(within({"a": [{"api_key": "x1"}], "b": '{"token": "x2"}', "c": "http://me:x3@host"}))
    ['x1', 'x2', 'x3']
    """
    if isinstance(data, (Mapping, list, tuple)):
        seen = set() if seen is None else seen
        if (id(data), name) in seen:  # an alias: there can be billions
            return set()
        seen.add((id(data), name))
        return set().union(*(within(value, key, seen) for key, value in named(data, name)))
    if _hidden(name, data):
        return {str(data)}
    return _inside(data) if isinstance(data, str) else set()


def _hidden(name: str, value: Any) -> bool:
    """Whether a plain value is a secret; a number only if its name leaves no doubt."""
    if isinstance(value, str):
        return is_secret(name, value) and value.lower() not in NOTHING and value != HIDDEN
    return type(value) in (int, float) and is_secret(name) and bool(ALWAYS & set(words(name)))


def named(data: Mapping[Any, Any] | Sequence[Any], name: str) -> Iterator[tuple[str, Any]]:
    """Pairs the values of a mapping or list with the names that tell whether they are secret.

    A value after an option in a list is of that option, and ``value`` beside ``name`` of that name.

    >>> list(named(["--token", "x"], "args")), list(named({"name": "KEY", "value": "x"}, "env"))
    ([('args', '--token'), ('token', 'x')], [('name', 'KEY'), ('KEY', 'x')])
    """
    if isinstance(data, Mapping):
        own = data.get("name", data.get("key"))
        for key, value in data.items():
            yield str(own if key == "value" and isinstance(own, str) else key), value
        return
    option = ""
    for value in data:
        yield option or name, value
        is_option = isinstance(value, str) and re.fullmatch(r"--?[a-zA-Z][\w.-]*", value)
        option = value.lstrip("-") if is_option else ""


def _inside(text: str) -> set[str]:
    """Collects the secrets inside a text: by form, of URLs and options, of YAML in brackets."""
    secrets = set(_LINK.findall(text)) | secret_forms.find(text)
    for form in (_OPTION, _VARIABLE):
        secrets |= {value for name, value in form.findall(text) if _hidden(name, value)}
    secrets |= {value for name, value in _QUERY.findall(text) if is_secret(name, value)}
    if text.lstrip()[:1] in ("{", "[") and len(text) <= MOST:
        with contextlib.suppress(Exception):  # texts that are no YAML fail in many ways
            secrets |= within(yaml.load(text, Loader))
    return secrets


def hide(text: str, secrets: Iterable[str]) -> str:
    """Replaces secrets in a text; short ones only if they stand alone.

    >>> hide("got 'pw1', wanted pw12", ["pw1"])
    "got '<secret, not kept>', wanted pw12"
    """
    for secret in sorted({s for s in secrets if s and s != HIDDEN}, key=len, reverse=True):
        for form in dict.fromkeys((secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])):
            alone = re.escape(form) if len(form) >= LEAST else rf"(?<!\w){re.escape(form)}(?!\w)"
            text = re.sub(alone, HIDDEN, text)
    return text


def redact(data: Any, more: Collection[str] | None = None, name: str = "") -> Any:
    """Copies a nested structure with a placeholder for each secret.

    Args:
        data: mappings, lists and plain values.
        more: other texts to hide anywhere; default: the secrets of the environment.
        name: name of the value.

    >>> redact({"url": "http://me:pw@host", "api_key": "7", "lr": 0.1}, ())
    {'url': 'http://me:<secret, not kept>@host', 'api_key': '<secret, not kept>', 'lr': 0.1}
    """
    more = of_environment() if more is None else more
    if isinstance(data, (Mapping, list, tuple)):
        safe = [redact(value, more, key) for key, value in named(data, name)]
        return dict(zip(data, safe, strict=True)) if isinstance(data, Mapping) else safe
    if _hidden(name, data):
        return HIDDEN
    return hide(data, {*more, *_inside(data)}) if isinstance(data, str) else data


def given(argv: Sequence[str]) -> set[str]:
    """Collects the secrets of a command line, of ``--option value`` and ``--option=value``."""
    return set().union(*(within(value, name) for name, value in _pairs(argv)))


def _pairs(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs each value of a command line, after ``=`` or a space, with its option."""
    pairs, previous = [], ""
    for word in argv:
        option, equals, value = word.partition("=") if word.startswith("-") else ("", "", "")
        pairs.append((option, value) if equals else (previous, word))
        previous = "" if equals else option
    return pairs


def command(argv: Sequence[str]) -> list[str]:
    """Copies a command line with a placeholder for each secret.

    >>> command(["fit", "--model.api_key", "abc", "--data.token=def", "--model.tokenizer", "abc"])
    ['fit', '--model.api_key', '<secret, not kept>', '--data.token=<secret, not kept>',
     '--model.tokenizer', 'abc']
    """
    everywhere = of_environment() | {s for s in given(argv) if len(s) >= LEAST}
    safe = []
    for word, (name, value) in zip(argv, _pairs(argv), strict=True):
        safe.append(word[: len(word) - len(value)] + str(redact(value, everywhere, name)))
    return safe


def left_out(data: Any, key: str = "") -> list[str]:
    """Lists the dotted names of values that hold the placeholder of a secret.

    >>> url = f"http://me:{HIDDEN}@host"
    >>> left_out({"model": {"api_key": HIDDEN, "lr": 1}, "trainer": {"logger": [{"url": url}]}})
    ['model.api_key', 'trainer.logger.0.url']
    """
    if isinstance(data, str):
        return [key] if HIDDEN in data else []
    names = []
    for name, value in _items(data):
        names += left_out(value, f"{key}.{name}" if key else str(name))
    return names


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the items of a mapping or list with their keys; nothing for a plain value."""
    if isinstance(data, Mapping):
        yield from data.items()
    elif isinstance(data, (list, tuple)):
        yield from enumerate(data)
