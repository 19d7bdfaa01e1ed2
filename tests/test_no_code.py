"""Files are data: no code that comes with a model or a checkpoint is run."""

from __future__ import annotations

import ast
import http.server
import json
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run, each, make_bert

from ftlight import load
from ftlight.__main__ import main
from ftlight.models import loading, weights
from ftlight.tasks.image_classification import preparing
from ftlight.training.checkpoint import CheckpointIO
from ftlight.utils.errors import UserError

SOURCES = [
    p
    for folder in ("ftlight", "scripts", "configs")
    for p in (Path(__file__).parent.parent / folder).rglob("*.py")
]
Edit = Callable[[Path], Any]


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return exec, (f"open({self.marker!r}, 'w').write('ran')",)


def calls(path: Path) -> list[tuple[str, dict[str, ast.expr], list[str]]]:
    """Calls in a file as name, keywords and positional arguments: ``torch.load``."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [{k.arg: k.value for k in node.keywords if k.arg} for node in found]
    return [
        (ast.unparse(node.func), keywords, [ast.unparse(a) for a in node.args])
        for node, keywords in zip(found, named, strict=True)
    ]


def is_constant(value: ast.expr | None, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def test_every_load_says_that_no_code_is_run() -> None:
    def check(path: Path) -> None:
        for name, keywords, arguments in calls(path):
            last = name.rpartition(".")[2]
            assert name not in (
                "pickle.load",
                "pickle.loads",
                "torch.hub.load",
                "yaml.unsafe_load",
                "yaml.full_load",
                "joblib.load",
            )
            if name == "yaml.load":
                assert arguments[1] in ("Loader", "yaml.BaseLoader")  # ours is a SafeLoader
            if name == "torch.load":
                assert is_constant(keywords.get("weights_only"), True), f"{path.name}: {name}"
            if last in ("from_pretrained", "from_config") and path.parent.name != "bench":
                assert is_constant(keywords.get("trust_remote_code"), False), f"{path.name}: {name}"
            if last == "load_checkpoint":
                assert is_constant(keywords.get("weights_only"), True), f"{path.name}: {name}"

    each(SOURCES, check)


def change(file: Path, **values: Any) -> None:
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**old, **values}))


def as_config(folder: Path) -> Callable[[], Any]:
    change(
        folder / "config.json",
        model_type="never-heard-of",
        auto_map={"AutoConfig": "code.A", "AutoModel": "code.A"},
    )
    return lambda: loading.load_config(str(folder))


def as_tokenizer(folder: Path) -> Callable[[], Any]:
    change(folder / "config.json", model_type="never-heard-of")
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": ["code.A", "code.A"]},
    )
    return lambda: loading.load_tokenizer(str(folder))


def as_images(folder: Path) -> Callable[[], Any]:
    change(
        folder / "preprocessor_config.json",
        image_processor_type="Own",
        auto_map={"AutoImageProcessor": "code.A"},
    )
    return lambda: preparing.processor(str(folder))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once code was run."""
    return tmp_path / "ran"


@pytest.fixture
def folder(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backbone beside which a file of code lies; nobody is asked."""
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("somebody is asked"))
    made = make_bert(tmp_path / "own")
    (made / "code.py").write_text(f"open({str(marker)!r}, 'w').write('ran')\nclass A:\n    pass\n")
    return made


@pytest.mark.parametrize("edit", [as_config, as_tokenizer, as_images])
def test_a_backbone_with_code_of_its_own_is_refused(
    edit: Callable[[Path], Callable[[], Any]], folder: Path, marker: Path
) -> None:
    with pytest.raises(UserError, match=r"own brings code of its own, which ftlight never runs$"):
        edit(folder)()
    assert not marker.exists()


@pytest.mark.run
def test_so_it_is_on_the_command_line(
    folder: Path, marker: Path, toy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    as_config(folder)
    assert (
        main(
            [
                "fit",
                "--model",
                "TextClassification",
                "--model.backbone",
                str(folder),
                "--data.train",
                toy,
                "--run",
                "r",
            ]
        )
        == 2
    )
    assert (
        "brings code of its own, which ftlight never runs"
        in capfd.readouterr().err.splitlines()[-1]
    )
    assert not marker.exists()


def test_code_beside_a_model_that_transformers_knows_is_not_run(folder: Path, marker: Path) -> None:
    names = {f"Auto{n}": "code.A" for n in ("Config", "Model", "ModelForSequenceClassification")}
    change(folder / "config.json", auto_map=names)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.A", "code.A"]})
    change(
        folder / "preprocessor_config.json",
        image_processor_type="ViTImageProcessor",
        auto_map={"AutoImageProcessor": "code.A"},
    )
    for auto in ("AutoModel", "AutoModelForSequenceClassification"):
        for pretrained in (True, False):
            assert type(
                weights.load(str(folder), auto, pretrained=pretrained)
            ).__module__.startswith("transformers.")
    assert type(loading.load_tokenizer(str(folder))).__module__.startswith("transformers.")
    assert type(preparing.processor(str(folder))).__module__.startswith("transformers.")
    assert not marker.exists()


def test_a_model_type_that_is_not_known(folder: Path) -> None:
    change(folder / "config.json", model_type="never-heard-of")
    with pytest.raises(
        UserError, match=r"the config.json in .*own cannot be used \(.*never-heard-of"
    ):
        loading.load_config(str(folder))


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_weights_that_are_code_are_refused(form: str, folder: Path, marker: Path) -> None:
    os.remove(folder / "model.safetensors")
    write(folder / "pytorch_model.bin", form, marker)
    refusal = r"own: cannot load weights: .*, which ftlight never runs; save them as safetensors$"
    with pytest.raises(UserError, match=refusal):
        weights.load(str(folder))
    assert not marker.exists()


def test_weights_that_are_a_pickle_of_tensors_load(folder: Path) -> None:
    saved = weights.load(str(folder)).state_dict()
    os.remove(folder / "model.safetensors")
    torch.save(saved, folder / "pytorch_model.bin")
    again = weights.load(str(folder)).state_dict()
    assert all(torch.equal(saved[n], again[n]) for n in saved)
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "1"


def write(path: Path, form: str, marker: Path) -> None:
    """Writes code as a checkpoint; it would run."""
    if form == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker), protocol=2))
        pickle.loads(path.read_bytes())
    else:
        torch.save({"state_dict": {"w": Evil(marker)}, "pytorch-lightning_version": "2.6.6"}, path)
        torch.load(path, weights_only=False)
    marker.unlink()


@pytest.mark.run
def test_a_checkpoint_that_is_code_is_refused(
    fit: Run, toy: str, marker: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = fit()
    for form in ("pickle", "torch"):
        evil = folder / "checkpoints" / f"{form}.ckpt"
        write(evil, form, marker)
        again = [
            "fit",
            "-c",
            str(folder / "config.yaml"),
            "--run",
            f"again-{form}",
            "--ckpt_path",
            str(evil),
        ]
        for words in (again, ["test", str(folder), "--data.test", toy, "--ckpt_path", str(evil)]):
            capfd.readouterr()
            assert main(words) == 2
            said = (
                ": cannot load weights: the file is corrupt or contains pickled code"
                if form == "torch"
                else " is damaged: it is not a complete file"
            )
            err = capfd.readouterr().err
            assert err.splitlines()[-1].startswith(f"ftlight: error: {evil}{said}")
            assert "weights_only" not in err
        evil.replace(folder / "checkpoints" / "best.ckpt")
        with pytest.raises(
            UserError, match="which ftlight never runs" if form == "torch" else "is damaged"
        ):
            load(str(folder))
    assert not marker.exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("asked", [None, True, False])
def test_a_checkpoint_from_an_address_is_not_unpickled(
    asked: bool | None, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    write(tmp_path / "evil.ckpt", "torch", marker)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), Quiet
    )  # serves the test's own folder
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UserError):
            CheckpointIO().load_checkpoint(
                f"http://127.0.0.1:{server.server_port}/evil.ckpt", weights_only=asked
            )
    finally:
        server.shutdown()
        server.server_close()
    assert not marker.exists()
