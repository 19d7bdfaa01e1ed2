"""A text encoder as ONNX: its inputs, and the lines that find items for queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftlight.data import tokens
from ftlight.models.portable import Portable, text_lines, tokenizer
from ftlight.tasks.retrieval.data import RetrievalData

TEXTS = ("a query", "another query, of a few more words than the first one has")
PREDICT = """\
ITEMS = [json.loads(line) for line in (HERE / "items.jsonl").open(encoding="utf-8")]
PRIOR = np.array([item.pop("prior") for item in ITEMS])
VECTORS = np.load(HERE / "items.npy")  # of their texts, in the same order
NUMBERS = {item.get("id", item["text"]): number for number, item in enumerate(ITEMS)}


def predict(rows):
    queries, known = zip(*map(read, rows))
    texts = [SETTINGS["prompt"] + query for query in queries]
    vectors = run(TOKENIZER.encode_batch(texts), len(rows))[0]
    answers = []
    for row, hidden in zip(vectors @ VECTORS.T + PRIOR, known):
        row[hidden] = -np.inf
        best = [n for n in (-row).argsort(kind="stable")[:10] if np.isfinite(row[n])]
        items = [{**ITEMS[n], "score": float(row[n])} for n in best]
        best = dict(items[0]) if items else {"text": "", "score": None}
        answers.append({"prediction": best.pop("text"), **best, "items": items})
    return answers


"""
QUERY = """\
def read(row):
    query = cell(row, SETTINGS["query"])
    return query, HIDDEN
"""
HISTORY = """\
def read(row):
    is_list = isinstance(row["history"], list)
    ids = list(map(str, row["history"])) if is_list else cell(row, "history").split("|")
    known = [NUMBERS[name] for name in map(str.strip, ids) if name in NUMBERS]
    last = [ITEMS[number]["text"] for number in known[-SETTINGS["history"] :]]
    return "; ".join(reversed(last)) if known or is_list else cell(row, "history"), known
"""
# An item that is a text does not answer itself.
HIDDEN = {True: "[NUMBERS[query]] if query in NUMBERS else []", False: "[]"}


def portable(data: RetrievalData, finish: Callable[[Path], None]) -> Portable:
    """What an ONNX folder of a text encoder needs.

    Args:
        data: the data module.
        finish: writes the items and their vectors.

    Raises:
        UserError: it has no fast tokenizer.
    """
    tokens.check_places(data.tokenizer)
    texts = data.prompted(TEXTS, "query")
    read: dict[str, Any]
    if data.user:
        body, read = HISTORY, {"history": data.history}
    else:
        body = QUERY.replace("HIDDEN", HIDDEN[not data.catalogue.named])
        read = {"query": data.query}
    return Portable(
        tokens.collate(texts, data.tokenizer),
        ["vectors"],
        {"prompt": data.prompts["query"], **read},
        text_lines("Finds items for queries", PREDICT + body),
        tokenizer(data.tokenizer, data.max_length),
        finish,
    )
