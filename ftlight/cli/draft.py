"""The short YAML that ``init`` prints of what was told of a file, with the reasons as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ftlight.cli.guess import Guess
from ftlight.data.recognition import Content
from ftlight.utils.yaml_file import Loader, quoted

SENTENCE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
# A backbone that suits the task and is small enough to begin with.
BACKBONES = {
    "CausalLM": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "ImageClassification": "google/mobilenet_v2_1.0_224",
    "Seq2Seq": "google-t5/t5-small",
}
SHARES = {"test": 0.2, "validation": 0.1}  # held out of train for a split without a file
LISTED = 12  # labels, up to which the rows of each are said
NOTES = 8
HELD_OUT = "# validation: FILE"
WHY_HELD_OUT = "without it a tenth of train is held out"


def draft(guess: Guess) -> str:
    """The YAML of what was told of a file, which ``fit`` takes as it is."""
    content = guess.content
    options = {**guess.options, **guess.shape.options}
    comments = dict(guess.shape.comments)
    for each in (content, *guess.others.values()):
        options |= each.options
        comments = {**each.comments, **comments}
    if "encoding" in guess.options:
        comments["encoding"] = "guessed from the bytes; look whether letters with marks are right"
    if "header" in guess.options:
        comments["header"] = "the first row names no columns; give them names of your own"
    backbone = BACKBONES.get(guess.task, SENTENCE_ENCODER)
    lines = [
        _comment(f"from {guess.files['train']}: {summary(guess)}"),
        *(_comment(note) for note in [*content.notes][:NOTES]),
        f"model: {{task: {guess.task}, backbone: {backbone}}}"
        "  # any that fits the task, a hub id or a folder",
        "data:",
        *(f"  {split}: {_quoted(file)}" for split, file in guess.files.items()),
        *(f"  {_comment(f'{split} is left out: {why}')}" for split, why in guess.faults.items()),
        *_shares(guess),
        *_options(options, comments),
        "# trainer: {max_epochs: 5}  # default: enough for about 1,000 steps; all options:"
        f" python -m ftlight fit --help --model {guess.task}",
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """A text as a comment, which is one line."""
    return f"# {' '.join(text.split())}"


def summary(guess: Guess) -> str:
    """What train holds, in a line."""
    content, why = guess.content, guess.shape.why
    text = f"{content.rows:,} {content.unit}"
    if content.kind == "entities":
        total = sum(content.labels.values())
        text += f", {total:,} entities of {len(content.labels)} types: {_counts(content.labels)}"
    elif content.kind == "regression":
        text += ", a number for each (regression)"
    elif content.kind:
        several = " several labels each," if content.kind == "multi" else ""
        text += f",{several} {len(content.labels)} labels: {_counts(content.labels)}"
    return f"{why}; {text}" if why else text


def _counts(labels: Mapping[str, int]) -> str:
    """Labels with their rows, the most frequent first; of many the first and the last.

    >>> _counts({f"l{i:02}": 99 - i for i in range(20)})
    'l00 99, l01 98, l02 97 …, the fewest l19 80'
    """
    ordered = sorted(labels, key=lambda label: (-labels[label], label))
    counts = [f"{' '.join(name.split())} {labels[name]:,}" for name in ordered]
    if len(counts) > LISTED:
        return f"{', '.join(counts[:3])} …, the fewest {counts[-1]}"
    return ", ".join(counts)


def _shares(guess: Guess) -> list[str]:
    """What is held out of train for the splits that have no file."""
    content = guess.content
    there = {*guess.files, *content.splits}
    wanted = {split: share for split, share in SHARES.items() if split not in there}
    fitting = _fitting(content, wanted)
    lines = []
    if fitting.get("test"):
        lines.append("  test_split: 0.2  # no test file: a fifth of train is held out for it")
    if "validation" in wanted:
        if fitting.get("validation"):
            lines.append(f"  {HELD_OUT}  # {WHY_HELD_OUT}")
        else:
            lines.append(f"  validation_split: 0  # too few {content.unit} to hold any out")
    return lines


def _fitting(content: Content, wanted: Mapping[str, float]) -> dict[str, float]:
    """The shares that can be held out of train, as ``fit`` does; validation comes first."""
    for names in (tuple(wanted), ("validation",)):
        shares = {name: wanted[name] for name in names if name in wanted}
        if shares and _can_hold_out(content, shares):
            return shares
    return {}


def _can_hold_out(content: Content, shares: Mapping[str, float]) -> bool:
    from ftlight.data import holding  # not above: it takes numpy

    classes, groups = content.classes, content.groups
    rows = content.rows
    for share in shares.values():
        if groups is not None:
            kept, held = holding.hold_out_groups(groups, share, 0)
            groups = [groups[i] for i in kept]
        else:
            kept, held = holding.hold_out(classes, rows, share, 0)
            classes = None if classes is None else [classes[i] for i in kept]
            rows = len(kept)
        if not len(held) or not len(kept):
            return False
    return True


def _options(options: Mapping[str, Any], comments: Mapping[str, str]) -> list[str]:
    lines = []
    for name, value in options.items():
        comment = f"  # {comments[name]}" if name in comments else ""
        lines.append(f"  {name}: {_value(value)}{comment}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_quoted, value))}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(word: str) -> str:
    """A word as YAML reads it back: as it is, or in quotes if that would not do."""
    plain = re.fullmatch(r"\w[\w ./-]*(?<! )", word) and yaml.load(word, Loader) == word
    return word if plain else quoted(word)
