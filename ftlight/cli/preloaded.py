"""What a command needs, imported once in the process from which commands are forked.

Only that process imports this. Signals of a whole group of processes are for the commands, which
end in their own way; this one ends with the process that started it.
"""

from __future__ import annotations

import signal
import sys

import ftlight.cli.parser
import ftlight.trainer.trainer  # noqa: F401

IGNORED = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")

IS_SERVER = any("multiprocessing.forkserver" in word for word in sys.orig_argv)

for name in IGNORED if IS_SERVER else ():
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
