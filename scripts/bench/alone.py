"""Is a row's result the same alone, in a batch, and from the export with stock libraries?

Every task on every architecture: a tiny model is trained for an epoch, its head made steep so that
any difference shows, and the largest difference of a probability (of a coordinate of a vector, for
Retrieval) is printed. A cell that ftlight refuses shows its line below the table.

    python scripts/bench/alone.py --tasks TextClassification --families bert fnet
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import families
import numpy as np
import torch
import transformers as hf
from PIL import Image

import ftlight
from ftlight.__main__ import main
from ftlight.trainer.predictor import Predictor

STOCK = {
    "TextClassification": "AutoModelForSequenceClassification",
    "TokenClassification": "AutoModelForTokenClassification",
    "QuestionAnswering": "AutoModelForQuestionAnswering",
    "MaskedLM": "AutoModelForMaskedLM",
}
TASKS = [*STOCK, "Retrieval", "CausalLM", "Seq2Seq", "ImageClassification"]
Row = dict[str, Any]


class Difference(NamedTuple):
    """Largest differences of a row's result alone to that in a batch, and to the export's."""

    batched: float
    exported: float


def texts(count: int) -> list[str]:
    """Texts of 1 to 19 words, the same every time."""
    words = families.WORDS.split()
    return [
        " ".join(words[(i * 3 + j) % len(words)] for j in range(1 + (i * 5) % 19))
        for i in range(count)
    ]


def row(task: str, text: str, tokenizer: Any) -> Row:
    """A row to predict."""
    if task == "TokenClassification":
        return {"tokens": text.split()}
    if task == "QuestionAnswering":
        return {"question": "where is it?", "context": f"{text} and my card"}
    if task == "CausalLM":
        return {"messages": [{"role": "user", "content": text}]}
    if task == "Seq2Seq":
        return {"source": text}
    if task == "MaskedLM":
        return {"text": f"{text} {tokenizer.mask_token}"}
    return {"text": text}


def training_row(task: str, text: str, number: int) -> Row:
    """A row to train on."""
    first = text.split()[0]
    if task == "TokenClassification":
        return {
            "tokens": text.split(),
            "tags": ["B-X" if w == first else "O" for w in text.split()],
        }
    if task == "QuestionAnswering":
        answers = {"text": [first], "answer_start": [0]}
        known = {"id": str(number), "question": "where is it?", "context": f"{text} and my card"}
        return {**known, "answers": answers}
    if task == "CausalLM":
        return {
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": text.split()[-1]},
            ]
        }
    if task == "Retrieval":
        return {"query": text, "positive": first}
    if task == "Seq2Seq":
        return {"source": text, "target": first}
    return {"text": text, "label": "abc"[number % 3]}


def write_data(task: str, folder: Path) -> Path:
    """Writes training data for a task: a file of rows, or folders of images."""
    if task == "ImageClassification":
        rng = np.random.default_rng(0)
        for i in range(12):
            path = folder / "images" / "abc"[i % 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)).save(path)
        return folder / "images"
    path = folder / f"{task}.jsonl"
    rows = [training_row(task, text, i) for i, text in enumerate(texts(24))]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def train(task: str, backbone: Path, data: Path, run: Path) -> str:
    """Trains for an epoch. Returns ftlight's last line if it refuses, otherwise nothing."""
    options = ["--model", task, "--model.backbone", str(backbone), "--data.train", str(data)]
    options += ["--data.batch_size", "16", "--trainer.max_epochs", "1", "--run", str(run)]
    options += ["--trainer.accelerator", "cpu", "--data.check", "off"]
    if task in ("CausalLM", "Seq2Seq"):
        options += ["--model.max_new_tokens", "6"]
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        failed = main(["fit", *options])
    return said.getvalue().strip().splitlines()[-1] if failed else ""


def steepen(task: torch.nn.Module) -> None:
    """Makes the head's weights larger: a short training leaves all probabilities nearly equal."""
    layers = [m for m in task.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        layers[-1].weight.mul_(5.0)


def compare(task: str, run: Path, data: Path) -> Difference:
    """Predicts rows alone, together, and alone with the export loaded by stock libraries."""
    model = ftlight.load(str(run))
    if task in STOCK and task != "MaskedLM":
        steepen(model.task)
    if task == "ImageClassification":
        rows: list[Row] = [{"image": str(path)} for path in sorted(data.rglob("*.png"))[:6]]
    else:
        rows = [row(task, text, model.data.tokenizer) for text in texts(9)]
    out = run / "export"
    out.mkdir()
    model.task.export(out, model.data)
    together = _predicted(model, task, rows)
    batched, exported = 0.0, 0.0
    stock = _stock(task, out)
    for one, many in zip(rows, together, strict=True):
        (alone,) = _predicted(model, task, [one])
        batched = max(batched, distance(alone, many))
        exported = max(exported, distance(_plain(model, task, one, alone), stock(one)))
    return Difference(batched, exported)


def distance(one: Any, other: Any) -> float:
    """Largest difference of two results; inf if their shapes or words differ."""
    if isinstance(one, str):
        return 0.0 if one == other else np.inf
    if isinstance(one, tuple):
        return max(distance(a, b) for a, b in zip(one, other, strict=True))
    if np.shape(one) != np.shape(other):
        return np.inf
    return float(np.abs(np.asarray(one) - np.asarray(other)).max(initial=0.0))


def _predicted(model: Predictor, task: str, rows: Sequence[Row]) -> list[Any]:
    """What a user gets for rows: words with a score, probabilities, or a vector."""
    if task == "Retrieval":
        return list(_vectors(model, [r["text"] for r in rows]))
    results = []
    for answer in model.predict(rows):
        numbers = list((answer.get("probabilities") or {"": answer["score"]}).values())
        results.append((json.dumps(_words(answer["prediction"])), numbers))
    return results


def _words(prediction: Any) -> Any:
    """A prediction without its numbers, which are compared as such."""
    if isinstance(prediction, Mapping):
        return {k: _words(v) for k, v in prediction.items() if not isinstance(v, float)}
    return [_words(p) for p in prediction] if isinstance(prediction, list) else prediction


def _batch(model: Predictor, rows: Sequence[Row]) -> Any:
    model.data.set_predict(rows)
    return next(iter(model.data.predict_dataloader()))


@torch.no_grad()
def _vectors(model: Predictor, queries: list[str]) -> np.ndarray:
    batch = _batch(model, [{"query": query} for query in queries])
    order = np.argsort(batch["index"])
    return model.task.model(**batch["inputs"]).numpy()[order]


@torch.no_grad()
def _plain(model: Predictor, task: str, one: Row, alone: Any) -> Any:
    """A row's result in the form in which stock libraries give it."""
    if task in STOCK:
        return _distributions(model.task.model(**_batch(model, [one])["inputs"]))
    if task in ("CausalLM", "Seq2Seq"):
        return json.loads(alone[0]).strip()
    return alone[1] if task == "ImageClassification" else alone


def _distributions(output: Any) -> tuple[np.ndarray, ...]:
    names = ("logits", "start_logits", "end_logits")
    return tuple(output[n].float().softmax(-1).numpy() for n in names if n in output)


def _stock(task: str, folder: Path) -> Any:
    """A function from a row to its result by stock libraries alone."""
    if task == "Retrieval":
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(str(folder), device="cpu")
        return lambda one: encoder.encode_query(one["text"])
    if task == "ImageClassification" and _is_gray(folder):
        prepare = hf.AutoImageProcessor.from_pretrained(folder)
        gray = hf.AutoModelForImageClassification.from_pretrained(folder).eval()

        @torch.no_grad()
        def look(one: Row) -> list[float]:
            image = Image.open(one["image"]).convert("L")
            logits: torch.Tensor = gray(**prepare(image, return_tensors="pt")).logits
            return list(logits.softmax(-1)[0].tolist())

        return look
    if task == "ImageClassification":
        pipe = hf.pipeline("image-classification", str(folder), device="cpu", top_k=None)
        return lambda one: [s["score"] for s in sorted(pipe(one["image"]), key=_label)]
    if task == "CausalLM":
        chat = hf.pipeline("text-generation", str(folder), device="cpu")
        return lambda one: chat(one["messages"], return_full_text=False)[0][
            "generated_text"
        ].strip()
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    limits = {"return_tensors": "pt", "truncation": True}
    if task == "Seq2Seq":
        writer = hf.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

        def write(one: Row) -> str:
            inputs = tokenizer(one["source"], return_token_type_ids=False, **limits)
            (text,) = tokenizer.batch_decode(writer.generate(**inputs), skip_special_tokens=True)
            return text.strip()

        return write
    model = getattr(hf, STOCK[task]).from_pretrained(folder).eval()

    @torch.no_grad()
    def run(one: Row) -> tuple[np.ndarray, ...]:
        if task == "QuestionAnswering":
            inputs = tokenizer(one["question"], one["context"], **limits)
        else:
            inputs = tokenizer(one.get("text") or " ".join(one["tokens"]), **limits)
        return _distributions(model(**inputs))

    return run


def _is_gray(folder: Path) -> bool:
    return getattr(hf.AutoConfig.from_pretrained(folder), "num_channels", 3) == 1


def _label(score: Mapping[str, Any]) -> str:
    return str(score["label"])


def cell(task: str, family: str, home: Path) -> Difference | str:
    """One cell of the table: the differences, or the line with which ftlight refuses."""
    backbone = home / family
    if not backbone.exists():
        families.make(family, backbone)
    folder = home / f"{task} {family}"
    folder.mkdir()
    data = write_data(task, folder)
    return train(task, backbone, data, folder / "run") or compare(task, folder / "run", data)


def cells(tasks: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Tasks with the families that read what the task reads."""
    reads = {True: families.IMAGE_FAMILIES, False: families.TEXT_FAMILIES}
    pairs = [(task, name) for task in tasks for name in names]
    return [(task, n) for task, n in pairs if n in reads[task == "ImageClassification"]]


def table(results: Mapping[tuple[str, str], Difference | str]) -> str:
    """Architectures by tasks: the larger of both differences; "-" if ftlight refuses.

    Args:
        results: those of each task and family.
    """
    tasks = list(dict.fromkeys(task for task, _ in results))
    lines = [f"| architecture | {' | '.join(tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for family in dict.fromkeys(name for _, name in results):
        values = []
        for task in tasks:
            result = results.get((task, family), "")
            values.append(f"{max(result):.0e}" if isinstance(result, Difference) else "-")
        lines.append(f"| {family} | {' | '.join(values)} |")
    return "\n".join(lines)


def run_all() -> None:
    """Prints each cell when it is there, then the table and the lines of what is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--families", nargs="+", default=list(families.FAMILIES))
    options = parser.parse_args()
    hf.utils.logging.disable_progress_bar()
    results: dict[tuple[str, str], Difference | str] = {}
    with tempfile.TemporaryDirectory() as home:
        for task, family in cells(options.tasks, options.families):
            result = cell(task, family, Path(home))
            if isinstance(result, str):
                result = result.replace(f"{home}/", "")
            results[task, family] = result
            print(f"{task}, {family}: {result}", flush=True)
    refused = [f"- {t}, {n}: {line}" for (t, n), line in results.items() if isinstance(line, str)]
    print("\n" + table(results) + "\n\n" + "\n".join(refused))


if __name__ == "__main__":
    run_all()
