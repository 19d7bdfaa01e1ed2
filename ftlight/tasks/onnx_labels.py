"""Labels and values in the predict.py of an ONNX folder, from the logits of a row."""

from __future__ import annotations

from typing import Any

from ftlight.tasks.classification import Classification

# Lines of a loop over ``logits``, float64 [outputs], that fill ``answers``.
LINES = {
    "single": """\
        p = np.exp(logits - logits.max())
        p = dict(zip(SETTINGS["labels"], (p / p.sum()).tolist()))
        label = max(p, key=p.get)
        answers.append({"prediction": label, "score": p[label], "probabilities": p})
    return answers
""",
    "multi": """\
        p = dict(zip(SETTINGS["labels"], (1 / (1 + np.exp(-logits))).tolist()))
        text = "|".join(label for label in p if p[label] >= 0.5)
        score = min(max(share, 1 - share) for share in p.values())
        answers.append({"prediction": text, "score": score, "probabilities": p})
    return answers
""",
    "regression": """\
        value = float(logits[0])
        answers.append({"prediction": value, "score": value})
    return answers
""",
}


def settings(task: Classification) -> dict[str, Any]:
    """What they read: labels, and what logits are multiplied with and moved by.

    That is the temperature of probabilities, or the scale of a regression's values.
    """
    factor, shift = 1.0, 0.0
    if task.kind == "regression" and task.scale is not None:
        factor, shift = task.scale.sd, task.scale.mean
    elif task.kind != "regression" and task.calibration is not None:
        factor = 1 / task.calibration.heat
    return {"labels": task.labels, "factor": factor, "shift": shift}
