"""Tiny models and data, made on the spot: no network, no downloads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads only wait for each other
os.environ.setdefault("WANDB_MODE", "offline")

import pytest

from ftlight.__main__ import main

if (
    TYPE_CHECKING
):  # imported where it is needed: what starts the processes of xdist needs none of it
    import torch

ROOT = Path(__file__).resolve().parents[1]
WORDS = (
    "the a my is was not and to of for in on it i you we they order parcel refund money card "
    "broken late lost new cancel return where when how please thanks good bad great awful fine "
    "movie plot film happy sad blue red green small large one two"
).split()
collect_ignore = ["fixtures"]  # saved with the version they are of, and not to be imported
LETTERS = [
    *"abcdefghijklmnopqrstuvwxyz0123456789",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"),
]


def each(cases: Iterable[Any], check: Callable[..., None]) -> None:
    """Checks every case and fails with all that do not hold: seeds, families, options of one test.

    Args:
        cases: arguments of ``check``, a tuple for several.
        check: raises if the case does not hold.
    """
    failures, count = [], 0
    for case in cases:
        count += 1
        try:
            check(*case) if isinstance(case, tuple) else check(case)
        except (Exception, pytest.fail.Exception) as error:  # also of pytest.raises
            failures.append(f"{case!r}: {type(error).__name__}: {error}")
    assert count, "no cases"
    assert not failures, f"{len(failures)} of {count} cases:\n" + "\n".join(failures)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _fp32() -> Iterator[None]:
    """Tests compute in fp32 on every processor."""
    from ftlight.utils import internals

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(internals, "cpu_has_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    old = datasets.config.HF_DATASETS_CACHE
    folder = tmp_path_factory.mktemp("datasets")
    datasets.config.HF_DATASETS_CACHE = folder
    os.environ["HF_DATASETS_CACHE"] = str(folder)  # for the processes that tests start
    os.environ["FTLIGHT_CACHE"] = str(tmp_path_factory.mktemp("prefix"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    datasets.config.HF_DATASETS_CACHE = old


def save_tokenizer(folder: Path, *, pad: bool = True, extra: int = 0) -> int:
    """Writes a word-piece tokenizer of a few words and all letters. Returns their number."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [
        *special,
        *dict.fromkeys([*WORDS, *LETTERS, ".", ",", "!", "?", "'"]),
        *(f"[X{i}]" for i in range(extra)),
    ]
    vocabulary = {t: i for i, t in enumerate(tokens)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "eos_token": "[SEP]",
    }
    if pad:
        names["pad_token"] = "[PAD]"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )
    tokenizer.save_pretrained(folder)
    return len(tokens)


def make_bert(folder: Path, *, sentence_encoder: bool = True, **changes: int | float) -> Path:
    """Writes a BERT of a few thousand parameters, by default as a sentence encoder with pooling."""
    import torch
    from transformers import BertConfig, BertModel

    size = save_tokenizer(folder)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=size, pad_token_id=0, **{**sizes, **changes})).save_pretrained(
        folder
    )
    if sentence_encoder:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(
            json.dumps({"pooling_mode_mean_tokens": True})
        )
    return folder


def still_bert(folder: Path, **changes: int) -> str:
    """Writes a tiny BERT without dropout, whose random numbers are not kept yet."""
    return str(
        make_bert(
            folder,
            sentence_encoder=False,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **changes,
        )
    )


@pytest.fixture(scope="session")
def still(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT of four layers without dropout."""
    return still_bert(tmp_path_factory.mktemp("still"), num_hidden_layers=4)


def same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    """Two modules hold the same weights to the bit."""
    import torch

    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny sentence encoder."""
    return str(make_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="session")
def drops(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT of three layers with dropout."""
    return str(make_bert(tmp_path_factory.mktemp("drops"), num_hidden_layers=3))


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files with 24 rows to train on, 13 to validate and 9 to test."""
    folder, made = tmp_path_factory.mktemp("rows"), toy_rows(46)
    parts = {"train": made[:24], "validation": made[24:37], "test": made[37:]}
    return {name: write_csv(folder / f"{name}.csv", part) for name, part in parts.items()}


@pytest.fixture(scope="session")
def plain_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT that is no sentence encoder: it gets its native head."""
    return str(make_bert(tmp_path_factory.mktemp("plain"), sentence_encoder=False))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny decoder whose tokenizer has no pad token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    size = save_tokenizer(folder, pad=False)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    }
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=size, max_position_embeddings=64, **sizes)
    ).save_pretrained(folder)
    return str(folder)


def write_csv(
    path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")
) -> str:
    """Writes a CSV file with a header."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def toy_rows(
    count: int, labels: tuple[str, ...] = ("good", "bad", "late")
) -> list[tuple[str, str]]:
    """Texts that hold the word of their label among others."""
    rows = []
    for i in range(count):
        label = labels[i % len(labels)]
        text = f"{WORDS[i % 29]} {WORDS[(i * 7) % 31]} {label} {' '.join(WORDS[: i % 9])}"
        rows.append((text, label))
    return rows


@pytest.fixture
def toy(tmp_path: Path) -> str:
    """A CSV of 60 rows in three classes."""
    return write_csv(tmp_path / "toy.csv", toy_rows(60))


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny ResNet."""
    from tiny.image_classification import make_resnet

    return make_resnet(tmp_path_factory.mktemp("resnet"))


Run = Callable[..., Path]


@pytest.fixture
def fit(bert: str, tmp_path: Path) -> Run:
    """Trains a tiny run through the command line in this process. Returns its folder."""

    def run(
        *words: str,
        train: str = "toy.csv",
        backbone: str = bert,
        epochs: int = 1,
        name: str = "run",
    ) -> Path:
        if train == "toy.csv":
            write_csv(tmp_path / "toy.csv", toy_rows(60))
        folder = tmp_path / name
        sizes = f"--trainer.max_epochs {epochs} --trainer.accelerator cpu --data.batch_size 8"
        command = ["fit", "--model", "TextClassification", *sizes.split(), "--run", str(folder)]
        files = ["--model.backbone", backbone, "--data.train", train]
        page = [] if "--trainer.report" in words else ["--trainer.report", "false"]  # it takes time
        assert main([*command, *files, *page, *words]) == 0
        return folder

    return run


class Commands:
    """Runs commands in this process, and counts them.

    Attributes:
        done: how many were run.
    """

    def __init__(self, capsys: Any) -> None:
        self.capsys, self.done = capsys, 0

    def __call__(self, *words: str) -> str:
        """Runs a command, which must succeed. Returns what it printed."""
        self.done += 1
        self.capsys.readouterr()
        assert main(list(words)) == 0, self.capsys.readouterr().err
        return str(self.capsys.readouterr().out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Runs commands."""
    return Commands(capsys)


def one_and_two(options: Sequence[str], home: Path) -> list[tuple[Path, str]]:
    """Folder and screen of a run in one process, and of the same in two: batches are as large."""
    runs = []
    for processes, size in ((1, 8), (2, 4)):
        folder = home / f"p{processes}"
        more = ["--trainer.devices", str(processes), "--data.batch_size", str(size)]
        command = [sys.executable, "-m", "ftlight", "fit", *options, *more, "--run", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        runs.append((folder, done.stdout))
    return runs


def card_lines(folder: Path) -> tuple[str, str]:
    """The lines that give an example, and those that load and ask, of an export's card."""
    from ftlight.trainer.export import EXAMPLES

    lines = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1]
    lines = lines.split("```")[0].splitlines()
    count = sum(line.partition(" = ")[0] in EXAMPLES for line in lines)
    return "\n".join(lines[:count]), "\n".join(lines[count:])
