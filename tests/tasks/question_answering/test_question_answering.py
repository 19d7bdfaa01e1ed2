"""Answers in documents: readers, windows, spans, the task, its files; SQuAD's scripts judge."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import ROOT, WORDS, card_lines, each, make_bert, save_tokenizer, still_bert, write_csv
from safetensors.torch import load_file, save_file
from squad_scripts import score_1, score_2
from tiny.question_answering import squad as write_squad
from torch.nn import functional as F

import ftlight
from ftlight.__main__ import main
from ftlight.data.sources import Source
from ftlight.metrics.sureness import Calibration
from ftlight.models.loading import load_tokenizer
from ftlight.tasks.question_answering import placement
from ftlight.tasks.question_answering import readers as squad
from ftlight.tasks.question_answering import windows as contexts
from ftlight.tasks.question_answering.data import QAData
from ftlight.tasks.question_answering.task import QuestionAnswering
from ftlight.utils.errors import UserError

CONTEXT = "the money is in the red parcel , not in the blue parcel"
COLUMNS = {
    "question": "question",
    "context": "context",
    "answer": "answer",
    "answer_start": "answer_start",
}


def read(path: Path, missing: Any = "error", **columns: str) -> list[dict[str, Any]]:
    names = squad.Names(**{**COLUMNS, **columns})
    return list(squad.read_rows(Source(str(path), "train"), names, missing, ""))


def nested(*qas: dict[str, Any], context: str = CONTEXT) -> str:
    paragraph = {"context": context, "qas": list(qas)}
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": [paragraph]}]})


def qa(number: int, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "question": f"where {number}",
        "answers": [{"text": t, "answer_start": s} for t, s in answers],
        **more,
    }


def write(path: Path, text: str) -> Path:
    (gzip.open if path.suffix == ".gz" else open)(path, "wt").write(text)  # type: ignore[operator]
    return path


# Readers: the same two rows (the second without an answer) in every layout

ANSWERS = ["red", "red parcel"]


def rows_with(first: Any, second: Any) -> list[dict[str, Any]]:
    """The two rows with their answers in a form."""
    return [
        {"question": "where 0", "context": CONTEXT, "answers": first},
        {"question": "where 1", "context": CONTEXT, "answers": second},
    ]


HUB = rows_with(
    {"text": ANSWERS, "answer_start": [20, 20]},
    {"text": [], "answer_start": []},
)
STRUCTS = rows_with([{"text": t, "answer_start": 20} for t in ANSWERS], [])
V2 = nested(qa(0, ("red", 20), ("red parcel", 20)), qa(1, is_impossible=True))


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def layouts(folder: Path) -> dict[str, Path]:
    """A file of each layout by its name."""
    indented = json.dumps(json.loads(V2), indent=2).replace("\n", "\r\n")
    return {
        "squad": write(folder / "squad.json", V2),
        "squad.gz": write(folder / "squad.json.gz", V2),
        "indented": write(folder / "indented.json", indented),
        "hub": write(folder / "hub.jsonl", as_lines(HUB)),
        "lines in .json": write(folder / "lines.json", as_lines(HUB)),
        "list of texts": write(folder / "texts.jsonl", as_lines(rows_with(ANSWERS, []))),
        "parquet": as_parquet(folder / "hub.parquet", HUB),
        "parquet of structs": as_parquet(folder / "structs.parquet", STRUCTS),
    }


def test_every_layout_gives_the_same_rows(tmp_path: Path) -> None:
    files = layouts(tmp_path)

    def check(layout: str) -> None:
        first, second = read(files[layout])
        assert (first["question"], first["context"]) == ("where 0", CONTEXT)
        assert (first["answers"], first["answer_starts"]) == (["red", "red parcel"], [20, 20])
        assert (second["answers"], second["answer_starts"]) == ([], [])

    each(files, check)


def test_answers_of_a_csv(tmp_path: Path) -> None:
    cases = [
        ("red", "20", 20, 0),
        ("red", "", 20, 0),
        (" red ", "19", 20, 0),
        ("parcel", "48", 49, placement.MOVED),
        ("parcel", "49", 49, 0),
        ("parcel", "", 24, placement.FIRST),
        ("blue", "0", 44, placement.MOVED),
        ("NA", "", None, 0),
    ]

    def check(answer: str, start: str, place: int | None, how: int) -> None:
        text = CONTEXT if place is not None else "Na or NA"
        header = ("q", "text", "answer", "answer_start")
        file = write_csv(tmp_path / "a.csv", [("what", text, answer, start)], header)
        (row,) = read(Path(file), question="q", context="text")
        assert row["answer_starts"] == [place if place is not None else 6]
        assert row["text"][row["answer_starts"][0] :].startswith(row["answers"][0])
        assert row["__placed"] == how

    each(cases, check)


def test_an_empty_answer_is_none_and_the_column_of_the_place_can_be_missing(tmp_path: Path) -> None:
    rows = [("what", CONTEXT, ""), ("what", CONTEXT, "red")]
    file = write_csv(tmp_path / "a.csv", rows, ("question", "context", "answer"))
    assert [row["answers"] for row in read(Path(file))] == [[], ["red"]]


def test_a_far_place_among_several_is_an_error() -> None:
    text = f"be {'x' * 300} be"
    assert placement.locate(text, "be", 90) == (0, placement.MOVED)
    assert placement.locate(text, "be", 150) is None
    assert placement.locate(text, "x", 1) == (3, placement.MOVED)
    assert placement.locate(text, "y", 1) is None


def test_a_raw_line_break_in_a_text_keeps_the_layout_of_squad(tmp_path: Path) -> None:
    whole = nested(qa(0, ("red", 20)))
    at = whole.index('"context": "') + len('"context": "')
    (tmp_path / "a.json").write_text(f"{whole[:at]}\n{whole[at:]}")
    rows = read(Path("a.json"))
    assert [row["line"] for row in rows] == ["row 1 (id q0)"]
    assert rows[0]["context"].startswith("\n")


def test_faults_of_json(tmp_path: Path) -> None:
    cases = [
        (
            nested(qa(0, ("red", 20)), qa(1, ("green", 20))),
            "a.json: question q1: the answer 'green' is not in the context near",
        ),
        (
            nested({"id": "q0", "question": "x"}),
            "a.json: question q0: no answers; a question without an answer has is_impossible",
        ),
        (
            nested(qa(0, ("red", 20), is_impossible=True)),
            "a.json: question q0: is_impossible, but has answers",
        ),
        (nested({"id": "q0"}), "a.json: data[0].paragraphs[0].qas[0] has no question (text)"),
        (nested(qa(0), context=" "), "a.json: question q0: column context is empty"),
        (json.dumps({"data": [{"title": "x"}]}), "a.json: data[0] has no paragraphs (list)"),
        (json.dumps({"data": []}), "a.json has no questions"),
        ('{"question": "a"}\n', "a.json:1: no column context"),
        ("[1]", "a.json:1: expected an object"),
        ("{", "a.json:1: not valid JSON"),
    ]

    def check(content: str, words: str) -> None:
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError) as error:
            read(Path("a.json"))
        assert str(error.value).startswith(words)

    each(cases, check)


def test_faults_of_a_csv(tmp_path: Path) -> None:
    cases = [
        (
            ("what", CONTEXT, "green", ""),
            "a.csv:2: the answer 'green' is not in the context; correct it, or",
        ),
        (("what", CONTEXT, "red", "x"), "a.csv:2: answer_start 'x' is not a place in the context"),
        ((" ", CONTEXT, "red", "20"), "a.csv:2: column question is empty"),
    ]

    def check(row: tuple[str, ...], words: str) -> None:
        write_csv(tmp_path / "a.csv", [row], ("question", "context", "answer", "answer_start"))
        with pytest.raises(UserError) as error:
            read(Path("a.csv"))
        assert str(error.value).startswith(words)

    each(cases, check)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [("what", CONTEXT, "red")], ("question", "context", "anwser"))
    with pytest.raises(UserError, match='no column answer; did you mean "anwser"'):
        read(Path("a.csv"))


def test_rows_whose_answer_is_missing_are_skipped_and_counted(tmp_path: Path) -> None:
    answers = "green red pink blue gray gray".split()
    rows = [("what", CONTEXT, answer) for answer in answers]
    write_csv(tmp_path / "a.csv", rows, ("question", "context", "answer"))
    found = read(Path("a.csv"), missing="skip")
    assert [row["answers"][0] for row in found] == ["red", "blue"]
    assert sum(row["__skipped"] for row in found) == 4
    write_csv(tmp_path / "b.csv", rows[:1], ("question", "context", "answer"))
    with pytest.raises(UserError, match="no row has its answer in its context"):
        read(Path("b.csv"), missing="skip")


# Windows


def sentences(seed: int, most: int = 80) -> tuple[str, str]:
    rng = random.Random(seed)
    # some are several tokens, or none that is known
    words = [*WORDS, "xylophone", "Zürich", "42", ",", "don't"]
    question = " ".join(rng.choices(words, k=rng.randint(1, 8)))
    return question, "  ".join(rng.choices(words, k=rng.randint(1, most)))


def byte_tokenizer(folder: Path) -> Any:
    """A byte-level BPE as of GPT-2: tokens hold the space before them, and none is of the class."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [" ".join(WORDS)] * 3,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<eos>"]),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<eos>", pad_token="<eos>", model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tokenizer of words with a class token and one of bytes without."""
    folder = tmp_path_factory.mktemp("tokenizers")
    save_tokenizer(folder / "words")
    return {
        "words": load_tokenizer(str(folder / "words")),
        "bytes": byte_tokenizer(folder / "bytes"),
    }


def windows_of(
    tokenizer: Any, pairs: list[tuple[str, str]], longest: int, overlap: int
) -> dict[str, Any]:
    """Windows of questions and contexts."""
    questions, texts = zip(*pairs, strict=True)
    return contexts.windows(tokenizer, list(questions), list(texts), longest, overlap)


def test_windows_cover_the_context(tokenizers: dict[str, Any]) -> None:
    def check(kind: str, longest: int, overlap: int) -> None:
        tokenizer = tokenizers[kind]
        pairs = [sentences(seed) for seed in range(20)]
        made = windows_of(tokenizer, pairs, longest, overlap)
        assert max(len(s) for s in made["sizes"]) > 1
        for i, (question, context) in enumerate(pairs):
            sizes, ends = made["sizes"][i], np.cumsum(made["sizes"][i])
            assert max(sizes) <= longest
            assert ends[-1] == len(made["ids"][i]) == len(made["begin"][i]) == len(made["end"][i])
            assert made["length"][i] == len(sizes) * max(sizes)
            alone = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
            places = list(zip(alone["input_ids"], alone["offset_mapping"], strict=True))
            asked = tokenizer(question, add_special_tokens=False)["input_ids"]
            assert made["cut"][i] == (len(asked) > longest // 2)
            special = set(tokenizer.all_special_ids)
            seen = 0
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                columns = [made[k][i][start:end].tolist() for k in ("ids", "begin", "end")]
                tokens = list(zip(*columns, strict=True))
                window = [(t, (b, e)) for t, b, e in tokens if b >= 0]
                begins = seen - (overlap if start else 0)
                assert window == places[begins : begins + len(window)]
                seen = begins + len(window)
                others = [t for t, b, _ in tokens if b < 0 and t not in special]
                assert others == [t for t in asked[: longest // 2] if t not in special]
            assert seen == len(places)

    sizes = [(64, 10), (24, 4), (24, 0)]
    each(((kind, *size) for kind in tokenizers for size in sizes), check)


def test_targets_stand_for_the_answer(tokenizers: dict[str, Any]) -> None:
    def check(kind: str, seed: int) -> None:
        rng = random.Random(seed)
        question, context = sentences(seed)
        words = context.split("  ")
        held = 0
        for _ in range(20):
            first = rng.randrange(len(words))
            answer = "  ".join(words[first : first + rng.randint(1, 4)])
            start = len("  ".join(words[:first])) + (2 if first else 0)
            stop = start + len(answer)
            columns = contexts.windows(tokenizers[kind], [question], [context], 28, 9)
            made = {name: column[0] for name, column in columns.items()}
            found = contexts.target(made["begin"], made["end"], made["sizes"], start, stop)
            parts = [np.split(made[k], np.cumsum(made["sizes"])[:-1]) for k in ("begin", "end")]
            for (a, b), begin, end in zip(found, *parts, strict=True):
                inside = begin[begin >= 0].min() <= start and end.max() >= stop
                assert (a >= 0) == inside
                if inside:
                    text = contexts.text_of(context, int(begin[a]), int(end[b]))
                    assert text == (answer, start, stop)
                    held += 1
        assert held

    each(itertools.product(tokenizers, range(5)), check)


def test_targets_where_tokens_touch() -> None:
    cases = [
        (2, 4, (2, 2)),
        (0, 2, (1, 1)),
        (1, 3, (1, 2)),
        (2, 6, (2, 3)),
        (4, 6, (3, 3)),
        (4, 7, (-1, -1)),
        (6, 7, (-1, -1)),
    ]

    def check(start: int, stop: int, expected: tuple[int, int]) -> None:
        begin, end = np.array([-1, 0, 2, 4, -1]), np.array([-1, 2, 4, 6, -1])
        assert contexts.target(begin, end, np.array([5]), start, stop) == [expected]

    each(cases, check)


def test_a_white_space_context_has_no_tokens_to_choose(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["words"]  # that of bytes has tokens for it
    made = contexts.windows(tokenizer, ["where"], ["\u200b"], 24, 4)
    assert max(made["begin"][0]) < 0
    batch = contexts.collate(made, tokenizer)
    zeros = torch.zeros_like(batch["begin"], dtype=torch.float)
    outputs = contexts.best_spans(zeros, zeros, batch, 5)
    assert torch.isfinite(outputs).all()
    assert contexts.text_of("\u200b", *outputs[0, :2].int().tolist())[0] == ""


def test_collate(tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def check(kind: str, side: str) -> None:
        tokenizer = tokenizers[kind]
        monkeypatch.setattr(tokenizer, "padding_side", side)
        made = windows_of(tokenizer, [sentences(seed) for seed in range(6)], 32, 6)
        made["start_positions"] = [[3] + [-1] * (len(s) - 1) for s in made["sizes"]]
        made["end_positions"] = [[4] + [-1] * (len(s) - 1) for s in made["sizes"]]
        batch = contexts.collate(made, tokenizer)
        ids, mask = batch["inputs"]["input_ids"], batch["inputs"]["attention_mask"].bool()
        assert ids[mask].tolist() == [int(t) for row in made["ids"] for t in row]
        assert batch["begin"][mask].tolist() == [int(b) for row in made["begin"] for b in row]
        assert (batch["begin"][~mask] == -1).all()
        assert batch["sample_mapping"].tolist() == [
            i for i, s in enumerate(made["sizes"]) for _ in s
        ]
        shift = mask.int().argmax(1)
        assert ((batch["cls_index"] - shift) == 0).all()  # the class token, or the first
        if tokenizer.cls_token_id is not None:
            assert (ids.gather(1, batch["cls_index"][:, None]) == tokenizer.cls_token_id).all()
            assert "token_type_ids" in batch["inputs"]
        firsts, lasts = batch["start_positions"] - shift, batch["end_positions"] - shift
        for window, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
            begins = (
                window == 0
                or batch["sample_mapping"][window] != batch["sample_mapping"][window - 1]
            )
            assert (int(first), int(last)) == ((3, 4) if begins else (0, 0))

    each(itertools.product(tokenizers, ["left", "right"]), check)


# Spans


def slow_spans(start: Any, end: Any, batch: Any, most: int) -> list[list[float]]:
    """All spans, one by one."""
    rows: list[list[float]] = []
    for row in range(int(batch["sample_mapping"].max()) + 1):
        best = [-1.0, -1.0, -torch.inf]
        null = torch.inf
        for w in (batch["sample_mapping"] == row).nonzero()[:, 0].tolist():
            null = min(null, float(start[w, batch["cls_index"][w]] + end[w, batch["cls_index"][w]]))
            for i in range(start.shape[1]):
                for j in range(i, min(i + most, start.shape[1])):
                    score = float(start[w, i] + end[w, j])
                    if batch["begin"][w, i] >= 0 and batch["begin"][w, j] >= 0 and score > best[2]:
                        best = [float(batch["begin"][w, i]), float(batch["end"][w, j]), score]
        rows.append([*best, null])
    return rows


def test_best_spans_are_the_best_of_all(tokenizers: dict[str, Any]) -> None:
    def check(kind: str, most: int) -> None:
        made = windows_of(tokenizers[kind], [sentences(seed, 30) for seed in range(6)], 28, 4)
        batch = contexts.collate(made, tokenizers[kind])
        generator = torch.Generator().manual_seed(most)
        shape = batch["begin"].shape
        start = torch.randn(shape, generator=generator).log_softmax(1)
        end = torch.randn(shape, generator=generator).log_softmax(1)
        expected = torch.tensor(slow_spans(start, end, batch, most))
        found = contexts.best_spans(start, end, batch, most)
        torch.testing.assert_close(found[:, :4], expected)
        at_one = found[:, 4 + contexts.TEMPERATURES.index(1.0)]
        torch.testing.assert_close(at_one, expected[:, 2])

    each(itertools.product(tokenizers, [1, 3, 30, 500]), check)


# The task


def task_with(
    folder: Path, backbone: str, count: int = 12, **options: Any
) -> tuple[QuestionAnswering, QAData]:
    """An untrained task with its data, and the validation set encoded."""
    file = write_squad(folder, count, impossible=4)
    data = QAData(validation=file, tokenizer=backbone, **options)
    data.setup("validate")
    task = QuestionAnswering(backbone).eval()
    task.datamodule = data
    return task, data


def test_loss_is_a_mean_over_windows_in_training_and_over_rows_in_evaluation(
    tmp_path: Path, monkeypatch: Any
) -> None:
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    backbone = str(make_bert(tmp_path / "bert", **no_dropout))

    def check(side: str) -> None:
        task, data = task_with(tmp_path, backbone, max_length=18, stride=2)
        monkeypatch.setattr(data.tokenizer, "padding_side", side)
        batch = data.collate(data.sets["validation"][list(range(12))], list(range(12)))
        assert len(batch["sample_mapping"]) > 12
        with torch.no_grad():
            out = task.model(**batch["inputs"])
            pair = [
                (out.start_logits, batch["start_positions"]),
                (out.end_logits, batch["end_positions"]),
            ]
            losses = []
            for w, null in enumerate(batch["cls_index"].tolist()):
                begins = batch["begin"][w].tolist()
                allowed = [i for i, begin in enumerate(begins) if begin >= 0 or i == null]
                both = [float(x[w, allowed].logsumexp(0) - x[w, t[w]]) for x, t in pair]
                losses.append(sum(both) / 2)
            found = task.step(batch)
            assert found.loss is not None
            owners = batch["sample_mapping"].numpy()
            rows = [np.mean(np.array(losses)[owners == row]) for row in range(12)]
            assert float(found.loss) == pytest.approx(np.mean(rows), rel=1e-5)
            assert found.weight is None
            task.train()
            trained = task.step(batch)
            assert trained.loss is not None
            assert float(trained.loss) == pytest.approx(np.mean(losses), rel=1e-5)
            assert trained.weight == len(losses)

    each(["right", "left"], check)


def test_long_contexts_take_no_more_memory_than_a_window_a_row(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Windows run in parts, with the loss and the gradients of all at once."""
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    backbone = str(make_bert(tmp_path / "bert", **no_dropout))

    def check(training: bool) -> None:
        task, data = task_with(tmp_path, backbone, max_length=18, stride=2)
        task.train(training)
        seen: list[int] = []
        task.model.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
        )
        batch = data.collate(data.sets["validation"][list(range(12))], list(range(12)))
        windows = len(batch["sample_mapping"])

        def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
            task.zero_grad()
            loss = task.step(batch).loss
            assert loss is not None
            loss.backward()
            gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
            return loss.detach(), [gradient.clone() for gradient in gradients]

        parts, gradients = run()
        assert windows > 12 >= max(seen)
        assert sum(seen) == windows * (1 + training)  # computed again only where that saves memory
        with monkeypatch.context() as patch:
            patch.setattr("ftlight.tasks.question_answering.task.AT_ONCE", windows)
            whole, expected = run()
        assert seen[-1] == windows
        torch.testing.assert_close(parts, whole)
        for mine, theirs in zip(gradients, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)

    each([False, True], check)


def test_outputs_do_not_depend_on_the_batch(plain_bert: str, tmp_path: Path) -> None:
    task, data = task_with(tmp_path, plain_bert, max_length=20, stride=2)
    table = data.sets["validation"]
    with torch.no_grad():
        whole = task.step(data.collate(table[list(range(12))], list(range(12)))).outputs
        batches = [data.collate(table[[i]], [i]) for i in range(12)]
        single = torch.cat([torch.as_tensor(task.step(batch).outputs) for batch in batches])
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-4)


def test_training_takes_the_answer_that_most_annotators_give(
    plain_bert: str, tmp_path: Path
) -> None:
    most = qa(0, ("money", 4), ("red", 20), ("red", 20))
    even = qa(1, ("money", 4), ("red", 20))
    (tmp_path / "a.json").write_text(nested(most, even))
    data = QAData(validation="a.json", tokenizer=plain_bert)
    data.setup("validate")
    batch = data.collate(data.sets["validation"][[0, 1]], [0, 1])
    begins = batch["begin"].gather(1, batch["start_positions"][:, None])[:, 0].tolist()
    assert begins == [20, 4]


def test_held_out_questions_have_contexts_of_their_own(plain_bert: str, tmp_path: Path) -> None:
    rows = [(f"what {i}", f"the {WORDS[i // 4]} is red", "red") for i in range(80)]
    file = write_csv(tmp_path / "a.csv", rows, ("question", "context", "answer"))
    data = QAData(file, tokenizer=plain_bert, validation_split=0.3)
    kept, held = (set(data.load_split(s)["context"][:]) for s in ("train", "validation"))
    assert held
    assert not kept & held


def test_notes_say_what_was_guessed_cut_and_left_out(plain_bert: str, tmp_path: Path) -> None:
    rows = [
        ("where", CONTEXT, "parcel", ""),
        ("where", CONTEXT, "money", "9"),
        ("where", CONTEXT, "green", ""),
        ("where", CONTEXT, "", ""),
    ]
    rows.append((" ".join(WORDS[:12]), CONTEXT * 2, "red", "20"))
    write_csv(tmp_path / "a.csv", rows, ("question", "context", "answer", "answer_start"))
    data = QAData(validation="a.csv", tokenizer=plain_bert, max_length=22, missing="skip")
    data.setup("validate")
    notes = "\n".join(data.notes)
    assert "validation: 1 of 4 questions have an answer that occurs several times" in notes
    assert "validation: 1 of 4 questions have a wrong answer_start" in notes
    assert "validation: 1 question is left out" in notes
    assert "validation: 1 of 4 questions have no answer" in notes
    assert "validation: 1 of 4 questions are longer than half of 22 tokens and cut" in notes
    assert (
        "validation: 1 of 4 questions have a context of more than 22 tokens, "
        "read in up to 8 windows"
    ) in notes


def test_the_length_of_a_sentence_encoders_training_does_not_count(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "bert")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    assert QAData(tokenizer=str(folder)).max_length == 64
    fault = r"data.max_length: 65 is not between 3 and the backbone's 64 tokens"
    with pytest.raises(UserError, match=fault):
        QAData(tokenizer=str(folder), max_length=65).max_length  # noqa: B018


def test_a_stride_must_leave_room(plain_bert: str) -> None:
    fault = r"data.stride: .* leaves no room in windows of 64 tokens"

    def check(stride: float) -> None:
        with pytest.raises(UserError, match=fault):
            QAData(tokenizer=plain_bert, stride=stride).overlap  # noqa: B018

    each([0.5, 40], check)
    with pytest.raises(UserError, match=r"data.stride: -1 is out of range; .* at least 0"):
        QAData(tokenizer=plain_bert, stride=-1)


def test_a_backbone_whose_weights_do_not_load_is_refused(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "bert", sentence_encoder=False)
    weights = load_file(folder / "model.safetensors")
    renamed = {f"other.{name}": tensor for name, tensor in weights.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="do not match BertForQuestionAnswering"):
        QuestionAnswering(str(folder))


# From the command line


def numbers(folder: Path, count: int, name: str, impossible: int = 0) -> str:
    """Writes questions that can be learned: the answer is the number in the context, if any."""
    rng = random.Random(name)
    rows = []
    for i in range(count):
        words = rng.choices(WORDS, k=6)
        answer = "" if impossible and i % impossible == 0 else str(rng.randrange(10))
        if answer:
            words.insert(rng.randrange(7), answer)
        rows.append(("how", " ".join(words), answer))
    return write_csv(folder / name, rows, ("question", "context", "answer"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on questions of which every third has no answer."""
    folder = tmp_path_factory.mktemp("qa")
    backbone = still_bert(folder / "bert")
    train = numbers(folder, 160, "train.csv", 3)
    validation = numbers(folder, 40, "validation.csv", 3)
    test = numbers(folder, 50, "test.csv", 3)
    command = (
        f"fit --model QuestionAnswering --model.backbone {backbone} --model.lr 5e-3 "
        f"--data.train {train} --data.validation {validation} --data.test {test} "
        "--data.batch_size 8 --trainer.max_epochs 6 --trainer.accelerator cpu "
        f"--run {folder / 'run'}"
    )
    assert main(command.split()) == 0
    return folder / "run"


def predictions(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.run
def test_it_learns_and_its_scores_are_those_of_squad(run: Path) -> None:
    rows = predictions(run / "test_predictions.csv")
    values = json.loads((run / "test_metrics.json").read_text())
    golds = [json.loads(r["answers"]) for r in rows]
    pairs = [score_2(r["prediction"], g) for r, g in zip(rows, golds, strict=True)]
    for key, kept in (("", golds), ("has_answer_", [g for g in golds if g])):
        part = [p for p, g in zip(pairs, golds, strict=True) if g or not key]
        assert len(part) == len(kept)
        assert values[f"test/{key}exact"] == pytest.approx(np.mean([e for e, _ in part]))
        assert values[f"test/{key}f1"] == pytest.approx(np.mean([f for _, f in part]))
    unanswerable = [r for r, g in zip(rows, golds, strict=True) if not g]
    none = [not r["prediction"] for r in unanswerable]
    assert values["test/no_answer_accuracy"] == pytest.approx(np.mean(none))
    assert values["test/best_f1"] >= values["test/f1"] > 0.85
    assert values["test/f1_low"] <= values["test/f1"] <= values["test/f1_high"]
    for row in rows:
        if row["prediction"]:
            assert row["context"][int(row["start"]) : int(row["end"])] == row["prediction"]
            assert float(row["no_answer"]) <= 0.5
        else:
            assert row["start"] == row["end"] == ""
            assert float(row["no_answer"]) >= 0.5


@pytest.mark.run
def test_the_threshold_is_that_of_the_validation_and_stays_with_the_run(run: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    predictor = ftlight.load(str(run))
    task: Any = predictor.task
    assert task.threshold == checkpoint["no_answer_threshold"] != 0
    before = json.loads((run / "test_metrics.json").read_text())
    assert main(["test", str(run)]) == 0
    after = json.loads((run / "test_metrics.json").read_text())
    assert after == pytest.approx(before, nan_ok=True)
    # a threshold that is set decides, and nothing else
    rows = [{"question": "how", "context": "the 7 red money"}]
    for threshold, expected in ((1e9, "7"), (-1e9, "")):
        task.threshold = threshold
        assert predictor.predict(rows)[0]["prediction"] == expected


def test_only_validation_finds_a_threshold(plain_bert: str) -> None:
    def check(testing: bool, expected: float) -> None:
        task = QuestionAnswering(plain_bert)
        task.datamodule = QAData(tokenizer=plain_bert)
        task.threshold = 0.5
        task._trainer = SimpleNamespace(testing=testing)  # type: ignore[assignment]
        rows = [{"context": "red", "answers": ["red"]}, {"context": "red", "answers": []}]
        outputs = torch.tensor([[0.0, 3.0, -1.0, 0.0], [0.0, 3.0, -2.0, 0.0]])
        found = task.compute_metrics(outputs, None, rows)
        assert task.threshold == expected
        assert found.values["best_f1"] == 1
        assert found.values["f1"] == found.values["exact"] == (0.5 if testing else 1)
        assert found.values["has_answer_f1"] == (0 if testing else 1)
        assert found.values["no_answer_accuracy"] == 1

    each([(False, 1.5), (True, 0.5)], check)


def test_a_temperature_makes_answers_less_sure_and_no_other_ones(plain_bert: str) -> None:
    """Planted: answers are right as often as scores say that are then made too sure."""
    task, generator = QuestionAnswering(plain_bert), torch.Generator().manual_seed(0)
    task.datamodule = QAData(tokenizer=plain_bert)
    logits = torch.randn(3000, generator=generator) * 2
    right = (torch.rand(3000, generator=generator) < logits.sigmoid()).tolist()
    # the answer is the first letter
    rows = [{"context": "a b", "answers": ["a" if one else "b"]} for one in right]
    hot = [F.logsigmoid(logits * 2.4 / t) for t in contexts.TEMPERATURES]
    place = torch.tensor([0.0, 1.0, -1.0, -9.0]).expand(3000, 4)
    outputs = torch.cat([place, torch.stack(hot, 1)], 1)
    assert task.fit_temperature(outputs, None, rows) == 2**1.25  # the step next to 2.4
    assert {a["prediction"] for a in task.postprocess(outputs, rows)} == {"a"}
    all_right = [{"context": "a b", "answers": ["a"]}] * 3000
    assert task.fit_temperature(outputs.abs().neg(), None, all_right) == 1.0


@pytest.mark.run
def test_the_exported_folder_has_the_temperature_in_its_lines(run: Path, tmp_path: Path) -> None:
    predictor = ftlight.load(str(run))
    rows = [{"question": "how", "context": c} for c in ("red 5 blue", "money is lost")]
    plain = predictor.predict(rows)
    nothing = torch.zeros(0)
    predictor.task.calibration = Calibration(
        2**1.25, 200, False, 0.2, 0.1, 0.1, nothing, nothing, nothing
    )
    soft = predictor.predict(rows)
    for before, after in zip(plain, soft, strict=True):
        assert after["prediction"] == before["prediction"]
        assert after["score"] < before["score"]
    lines = predictor.task.export(tmp_path / "out", predictor.data)
    for row, answer in zip(rows, soft, strict=True):
        found = loaded(tmp_path / "out", lines, row["question"], row["context"])
        assert found == (answer["prediction"], pytest.approx(answer["score"], rel=1e-3))


@pytest.mark.run
def test_predict_reads_squad_without_answers_and_tables(
    run: Path, tmp_path: Path, capsys: Any
) -> None:
    paragraph = {"context": "red 5 blue", "qas": [{"id": "a", "question": "how"}]}
    asked = {"version": "2.0", "data": [{"paragraphs": [paragraph]}]}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    assert main(["predict", str(run), "asked.json"]) == 0
    (line,) = (run / "predictions" / "asked.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["id"], row["prediction"], row["start"], row["end"]) == ("a", "5", 4, 5)
    header = ("question", "context", "ticket")
    write_csv(tmp_path / "asked.csv", [("how", "red 5 blue", "7")], header)
    assert main(["predict", str(run), "asked.csv"]) == 0
    (table,) = predictions(run / "predictions" / "asked.csv")
    assert (table["ticket"], table["prediction"], table["start"]) == ("7", "5", "4")
    write_csv(tmp_path / "bad.csv", [("how", " ")], ("question", "context"))
    capsys.readouterr()
    assert main(["predict", str(run), "bad.csv"]) == 2
    assert "bad.csv:2: column context is empty" in capsys.readouterr().err


def loaded(folder: Path, lines: str, question: str, context: str) -> tuple[str, float]:
    """The answer of the lines in the model card."""
    space: dict[str, Any] = {"FOLDER": str(folder), "question": question, "context": context}
    exec(lines, space)
    return space["answer"], float(space["probability"])


@pytest.mark.run
def test_the_exported_folder_gives_the_same_answers(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    lines = card_lines(tmp_path / "out")[1]
    contexts_ = [
        "red 5 blue",
        "money is lost",
        " ".join([*WORDS[:30], "4", *WORDS[30:], *WORDS]),
        " ".join(WORDS * 2),
    ]
    answers = ftlight.load(str(run)).predict([{"question": "how", "context": c} for c in contexts_])
    assert {bool(a["prediction"]) for a in answers} == {True, False}
    for context, answer in zip(contexts_, answers, strict=True):
        found = loaded(tmp_path / "out", lines, "how", context)
        assert found == (answer["prediction"], pytest.approx(answer["score"], rel=1e-3))


@pytest.mark.run
def test_without_unanswerable_questions_there_always_is_an_answer(tmp_path: Path) -> None:
    """And on a decoder without a class token, whose tokens hold the space before them."""
    from transformers import GPT2Config, GPT2Model

    tokenizer = byte_tokenizer(tmp_path / "gpt")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    GPT2Model(config).save_pretrained(tmp_path / "gpt")
    train, test = numbers(tmp_path, 60, "train.csv"), numbers(tmp_path, 20, "test.csv")
    command = (
        f"fit --model QuestionAnswering --model.backbone {tmp_path / 'gpt'} --run run "
        f"--data.train {train} --data.test {test} --data.batch_size 8 "
        "--trainer.max_epochs 2 --trainer.accelerator cpu"
    )
    assert main(command.split()) == 0
    rows = predictions(Path("run/test_predictions.csv"))
    values = json.loads(Path("run/test_metrics.json").read_text())
    assert all(r["prediction"] == r["prediction"].strip() != "" for r in rows)
    assert all(r["context"][int(r["start"]) : int(r["end"])] == r["prediction"] for r in rows)
    assert "no_answer" not in rows[0]
    pairs = np.array([score_1(r["prediction"], json.loads(r["answers"])) for r in rows])
    assert (values["test/exact"], values["test/f1"]) == pytest.approx(tuple(pairs.mean(0)))
    assert "test/best_f1" not in values
    assert main(["export", "run", "--out", "out"]) == 0
    lines = card_lines(Path("out"))[1]
    long = " ".join(WORDS)
    (answer,) = ftlight.load("run").predict([{"question": "how", "context": long}])
    prediction, score = loaded(Path("out"), lines, "how", long)
    assert (prediction, score) == (answer["prediction"], pytest.approx(answer["score"], rel=1e-3))


def test_the_config_is_short_and_names_no_default() -> None:
    config = yaml.safe_load((ROOT / "configs" / "qa.yaml").read_text())
    assert set(config["model"]) == {"task", "backbone"}
