"""``VERB --help``: the options of the verb, then those of a config, a sentence each."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence

from ftlight.cli import classes, config
from ftlight.cli.options import Described, Option
from ftlight.cli.values import parts_of
from ftlight.cli.verbs import VERBS, Verb
from ftlight.utils.ranges import Part

WIDTH, COLUMN = 100, 34
# Those of Lightning's own that are shown without ``all``, with sentences that it does not have.
TRAINER = {
    "devices": "Number of devices, a list of them, or auto for all.",
    "num_nodes": "Number of machines.",
    "accumulate_grad_batches": "Batches whose gradients are summed before a step.",
    "val_check_interval": "Validate after this share of an epoch, or this number of batches.",
    "log_every_n_steps": "Steps between logged training losses. Default: 50.",
}
LINKED = ("model.labels", "model.kind", "data.tokenizer")  # set from the data or the model


def show(verb: str, words: Sequence[str]) -> str:
    """The help of a verb.

    Args:
        verb: The verb.
        words: The rest of the command line: ``--model`` and ``--data`` choose the classes whose
            options are shown; ``all`` shows every option of the trainer.

    Raises:
        UserError: there is no such class.
    """
    table = VERBS[verb]
    parts = [
        f"usage: python -m ftlight {verb} {table.takes} [options]",
        table.does,
        _lines([(a.spelling, _sentence(a.help, a.default)) for a in table.arguments]),
    ]
    if table.takes_config and not table.takes_run:
        parts += _sections(table, words)
    parts.append(f"Example: python -m ftlight {table.example}")
    return "\n\n".join(parts)


def _sections(verb: Verb, words: Sequence[str]) -> list[str]:
    """The options that a config may hold, a block for each of its sections."""
    task = classes.describe(_after("--model", words) or "TextClassification")
    name = _after("--data", words) or task.data_module
    data = classes.describe(name, home=task.path.rpartition(".")[0]) if name else None
    trainer = classes.describe(config.TRAINER)
    if "all" not in words:
        shown = [o for o in trainer.options if o.owner == trainer.path or o.name in TRAINER]
        trainer = trainer._replace(options=shown)
    aliases = [a.key for a in verb.arguments]
    parts = ["What follows can stand in the YAML too: --model.lr 1e-4 is model: {lr: 1e-4} there."]
    sections: list[tuple[str, Described | None]] = [
        ("model", task),
        ("data", data),
        ("trainer", trainer),
    ]
    for section, described in sections:
        if described is not None:
            lines = _lines(rows(described.options, section, aliases))
            parts.append(f"{section}: {described.name}\n{lines}")
    others = ", ".join(name for name in classes.task_names() if name != task.name)
    more = textwrap.wrap(f"--help --model TASK shows the options of another task: {others}.", WIDTH)
    parts.append("\n".join([*more, "--help all shows every option of Lightning's trainer."]))
    return parts


def _after(option: str, words: Sequence[str]) -> str | None:
    """The value of an option, if it is given."""
    for word, value in itertools.pairwise(words):
        if word == option and not value.startswith("-"):
            return value
    return None


def rows(
    options: Sequence[Option], section: str, aliases: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Options of a class as they are shown: name and type; sentence and default.

    Args:
        options: The options.
        section: model, data or trainer.
        aliases: Dotted names that are left out, since the verb has a short option for each.
    """
    shown = []
    for option in options:
        key = f"{section}.{option.name}"
        if key in LINKED or key in aliases or key == "trainer.resume":
            continue
        text = TRAINER.get(option.name, option.help) if section == "trainer" else option.help
        default = option.default
        if isinstance(default, bool):
            default = str(default).lower()
        of_type = option.full_type
        shown.append((f"--{key} {kind(of_type)}", _sentence(text, default, bounds(of_type))))
    return shown


def bounds(text: str) -> str:
    """The ranges of a type in words; empty if it has none.

    >>> bounds("Annotated[float, Range(least=0, below=1)] | None")
    'from 0 to below 1'
    """
    ranges = [part.range for part in parts_of(text) if isinstance(part, Part) and part.range]
    return " or ".join(dict.fromkeys(r.words for r in ranges if r.words))


def _sentence(text: str, default: object, limits: str = "") -> str:
    """A sentence with its range, and its default if it does not name one itself."""
    text = f"{text.rstrip('.')}."
    if limits:
        before, stated, after = text.partition(" Default:")
        text = f"{before} {limits[0].upper()}{limits[1:]}.{stated}{after}"
    return (
        text if default in (None, "", ()) or "Default:" in text else f"{text} Default: {default}."
    )


def kind(text: str) -> str:
    """A type in a word.

    >>> kind("float | None"), kind("bool | Literal['auto']"), kind("list[int]"), kind("Any")
    ('X', 'true|false|auto', 'N', '…')
    >>> kind("Annotated[float, Range(above=0)] | Literal['auto'] | None")
    'X|auto'
    """
    choices = re.search(r"Literal\[([^\]]+)\]", text)
    words = [word.strip(" '") for word in choices[1].split(",")] if choices else []
    for name, word in (("bool", "true|false"), ("str", "TEXT"), ("int", "N"), ("float", "X")):
        if re.search(rf"\b{name}\b", text.replace(choices[0], "") if choices else text):
            return "|".join([word, *words])
    return "|".join(words) or "…"


def _lines(shown: Sequence[tuple[str, str]]) -> str:
    """Two columns; a long first column stands on a line of its own."""
    margin = " " * COLUMN
    lines = []
    for name, sentence in shown:
        wrapped = textwrap.wrap(sentence, WIDTH - COLUMN, break_on_hyphens=False)
        first = f"  {name}"
        first = f"{first:{COLUMN}}" if len(first) + 2 <= COLUMN else f"{first}\n{margin}"
        lines.append(first + f"\n{margin}".join(wrapped))
    return "\n".join(lines)
