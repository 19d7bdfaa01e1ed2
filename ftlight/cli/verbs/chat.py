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

    own = words.own
    options = [f"--{name}={own[name]}" for name in ("ckpt_path", "trust") if name in own]
    task = parser.opened(path, options).task
    talkers = talker.of(task, path, place, own.get("base") == "true")
    most = int(own["max_new_tokens"]) if "max_new_tokens" in own else None
    how = talker.how_of(task, talking.temperature(words), talking.top_p(words), most)
    seed, system = int(own.get("seed", 0)), own.get("system", "")
    title = f"{folder.short(place)}: {task.describe()}; /help lists what can be typed"
    try:
        terminal.talk(talkers, how, system, seed, title)
    except BrokenPipeError:  # the reader has left; what is buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    return ""
