"""The model card of an export: what the files of its run say, and nothing that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftlight.data.findings import Finding
from ftlight.trainer import card_data, card_scores
from ftlight.trainer.card_facts import Facts, backbone, place
from ftlight.utils.format import count, counted, size, span
from ftlight.utils.markdown import table, told

FEW = 200  # test rows below which a card says that they are few
SHOWN = 40  # findings, labels
OPEN = (
    "The run does not know the language, the domain or the licence of its data, nor what its"
    " backbone was trained on. Whoever publishes it should add what they know."
)


def text(facts: Facts, how: str, library: str, weights: str, heat: str, name: str = "") -> str:
    """A model card, with the metadata that the Hub reads.

    Args:
        facts: what the run's files hold.
        how: lines of Python that load the folder.
        library: name of the library that they use.
        weights: a sentence on which weights these are; empty for the best as they are.
        heat: a sentence on their temperature; empty if they have none.
        name: name on the Hub; empty if there is none yet.
    """
    title = name or f"{facts.task} on {backbone(facts.run)}"
    sections: dict[str, Callable[[], Iterator[str]]] = {
        "Intended use": lambda: _use(facts),
        "How to load": lambda: iter([f"```python\n{how}\n```"]),
        "Data": lambda: _data(facts),
        "Results": lambda: card_scores.results(facts.scores),
        "Beside cheap models": lambda: card_scores.baselines(facts.best["baselines"]),
        "Groups": lambda: card_scores.groups(facts.scores),
        "Calibration": lambda: card_scores.calibration(facts.best["calibration"], heat),
        "Limits": lambda: _limits(facts, weights),
        "Training": lambda: _training(facts),
    }
    parts = [f"# {told(title)}", _summary(facts)]
    for heading, lines in sections.items():
        if body := "\n\n".join(lines()):
            parts += [f"## {heading}", body]
    data = card_data.metadata(facts, library, name.rpartition("/")[2] or title)
    return f"---\n{data}\n---\n" + "\n\n".join(parts) + "\n"


def _summary(facts: Facts) -> str:
    measured = card_scores.sentence(facts.scores, facts.score)
    return f"{told(facts.does)} Fine-tuned from {told(backbone(facts.run))}. {measured}"


def _use(facts: Facts) -> Iterator[str]:
    if facts.kind == "regression":
        yield "It answers with a number."
    elif facts.labels:
        names = ", ".join(told(label) for label in facts.labels[:SHOWN])
        more = len(facts.labels) - SHOWN
        rest = f" and {more:,} more (config.json or labels.json)" if more > 0 else ""
        many = "any of them can hold" if facts.kind == "multi" else ""
        said = f"{counted(len(facts.labels), 'label')}{many and f', {many}'}"
        yield f"It knows {said}: {names}{rest}."
    rows = (facts.run.get("learning") or {}).get("rows", {}).get("train")
    source = told(place(facts.data.get("train"))) or "its training data"
    yield (
        f"Meant for inputs like those that it learned from: {source}"
        f"{f', {rows:,} rows' if rows else ''}. What else it is good for, nobody has measured."
    )


def _data(facts: Facts) -> Iterator[str]:
    digests = facts.run.get("data_sha256") or {}
    sizes = dict((facts.run.get("learning") or {}).get("rows", {}))
    if facts.scores:
        sizes["test"] = facts.scores.get("test/rows")
    rows = []
    for split in ("train", "validation", "test"):
        source, digest = place(facts.data.get(split)), str(digests.get(split) or "")[:16]
        if source or sizes.get(split):
            held = "" if source else "held out of train"
            many = f"{sizes[split]:,}" if sizes.get(split) else "–"
            rows.append([split, told(source) or held, many, f"`{digest}`" if digest else "–"])
    if rows:
        yield table(["split", "source", "rows", "SHA-256 begins with"], rows)
    told_of = [f for f in facts.findings if f.kind != "read"]
    if told_of:
        yield "What an audit of the data found (examples and rows are left out):"
        lines = [f"- {_finding(finding)}" for finding in told_of[:SHOWN]]
        more = len(told_of) - SHOWN
        yield "\n".join([*lines, *([f"- and {more:,} more"] if more > 0 else [])])


def _finding(finding: Finding) -> str:
    """A finding without texts of rows, which may be private."""
    grave = {"stop": "**a fault**: ", "look": "**look**: "}.get(finding.level, "")
    split = f"{told(finding.split)}: " if finding.split else ""
    return f"{grave}{split}{told(finding.message)}"


def _limits(facts: Facts, weights: str) -> Iterator[str]:
    lines = [weights]
    if sentence := facts.best["verdict"].get("sentence"):
        lines.append(f"What training says of itself: {told(sentence)}.")
    rows = facts.scores.get("test/rows")
    if not facts.scores:
        lines.append("It was not tested: nothing is known of how good it is on other rows.")
    elif isinstance(rows, int) and rows < FEW:
        lines.append(f"{counted(rows, 'test row')} tell little: mind the intervals.")
    grave = sum(finding.level != "know" for finding in facts.findings)
    if grave:
        lines.append(f"{counted(grave, 'finding')} of the audit above bear on the scores.")
    if facts.scores and not facts.scores.get("groups"):
        lines.append("No groups of rows were compared: it may be worse for some of them.")
    if not facts.best["baselines"]:
        lines.append("No cheap models were measured beside it: whether fine-tuning paid is open.")
    yield "\n".join(f"- {line}" for line in [*filter(None, lines), OPEN])


def _training(facts: Facts) -> Iterator[str]:
    run, spent = facts.run, facts.run.get("cost") or {}
    versions = run.get("versions") or {}
    stages = (run.get("learning") or {}).get("stages", [])
    trained = " → ".join(", ".join(map(told, stage.get("train", []))) for stage in stages)
    way = f" ({told(spent['way'])})" if spent.get("way") else ""
    known = {
        "backbone": told(backbone(run)),
        "made with": ", ".join(f"{told(n)} {told(v)}" for n, v in versions.items() if v != "-"),
        "seed": "" if run.get("seed") is None else told(run["seed"]),
        "epochs, optimizer steps": f"{run.get('epochs', '–')}, {run.get('steps', '–')}",
        "what trained, stage by stage": trained,
        "weights that trained": count(run["weights"]) if "weights" in run else "",
        "time, with the test": span(spent["seconds"]) if "seconds" in spent else "",
        "time of processors": span(spent["processor"]) if "processor" in spent else "",
        "energy, estimated": f"{spent['joules']:,.0f} J{way}" if "joules" in spent else "",
        "peak memory": size(run["memory"]) if run.get("memory") else "",
    }
    yield table(["", ""], [[name, value] for name, value in known.items() if value])
