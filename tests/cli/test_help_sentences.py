"""Every option is explained in sentences, as ``--help`` shows them."""

from __future__ import annotations

import inspect

import lightning
from conftest import each

from ftlight import Trainer
from ftlight.cli import config, options, verbs
from ftlight.tasks import HOMES

CLASSES = [f"{home}.{name}" for name, home in HOMES.items()]
# What Trainer does not name itself is explained by Lightning.
OURS = inspect.signature(Trainer).parameters
LIGHTNINGS = set(inspect.signature(lightning.Trainer).parameters) - set(OURS)
BASES = ["ftlight.data.module.DataModule", "ftlight.task.Task", config.TRAINER]


def is_sentence(text: str) -> bool:
    """Whether a text begins and ends as a sentence; the name of a value or option may begin it."""
    return bool(text) and not text[0].islower() and text.endswith(".") and not text.endswith("..")


def test_what_a_sentence_is() -> None:
    assert is_sentence("Rows per batch; 0 for all.")
    assert not is_sentence("rows per batch.")
    assert not is_sentence("Rows per batch")
    assert not is_sentence("")


def test_every_option_of_a_class_is_explained_in_sentences() -> None:
    values = {"auto", "cpu"}  # written as they are typed

    def check(path: str) -> None:
        found = options.describe(*path.rpartition(".")[::2])
        assert found is not None
        wrong = []
        for option in found.options:
            said = option.help or ""
            starts_with_value = said.split(" ")[0].strip(",:") in values and said.endswith(".")
            if option.name not in LIGHTNINGS and not (starts_with_value or is_sentence(said)):
                wrong.append(f"{option.name}: {said}")
        assert not wrong, "\n".join(wrong)

    each([*CLASSES, *BASES], check)


def test_every_option_of_a_verb_is_explained_in_sentences() -> None:
    def check(name: str) -> None:
        verb = verbs.VERBS[name]
        assert [a.name for a in verb.arguments if not is_sentence(f"{a.help.rstrip('.')}.")] == []
        assert is_sentence(f"{verb.does.rstrip('.')}.")

    each(verbs.VERBS, check)
