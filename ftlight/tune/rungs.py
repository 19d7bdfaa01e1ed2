"""The rungs that a trial reached, as a file of its run that the trials beside it read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.utils import json_file
from ftlight.utils.json_file import ANY, Shape

VARIABLE = "FTLIGHT_PRUNE"  # set for the trials of a tune that cuts bad ones short
FILE = "rungs.json"
RUNGS: Shape = {ANY: {"score": float, "goes_on": bool}}


def as_json(known: Mapping[int, tuple[float, bool]]) -> dict[str, dict[str, Any]]:
    """Rungs as their file has them."""
    return {str(n): {"score": score, "goes_on": on} for n, (score, on) in known.items()}


def read(run: Path) -> dict[int, tuple[float, bool]]:
    """The rungs that a trial reached: its best score there, and whether it went on."""
    found = json_file.read(run / FILE, RUNGS) if json_file.is_there(run / FILE) else {}
    return {int(number): (rung["score"], rung["goes_on"]) for number, rung in found.items()}


def beside(run: Path, number: int) -> list[float]:
    """The scores of the trials beside a run at a rung."""
    others = [path.parent for path in run.parent.glob(f"trial-*/{FILE}") if path.parent != run]
    return [found[number][0] for other in others if number in (found := read(other))]
