"""Entities: words to pieces and back, windows, scores over all gold, and the command line."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import seqeval.metrics as judge
import torch
from conftest import WORDS, each
from tiny.token_classification import conll
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn

import ftlight
from ftlight.__main__ import main
from ftlight.data.remarks import collected
from ftlight.models.loading import load_tokenizer
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification import windows
from ftlight.tasks.token_classification.data import TokenData, tag_names
from ftlight.tasks.token_classification.task import TokenClassification
from ftlight.utils.errors import UserError

TEXTS = [
    " ".join(WORDS),
    "Where is my parcel? It's late, (very) late. Parcel 17/3: broken...",
    "money\nmoney  refund\t!!",
    "",
    "x" * 40,
]


def train_tokenizer(folder: Path, kind: str) -> Path:
    """Writes a byte-level tokenizer or one like SentencePiece.

    Args:
        folder: where it goes.
        kind: ``bytes`` (RoBERTa's), ``bytes prefixed`` (GPT-2's with a space before all words),
            ``metaspace`` or ``prepended`` (Llama's two).
    """
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    kwargs: dict[str, Any] = {
        "special_tokens": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        "vocab_size": 420,
    }
    if kind.startswith("bytes"):
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes prefixed")
        made.decoder = decoders.ByteLevel()
        kwargs["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.train_from_iterator(
        [*TEXTS, *(f"the {w} is {w}." for w in WORDS)],
        trainers.BpeTrainer(show_progress=False, **kwargs),
    )
    if kind == "prepended":
        made.pre_tokenizer = None
        spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(spaces)
    if kind.startswith("bytes"):
        made.post_processor = processors.RobertaProcessing(
            ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=kind != "bytes"
        )
    else:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=62, **names)
    tokenizer.save_pretrained(folder)
    return folder


KINDS = ["bytes", "bytes prefixed", "metaspace", "prepended"]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny RoBERTa with a byte-level tokenizer."""
    from transformers import RobertaConfig, RobertaModel

    folder = train_tokenizer(tmp_path_factory.mktemp("roberta"), "bytes")
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "vocab_size": len(load_tokenizer(str(folder))),
    }
    torch.manual_seed(0)
    RobertaModel(RobertaConfig(pad_token_id=1, **sizes)).save_pretrained(folder)
    return str(folder)


# Pieces of words


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory, plain_bert: str) -> dict[str, Any]:
    """A tokenizer of each kind, and one of words."""
    folder = tmp_path_factory.mktemp("tokenizers")
    made = {kind: load_tokenizer(str(train_tokenizer(folder / kind, kind))) for kind in KINDS}
    return {"words": load_tokenizer(plain_bert), **made}


def cut(
    tokenizer: Any, texts: Sequence[str], longest: int = 62, stride: int = 8
) -> dict[str, list[Any]]:
    return windows.cut(tokenizer, texts, [spans.split(t) for t in texts], longest, stride)


def test_the_pieces_of_a_text_are_those_of_reading_it_whole(tokenizers: dict[str, Any]) -> None:
    """Words of a text with single spaces give the very tokens that the model was pre-trained on."""
    text = " ".join(WORDS[:20])

    def check(kind: str) -> None:
        tokenizer = tokenizers[kind]
        assert cut(tokenizer, [text])["input_ids"][0] == [tokenizer(text)["input_ids"]]

    each(tokenizers, check)


def test_every_word_finds_its_first_piece(
    tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(kind: str, side: str) -> None:
        tokenizer = tokenizers[kind]
        monkeypatch.setattr(tokenizer, "truncation_side", side)
        for longest, stride in ((62, 8), (12, 3), (7, 1), (9, 0), (20, 17)):
            columns = cut(tokenizer, TEXTS, longest, stride)
            whole = cut(tokenizer, TEXTS, 10_000, 8)
            for row, text in enumerate(TEXTS):
                (ids,) = whole["input_ids"][row]
                expected = [ids[p] if p >= 0 else None for p in whole["place"][row]]
                parts = columns["input_ids"][row]
                places = zip(columns["window"][row], columns["place"][row], strict=True)
                found = [parts[w][p] if p >= 0 else None for w, p in places]
                assert found == expected
                assert len(found) == len(spans.split(text))
                assert all(len(window) <= longest for window in parts)
                assert columns["length"][row] == sum(map(len, parts))

    each(itertools.product(tokenizers, ["right", "left"]), check)


def test_a_word_is_read_where_it_has_most_context(plain_bert: str) -> None:
    # 20 pieces a window, 10 of them shared
    columns = cut(load_tokenizer(plain_bert), [" ".join(WORDS)], 22, 10)
    assert len(columns["input_ids"][0]) == 4
    assert columns["window"][0][:24] == [0] * 15 + [1] * 9  # the middle of what is shared
    assert all(5 <= place <= 16 for place in columns["place"][0][5:-10])


def test_words_of_no_piece_shift_nothing(plain_bert: str, roberta: str) -> None:
    def check(odd: str) -> None:
        words = ["parcel", odd, odd, "late", odd]
        text, ranges = spans.join(words)
        for name in (plain_bert, roberta):
            tokenizer = load_tokenizer(name)
            columns = windows.cut(tokenizer, [text], [ranges], 62, 8)
            ids, places = columns["input_ids"][0][0], columns["place"][0]
            word = " late" if name == roberta else "late"
            late = tokenizer(word, add_special_tokens=False)["input_ids"][0]
            assert ids[places[3]] == late
            if name == plain_bert:
                assert places == [1, -1, -1, 2, -1]

    each(["\u200b", "\x00", "", "\ufeff"], check)


# Scores


class Told(nn.Module):
    """Instead of a model: says of each token what a table says; or so in the first window only."""

    def __init__(self, table: dict[int, int], tags: int, first_only: bool = False) -> None:
        super().__init__()
        self.table, self.tags, self.first_only = table, tags, first_only

    def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
        logits = torch.zeros(*input_ids.shape, self.tags)
        for row, ids in enumerate(input_ids.tolist()):
            for place, token in enumerate(ids):
                tag = 0 if self.first_only and row else self.table.get(token, 0)
                logits[row, place, tag] = 5.0
        return SimpleNamespace(logits=logits)


def evaluate(
    task: TokenClassification, data: TokenData, split: str = "test"
) -> tuple[Any, list[Any], list[Any]]:
    """EvaluationResult of a split, outputs and rows."""
    data.setup("test")
    task.eval()
    found: dict[int, tuple[Any, Any]] = {}
    with torch.no_grad():
        for batch in data.test_dataloader():
            step = task.evaluate(batch)
            assert isinstance(step.targets, list)
            pairs = zip(step.outputs, step.targets, strict=True)
            found |= dict(zip(batch["index"], pairs, strict=True))
    outputs, targets = zip(*(found[i] for i in range(len(found))), strict=True)
    rows = list(data.rows(split, range(len(found))))
    return task.compute_metrics(outputs, targets, rows), list(outputs), rows


def tags_of(path: str) -> list[list[str]]:
    parts = [part for part in Path(path).read_text().split("\n\n") if part.strip()]
    return [[line.split("\t")[1] for line in part.splitlines()] for part in parts]


def test_gold_beyond_the_models_length_counts(plain_bert: str, tmp_path: Path) -> None:
    """A model that sees only the start of a row is perfect to a scorer that drops cut-off gold.

    HF's run_ner.py is one.
    """
    # the model takes 64 tokens, two of them special
    test = conll(tmp_path / "long.conll", 1, words=96)
    data = TokenData(test, test=test, tokenizer=plain_bert, validation_split=0, stride=0)
    task = TokenClassification(plain_bert, labels=data.labels)
    names, tokenizer = tag_names(task.labels), load_tokenizer(plain_bert)
    named = {"parcel": "B-THING", "small": "B-SIZE", "red": "I-SIZE"}
    table = {tokenizer.convert_tokens_to_ids(word): names.index(tag) for word, tag in named.items()}
    (gold,) = tags_of(test)
    scores = []
    for first_only in (False, True):
        task.model = Told(table, len(names), first_only)
        evidence, outputs, _ = evaluate(task, data)
        found = [names[t] for t in outputs[0][:, 0].long().tolist()]
        assert len(found) == len(gold) == 96
        values = evidence.values
        assert values["f1"] == pytest.approx(judge.f1_score([gold], [found]))
        assert values["recall"] == pytest.approx(judge.recall_score([gold], [found]))
        assert values["token_accuracy"] == pytest.approx(judge.accuracy_score([gold], [found]))
        scores.append((values["recall"], judge.recall_score([gold[:62]], [found[:62]])))
    assert scores[0] == (1.0, 1.0)
    assert scores[1] == (15 / 24, 1.0)  # 15 of the 24 entities lie in the first window


def test_scores_are_those_of_seqeval_on_all_gold(plain_bert: str, tmp_path: Path) -> None:
    def check(seed: int) -> None:
        rng = random.Random(seed)
        tags = ["O", "B-A", "I-A", "B-B", "I-B"]
        rows = []
        for _ in range(12):
            count = rng.choice([1, 5, 90])
            rows.append([(rng.choice(WORDS), rng.choice(tags)) for _ in range(count)])
        path = tmp_path / "t.conll"
        sentences = ["\n".join(f"{w}\t{t}" for w, t in row) for row in rows]
        path.write_text("\n\n".join(sentences))
        sizes = {"batch_size": 5, "max_length": 20, "stride": 4, "validation_split": 0}
        data = TokenData(str(path), test=str(path), tokenizer=plain_bert, **sizes)
        task = TokenClassification(plain_bert, labels=data.labels)
        tokenizer = load_tokenizer(plain_bert)
        task.model = Told({tokenizer.convert_tokens_to_ids(w): rng.randrange(5) for w in WORDS}, 5)
        evidence, outputs, _ = evaluate(task, data)
        names = tag_names(task.labels)
        found = [[names[t] for t in row[:, 0].long().tolist()] for row in outputs]
        gold = [[t for _, t in row] for row in rows]
        assert evidence.values["f1"] == pytest.approx(judge.f1_score(gold, found))
        low, high = evidence.intervals["f1"]
        assert low < evidence.values["f1"] < high

    each(range(5), check)


def test_outputs_do_not_depend_on_the_batch(request: Any, tmp_path: Path) -> None:
    cases = [("plain_bert", ["right", "right"]), ("llama", ["right", "right", "left"])]
    path = conll(tmp_path / "t.conll", 8)
    long = Path(conll(tmp_path / "long.conll", 1, 100)).read_text()
    Path(path).write_text(f"{Path(path).read_text()}\n{long}")

    def check(name: str, sides: list[str]) -> None:
        backbone = request.getfixturevalue(name)
        options: dict[str, Any] = {"test": path, "tokenizer": backbone, "validation_split": 0}
        made = []
        for size, side in zip([1, 9, 9], sides, strict=False):
            data = TokenData(path, batch_size=size, **options)
            torch.manual_seed(0)
            task = TokenClassification(backbone, labels=data.labels)
            data.tokenizer.padding_side = side
            made.append(evaluate(task, data)[1])
            data.tokenizer.padding_side = "right"
        for other in made[1:]:
            assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(made[0], other, strict=True))

    each(cases, check)


def test_overlapping_gold_counts_as_missed(plain_bert: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    marks = [
        {"start": 0, "end": 11, "label": "A"},
        {"start": 4, "end": 11, "label": "B"},
        {"start": 14, "end": 16, "label": "A"},
    ]
    path.write_text(json.dumps({"text": "the parcel is late", "spans": marks}) + "\n")
    data = TokenData(str(path), test=str(path), tokenizer=plain_bert, validation_split=0)
    assert data.labels == ["A", "B"]
    evidence, _, _ = evaluate(TokenClassification(plain_bert, labels=data.labels), data)
    assert [t for row in data.sets["test"].targets for t in row] == [1, 2, 0, 1]
    notes = "\n".join(data.notes)
    assert "test: 1 entities overlap longer ones" in notes
    assert "test: 1 entities begin or end inside a word" in notes
    assert evidence.rows == 1


# Faults


def fault(data: TokenData) -> str:
    def read() -> None:
        assert data.labels
        data.setup("fit")

    with pytest.raises(UserError) as info:
        read()
    return str(info.value)


def test_an_unknown_type_is_an_error(plain_bert: str, tmp_path: Path) -> None:
    train = conll(tmp_path / "a.conll", 9)
    (tmp_path / "b.conll").write_text("a\tO\n\nb\tB-PLAICE\n")
    data = TokenData(train, validation=str(tmp_path / "b.conll"), tokenizer=plain_bert)
    assert f"{tmp_path / 'b.conll'}:3: label 'PLAICE' is not in train" in fault(data)


def test_faults_of_tags(plain_bert: str, tmp_path: Path) -> None:
    cases = [
        ("a\tB-X\nb\tX\n", "tags with and without a letter are mixed (for example B-X)"),
        ("a\tO\n\nb\tO\n", "no entity anywhere"),
        ("\n\n", "holds no sentences"),
    ]

    def check(text: str, words: str) -> None:
        (tmp_path / "a.conll").write_text(text)
        data = TokenData(str(tmp_path / "a.conll"), validation_split=0, tokenizer=plain_bert)
        assert words in fault(data)

    each(cases, check)


def test_faults_of_options(plain_bert: str, tmp_path: Path) -> None:
    file = conll(tmp_path / "a.conll", 9)
    data = TokenData(file, tokenizer=plain_bert, stride=70)
    assert "data.stride: 70 is not 0 to" in fault(data)
    with pytest.raises(UserError, match=r"data\.max_length: 2 is out of range; .* at least 3"):
        TokenData(file, tokenizer=plain_bert, max_length=2)


def test_schemes_are_named(plain_bert: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a I-X\nb B-X\nc O\n\nd I-X\n")
    (tmp_path / "b.conll").write_text("a B-X\nb I-X\nc O\nd I-X\n")
    data = TokenData("a.conll", validation="b.conll", tokenizer=plain_bert)
    assert data.labels == ["X"]
    data.setup("fit")
    assert "train: tags are IOB1; trained on as IOB2" in data.notes
    assert (
        "validation: tags are IOB2, 1 of 1 rows not quite: "
        "an I- that follows nothing starts an entity"
    ) in data.notes
    assert data.sets["train"].targets == [[1, 1, 0], [1]]


# Command line


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, plain_bert: str, roberta: str
) -> dict[str, tuple[Path, Path]]:
    """Runs that have learned, by backbone, with their test files."""
    made = {}
    for name, backbone in (("bert", plain_bert), ("roberta", roberta)):
        folder = tmp_path_factory.mktemp(name)
        train, test = conll(folder / "train.conll", 80), conll(folder / "test.conll", 12)
        long = Path(test).read_text().replace("\n\n", "\n", 11)  # one row of 96 words
        Path(test).write_text(Path(test).read_text() + "\n" + long)
        command = (
            f"fit --model TokenClassification --model.backbone {backbone} --model.lr 0.01 "
            f"--data.train {train} --data.validation {test} --data.test {test} "
            "--model.unfreeze all --data.batch_size 8 --trainer.max_epochs 5 "
            f"--trainer.accelerator cpu --run {folder / 'run'}"
        )
        assert main(command.split()) == 0
        made[name] = (folder / "run", Path(test))
    return made


@pytest.mark.run
def test_written_predictions_have_the_score(trained: dict[str, tuple[Path, Path]]) -> None:
    def check(name: str) -> None:
        run, test = trained[name]
        scores = json.loads((run / "test_metrics.json").read_text())
        assert scores["test/f1"] > 0.9
        assert scores["test/f1_low"] <= scores["test/f1"] <= scores["test/f1_high"]
        with (run / "test_predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = []
        for row in rows:
            words = spans.join(row["text"].split(" "))[1]
            given = json.loads(row["prediction"])
            assert all(row["text"][s["start"] : s["end"]] == s["text"] for s in given)
            assert all(0 < s["score"] <= 1 for s in given)
            places = [(s["type"], s["start"], s["end"]) for s in given]
            found.append(spans.write(spans.align(places, words).spans, len(words)))
        expected = judge.f1_score(tags_of(str(test)), found)
        assert scores["test/f1"] == pytest.approx(expected, abs=1e-6)
        assert not any(column.startswith("__") for column in rows[0])

    each(["bert", "roberta"], check)


@pytest.mark.run
def test_the_pipeline_finds_the_same(trained: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    from transformers import pipeline

    texts = ["the parcel in small red is late", "when is my parcel late", "cancel it please"]
    tags = {0: "O", 1: "B-SIZE", 2: "I-SIZE", 3: "B-THING", 4: "I-THING"}

    def check(name: str) -> None:
        run, _ = trained[name]
        out = str(tmp_path / name)
        assert main(["export", str(run), "--out", out]) == 0
        model = ftlight.load(str(run))
        # a word has the tag of its first token, as in ftlight
        stock = pipeline("token-classification", out, aggregation_strategy="first", device="cpu")
        seen = 0
        for text in texts:
            (ours,) = model.predict([text])
            theirs = [(s["entity_group"], s["start"], s["end"]) for s in stock(text)]
            assert [(s["type"], s["start"], s["end"]) for s in ours["prediction"]] == theirs
            seen += len(theirs)
        assert seen >= 3
        assert stock.model.config.id2label == tags

    each(["bert", "roberta"], check)


@pytest.mark.run
def test_predicts_files_with_and_without_tags(
    trained: dict[str, tuple[Path, Path]], tmp_path: Path, capsys: Any
) -> None:
    run, test = trained["bert"]
    lines = [line.split("\t")[0] for line in test.read_text().splitlines()]
    (tmp_path / "words.conll").write_text("\n".join(lines))
    assert main(["predict", str(run), str(test)]) == 0
    assert main(["predict", str(run), str(tmp_path / "words.conll")]) == 0
    tagged, words = ((run / "predictions" / f"{n}.csv").read_text() for n in ("test", "words"))
    assert tagged == words
    given = [{"text": "It is late,my\u00a0PARCEL"}, {"tokens": ["my", "parcel"]}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    assert main(["predict", str(run), str(tmp_path / "t.jsonl")]) == 0
    answers = (run / "predictions" / "t.jsonl").read_text().splitlines()
    first, second = map(json.loads, answers)
    assert all(s["text"] == first["text"][s["start"] : s["end"]] for s in first["prediction"])
    assert [(s["text"], s["start"]) for s in first["prediction"]] == [("PARCEL", 14)]
    assert [(s["text"], s["start"], s["end"]) for s in second["prediction"]] == [("parcel", 3, 9)]
    capsys.readouterr()
    assert main(["predict", str(run), "--text", "is it a small red one?"]) == 0
    assert "small red" in capsys.readouterr().out
    assert main(["predict", str(run), str(tmp_path / "none.txt")]) == 2
    (tmp_path / "bad.jsonl").write_text(json.dumps({"txt": "a"}) + "\n")
    assert main(["predict", str(run), str(tmp_path / "bad.jsonl")]) == 2
    assert "bad.jsonl:1: no column tokens (words) or text (text)" in capsys.readouterr().err


@pytest.mark.run
def test_a_decoder_and_frozen_layers(llama: str, tmp_path: Path, capsys: Any) -> None:
    """Also rows of several windows: the output of frozen layers may be kept for whole rows only."""
    train = conll(tmp_path / "a.conll", 20, 90)
    command = (
        f"fit --model TokenClassification --model.backbone {llama} --model.unfreeze head "
        f"--data.train {train} --trainer.max_epochs 2 --trainer.accelerator cpu "
        "--run r --test false"
    )
    assert main(command.split()) == 0
    assert "the head is solved on 18 rows" in capsys.readouterr().out
    scores = Path("r/metrics.csv").read_text().splitlines()
    (f1,) = [float(line.split(",")[3]) for line in scores if line.startswith("0,0,val/f1,")]
    assert f1 > 0.5


@pytest.mark.run
def test_long_rows_among_short_ones_under_a_frozen_backbone(
    plain_bert: str, tmp_path: Path, capsys: Any
) -> None:
    """Rows of several windows cannot be kept, which shows before the cache is filled."""
    train = conll(tmp_path / "short.conll", 80, 6)
    long = conll(tmp_path / "long.conll", 4, 120)
    Path(train).write_text(Path(train).read_text() + "\n" + Path(long).read_text())
    command = (
        f"fit --model TokenClassification --model.backbone {plain_bert} --model.unfreeze head "
        f"--model.cache true --data.train {train} --trainer.max_epochs 2 "
        "--trainer.accelerator cpu --run r"
    )
    assert main(command.split()) == 0
    assert "frozen layers run at every step" in capsys.readouterr().out


def test_a_text_file_is_a_document_or_words(plain_bert: str, tmp_path: Path) -> None:
    notes = "Where is\tmy parcel?\nI want to cancel\n\n"
    (tmp_path / "notes.txt").write_text(notes)
    (tmp_path / "bare.txt").write_text("# id 1\nWhere\tNN\nparcel\tNN\n\nlost\tV\n")
    (tmp_path / "tagged.txt").write_text("Where O\nparcel B-THING\n\nlost O\n")
    data = TokenData(labels=["THING"], tokenizer=plain_bert)
    with collected() as remarks:
        assert [row["text"] for row in data.read_predict("notes.txt")] == [notes]
    (said,) = remarks
    assert "notes.txt: read as one document" in said
    for name in ("tagged.txt", "bare.txt"):
        tokens = [row["tokens"] for row in data.read_predict(name)]
        assert tokens == [["Where", "parcel"], ["lost"]]


def test_an_evaluation_without_words(plain_bert: str, tmp_path: Path) -> None:
    task = TokenClassification(plain_bert, labels=["A"])
    evidence = task.compute_metrics([torch.zeros(0)], [torch.zeros(0)], [{"__gold": []}])
    assert all(math.isnan(v) for v in (evidence.values["f1"], evidence.values["token_accuracy"]))
