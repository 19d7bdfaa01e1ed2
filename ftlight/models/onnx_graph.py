"""Models as ONNX files: written, made smaller, and run by onnxruntime in the model's place."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ftlight.models import kernels
from ftlight.models.modes import evaluating
from ftlight.utils.errors import UserError, first_line

# Products of matrices and tables of embeddings; convolutions in 8 bits need onnxruntime's own form.
IN_8_BITS = ["MatMul", "Gemm", "Gather"]
CLOSE = 1e-3  # between torch and onnxruntime, of an output's largest number


class _Named(nn.Module):
    """A model that takes and gives tensors by position, as a graph does."""

    def __init__(self, model: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        if isinstance(found, Tensor):
            return (found,)
        return tuple(found[name] for name in self.outputs)


def check_installed() -> None:
    """Checks that what writes and runs ONNX is installed.

    Raises:
        UserError: a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        text = 'onnx, onnxscript and onnxruntime: pip install "ftlight[onnx]"'
        raise UserError(f"--format onnx needs {text}") from error


def write(
    model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], file: Path
) -> None:
    """Writes a model as one ONNX file that takes any number of rows, and of tokens.

    Args:
        model: takes the inputs by name.
        inputs: of two rows or more, of several tokens if they are of texts.
        outputs: names of what it gives.
        file: the file.

    Raises:
        UserError: the model cannot be traced, or onnxruntime gives other numbers.
    """
    kernels.leave(model)
    named = _Named(model, list(inputs), outputs)
    rows, tokens = torch.export.Dim("rows", min=1), torch.export.Dim("tokens", min=1)
    shapes = [{0: rows, 1: tokens} if v.ndim == 2 else {0: rows} for v in inputs.values()]
    kind = type(model).__name__
    with evaluating(named), torch.no_grad(), _quiet():
        try:
            torch.onnx.export(
                named,
                tuple(inputs.values()),
                file,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(tuple(shapes),),
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # whatever a model's code raises when it is traced
            why = first_line(error.__cause__ or error)
            raise UserError(f"--format onnx: {kind} cannot be written as ONNX ({why})") from error
    _check(named, inputs, Session(file, outputs), kind)


def _check(named: _Named, inputs: Mapping[str, Tensor], session: Session, kind: str) -> None:
    """Runs both on the rows together, on each alone, and on fewer tokens."""
    texts = all(v.ndim == 2 for v in inputs.values())
    parts = [inputs, *({k: v[i : i + 1] for k, v in inputs.items()} for i in (0, 1))]
    parts += [{k: v[:, : v.shape[1] // 2] for k, v in inputs.items()}] if texts else []
    for part in parts:
        with evaluating(named), torch.no_grad():
            wanted = named(*part.values())
        try:
            found = session.run(part)
        except Exception as error:  # onnxruntime has kinds of its own, without a common base
            shape = " x ".join(map(str, next(iter(part.values())).shape))
            why = f"its graph does not take an input of {shape}: {first_line(error)}"
            raise UserError(f"--format onnx: {kind} cannot be written as ONNX ({why})") from error
        for one, other in zip(found, wanted, strict=True):
            off = float((one - other).abs().max() / other.abs().max().clamp(min=1))
            if not off <= CLOSE:
                raise UserError(f"--format onnx: {kind} gives other numbers as ONNX (by {off:.2g})")


@contextlib.contextmanager
def _quiet() -> Any:
    """Hides what torch and onnxscript say of packages and types that nothing here uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def quantize(file: Path, out: Path) -> None:
    """Writes an ONNX file with weights in 8 bits, with a scale for each output channel.

    Activations get theirs from each batch (dynamic quantization). With one scale a tensor, which is
    onnxruntime's default, three times as many labels change.

    Args:
        file: the file in fp32.
        out: the file to write.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it advises steps that change nothing here
    try:
        quantize_dynamic(file, out, IN_8_BITS, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        root.setLevel(level)


class Session(nn.Module):
    """An ONNX file, run by onnxruntime on the CPU in the place of a task's model.

    Args:
        file: the file.
        outputs: names of what it gives; ``vectors`` if that is to be one tensor.
    """

    def __init__(self, file: Path, outputs: Sequence[str]) -> None:
        super().__init__()
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        self.session = InferenceSession(str(file), options, providers=providers)
        self.outputs = outputs

    def run(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the outputs in order."""
        given = {name: value.cpu().numpy() for name, value in inputs.items()}
        return [torch.from_numpy(value) for value in self.session.run(None, given)]

    def forward(self, **inputs: Tensor) -> Any:
        """Returns the outputs by name, or the vectors."""
        device = next(iter(inputs.values())).device
        found = [value.to(device) for value in self.run(inputs)]
        if tuple(self.outputs) == ("vectors",):
            return found[0]
        return SimpleNamespace(**dict(zip(self.outputs, found, strict=True)))
