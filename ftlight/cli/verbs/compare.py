"""``compare``: runs side by side on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftlight.cli.command import Words
from ftlight.evidence import comparing
from ftlight.evidence.comparing import Group
from ftlight.run import outputs
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted, table


def run(words: Words) -> str:
    """Compares runs with the first. Returns what to print.

    Raises:
        UserError: there are too few, one was not measured, or they were on other rows.
    """
    folders = [folder for path in words.alone for folder in comparing.runs_of(path)]
    if len(folders) < 2:
        raise UserError("compare needs two runs or more: python -m ftlight compare RUN RUN")
    out = outputs.named(words.own["out"]) if "out" in words.own else None
    if out is not None:
        outputs.check(out)
    split, runs = comparing.load(folders)
    score, groups = comparing.compare(runs)
    if out is not None:
        with writing(out):
            write_json(out, figures(split, score, groups))
    rows = counted(len(runs[0].outcomes.scores), "row")
    return f"{score} of {rows} of {split}\n{table(lines(score, groups))}\n{verdict(groups)}"


def lines(score: str, groups: Sequence[Group]) -> list[list[str]]:
    """The groups as rows of a table, with a header."""
    beside = ["difference", "95 % interval", "p"] if len(groups) > 1 else []
    found = [["", "seeds", score, "95 % of rows", "of seeds", *beside]]
    for group in groups:
        own, seeds = group.spread, [str(run.seed) for run in group.runs if run.seed is not None]
        between = "" if own.seeds is None else f"± {own.seeds:.4f}"
        row = [
            group.name,
            " ".join(seeds),
            f"{own.mean:.4f}",
            f"{own.low:.4f} to {own.high:.4f}",
            between,
        ]
        if group.difference is not None:
            gain, low, high = group.difference[:3]
            row += [f"{gain:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{group.p:.3g}"]
        found.append(row)
    return found


def verdict(groups: Sequence[Group]) -> str:
    """What the table says, a line for each group but the first."""
    if len(groups) == 1:
        return "these runs differ in nothing but their seed"
    said = []
    for group in groups:
        if group.difference is None or group.p is None:
            continue
        word = "better" if group.difference.gain > 0 else "worse"
        if group.p >= 0.05:
            word = "neither better nor worse, as far as these rows and seeds tell,"
        said.append(f"{group.name}: {word} than {groups[0].name}")
    alone = any(len(group.runs) < 2 for group in groups)
    advice = ["one seed tells little of others: fit --seeds 5"] if alone else []
    return "\n".join([*said, *advice])


def figures(split: str, score: str, groups: Sequence[Group]) -> dict[str, Any]:
    """All figures, for a file."""
    found = []
    for group in groups:
        beside = None
        if group.difference is not None:
            beside = {**group.difference._asdict(), "p_holm": group.p}
        found.append(
            {
                "name": group.name,
                "runs": {run.path: run.outcomes.scores.mean().item() for run in group.runs},
                "seeds": [run.seed for run in group.runs],
                "spread": group.spread._asdict(),
                "difference": beside,
            }
        )
    rows = len(groups[0].runs[0].outcomes.scores)
    return {"split": split, "rows": rows, "score": score, "groups": found}
