"""Checks of ``export`` that need no model: whether it could be pushed."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.trainer import push
from ftlight.utils.errors import UserError


def check(words: Words) -> None:
    """Checks the command line of an export.

    Raises:
        UserError: something is wrong with it.
    """
    repo = words.own.get("push")
    if repo is not None:
        push.check(repo)
    elif words.own.get("public") == "true":
        raise UserError("--public is about what is pushed; add --push OWNER/NAME")
