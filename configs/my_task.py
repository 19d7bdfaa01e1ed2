"""A task of one's own: ordered classes, such as stars, in which a near miss is the better miss."""

import torch
from torch.nn import functional as F

from ftlight import EvaluationResult, Pooled, Step, Task, bootstrap


class Ordinal(Task):
    """Learns for each step of the scale whether a text lies above it (Cheng et al. 2008).

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        base: options of Task.
    """

    data_module = "ftlight.TextData"
    primary_metric, monitor, mode = "mae", "val/mae", "min"

    def __init__(self, backbone: str, **base):
        super().__init__(backbone, **base)
        self.model = Pooled(self.load(), "mean", len(self.labels) - 1)

    def step(self, batch):
        logits, targets = self.model(**batch["inputs"]).logits.float(), batch.get("targets")
        steps = torch.arange(logits.shape[1], device=logits.device)
        loss = (
            None
            if targets is None
            else F.binary_cross_entropy_with_logits(logits, (targets[:, None] > steps).float())
        )
        return Step(loss, logits.detach().sigmoid(), targets)

    def compute_metrics(self, outputs, targets, rows):
        off = (outputs.gt(0.5).sum(1) - targets).abs().double()
        counted = torch.stack([off, torch.ones_like(off)], 1)
        bounds = 0, len(self.labels) - 1
        ends = bootstrap(counted, lambda sums: float(sums[0] / sums[1]), bounds=bounds)
        return EvaluationResult(
            {"mae": off.mean().item(), "accuracy": (off == 0).double().mean().item()},
            len(off),
            {"mae": ends},
        )

    def postprocess(self, outputs, rows):
        sure = (outputs - 0.5).abs().amin(1) + 0.5
        return [
            {"prediction": self.labels[int(o.gt(0.5).sum())], "score": float(s)}
            for o, s in zip(outputs, sure, strict=True)
        ]
