"""The folder of an ONNX export: one graph, settings, tokenizer, predict.py and a card."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ftlight.data.module import DataModule
from ftlight.models import onnx_graph
from ftlight.models.padding import runs_unpadded
from ftlight.models.portable import Portable
from ftlight.run import console as screen
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import card, card_facts, export, onnx_check
from ftlight.trainer.onnx_check import Form
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.atomic_folder import atomic_folder
from ftlight.utils.errors import UserError

NAME = "onnx"  # of the folder in a run
GRAPH = "model.onnx"
HOW = """\
# pip install PACKAGES
import onnxruntime, sys
sys.path.insert(0, FOLDER)
from predict import predict
print(predict([ROW]))
# a file of such rows: python predict.py < rows.jsonl > answers.jsonl"""


def write(
    run: RunState,
    task: Task,
    data: DataModule,
    folder: Path,
    mixed: bool,
    checkpoint: str,
    int8: bool,
) -> None:
    """Writes a task's model as ONNX, with what predicts by it: the whole folder, or nothing of it.

    Says what 8 bits lose, and how long torch and onnxruntime take.

    Args:
        run: state of the run that trained it.
        task: the task, with the weights to export; afterwards its model is the graph.
        data: its data module.
        folder: folder to make; it may be there if it is empty.
        mixed: whether the weights were mixed with the pre-trained ones.
        checkpoint: name of the checkpoint that holds them, such as best.
        int8: whether weights are written in 8 bits, and checked on the validation rows.

    Raises:
        UserError: the task, its model or data cannot be exported so, or 8 bits change too much.
        WriteError: the disk is full, or the folder cannot be written.
    """
    onnx_graph.check_installed()
    data.set_task(task)
    data.check_model(task.cpu().eval().model)
    if runs_unpadded(task.model):
        kind = type(task.model).__name__
        raise UserError(f"--format onnx: {kind} does not ignore padding; --format hf exports it")
    needs = task.portable(data)
    has_rows = onnx_check.has_rows(data, needed=int8)
    then = "nothing of it is left; make room, or give another with --out DIR"
    with writing(folder, then), atomic_folder(folder) as part:
        forms = _graphs(task.model, needs, part, int8)
        lost = onnx_check.lost(task, data, forms[-1].model) if int8 else ""
        task.model = forms[-1].model
        _files(needs, part)
        share = run.wise["share"] if mixed else None
        text = _card(run, task, data, folder.name, share, checkpoint, lost)
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


def _card(
    run: RunState,
    task: Task,
    data: DataModule,
    name: str,
    share: float | None,
    checkpoint: str,
    lost: str,
) -> str:
    """The model card; its scores are those of the weights before they had 8 bits."""
    reads = "pillow" if data.image_columns else "tokenizers"
    row = {column: "a.jpg" if column in data.image_columns else "a text" for column in data.columns}
    how = HOW.replace("PACKAGES", f"onnxruntime numpy {reads}").replace("ROW", repr(row))
    best = share is None and checkpoint == "best"
    facts = card_facts.read(run.home, task, export.scores_of(run, share, checkpoint), best)
    weights = export.weights_told(share, checkpoint)
    if lost:
        weights = f"{weights} They are in 8 bits: {lost} The results are those before.".strip()
    how = f"{export.given(how, name)}\n{how}"
    return card.text(facts, how, "onnxruntime", weights, "")
