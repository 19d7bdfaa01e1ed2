"""``python -m ftlight``: finds the verb; the rest is imported where it is needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ftlight.utils.errors import UserError, did_you_mean

VERBS = {
    "init": "print a short YAML for a data file, or copy an example",
    "fit": "train, and test the best checkpoint at the end",
    "validate": "measure a run on validation data, or with -c a model as it starts",
    "test": "measure a run on test data",
    "predict": "predict a file, standard input or one text with a run",
    "export": "write a run as a folder that stock libraries load",
}


def usage() -> str:
    """The verbs, one line each."""
    lines = "\n".join(f"  {verb:9} {what}" for verb, what in VERBS.items())
    return f"usage: python -m ftlight VERB …\n\n{lines}\n\nVERB --help shows its options; --version the versions of all parts"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    verb, rest = words[0], words[1:]
    try:
        if verb == "--version":
            from ftlight.run.folder import STACK, version

            print("\n".join(f"{name} {version(name)}" for name in STACK))
            return 0
        if verb not in VERBS:
            raise UserError(
                f"no verb {verb}{did_you_mean(verb, VERBS)} (verbs: {', '.join(VERBS)})"
            )
        if "--help" in rest or "-h" in rest:
            from ftlight.cli.help import show

            print(show(verb, rest))
            return 0
        if verb == "init":
            from ftlight.cli.init import init

            print(init(rest), end="")
            return 0
    except UserError as error:
        print(f"ftlight: error: {error}", file=sys.stderr)
        return 2
    try:
        return _run(verb, rest)
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, KeyboardInterrupt) or isinstance(
            ended.__context__, KeyboardInterrupt
        ):  # Lightning makes it a 1
            return 130
        raise


def _run(verb: str, argv: Sequence[str]) -> int:
    """Runs a verb that works on a model. Returns the exit status: 0, or 2 for a fault in what was given."""
    from ftlight.cli import command
    from ftlight.utils import secrets

    words = None
    try:
        words = command.Words(argv)
        resolved, places = command.resolve(verb, words)
        from ftlight.cli import (
            parser,  # everything else; not before what was given is known to be whole
        )

        fault = parser.run_verb(verb, words, resolved, places)
    except UserError as error:
        fault = str(error)
    except Exception as error:
        shown = command.traceback_of(error, argv, words)
        if not shown:
            raise
        print(shown, end="", file=sys.stderr)
        return 1
    for line in secrets.hide(fault, command.hidden(argv, words)).splitlines() if fault else ():
        print(f"ftlight: error: {line}", file=sys.stderr)
    return 2 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
