"""CausalLM: which tokens have a loss, packing, perplexity, replies, export."""

from __future__ import annotations

import csv
import itertools
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import each, make_bert
from tiny.causal_lm import make_decoder, write_chats
from torch.nn import functional as F

import ftlight
from ftlight.__main__ import main
from ftlight.data import files, tokens
from ftlight.models import kernels
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.packing import packed
from ftlight.tasks.causal_lm.task import CausalLM
from ftlight.tasks.generation import likelihood, probe
from ftlight.utils.errors import UserError

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
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
    """Every two rows of a split as a batch."""
    table = data.sets[split]
    made = []
    for start in range(0, len(table), 2):
        rows = list(range(start, min(start + 2, len(table))))
        made.append(data.collate(table[rows], rows))
    return made


def replies(data: ChatData, split: str) -> list[str]:
    """What the assistant says in a split."""
    chats = [chat.load(messages) for messages in data.load_split(split)["messages"]]
    return [m.content for messages in chats for m in messages if m.role == "assistant"]


# What has a loss


def test_only_replies_and_their_ends_have_a_loss(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Over all rows: what is learned is each reply once with its end, and no token of a user."""
    train = write_chats(tmp_path / "c.jsonl", 30, 3)

    def check(packing: bool, max_length: int, backbone: str) -> None:
        options = {"packing": packing, "max_length": max_length}
        data = module(request.getfixturevalue(backbone), train, **options)
        end = "<|im_end|>" if backbone == "chatter" else "</s>"
        for split in ("train", "validation"):
            said = []
            for batch in batches(data, split):
                for row in batch["labels"].tolist():
                    text = data.tokenizer.decode([t for t in row if t != tokens.IGNORE])
                    said += [part.strip() for part in text.split(end)[:-1]]
                    assert text == "" or text.endswith(end)
            assert sorted(said) == sorted(replies(data, split))

    each(itertools.product([False, True], [512, 90], ["decoder", "chatter"]), check)


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
    counts = []
    for split in ("train", "validation"):
        batch = batches(data, split)[0]
        learned = (batch["labels"] != tokens.IGNORE).sum(1)
        counts.append((learned, batch["inputs"]["attention_mask"].sum(1)))
    (learned, length), (scored, other) = counts
    assert (learned == length - 1).all()
    assert (scored < other / 2).all()


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
    rows = [{"prompt": f"{i} ", "completion": "b"} for i in range(9)]
    rows[3]["prompt"] += "x" * 200
    rows[5]["completion"] = "<|im_end|>b"
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = module(chatter, "c.jsonl", max_length=100, validation_split=0)
    notes = "\n".join(data.notes)
    assert (
        "chats as prompt, the tokenizer's own chat template; replies end with </s>, <|im_end|>; "
        "at most 100 tokens, rows are padded"
    ) in notes
    assert "train: 1 turn is longer than 100 tokens and cut" in notes
    assert "train: 1 row holds the text of a special token" in notes


# Packing


def tiny(kind: str, vocabulary: int = 97, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "num_key_value_heads": 2,
    }
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    if kind == "opt":
        sizes = {**sizes, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}
    if kind in ("gemma", "gemma2"):
        sizes["head_dim"] = 8
    torch.manual_seed(1)
    sizes |= {"vocab_size": vocabulary, "pad_token_id": 0, **changes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


def flat_gradients(model: torch.nn.Module) -> torch.Tensor:
    """All gradients of a model in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def made_rows(data: ChatData, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same three rows padded and packed."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(1, 97, n).tolist() for n in (9, 4, 14)]
    learned = [[False, *(rng.random(len(row) - 1) < 0.6).tolist()] for row in ids]
    columns = {
        "ids": [[row] for row in ids],
        "loss_mask": [[row] for row in learned],
        "length": [len(row) for row in ids],
    }
    made = []
    for data.packing in (False, True):
        made.append(data.collate(columns, [0, 1, 2]))
    return made[0], made[1]


def test_packed_and_padded_give_the_same_loss_and_gradients(decoder: str) -> None:
    def check(kind: str) -> None:
        model = tiny(kind)
        assert probe(model) == (True, True)
        losses = []
        gradients = []
        for batch in made_rows(ChatData(tokenizer=decoder)):
            model.zero_grad()
            loss = likelihood(model, batch["inputs"], batch["labels"])[0].mean()
            loss.backward()
            losses.append(loss.item())
            gradients.append(flat_gradients(model))
        assert losses[0] == pytest.approx(losses[1], abs=2e-6)
        largest = max(1, gradients[0].abs().max().item())
        assert (gradients[0] - gradients[1]).abs().max() < 1e-5 * largest

    each(KINDS, check)


def test_our_attention_is_as_near_to_fp32_as_torchs_own(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(kind: str) -> None:
        model = tiny(kind)
        for parameter in model.parameters():
            parameter.data.mul_(3 if parameter.ndim > 1 else 1)  # attention that is not even

        def gradients(inputs: Any, labels: Any, half: bool) -> torch.Tensor:
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                likelihood(model, inputs, labels)[0].mean().backward()
            return flat_gradients(model)

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

    each(["llama", "gpt2", "qwen2", "mistral", "gpt_neox"], check)


def test_packed_samples_do_not_see_each_other() -> None:
    def check(kind: str) -> None:
        model = tiny(kind).eval()
        ids = [[5] * 14, [6] * 9, [7] * 4]
        inputs = packed(ids, [[False] * len(row) for row in ids], 0)["inputs"]
        assert inputs["position_ids"].tolist() == [[*range(14)], [*range(9), *range(4), 0]]
        with torch.no_grad():
            before = model(**inputs, use_cache=False).logits[1]
            inputs["input_ids"][1, 3] += 1  # of the row's first sample, at places 0 to 8
            after = model(**inputs, use_cache=False).logits[1]
        assert (before != after).any(1).nonzero().squeeze(1).tolist() == [*range(3, 9)]

    each(["llama", "gpt2", "qwen2"], check)


def test_what_cannot_keep_rows_apart_is_told() -> None:
    def check(kind: str) -> None:
        causal, packs = probe(tiny(kind))
        assert (causal, packs) == (True, False)

    each(["mamba", "bloom", "opt"], check)


@pytest.mark.run
def test_such_models_are_trained_padded(tmp_path: Path, capsys: Any) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    folder = make_decoder(tmp_path / "bloom")
    config = BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2)
    BloomForCausalLM(config).save_pretrained(folder)
    train = write_chats(tmp_path / "c.jsonl", 20)
    assert fit(folder, train, "--data.tokens_per_batch 300") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "BloomForCausalLM does not keep packed rows apart: batches are padded" in out


def test_an_encoder_is_refused(tmp_path: Path, capsys: Any) -> None:
    bert = str(make_bert(tmp_path / "bert", sentence_encoder=False))
    assert fit(bert, write_chats(tmp_path / "c.jsonl", 20)) == 2
    assert "is not a decoder" in capsys.readouterr().err


# Loss


def test_the_loss_is_that_of_transformers_and_logits_are_made_for_labels_alone(
    decoder: str,
) -> None:
    def check(kind: str) -> None:
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
        hits = out.logits[:, :-1].argmax(-1) == gold
        assert right.tolist() == hits[gold != tokens.IGNORE].float().tolist()
        assert rows.tolist() == (gold != tokens.IGNORE).nonzero()[:, 0].tolist()

    each(["llama", "gpt2", "gemma2"], check)


# Runs


def fit(backbone: str, train: str, options: str = "") -> int:
    """Trains a tiny run, ``r``, through the command line in this process. Returns its status."""
    words = (
        f"fit --model CausalLM --model.backbone {backbone} --data.train {train} --run r "
        "--trainer.max_epochs 1 --trainer.accelerator cpu --trainer.precision 32-true "
        "--data.batch_size 8 --model.max_new_tokens 8 --model.sample 3"
    )
    return main([*words.split(), *options.split()])


@pytest.mark.run
def test_a_chatbot_learns_is_measured_predicts_and_is_exported(
    chatter: str, tmp_path: Path, capsys: Any
) -> None:
    train = write_chats(tmp_path / "c.jsonl", 60)
    options = (
        "--data.test_split 0.1 --data.validation_split 0 --data.tokens_per_batch 600 "
        "--model.lr 1e-2 --trainer.max_epochs 25 --model.max_new_tokens 30"
    )
    assert fit(chatter, train, options) == 0
    metrics = json.loads(Path("r/test_metrics.json").read_text())
    assert metrics["test/perplexity"] < 1.5
    assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/loss"]), rel=1e-5)
    low, high = metrics["test/perplexity_low"], metrics["test/perplexity_high"]
    assert low <= metrics["test/perplexity"] <= high
    assert metrics["test/bleu"] > 60
    assert metrics["test/rougeL"] > 0.6
    with Path("r/test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["prediction"]) for row in rows] == [False, True] * 3
    assert all(float(row["perplexity"]) > 1 for row in rows)

    question = json.dumps({"messages": [{"role": "user", "content": "where is my card 3"}]})
    answered = Path(train).read_text().split("\n")[1]
    (tmp_path / "ask.jsonl").write_text(f"{question}\n{answered}\n")
    capsys.readouterr()
    assert main(["predict", "r", "ask.jsonl"]) == 0
    lines = Path("r/predictions/ask.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert answers[0]["prediction"] == "your card is here"
    # after the user's last turn, the reply there left out
    assert answers[1]["prediction"] == "your refund is here"
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
    reply = {"role": "assistant", "content": mine["prediction"]}
    ids = tokenizer.apply_chat_template([*asked, reply], return_tensors="pt")["input_ids"]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")
    start = prompt["input_ids"].shape[1]
    logs = model(ids[:, :-1]).logits[0].log_softmax(-1)[start - 1 : -1]
    said = logs.gather(1, ids[0, start:-1, None])
    assert mine["score"] == pytest.approx(said.mean().exp().item(), abs=1e-4)


@pytest.mark.run
def test_the_plain_template_goes_with_the_model(decoder: str, tmp_path: Path) -> None:
    assert fit(decoder, write_chats(tmp_path / "c.jsonl", 30)) == 0
    assert main(["export", "r"]) == 0
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained("r/export")
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.apply_chat_template(given, tokenize=False) == "<s>User: a\nAssistant: b</s>"
    (mine,) = ftlight.load("r").predict(["a"])
    pipe = pipeline("text-generation", "r/export", device="cpu")
    (theirs,) = pipe(given[:1], return_full_text=False)
    assert theirs["generated_text"].strip() == mine["prediction"]


@pytest.mark.run
def test_plain_text_is_learned_whole_and_continued(
    decoder: str, tmp_path: Path, capsys: Any
) -> None:
    lines = [f"the parcel {i} is late and the card is lost\n" for i in range(40)]
    (tmp_path / "t.txt").write_text("".join(lines))
    options = "--data.max_length 40 --trainer.max_epochs 20 --model.lr 1e-2"
    assert fit(decoder, "t.txt", f"{options} --data.validation_split 0") == 0
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
        monkeypatch.setattr("ftlight.tasks.causal_lm.replies.LOGITS", logits)
        task = CausalLM(decoder, sample=4, max_new_tokens=6)
        data = ChatData(train, tokenizer=decoder, batch_size=size, max_length=120, test=train)
        L.Trainer(
            logger=False, enable_progress_bar=False, accelerator="cpu", enable_checkpointing=False
        ).test(task, datamodule=data, verbose=False)
        result = task.evidence["test"]
        found.append((result.values, [o.tolist() for o in result.outputs or []]))
    (values, outputs), *others = found
    for other, rows in others:
        assert other == pytest.approx(values, rel=1e-5)
        for mine, theirs in zip(rows, outputs, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4, nan_ok=True)
    sums = torch.tensor([o[:2] for o in outputs]).sum(0)
    assert values["perplexity"] == pytest.approx(math.exp(sums[0] / sums[1]), rel=1e-6)
    assert sum(not math.isnan(o[3]) for o in outputs) == 4
    said = replies(data, "test")
    assert sums[1] == sum(len(" " + r) + 1 for r in said)  # a token per byte, and the end


def test_without_sacrebleu_there_is_no_bleu(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CausalLM(decoder)
    task.datamodule = ChatData(tokenizer=decoder)
    row = {"messages": chat.dump([chat.Message("user", "a"), chat.Message("assistant", "b")])}
    reply = task.data.tokenizer(" b", add_special_tokens=False)["input_ids"]
    outputs = [torch.tensor([2.0, 4.0, 1.0, -0.1, *reply])]
    expected = {"perplexity": math.exp(0.5), "token_accuracy": 0.25, "rougeL": 1.0}
    found = task.compute_metrics(outputs, None, [row])
    assert found.values.keys() == {*expected, "bleu"}
    assert found.about == {"bleu": {"tokenize": "13a"}}
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    values = task.compute_metrics(outputs, None, [row]).values
    assert values == pytest.approx(expected)


def train_predict_and_export(backbone: str, option: str) -> None:
    train = write_chats(Path("c.jsonl"), 30)
    options = f"{option} --data.tokens_per_batch 300 --trainer.max_epochs 3"
    assert fit(backbone, train, options) == 0
    assert main(["predict", "r", "--text", "hi"]) == 0
    assert main(["export", "r"]) == 0


@pytest.mark.run
def test_adapters(chatter: str) -> None:
    pytest.importorskip("peft")
    train_predict_and_export(chatter, "--model.peft lora")


@pytest.mark.run
def test_a_schedule_that_unfreezes(chatter: str) -> None:
    train_predict_and_export(chatter, "--model.unfreeze gradual")


@pytest.mark.run
def test_the_last_reply_is_written_anew_where_the_user_has_the_last_word(
    decoder: str, tmp_path: Path
) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "bye")]
    line = json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]})
    (tmp_path / "c.jsonl").write_text(f"{line}\n" * 8)
    assert fit(decoder, "c.jsonl", "--data.test c.jsonl --data.test_split 0") == 0
    with Path("r/test_predictions.csv").open() as file:
        assert sum(bool(row["score"]) for row in csv.DictReader(file)) == 3
    metrics = json.loads(Path("r/test_metrics.json").read_text())
    assert metrics["test/rougeL"] is not None


@pytest.mark.run
def test_a_run_keeps_all_that_ends_a_reply(chatter: str, tmp_path: Path) -> None:
    """Also what only the model's own generation_config.json says, which a run does not copy."""
    folder = shutil.copytree(chatter, tmp_path / "own")
    settings = {"eos_token_id": [2, 7], "repetition_penalty": 1.5}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert fit(str(folder), write_chats(tmp_path / "c.jsonl", 20)) == 0
    own = ftlight.load("r").data.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert json.loads(Path("r/chat.json").read_text())["ends"] == [2, 7, own]
    assert main(["export", "r"]) == 0
    exported = json.loads(Path("r/export/generation_config.json").read_text())
    assert exported["eos_token_id"][:2] == [2, 7]
    assert exported.get("repetition_penalty") in (None, 1.0)


def test_drawn_replies_are_the_same_each_time(decoder: str) -> None:
    task = CausalLM(decoder, temperature=1.0, top_p=0.9, max_new_tokens=20)
    data = ChatData(tokenizer=decoder)
    greedy = CausalLM(decoder, max_new_tokens=20)
    both = [ftlight_predict(t, data, ["a", "b"]) for t in (task, task, greedy)]
    assert both[0] == both[1] != both[2]


def ftlight_predict(task: CausalLM, data: ChatData, rows: list[str]) -> list[str]:
    from ftlight.trainer.predictor import Predictor

    return [p["prediction"] for p in Predictor(task, data).predict(rows)]


def test_faults_of_options(decoder: str) -> None:
    cases = [
        ({"max_new_tokens": 0}, "model.max_new_tokens: 0"),
        ({"temperature": -1.0}, "model.temperature: -1.0"),
        ({"top_p": 0.0}, "model.top_p: 0.0"),
        ({"cache": True}, "model.cache: outputs of frozen layers cannot be cached for chats"),
    ]

    def check(option: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError, match=words):
            CausalLM(decoder, **option)

    each(cases, check)


def test_a_row_to_answer_may_have_any_format(decoder: str, tmp_path: Path) -> None:
    data = ChatData(tokenizer=decoder)
    rows: list[dict[str, Any]] = [
        {"prompt": "hi"},
        {"text": "hi"},
        {"messages": "hi"},
        {"instruction": "hi", "input": ""},
        {"conversations": [{"from": "human", "value": "hi"}]},
    ]
    encoded = data.encode_rows([{**row, files.LINE: 1} for row in rows], "f")
    chats = [chat.load(text) for text in encoded["chat"]]
    assert chats == [[chat.Message("user", "hi")]] * len(rows)
    with pytest.raises(UserError, match=r"input:1: message 1 \(user\) is empty"):
        data.encode_rows([{"messages": "", files.LINE: 1}], "input")
