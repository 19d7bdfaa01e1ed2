"""CausalLM: which tokens have a loss, packing, perplexity, replies, export."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_bert
from tiny.causal_lm import make_decoder, write_chats
from torch.nn import functional as F

import ftlight
from ftlight.__main__ import main
from ftlight.data import tokens
from ftlight.models import kernels
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm.data import ChatData, packed
from ftlight.tasks.causal_lm.task import CausalLM
from ftlight.tasks.generation import likelihood, probe
from ftlight.utils.errors import UserError

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
KINDS = ["llama", "gpt2", "qwen2", "mistral", "gemma", "phi3", "gpt_neox", "olmo2"]


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Llama without a chat template, whose pad token ends texts."""
    return make_decoder(tmp_path_factory.mktemp("decoder"), pad_token="</s>")


@pytest.fixture(scope="session")
def chatter(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Qwen with a chat template of its own."""
    folder = tmp_path_factory.mktemp("chatter")
    return make_decoder(
        folder, "qwen2", ("<|im_start|>", "<|im_end|>"), pad_token="<unk>", chat_template=CHATML
    )


def module(backbone: str, train: str, **options: Any) -> ChatData:
    data = ChatData(train, tokenizer=backbone, **options)
    data.setup("fit")
    return data


def batches(data: ChatData, split: str) -> list[dict[str, Any]]:
    table = data.sets[split]
    return [
        data.collate(table[[i, *([i + 1] if i + 1 < len(table) else [])]], [i, i + 1])
        for i in range(0, len(table), 2)
    ]


# What has a loss


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("max_length", [512, 90], ids=["whole", "cut"])
@pytest.mark.parametrize("backbone", ["decoder", "chatter"])
def test_only_replies_and_their_ends_have_a_loss(
    backbone: str, max_length: int, packing: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Over a whole data set: what is learned is each reply once with its end, and no token of a user."""
    data = module(
        request.getfixturevalue(backbone),
        write_chats(tmp_path / "c.jsonl", 30, 3),
        packing=packing,
        max_length=max_length,
    )
    end = "<|im_end|>" if backbone == "chatter" else "</s>"
    for split in ("train", "validation"):
        said = []
        for batch in batches(data, split):
            for row in batch["labels"].tolist():
                text = data.tokenizer.decode([t for t in row if t != tokens.IGNORE])
                said += [part.strip() for part in text.split(end)[:-1]]
                assert text == "" or text.endswith(end)
        replies = [
            m.content
            for t in data.load_split(split)["messages"]
            for m in chat.load(t)
            if m.role == "assistant"
        ]
        assert sorted(said) == sorted(replies)


def test_the_end_is_learned_and_padding_is_not_though_they_are_one_token(
    decoder: str, tmp_path: Path
) -> None:
    data = module(decoder, write_chats(tmp_path / "c.jsonl", 20))
    eos = data.tokenizer.eos_token_id
    assert data.tokenizer.pad_token_id == eos
    table = data.sets["train"]
    short, long = np.argsort(table["length"])[[0, -1]].tolist()
    batch = data.collate(table[[short, long]], [short, long])
    mask, labels = batch["inputs"]["attention_mask"], batch["labels"]
    assert (mask == 0).any()
    assert (labels[mask == 0] == tokens.IGNORE).all()
    assert (labels == eos).sum() == 4  # two replies in each row


def test_loss_on_all_tokens_is_for_training_alone(decoder: str, tmp_path: Path) -> None:
    data = module(decoder, write_chats(tmp_path / "c.jsonl", 20), loss="all")
    train, val = (batches(data, split)[0] for split in ("train", "validation"))
    assert (
        (train["labels"] != tokens.IGNORE).sum(1) == train["inputs"]["attention_mask"].sum(1) - 1
    ).all()
    assert (
        (val["labels"] != tokens.IGNORE).sum(1) < val["inputs"]["attention_mask"].sum(1) / 2
    ).all()


def test_long_chats_are_rows_of_their_own_in_training_and_one_row_in_evaluation(
    decoder: str, tmp_path: Path
) -> None:
    data = module(decoder, write_chats(tmp_path / "c.jsonl", 20, 6), max_length=100)
    assert len(data.sets["validation"]) == 2
    assert len(data.sets["train"]) > 18
    batch = data.collate(data.sets["validation"][[0, 1]], [0, 1])
    assert len(batch["places"]) > 2
    assert batch["places"].unique().tolist() == [0, 1]
    assert any("train: 18 rows are cut into" in note and "at turns" in note for note in data.notes)
    assert "validation: 2 rows are cut into" in " ".join(data.notes)


def test_notes_say_format_template_and_what_was_cut(chatter: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "prompt": f"{i} " + "x" * 200 * (i == 3),
                    "completion": "<|im_end|>" * (i == 5) + "b",
                }
            )
            + "\n"
            for i in range(9)
        )
    )
    data = module(chatter, "c.jsonl", max_length=100, validation_split=0)
    notes = "\n".join(data.notes)
    assert (
        "chats as prompt, the tokenizer's own chat template; replies end with </s>, <|im_end|>; at most 100 tokens, rows are padded"
        in notes
    )
    assert "train: 1 turns are longer than 100 tokens and cut" in notes
    assert "train: 1 rows hold the text of a special token" in notes


# Packing


def tiny(kind: str, vocabulary: int = 97, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "num_key_value_heads": 2,
    }
    if kind == "gpt2":
        sizes = {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }
    if kind == "opt":
        sizes = {**sizes, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}
    if kind in ("gemma", "gemma2"):
        sizes["head_dim"] = 8
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, vocab_size=vocabulary, pad_token_id=0, **{**sizes, **changes})
    )


def made_rows(data: ChatData, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same three rows padded and packed."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(1, 97, n).tolist() for n in (9, 4, 14)]
    learned = [[False, *(rng.random(len(row) - 1) < 0.6).tolist()] for row in ids]
    columns = {
        "ids": [[row] for row in ids],
        "learned": [[row] for row in learned],
        "length": [len(row) for row in ids],
    }
    made = []
    for data.packing in (False, True):
        made.append(data.collate(columns, [0, 1, 2]))
    return made[0], made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_packed_and_padded_give_the_same_loss_and_gradients(kind: str, decoder: str) -> None:
    model = tiny(kind)
    assert probe(model) == (True, True)
    losses, gradients = [], []
    for batch in made_rows(ChatData(tokenizer=decoder)):
        model.zero_grad()
        loss = likelihood(model, batch["inputs"], batch["labels"])[0].mean()
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    assert losses[0] == pytest.approx(losses[1], abs=2e-6)
    assert (gradients[0] - gradients[1]).abs().max() < 1e-5 * max(
        1, gradients[0].abs().max().item()
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "mistral", "gpt_neox"])
def test_our_attention_is_as_near_to_fp32_as_torchs_own(
    kind: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(kind)
    for parameter in model.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)  # attention that is not even

    def gradients(inputs: Any, labels: Any, half: bool) -> torch.Tensor:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            likelihood(model, inputs, labels)[0].mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    batches = [(b["inputs"], b["labels"]) for b in made_rows(ChatData(tokenizer=decoder))]
    ids = torch.randint(1, 97, (2, 12), generator=torch.Generator().manual_seed(0))
    batches.append(({"input_ids": ids}, ids))  # no mask: causal
    for batch in batches:
        model.set_attn_implementation("sdpa")
        exact, theirs = (gradients(*batch, half) for half in (False, True))
        kernels.use(model, "auto")
        torch.testing.assert_close(gradients(*batch, False), exact)  # in fp32 it is torch's own
        with monkeypatch.context() as without:
            without.setattr(F, "scaled_dot_product_attention", None)
            ours = gradients(*batch, True)
        assert (ours - exact).norm() < 2 * (theirs - exact).norm() + 1e-3 * exact.norm()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_packed_samples_do_not_see_each_other(kind: str) -> None:
    model = tiny(kind).eval()
    inputs = packed([[5] * 14, [6] * 9, [7] * 4], [[False] * 14, [False] * 9, [False] * 4], 0)[
        "inputs"
    ]
    assert inputs["position_ids"].tolist() == [[*range(14)], [*range(9), *range(4), 0]]
    with torch.no_grad():
        before = model(**inputs, use_cache=False).logits[1]
        inputs["input_ids"][1, 3] += 1  # of the first sample of the row, which has places 0 to 8
        after = model(**inputs, use_cache=False).logits[1]
    assert (before != after).any(1).nonzero().squeeze(1).tolist() == [*range(3, 9)]


@pytest.mark.parametrize("kind", ["mamba", "bloom", "opt"])
def test_what_cannot_keep_rows_apart_is_told(kind: str) -> None:
    causal, packs = probe(tiny(kind))
    assert (causal, packs) == (True, False)


def test_such_models_are_trained_padded(tmp_path: Path, capsys: Any) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    folder = make_decoder(tmp_path / "bloom")
    BloomForCausalLM(
        BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2)
    ).save_pretrained(folder)
    assert (
        main(
            [
                *words(folder, write_chats(tmp_path / "c.jsonl", 20)),
                "--data.tokens_per_batch",
                "300",
                "--run",
                "r",
            ]
        )
        == 0
    )
    assert "BloomForCausalLM does not keep packed rows apart: batches are padded" in " ".join(
        capsys.readouterr().out.split()
    )


def test_an_encoder_is_refused(tmp_path: Path, capsys: Any) -> None:
    bert = str(make_bert(tmp_path / "bert", sentence_encoder=False))
    assert main([*words(bert, write_chats(tmp_path / "c.jsonl", 20)), "--run", "r"]) == 2
    assert "is not a decoder" in capsys.readouterr().err


# Loss


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_the_loss_is_that_of_transformers_and_logits_are_made_for_labels_alone(
    kind: str, decoder: str
) -> None:
    model = tiny(kind, **({"final_logit_softcapping": 3.0} if kind == "gemma2" else {}))
    batch, _ = made_rows(ChatData(tokenizer=decoder))
    made: list[torch.Size] = []
    model.get_output_embeddings().register_forward_hook(
        lambda m, given, out: made.append(out.shape)
    )
    nll, right, rows = likelihood(model, batch["inputs"], batch["labels"])
    count = int((batch["labels"] != tokens.IGNORE).sum())
    assert made == [(1, count, 97)]
    out = model(**batch["inputs"], labels=batch["labels"])
    assert nll.mean().item() == pytest.approx(out.loss.item(), abs=1e-6)
    gold = batch["labels"][:, 1:]
    assert (
        right.tolist()
        == (out.logits[:, :-1].argmax(-1) == gold)[gold != tokens.IGNORE].float().tolist()
    )
    assert rows.tolist() == (gold != tokens.IGNORE).nonzero()[:, 0].tolist()


# Runs


def words(backbone: str, train: str, *more: str) -> list[str]:
    base = [
        "fit",
        "--model",
        "CausalLM",
        "--model.backbone",
        backbone,
        "--data.train",
        train,
        "--trainer.max_epochs",
        "1",
    ]
    small = [
        "--trainer.accelerator",
        "cpu",
        "--trainer.precision",
        "32-true",
        "--data.batch_size",
        "8",
        "--model.max_new_tokens",
        "8",
    ]
    return [*base, *small, "--model.sample", "3", *more]


def test_a_chatbot_learns_is_measured_predicts_and_is_exported(
    chatter: str, tmp_path: Path, capsys: Any
) -> None:
    train = write_chats(tmp_path / "c.jsonl", 60)
    more = [
        "--data.test_split",
        "0.1",
        "--data.validation_split",
        "0",
        "--data.tokens_per_batch",
        "600",
        "--model.lr",
        "1e-2",
        "--trainer.max_epochs",
        "25",
    ]
    assert main(words(chatter, train, *more, "--model.max_new_tokens", "30", "--run", "r")) == 0
    metrics = json.loads(Path("r/test_metrics.json").read_text())
    assert metrics["test/perplexity"] < 1.5
    assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/loss"]), rel=1e-5)
    assert (
        metrics["test/perplexity_low"]
        <= metrics["test/perplexity"]
        <= metrics["test/perplexity_high"]
    )
    assert metrics["test/bleu"] > 60
    assert metrics["test/rougeL"] > 0.6
    with Path("r/test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["prediction"]) for row in rows] == [False, True] * 3
    assert all(float(row["perplexity"]) > 1 for row in rows)

    (tmp_path / "ask.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "where is my card 3"}]})
        + "\n"
        + Path(train).read_text().split("\n")[1]
        + "\n"
    )
    capsys.readouterr()
    assert main(["predict", "r", "ask.jsonl"]) == 0
    answers = [
        json.loads(line) for line in Path("r/predictions/ask.jsonl").read_text().splitlines()
    ]
    assert answers[0]["prediction"] == "your card is here"
    assert (
        answers[1]["prediction"] == "your refund is here"
    )  # after the user's last turn, the reply there left out
    assert 0.5 < answers[0]["score"] <= 1
    assert main(["predict", "r", "--text", "where is my card 3"]) == 0
    assert "your card is here" in capsys.readouterr().out

    assert main(["export", "r"]) == 0
    from transformers import pipeline

    pipe = pipeline("text-generation", "r/export", device="cpu")
    asked = [{"role": "user", "content": "where is my parcel 8"}]
    (mine,) = ftlight.load("r").predict([{"messages": asked}])
    assert pipe(asked, return_full_text=False)[0]["generated_text"].strip() == mine["prediction"]
    model, tokenizer = pipe.model, pipe.tokenizer
    given = tokenizer.apply_chat_template(
        [*asked, {"role": "assistant", "content": mine["prediction"]}], return_tensors="pt"
    )["input_ids"]
    start = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")[
        "input_ids"
    ].shape[1]
    said = (
        model(given[:, :-1])
        .logits[0]
        .log_softmax(-1)[start - 1 : -1]
        .gather(1, given[0, start:-1, None])
    )
    assert mine["score"] == pytest.approx(said.mean().exp().item(), abs=1e-4)


def test_the_plain_template_goes_with_the_model(decoder: str, tmp_path: Path) -> None:
    assert main(words(decoder, write_chats(tmp_path / "c.jsonl", 30), "--run", "r")) == 0
    assert main(["export", "r"]) == 0
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained("r/export")
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.apply_chat_template(given, tokenize=False) == "<s>User: a\nAssistant: b</s>"
    asked = given[:1]
    (mine,) = ftlight.load("r").predict(["a"])
    assert (
        pipeline("text-generation", "r/export", device="cpu")(asked, return_full_text=False)[0][
            "generated_text"
        ].strip()
        == mine["prediction"]
    )


def test_plain_text_is_learned_whole_and_continued(
    decoder: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "t.txt").write_text(
        "".join(f"the parcel {i} is late and the card is lost\n" for i in range(40))
    )
    assert (
        main(
            words(
                decoder,
                "t.txt",
                "--data.max_length",
                "40",
                "--run",
                "r",
                "--trainer.max_epochs",
                "20",
                "--model.lr",
                "1e-2",
                "--data.validation_split",
                "0",
            )
        )
        == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "plain text, all of it is learned; at most 40 tokens" in said
    assert main(["predict", "r", "--text", "the parcel 7 is late and"]) == 0
    assert "the car" in capsys.readouterr().out
    assert main(["export", "r"]) == 0


def test_measures_do_not_depend_on_the_batches_and_count_tokens(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightning as L

    train = write_chats(tmp_path / "c.jsonl", 24, 5)
    found = []
    for size, logits in ((1, 2**26), (7, 2**26), (24, 10)):
        monkeypatch.setattr("ftlight.tasks.causal_lm.task.LOGITS", logits)
        task, data = (
            CausalLM(decoder, sample=4, max_new_tokens=6),
            ChatData(train, tokenizer=decoder, batch_size=size, max_length=120, test=train),
        )
        L.Trainer(
            logger=False, enable_progress_bar=False, accelerator="cpu", enable_checkpointing=False
        ).test(task, datamodule=data, verbose=False)
        found.append(
            (
                task.evidence["test"].values,
                [o.tolist() for o in task.evidence["test"].outputs or []],
            )
        )
    (values, outputs), *others = found
    for other, rows in others:
        assert other == pytest.approx(values, rel=1e-5)
        for mine, theirs in zip(rows, outputs, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4, nan_ok=True)
    sums = torch.tensor([o[:2] for o in outputs]).sum(0)
    assert values["perplexity"] == pytest.approx(math.exp(sums[0] / sums[1]), rel=1e-6)
    assert sum(not math.isnan(o[3]) for o in outputs) == 4
    replies = [
        m.content
        for t in data.load_split("test")["messages"]
        for m in chat.load(t)
        if m.role == "assistant"
    ]
    assert sums[1] == sum(len(" " + r) + 1 for r in replies)  # a token per byte, and the end


def test_without_sacrebleu_there_is_no_bleu(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CausalLM(decoder)
    task.datamodule = ChatData(tokenizer=decoder)
    row = {"messages": chat.dump([chat.Message("user", "a"), chat.Message("assistant", "b")])}
    outputs = [
        torch.tensor(
            [2.0, 4.0, 1.0, -0.1, *task.data.tokenizer(" b", add_special_tokens=False)["input_ids"]]
        )
    ]
    assert task.compute_metrics(outputs, None, [row]).values.keys() == {
        "perplexity",
        "token_accuracy",
        "bleu",
        "rougeL",
    }
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    values = task.compute_metrics(outputs, None, [row]).values
    assert values == pytest.approx(
        {"perplexity": math.exp(0.5), "token_accuracy": 0.25, "rougeL": 1.0}
    )


@pytest.mark.parametrize(
    "more", [["--model.peft", "lora"], ["--model.unfreeze", "gradual"]], ids=lambda m: m[1]
)
def test_adapters_and_schedules(more: list[str], chatter: str, tmp_path: Path) -> None:
    if "lora" in more:
        pytest.importorskip("peft")
    assert (
        main(
            words(
                chatter,
                write_chats(tmp_path / "c.jsonl", 30),
                *more,
                "--data.tokens_per_batch",
                "300",
                "--trainer.max_epochs",
                "3",
                "--run",
                "r",
            )
        )
        == 0
    )
    assert main(["predict", "r", "--text", "hi"]) == 0
    assert main(["export", "r"]) == 0


def test_the_last_reply_is_written_anew_where_the_user_has_the_last_word(
    decoder: str, tmp_path: Path
) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "bye")]
    (tmp_path / "c.jsonl").write_text(
        (json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}) + "\n") * 8
    )
    assert (
        main(
            words(
                decoder, "c.jsonl", "--data.test", "c.jsonl", "--data.test_split", "0", "--run", "r"
            )
        )
        == 0
    )
    with Path("r/test_predictions.csv").open() as file:
        assert sum(bool(row["score"]) for row in csv.DictReader(file)) == 3
    metrics = json.loads(Path("r/test_metrics.json").read_text())
    assert metrics["test/rougeL"] is not None


def test_a_run_keeps_all_that_ends_a_reply(chatter: str, tmp_path: Path) -> None:
    """Also what only the model's own generation_config.json says, which a run does not copy."""
    import shutil

    folder = shutil.copytree(chatter, tmp_path / "own")
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [2, 7], "repetition_penalty": 1.5})
    )
    assert main(words(str(folder), write_chats(tmp_path / "c.jsonl", 20), "--run", "r")) == 0
    assert json.loads(Path("r/chat.json").read_text())["ends"] == [
        2,
        7,
        ftlight.load("r").data.tokenizer.convert_tokens_to_ids("<|im_end|>"),
    ]
    assert main(["export", "r"]) == 0
    exported = json.loads(Path("r/export/generation_config.json").read_text())
    assert exported["eos_token_id"][:2] == [2, 7]
    assert exported.get("repetition_penalty") in (None, 1.0)


def test_drawn_replies_are_the_same_each_time(decoder: str) -> None:
    task, data = (
        CausalLM(decoder, temperature=1.0, top_p=0.9, max_new_tokens=20),
        ChatData(tokenizer=decoder),
    )
    greedy = CausalLM(decoder, max_new_tokens=20)
    both = [ftlight_predict(t, data, ["a", "b"]) for t in (task, task, greedy)]
    assert both[0] == both[1] != both[2]


def ftlight_predict(task: CausalLM, data: ChatData, rows: list[str]) -> list[str]:
    from ftlight.trainer.predictor import Predictor

    return [p["prediction"] for p in Predictor(task, data).predict(rows)]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"max_new_tokens": 0}, "model.max_new_tokens: 0"),
        ({"temperature": -1.0}, "model.temperature: -1.0"),
        ({"top_p": 0.0}, "model.top_p: 0.0"),
        ({"cache": True}, "model.cache: outputs of frozen layers"),
    ],
)
def test_faults_of_options(option: dict[str, Any], words: str, decoder: str) -> None:
    with pytest.raises(UserError, match=words):
        CausalLM(decoder, **option)


def test_a_row_to_answer_may_have_any_format(decoder: str, tmp_path: Path) -> None:
    data = ChatData(tokenizer=decoder)
    rows = [
        {"prompt": "hi"},
        {"text": "hi"},
        {"messages": "hi"},
        {"instruction": "hi", "input": ""},
        {"conversations": [{"from": "human", "value": "hi"}]},
    ]
    assert {data._asked(row, "f:1", "f")[0] for row in rows} == {chat.Message("user", "hi")}
    with pytest.raises(UserError, match=r"message 1 \(user\) is empty"):
        data.encode_rows([{"messages": ""}], "input")
