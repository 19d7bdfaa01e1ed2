"""Seq2Seq: pairs, encoders with a decoder of the same weights, generation, metrics, export."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import each, make_bert, save_tokenizer, write_csv
from tiny.seq2seq import orders

from ftlight.__main__ import main
from ftlight.models.layers import layer_groups
from ftlight.tasks.seq2seq import decoding, scores, truecase
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.tasks.seq2seq.encoder_decoder import encoder_decoder_from_encoder, shift_right
from ftlight.tasks.seq2seq.task import Seq2Seq
from ftlight.utils.errors import UserError

KINDS = ["bert", "t5", "bart", "m2m"]
# of EncoderDecoderModel given labels, as an oracle
pytestmark = pytest.mark.filterwarnings("ignore:Version v4.12.0")


def make(kind: str, folder: Path) -> str:
    """Writes a tiny model of an architecture, with weights noisy enough that its texts vary."""
    import transformers

    if kind == "bert":
        return str(make_bert(folder, sentence_encoder=False, initializer_range=0.3))
    size = save_tokenizer(folder)
    ids = {"vocab_size": size, "pad_token_id": 0, "eos_token_id": 3}
    sizes = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "init_std": 0.3,
        "bos_token_id": 2,
        "decoder_start_token_id": 3,
    }
    torch.manual_seed(0)
    model: Any
    if kind == "t5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
        config: Any = transformers.T5Config(decoder_start_token_id=0, **sizes, **ids)
        model = transformers.T5ForConditionalGeneration(config)
    elif kind == "bart":
        config = transformers.BartConfig(forced_eos_token_id=3, **sizes, **ids)
        model = transformers.BartForConditionalGeneration(config)
    else:
        config = transformers.M2M100Config(**sizes, **ids)
        model = transformers.M2M100ForConditionalGeneration(config)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny model of each kind."""
    return {kind: make(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def data_of(
    backbone: str,
    rows: list[tuple[str, ...]],
    header: tuple[str, ...] = ("source", "target"),
    **options: Any,
) -> Seq2SeqData:
    """A data module with rows as its test and its train."""
    file = write_csv(Path("rows.csv"), rows, header)
    return Seq2SeqData(file, test=file, tokenizer=backbone, **options)


def batch_of(data: Seq2SeqData, count: int = 4, split: str = "test") -> dict[str, Any]:
    """The first rows of a split as a batch."""
    if split not in data.sets:
        data.sets[split] = data.encode(data.load_split(split), split)
    rows = list(range(count))
    return data.collate(data.sets[split][rows], rows)


def task_of(backbone: str, data: Seq2SeqData, **options: Any) -> Seq2Seq:
    """A task in evaluation mode with the data that feed it."""
    task = Seq2Seq(backbone, **{"max_new_tokens": 8, **options})
    task.datamodule = data
    return task.eval()


# Rows


def test_rows_of_the_same_source_are_one_in_evaluation(bert: str) -> None:
    rows: list[tuple[str, ...]] = [
        ("a red film", "red"),
        ("NA", "null"),
        ("a red film", "a red one"),
    ]
    data = data_of(bert, rows, validation_split=0.0)
    assert data.load_split("train")["target"][:] == ["red", "null", "a red one"]
    test = data.load_split("test")
    assert (test["source"][:], test["line"][:]) == (["a red film", "NA"], [2, 3])
    assert test["references"][:] == [["red", "a red one"], ["null"]]
    assert "test: 3 references of 2 rows" in data.notes[-1]
    apart = data_of(bert, [("a red film", "red"), ("a red film", "a red one")], group=False)
    assert apart.load_split("test")["references"][:] == [["red"], ["a red one"]]


def test_no_source_is_on_both_sides_of_a_held_out_share(bert: str) -> None:
    rows = [(f"film {i % 20}", f"text {i}") for i in range(100)]
    data = data_of(bert, rows, validation_split=0.2)
    train, held = data.load_split("train"), data.load_split("validation")
    assert (len(train), len(held)) == (80, 4)
    assert not set(train["source"]) & set(held["source"])
    assert all(len(r) == 5 for r in held["references"])


def test_references_as_a_list_or_in_several_columns(bert: str) -> None:
    Path("a.jsonl").write_text(
        '{"source": "one", "summaries": ["x", "y", ""]}\n{"source": "two", "summaries": ["z"]}\n'
    )
    options: dict[str, Any] = {"target": ["summary", "summaries"], "group": False}
    listed = Seq2SeqData("a.jsonl", test="a.jsonl", tokenizer=bert, validation_split=0.0, **options)
    assert listed.load_split("test")["references"][:] == [["x", "y"], ["z"]]
    assert listed.load_split("train")["target"][:] == ["x", "y", "z"]
    rows = [("one", "x", "y"), ("two", "", "z")]
    columns = data_of(bert, rows, ("source", "a", "b"), target=["a", "b"])
    assert columns.load_split("test")["references"][:] == [["x", "y"], ["z"]]


def test_faults_of_the_data(bert: str) -> None:
    cases = [
        ([("a", "")], {}, "rows.csv:2: column target is empty"),
        ([("a", "b")], {"target": "tagret"}, 'no column tagret; did you mean "target"?'),
        ([("a", "b")], {"source": "text"}, "no column text"),
        (
            [("a", "b")],
            {"max_target_length": 900},
            "data.max_target_length: 900 is not between 3 and the backbone's 64",
        ),
        (
            [("a", "b")],
            {"tgt_lang": "fr_XX"},
            "data.tgt_lang: the tokenizer of .* knows no language fr_XX",
        ),
    ]

    def check(rows: list[tuple[str, ...]], options: Any, said: str) -> None:
        data = data_of(bert, rows, **options)
        with pytest.raises(UserError, match=said):
            data.encode(data.load_split("test"), "test")

    each(cases, check)


def test_targets_end_and_what_is_cut_is_counted(bert: str) -> None:
    rows = [("a b c d e f", "the film"), ("a", "one two of the film")]
    data = data_of(bert, rows, max_length=5, max_target_length=5, prefix="is ")
    batch = batch_of(data, 2)
    tokenizer = data.tokenizer
    short, long = batch["labels"].tolist()
    assert short == [*tokenizer("the film").input_ids, -100]
    assert long == tokenizer("one two of").input_ids
    assert tokenizer.decode(batch["inputs"]["input_ids"][0]) == "[CLS] is a b [SEP]"
    assert any("1 of 2 sources are longer than 5 tokens and cut" in n for n in data.notes)
    assert any("1 of 2 targets are longer than 5 tokens and cut" in n for n in data.notes)


# Models


def test_loss_is_that_of_transformers(made: dict[str, str]) -> None:
    def check(kind: str) -> None:
        data = data_of(made[kind], orders(10))
        task, batch = task_of(made[kind], data), batch_of(data)
        labels = task._labels(batch).contiguous()
        assert (labels == -100).any()
        model: Any = task.model
        expected = model(**batch["inputs"], labels=labels).loss
        result = task.step(batch)
        assert result.loss is not None
        assert result.weight == int((labels != -100).sum())
        torch.testing.assert_close(result.loss, expected)
        torch.testing.assert_close(task.evaluate(batch).loss, expected)
        start = model.config.decoder_start_token_id
        assert shift_right(model, labels)[:, 0].tolist() == [start] * 4
        assert labels[0, 0] != start

    each(KINDS, check)


def test_batches_weigh_by_tokens_and_smoothing_is_for_training(made: dict[str, str]) -> None:
    data = data_of(made["bart"], orders(10))
    task = task_of(made["bart"], data, label_smoothing=0.2)
    whole = task.step(batch_of(data))
    parts = [task.step(data.collate(data.sets["test"][[row]], [row])) for row in range(4)]
    total = sum(p.loss * p.weight for p in parts if p.loss is not None and p.weight)
    assert whole.loss is not None
    torch.testing.assert_close(whole.loss, total / sum(p.weight or 0 for p in parts))
    torch.testing.assert_close(whole.outputs, torch.cat([p.outputs for p in parts]))  # type: ignore[arg-type]
    task.train()
    torch.manual_seed(0)
    smoothed = task.step(batch_of(data)).loss
    task.label_smoothing = 0.0
    torch.manual_seed(0)
    assert smoothed != task.step(batch_of(data)).loss


def test_what_is_written_is_what_generate_writes_without_a_cache(made: dict[str, str]) -> None:
    def check(kind: str, beams: int) -> None:
        data = data_of(made[kind], orders(20))
        task = task_of(made[kind], data, num_beams=beams)
        batch = batch_of(data, 6)
        written = task.evaluate(batch).outputs
        model: Any = task.model
        options = {"max_new_tokens": 8, "do_sample": False, "use_cache": False}
        ids = model.generate(**batch["inputs"], num_beams=beams, **options)
        expected = data.tokenizer.batch_decode(ids, skip_special_tokens=True)
        decoded = task.postprocess(written, [{}] * 6)  # type: ignore[arg-type]
        assert [d["prediction"] for d in decoded] == expected
        assert len(set(expected)) > 1
        assert all(0 < d["score"] < 1 for d in decoded)

    each([*((kind, 1) for kind in KINDS), ("bert", 3), ("bart", 3)], check)


def test_probabilities_are_those_of_each_step(made: dict[str, str]) -> None:
    data = data_of(made["bert"], orders(10))
    task, batch = task_of(made["bert"], data), batch_of(data)
    model: Any = task.model
    found = model.generate(**batch["inputs"], output_logits=True, return_dict_in_generate=True)
    for i, row in enumerate(task.evaluate(batch).outputs):
        ids = found.sequences[i, 1:]
        steps = [step[i].softmax(-1)[token] for token, step in zip(ids, found.logits, strict=True)]
        torch.testing.assert_close(row[:, 1], torch.stack(steps)[: len(row)])
        assert row[:, 0].tolist() == ids[: len(row)].tolist()


def test_an_encoder_gets_a_decoder_of_its_weights(made: dict[str, str]) -> None:
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(made["bert"])
    model = encoder_decoder_from_encoder(made["bert"])
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, value in plain.named_parameters():
        if "pooler" not in name:
            assert torch.equal(own[f"encoder.{name}"], value), name
            assert torch.equal(own[f"decoder.bert.{name}"], value), name
    table = own["encoder.embeddings.word_embeddings.weight"]
    assert own["decoder.bert.embeddings.word_embeddings.weight"] is table
    assert own["decoder.cls.predictions.decoder.weight"] is table
    new: Any = model.new_parameters
    assert all("crossattention" in n or n.startswith("decoder.cls.") for n in new)
    groups = layer_groups(model)
    assert list(groups) == ["embeddings", "layer 0", "layer 1", "layer 2", "layer 3", "head"]
    assert all(n.startswith("encoder.encoder.layer.1.") for n in groups["layer 1"])
    assert all(n.startswith("decoder.bert.encoder.layer.0.") for n in groups["layer 2"])
    assert set(groups["head"]) == set(new) & set(dict(model.named_parameters()))
    assert any("crossattention" in n for n in groups["head"])


def test_other_encoders(tmp_path: Path) -> None:
    from transformers import ElectraConfig, ElectraModel, RobertaConfig, RobertaModel

    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.3,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
    }
    for config, cls in ((RobertaConfig, RobertaModel), (ElectraConfig, ElectraModel)):
        folder = tmp_path / cls.__name__
        size = save_tokenizer(folder)
        cls(config(vocab_size=size, **sizes)).save_pretrained(folder)
        data = data_of(str(folder), orders(10))
        task, batch = task_of(str(folder), data), batch_of(data)
        ids = task.model.generate(**batch["inputs"], use_cache=False)  # type: ignore[operator]
        written = task.evaluate(batch)
        texts = data.tokenizer.batch_decode(ids, skip_special_tokens=True)
        assert task.decoded(written.outputs, [{}] * len(ids)) == texts  # type: ignore[arg-type]
        expected = task.model(**batch["inputs"], labels=task._labels(batch).contiguous()).loss
        torch.testing.assert_close(written.loss, expected)


def test_backbones_that_cannot(llama: str, tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    with pytest.raises(UserError, match=r"\(llama\) is a decoder; use task CausalLM"):
        Seq2Seq(llama)
    size = save_tokenizer(tmp_path)
    config = DistilBertConfig(vocab_size=size, dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    DistilBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"\(distilbert\) has no decoder and cannot become one"):
        Seq2Seq(str(tmp_path))


def test_languages(tmp_path: Path) -> None:
    from transformers import MBart50Tokenizer, MBartConfig, MBartForConditionalGeneration

    special = [(token, 0.0) for token in ("<unk>", "<s>", "</s>")]
    pieces = [*special, *((f"▁{word}", -1.0) for word in "the film is red".split())]
    tokenizer = MBart50Tokenizer(vocab=pieces, src_lang="en_XX", tgt_lang="en_XX")
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(tmp_path)
    layers = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    sizes = {
        "d_model": 16,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 64,
    }
    config = MBartConfig(
        **sizes,
        **layers,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    MBartForConditionalGeneration(config).save_pretrained(tmp_path)
    data = data_of(str(tmp_path), [("the film", "is red")], src_lang="de_DE", tgt_lang="fr_XX")
    task, batch = task_of(str(tmp_path), data), batch_of(data, 1)
    german, french = tokenizer.convert_tokens_to_ids(["de_DE", "fr_XX"])
    assert batch["inputs"]["input_ids"][0, 0] == german
    words = tokenizer.convert_tokens_to_ids(["▁is", "▁red"])
    assert batch["labels"][0].tolist() == [french, *words, 2]
    assert shift_right(task.model, batch["labels"])[0].tolist()[:2] == [2, french]
    assert task.evaluate(batch).outputs[0][0, 0] == french
    assert task.model.generation_config.forced_bos_token_id == french  # type: ignore[union-attr]


def test_faults_of_the_options(bert: str) -> None:
    cases = [
        ({"num_beams": 0}, "model.num_beams: 0 is out of range; it must be at least 1"),
        ({"max_new_tokens": 900}, "model.max_new_tokens: 900 is more than the backbone's 64"),
        ({"label_smoothing": 1.0}, "model.label_smoothing"),
        ({"sample": 0}, "model.sample: 0 is out of range"),
    ]

    def check(options: Any, said: str) -> None:
        with pytest.raises(UserError, match=said):
            Seq2Seq(bert, **options)

    each(cases, check)


def test_a_sample_is_spread_evenly() -> None:
    def check(rows: int, sample: int | None) -> None:
        chosen = [i for i in range(rows) if decoding.drawn(i, rows, sample)]
        assert len(chosen) == min(rows, sample or rows)
        gaps = [b - a for a, b in itertools.pairwise(chosen)]
        assert max(gaps) - min(gaps) <= 1

    each([(10, 3), (7, 7), (5, 20), (1000, 200), (3, None)], check)


def test_default_rates(made: dict[str, str]) -> None:
    assert Seq2Seq(made["t5"]).lr == 3e-4
    assert Seq2Seq(made["bert"]).lr == 4 * Seq2Seq(made["bart"]).lr


# Runs


def fit(backbone: str, folder: Path, *words: str, epochs: int = 1, rows: int = 40) -> Path:
    """Trains a tiny run through the command line in this process. Returns its folder."""
    train = write_csv(folder / "train.csv", orders(rows), ("mr", "ref"))
    test = write_csv(folder / "test.csv", orders(12), ("mr", "ref"))
    command = (
        f"fit --model Seq2Seq --model.backbone {backbone} --trainer.max_epochs {epochs} "
        f"--data.train {train} --data.validation {test} --data.test {test} "
        "--data.source mr --data.target ref --data.batch_size 8 --model.max_new_tokens 10 "
        f"--trainer.accelerator cpu --trainer.precision 32 --run {folder / 'run'}"
    )
    assert main([*command.split(), *words]) == 0
    return folder / "run"


def test_capitals_come_from_the_source() -> None:
    cases = [
        ("it is near burger king.", "name[Aromi], near[Burger King]", "It is near Burger King."),
        # a sentence's first word is no name
        ("the cat sat. it ran", "The cat sat on a mat. Cats run.", "The cat sat. It ran"),
        (
            "aromi, i.e. a family - friendly pub",
            "Pubs: a\nname[Aromi]",
            "Aromi, i.e. A family-friendly pub",
        ),
        ("près de l'étoile", "near[L'Étoile]", "Près de L'Étoile"),
        (
            "the price range is more than £20",
            "priceRange[more than £20]",
            "The price range is more than £20",
        ),
        ("", "name[Aromi]", ""),
    ]

    def check(text: str, source: str, expected: str) -> None:
        assert truecase.truecased(text, source) == expected

    each(cases, check)


def test_capitals_are_put_back_where_the_targets_have_some(tmp_path: Path) -> None:
    backbone = str(make_bert(tmp_path / "bert", sentence_encoder=False))
    for name, target in (("large", "The parcel is late."), ("small", "the parcel is late.")):
        rows = [(f"colour red {i}", target) for i in range(20)]
        file = write_csv(tmp_path / f"{name}.csv", rows, ("source", "target"))
        data = Seq2SeqData(file, tokenizer=backbone)
        data.setup("fit")
        assert data.truecase is (name == "large")
        data.save_state(tmp_path)
        again = Seq2SeqData(tokenizer=backbone)
        again.load_state(tmp_path)
        assert again.truecase is data.truecase
        assert again.finished("late", {"source": "x"}) == ("Late" if name == "large" else "late")


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def texts_of(export: Path, sources: list[str]) -> list[str]:
    """What transformers alone writes from an exported folder."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(export)
    model = AutoModelForSeq2SeqLM.from_pretrained(export)
    assert model.generation_config.num_beams == 2
    options = {"padding": True, "truncation": True, "return_token_type_ids": False}
    with torch.inference_mode():
        ids = model.generate(**tokenizer(sources, return_tensors="pt", **options))
    return list(tokenizer.batch_decode(ids, skip_special_tokens=True))


@pytest.mark.run
def test_a_run_from_fit_to_export(
    made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sacrebleu

    def check(kind: str) -> None:
        folder = tmp_path / kind
        folder.mkdir()
        backbone = Path(shutil.copytree(made[kind], folder / "backbone"))
        run = fit(str(backbone), folder, "--model.num_beams", "2", "--data.prefix", "say ")
        backbone.rename(folder / "gone")  # a run needs its checkpoint only
        rows = read(run / "test_predictions.csv")
        metrics = json.loads((run / "test_metrics.json").read_text())
        references = [json.loads(r["references"]) for r in rows]
        assert {len(r) for r in references} == {1, 2}
        streams: Any = [[r[i] if i < len(r) else None for r in references] for i in range(2)]
        expected = sacrebleu.corpus_bleu([r["prediction"] for r in rows], streams).score
        assert metrics["test/bleu"] == pytest.approx(expected, rel=1e-6)
        assert metrics["test/bleu_low"] <= metrics["test/bleu"] <= metrics["test/bleu_high"]
        others = "loss chrf rouge1 rouge2 rougeLsum bleu_uncased".split()
        assert {f"test/{name}" for name in others} <= set(metrics)
        assert metrics["test/bleu_tokenize"] == "13a"
        assert re.search(
            r"test bleu +[\d.]+ \(tokenize 13a, 95 % interval", capsys.readouterr().out
        )

        assert main(["test", str(run)]) == 0
        again = json.loads((run / "test_metrics.json").read_text())
        assert again["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-6)
        assert main(f"predict {run} {folder / 'test.csv'} --out {folder / 'out.csv'}".split()) == 0
        predicted = {r["mr"]: r["prediction"] for r in read(folder / "out.csv")}
        assert predicted == {r["mr"]: r["prediction"] for r in rows}

        export = folder / "export"
        assert main(f"export {run} --out {export}".split()) == 0
        sources = [f"say {source}" for source in predicted]
        assert texts_of(export, sources) == list(predicted.values())
        card = (export / "README.md").read_text()
        assert "tokenizer(['say ' + text for text in texts], " in card
        assert "| bleu_tokenize | 13a |" in card

    each(["bert", "t5"], check)


def test_the_words_of_bleu_are_chosen_by_all_references_not_by_those_compared(
    made: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chinese = [f"我们在北京看了{i}部电影。" for i in range(3)]
    english = "We saw one film in London."
    rows: list[dict[str, Any]] = [{"references": [text]} for text in [english, *chinese]]
    outputs = [torch.ones(1, 2), *[torch.zeros(0, 2)] * 3]  # only the first was drawn

    def check(options: dict[str, str], outputs: list[torch.Tensor], tokenize: str) -> None:
        task = task_of(made["bart"], data_of(made["bart"], [("a", "b")]), **options)
        monkeypatch.setattr(task, "decoded", lambda _, rows: [r["references"][0] for r in rows])
        found = task.compute_metrics(outputs, None, rows)
        assert found.about == {"bleu": {"tokenize": tokenize}}
        assert found.values["bleu"] == pytest.approx(100)
        assert found.values["rouge2"] == 1

    each(
        [
            ({}, outputs, "zh"),
            ({}, [torch.ones(1, 2)] * 4, "zh"),
            ({"bleu_tokenize": "intl"}, outputs, "intl"),
        ],
        check,
    )


def test_where_bleu_cannot_be_counted_it_is_undefined(
    made: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(made["bart"], data_of(made["bart"], [("a", "b")]))
    monkeypatch.setattr(task, "decoded", lambda outputs, _: ["yes"] * len(outputs))
    found = task.compute_metrics([torch.ones(1, 2)] * 2, None, [{"references": ["yes"]}] * 2)
    assert math.isnan(found.values["bleu"])
    assert all(map(math.isnan, found.intervals["bleu"]))
    assert found.values["rouge1"] == 1
    assert "no target has four words, so BLEU is n/a" in scores.notes([["yes"]], "auto")[0]
    assert scores.notes([["yes"], ["the cat sat down"]], "auto") == []


@pytest.mark.run
def test_it_learns_to_write(tmp_path: Path) -> None:
    changes = {"hidden_dropout_prob": 0.0, "initializer_range": 0.1, "num_hidden_layers": 1}
    backbone = str(make_bert(tmp_path / "bert", sentence_encoder=False, **changes))
    data = data_of(backbone, [(s, t) for s, t in orders(20) if t.startswith("the")])
    torch.manual_seed(0)
    task, batch = task_of(backbone, data), batch_of(data, 20)
    optimizer = torch.optim.Adam(task.parameters(), lr=5e-3)
    for _ in range(150):
        loss = task.step(batch).loss
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    outputs: Any = task.evaluate(batch).outputs
    evidence = task.compute_metrics(outputs, None, data.load_split("test"))  # type: ignore[arg-type]
    assert evidence.values["bleu"] > 90
    low, high = evidence.intervals["bleu"]
    assert 50 < low < evidence.values["bleu"] <= high < 100.1  # all right, but few


@pytest.mark.run
def test_head_alone_reads_the_encoder_from_the_cache(
    made: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = "--model.unfreeze head --model.cache true --model.sample 3".split()
    run = fit(made["bert"], tmp_path, *options, epochs=2)
    assert "computed once now" in caplog.text
    assert "run at every step" not in caplog.text
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    start = encoder_decoder_from_encoder(made["bert"]).state_dict()
    moved = {n for n, v in start.items() if not torch.equal(v, state[f"model.{n}"])}
    assert all("crossattention" in n or "cls." in n for n in moved)
    assert any("crossattention" in n for n in moved)


@pytest.mark.run
def test_only_the_sample_is_written_while_training(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    generate = decoding.generate

    def counted(model: Any, states: Any, *rest: Any) -> Any:
        written.append(len(states))
        return generate(model, states, *rest)

    monkeypatch.setattr(decoding, "generate", counted)
    more = ["--trainer.num_sanity_val_steps", "0", "--trainer.report", "false"]
    fit(made["bart"], tmp_path, "--model.sample", "3", *more)
    assert sum(written) == 3 + 12  # validation, then all of the test


@pytest.mark.run
def test_adapters(made: dict[str, str], tmp_path: Path) -> None:
    run = fit(made["bert"], tmp_path, "--model.peft", "lora")
    assert main(["export", str(run)]) == 0


def test_an_encoder_decoder_writes_whatever_its_config_says_it_is(
    made: dict[str, str], tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(made["bart"], tmp_path / "wrong"))
    config = json.loads((wrong / "config.json").read_text())
    (wrong / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": False}))
    data = data_of(made["bart"], orders(10))
    right, same = (task_of(place, data).eval() for place in (made["bart"], str(wrong)))
    batch = batch_of(data)
    for ours, theirs in zip(
        right.evaluate(batch).outputs, same.evaluate(batch).outputs, strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("config", "generation", "start"),
    [
        ({"decoder_start_token_id": 4, "bos_token_id": 2}, {"decoder_start_token_id": 5}, 4),
        ({"bos_token_id": 2}, {"decoder_start_token_id": 5}, 5),
        ({"decoder_start_token_id": {"a": 1}}, {"bos_token_id": 2}, 2),
        ({"decoder_start_token_id": None}, {}, None),
    ],
)
def test_the_start_token_is_that_of_generation(
    config: dict[str, Any], generation: dict[str, Any], start: int | None
) -> None:
    model = SimpleNamespace(
        config=SimpleNamespace(**config), generation_config=SimpleNamespace(**generation)
    )
    if start is None:
        with pytest.raises(UserError, match=r"config\.json of it names no decoder_start_token_id"):
            decoding.set_start(model, "it")
    else:
        decoding.set_start(model, "it")
        assert model.config.decoder_start_token_id == start
