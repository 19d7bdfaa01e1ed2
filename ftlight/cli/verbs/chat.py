"""``chat``: talks with a run in the terminal."""

from __future__ import annotations

import os
import sys

from ftlight.cli import talking
from ftlight.cli.command import Words
from ftlight.run import folder


def run(words: Words) -> str:
    """Talks until the input ends.

    Raises:
        UserError: something is wrong with the command line, or the run knows no chats.
    """
    path = talking.check(words)
    place = folder.find(path)
    from ftlight.cli import parser
    from ftlight.talk import talker, terminal

    options = [
        f"--{name}={words.own[name]}" for name in ("ckpt_path", "trust") if name in words.own
    ]
    task = parser.opened(path, options).task
    talkers = talker.of(task, path, place, words.own.get("base") == "true")
    numbers = [
        talking.number(words, name, most) for name, most in (("temperature", 1e9), ("top_p", 1))
    ]
    most = words.own.get("max_new_tokens")
    how = talker.how_of(task, numbers[0], numbers[1], None if most is None else int(most))
    seed, system = int(words.own.get("seed", 0)), words.own.get("system", "")
    title = f"{folder.short(place)}: {task.describe()}; /help lists what can be typed"
    try:
        terminal.talk(talkers, how, system, seed, title)
    except BrokenPipeError:  # the reader has left; what is buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    return ""
