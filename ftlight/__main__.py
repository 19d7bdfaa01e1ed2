"""``python -m ftlight``: finds the verb; everything else is imported where it is needed."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from ftlight.cli import verbs
from ftlight.cli.verbs import VERBS
from ftlight.utils.errors import UserError, WriteError, file_fault, unknown
from ftlight.utils.printable import printable

BROKEN_PIPE, INTERRUPTED = 141, 130  # 128 + SIGPIPE and SIGINT, as shells report them


def usage() -> str:
    """The verbs, one line each, and how they go together."""
    lines = "\n".join(f"  {name:9} {verb.does}" for name, verb in VERBS.items())
    return (
        "usage: python -m ftlight VERB …\n\n"
        f"{lines}\n\n"
        "Your data in three commands:\n"
        f"  python -m ftlight {VERBS['init'].example}\n"
        "  python -m ftlight fit -c tickets.yaml\n"
        "  python -m ftlight predict runs/tickets/latest new.csv\n"
        "VERB --help lists the options of a verb; --version the versions of all parts."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a sign that it cannot write ends no training
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _main(words)
    except (KeyboardInterrupt, SystemExit) as ended:
        cause = ended.__context__
        if isinstance(cause, BrokenPipeError):  # rich exits with 1
            return BROKEN_PIPE
        if isinstance(ended, KeyboardInterrupt) or isinstance(cause, KeyboardInterrupt):
            return INTERRUPTED  # Lightning exits with 1
        raise


def _main(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        return _show(usage())
    verb, rest = words[0], words[1:]
    if verb == "--version":
        from ftlight.run.provenance import STACK, version

        return _show("\n".join(f"{name} {version(name)}" for name in STACK))
    if verb not in VERBS:
        return _fail(unknown("no verb", verb, VERBS, "verbs"))
    if "--help" in rest or "-h" in rest:
        from ftlight.cli.help import show

        try:
            return _show(show(verb, rest))
        except UserError as error:
            return _fail(str(error))
    return _run(verb, rest)


def _run(verb: str, argv: Sequence[str]) -> int:
    """Runs a verb. Returns the exit status: 2 if what the user gave is wrong, 74 if a disk is."""
    from ftlight.cli import baseline_runs, checks, command, explaining, exporting, prediction
    from ftlight.utils import secrets

    configs: list[str] = []
    text, fault, status, is_early, ended = "", "", UserError.status, False, 0
    try:
        words = command.Words(verb, argv)
        configs = words.configs  # that of a run joins them
        if not VERBS[verb].model:
            checks.names(verb, words.options, {})
            for option in [*(["config"] if words.configs else []), *words.classes]:
                raise UserError(f"--{option} is not an option of {verb}")
            text = verbs.load(verb).run(words)
        elif "folds" in words.own:
            from ftlight.cli import folds

            ended, text = folds.run(words, argv)
        elif VERBS[verb].starts:
            ended, text = verbs.load(verb).run(words)
        elif "seeds" in words.own:
            from ftlight.cli import seeds

            ended, text = seeds.run(words, argv)
        else:
            resolved, places = command.resolve(words)
            if verb == "predict":
                prediction.check(words, resolved["data"])
            elif verb == "explain":
                explaining.check(words)
            elif verb == "baselines":
                baseline_runs.sizes(words)
            elif verb == "export":
                exporting.check(words)
            from ftlight.cli import parser  # brings torch, so only once the command is checked

            fault = parser.run_verb(words, resolved, places)
    except UserError as error:
        fault, status, is_early = str(error), error.status, VERBS[verb].model
    except Exception as error:
        fault = file_fault(error)
        shown = checks.traceback_of(error, checks.hidden(argv, configs))
        if not fault and not shown:
            raise
        if not fault:
            print(printable(shown), end="", file=sys.stderr)
            return 1
    written = _show(text)
    if not fault:
        return ended or written
    fault = secrets.hide(fault, checks.hidden(argv, configs))
    if is_early and command.in_group():
        from ftlight.training import group

        if group.fail_early(status, fault):  # the others would wait for this process
            return status
    return _fail(fault, status)


def _show(text: str) -> int:
    """Prints a text, and what is still buffered. Returns the exit status."""
    text = printable(text)
    try:
        print(text, end="" if text.endswith("\n") or not text else "\n", flush=True)
    except OSError as error:
        # what is buffered goes nowhere, or Python fails on it again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has left, as head does
            return BROKEN_PIPE
        return _fail(f"standard output: {error.strerror}", WriteError.status)
    return 0


def _fail(fault: str, status: int = UserError.status) -> int:
    """Prints what is wrong, a line each. Returns the exit status."""
    with contextlib.suppress(OSError):  # the status says it, too
        for line in fault.splitlines():
            print(f"ftlight: error: {printable(line)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
