"""A model's folder with one broken file: the line names that file, not the folder or another."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import each
from safetensors.torch import load_file, save_file

from ftlight.data import tokens
from ftlight.models import loading, pooling, weights
from ftlight.utils.errors import UserError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n"
Change = Callable[[Path], Any]


def write(name: str, content: str | bytes) -> Change:
    """Writes another file in place of one."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def value(name: str, **changes: Any) -> Change:
    """Changes values in a JSON file."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changes}))

    return change


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def cut(name: str, share: float) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return change


def folder_in_place(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def not_finite(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["embeddings.word_embeddings.weight"][3, 4] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder: Path, keep: float = 1.0) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    cut("pytorch_model.bin", keep)(folder)


def without_shard(folder: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    sorted(folder.glob("model-0*.safetensors"))[1].unlink()


def large_number(folder: Path, number: int = 10**6) -> None:
    """A vocabulary with a token beyond the embeddings, though there are no more tokens."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["parcel"] = number
    (folder / "tokenizer.json").write_text(json.dumps(content))


def without_unknown(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    del content["model"]["vocab"]["[UNK]"]
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "[UNK]"]
    (folder / "tokenizer.json").write_text(json.dumps(content))


BROKEN: dict[str, tuple[Change, str]] = {
    "no config": (gone("config.json"), "config.json"),
    "an empty config": (write("config.json", ""), "IT/config.json is empty"),
    "a config cut off": (cut("config.json", 0.5), "IT/config.json cannot be read: not valid JSON"),
    "a config that is a list": (write("config.json", "[]"), "IT/config.json .*got a list"),
    "a config that is a page": (write("config.json", "<html>"), "IT/config.json is a web page"),
    "a config that is a folder": (folder_in_place("config.json"), "IT/config.json is a folder"),
    "nested": (write("config.json", "[" * 10_000), "IT/config.json .*nested more than 100"),
    "another architecture": (value("config.json", model_type="bertt"), "config.json .*bertt"),
    "text for a number": (value("config.json", hidden_size="wide"), "config.json .*hidden_size"),
    "a width that does not divide": (value("config.json", hidden_size=7), r"IT.*multiple"),
    "a width less than nothing": (value("config.json", hidden_size=-32), "IT .*"),
    "another width": (value("config.json", hidden_size=64), "config.json and the weights belong"),
    "more memory than there is": (
        value("config.json", vocab_size=10**12),
        "config.json in IT asks for at least [0-9,]+ GB of weights, and this machine has",
    ),
    "a billion layers": (
        value("config.json", num_hidden_layers=10**9),
        "config.json in IT .*num_hidden_layers: 1000000000 is more than 10,000",
    ),
    "a type that is none": (value("config.json", dtype="5"), "config.json in IT cannot be used"),
    "another activation": (value("config.json", hidden_act="relux"), "IT .*relux"),
    "a padding token that is none": (value("config.json", pad_token_id=10**9), "IT .*"),
    "empty weights": (write("model.safetensors", ""), "IT/model.safetensors is empty"),
    "weights that are a pointer": (
        write("model.safetensors", LFS),
        "IT/model.safetensors is a Git LFS pointer",
    ),
    "weights that are a page": (
        write("model.safetensors", "<!DOCTYPE html>"),
        "IT/model.safetensors is a web page",
    ),
    "weights cut off": (
        cut("model.safetensors", 0.9),
        "IT/model.safetensors is cut off: it has [0-9,]+ bytes and should have",
    ),
    "weights cut at their header": (cut("model.safetensors", 0.001), "IT/model.safetensors is cut"),
    "a header that is none": (
        write("model.safetensors", struct.pack("<Q", 2) + b"[]"),
        "IT/model.safetensors is damaged",
    ),
    "no weights": (gone("model.safetensors"), "IT .*model.safetensors"),
    "weights that are not finite": (
        not_finite,
        "IT/model.safetensors: embeddings.word_embeddings.weight holds values that are not finite",
    ),
    "a file of torch cut off": (lambda f: as_pickle(f, 0.9), "IT/pytorch_model.bin is damaged"),
    "a missing shard": (
        without_shard,
        "IT/model.safetensors.index.json names model-00002-of-.*, which is not there",
    ),
    "no tokenizer": (gone("tokenizer.json"), "tokenizer in IT"),
    "a tokenizer cut off": (cut("tokenizer.json", 0.5), "IT/tokenizer.json cannot be read"),
    "an empty tokenizer": (write("tokenizer.json", "{}"), "IT/tokenizer.json cannot be used"),
    "a tokenizer that is a pointer": (write("tokenizer.json", LFS), "IT/tokenizer.json is a Git"),
    "a list for settings": (
        write("tokenizer_config.json", "[]"),
        "IT/tokenizer_config.json .*expected an object, got a list",
    ),
    "a template that is no text": (
        write("chat_template.jinja", b"\xff"),
        "IT/chat_template.jinja cannot be read: byte 0",
    ),
    "a length that is none": (
        value("tokenizer_config.json", model_max_length="long"),
        "tokenizer_config.json in IT .*model_max_length: 'long' is no number of tokens",
    ),
    "a tokenizer without a word for others": (without_unknown, "the tokenizer in IT cannot"),
    "a token beyond the embeddings": (large_number, "tokenizer of IT has 1000001 tokens"),
    "a token beyond all": (
        lambda folder: large_number(folder, 10**9),
        "tokenizer in IT cannot be loaded .token number 1,000,000,000 is beyond",
    ),
    "pooling cut off": (write("1_Pooling/config.json", '{"poo'), "IT/1_Pooling/config.json: not"),
    "pooling that is a list": (write("1_Pooling/config.json", "[]"), "IT/1_Pooling/.*got a list"),
    "a pooling that is no word": (
        write("1_Pooling/config.json", '{"pooling_mode": 3}'),
        "IT/1_Pooling/config.json: pooling_mode: expected text or null",
    ),
    "pooling is gone": (
        gone("1_Pooling/config.json"),
        "IT has no 1_Pooling/config.json, which its modules.json names",
    ),
    "pooling is a file": (
        lambda f: (shutil.rmtree(f / "1_Pooling"), (f / "1_Pooling").touch()),
        "IT/1_Pooling is not a folder",
    ),
    "a length of sentences that is none": (
        write("sentence_bert_config.json", '{"max_seq_length": "x"}'),
        "IT/sentence_bert_config.json: max_seq_length: expected a whole number or null",
    ),
}


def load(name: str) -> None:
    """Loads all that a task loads."""
    loading.load_config(name)
    tokenizer = loading.load_tokenizer(name)
    tokens.max_length(name)
    pooling.trained_pooling(name)
    weights.check_tokenizer(weights.load(name), tokenizer, name)


def test_a_broken_file_of_a_model_is_named_in_one_line(bert: str, tmp_path: Path) -> None:
    def check(what: str) -> None:
        change, says = BROKEN[what]
        folder = Path(shutil.copytree(bert, tmp_path / re.sub(r"\W", "-", what)))
        kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
        modules = [{"path": p, "type": f"sentence_transformers.models.{kind}"} for p, kind in kinds]
        (folder / "modules.json").write_text(json.dumps(modules))
        change(folder)
        with pytest.raises(UserError) as caught:
            load(str(folder))
        line = str(caught.value)
        assert "\n" not in line
        assert len(line) < 600
        assert re.search(says, line.replace(str(folder), "IT")), line

    each(BROKEN, check)


def test_a_folder_without_damage_loads(bert: str, tmp_path: Path) -> None:
    def check(change: Change) -> None:
        folder = Path(shutil.copytree(bert, tmp_path / f"{len(list(tmp_path.iterdir()))}"))
        change(folder)
        load(str(folder))

    unused = write("special_tokens_map.json", "{}")
    each([lambda folder: None, as_pickle, gone("1_Pooling/config.json"), unused], check)


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    with pytest.raises(UserError, match=r"model.backbone: .*model is not a folder"):
        loading.load_config(str(tmp_path / "model"))
