"""How a labelling config of Label Studio names things, as its exports tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ftlight.tasks.token_classification import marks
from ftlight.tasks.token_classification.layout import Layout

NAME = "label_studio.json"  # in a run that was trained on an export
TAG = {"from_name": str, "to_name": str, "type": str}
SHAPE = {"text": str, "tags": {"*": TAG}}


class ControlTag(NamedTuple):
    """What marks a text; named as in the template for entities.

    Attributes:
        from_name: name of the tag.
        to_name: name of the text that it marks.
        type: kind of the tag, under which labels stand.
    """

    from_name: str = "label"
    to_name: str = "text"
    type: str = "labels"


class Config(NamedTuple):
    """What is known of a labelling config.

    Attributes:
        text: key of the text; empty if unknown.
        tags: tag of each label; of any other under ``""``.
    """

    text: str = ""
    tags: Mapping[str, ControlTag] = MappingProxyType({})

    def tag(self, label: str) -> ControlTag:
        """The tag of a label."""
        return self.tags.get(label) or self.tags.get("", ControlTag())

    def to_json(self) -> dict[str, Any]:
        """As a run keeps it."""
        return {"text": self.text, "tags": {k: tag._asdict() for k, tag in self.tags.items()}}


UNKNOWN = Config()


def from_json(kept: Mapping[str, Any]) -> Config:
    """What a run has kept."""
    tags = kept.get("tags", {}).items()
    return Config(kept.get("text", ""), {name: ControlTag(**tag) for name, tag in tags})


def config_of(rows: Iterable[Mapping[str, Any]], layout: Layout) -> Config:
    """What the marks of tasks tell of their labelling config; nothing of other rows."""
    tags: dict[str, ControlTag] = {}
    text = ""
    for row in rows:
        for result in marks.regions(row):
            text = text or marks.text_column(row, layout)
            fields = {n: result[n] for n in TAG if isinstance(result.get(n), str)}
            tag = ControlTag(**fields)
            labels = result["value"].get(tag.type)
            for label in ("", *(labels if isinstance(labels, list) else [])):
                tags.setdefault(str(label), tag)
    return Config(text, tags)
