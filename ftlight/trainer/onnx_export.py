"""The folder of an ONNX export: one graph, settings, tokenizer, predict.py and a card."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ftlight.models import onnx_graph
from ftlight.models.padding import runs_unpadded
from ftlight.models.portable import Portable
from ftlight.run import console as screen
from ftlight.trainer import card, export, onnx_check
from ftlight.trainer.exported import Exported
from ftlight.trainer.onnx_check import Form
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.atomic_folder import atomic_folder
from ftlight.utils.errors import UserError

GRAPH = "model.onnx"
HOW = """\
# pip install PACKAGES
import onnxruntime, sys
sys.path.insert(0, FOLDER)
from predict import predict
print(predict([ROW]))
# a file of such rows: python predict.py < rows.jsonl > answers.jsonl"""


def write(what: Exported, folder: Path, int8: bool) -> None:
    """Writes a task's model as ONNX, with what predicts by it: the whole folder, or nothing of it.

    Says what 8 bits lose, and how long torch and onnxruntime take.

    Args:
        what: what is exported; afterwards the model of its task is the graph.
        folder: folder to make; it may be there if it is empty.
        int8: whether weights are written in 8 bits, and checked on the validation rows.

    Raises:
        UserError: the task, its model or data cannot be exported so, or 8 bits change too much.
        WriteError: the disk is full, or the folder cannot be written.
    """
    onnx_graph.check_installed()
    task, data = what.task, what.data
    data.set_task(task)
    data.check_model(task.cpu().eval().model)
    if runs_unpadded(task.model):
        kind = type(task.model).__name__
        raise UserError(f"--format onnx: {kind} does not ignore padding; --format hf exports it")
    needs = task.portable(data)
    has_rows = onnx_check.has_rows(data, needed=int8)
    with writing(folder, export.THEN), atomic_folder(folder) as part:
        forms = _graphs(task.model, needs, part, int8)
        lost = onnx_check.lost(task, data, forms[-1].model) if int8 else ""
        task.model = forms[-1].model
        _files(needs, part)
        text = _card(what, folder.name, lost)
        (part / export.CARD).write_text(text, encoding="utf-8")
    batches = onnx_check.batches(data, needs.inputs, has_rows)
    screen.grid(*onnx_check.speeds(forms, batches), note=lost)


def _graphs(model: nn.Module, needs: Portable, folder: Path, int8: bool) -> list[Form]:
    """Writes the graph, in 8 bits if that is asked for; returns the model in each form."""
    file = folder / GRAPH
    onnx_graph.write(model, needs.inputs, needs.outputs, file)
    graph = onnx_graph.Session(file, needs.outputs)
    forms = [Form("torch", model, None), Form("onnx", graph, file.stat().st_size)]
    if int8:
        plain = file.rename(folder / "fp32.onnx")
        onnx_graph.quantize(plain, file)
        plain.unlink()
        eight = onnx_graph.Session(file, needs.outputs)
        forms.append(Form("onnx, int8", eight, file.stat().st_size))
    return forms


def _files(needs: Portable, folder: Path) -> None:
    """Writes what stands beside the graph."""
    write_json(folder / "settings.json", needs.settings, indent=1)
    (folder / "predict.py").write_text(needs.lines, encoding="utf-8")
    if needs.tokenizer is not None:
        needs.tokenizer.save(str(folder / "tokenizer.json"))
    if needs.finish is not None:
        needs.finish(folder)


def _card(what: Exported, name: str, lost: str) -> str:
    """The model card; its scores are those of the weights before they had 8 bits."""
    data, weights = what.data, what.weights
    reads = "pillow" if data.image_columns else "tokenizers"
    row = {column: "a.jpg" if column in data.image_columns else "a text" for column in data.columns}
    how = HOW.replace("PACKAGES", f"onnxruntime numpy {reads}").replace("ROW", repr(row))
    if lost:
        weights = f"{weights} They are in 8 bits: {lost} The results are those before.".strip()
    how = f"{export.given(how, name)}\n{how}"
    return card.text(what.facts(), how, "onnxruntime", weights, "")
