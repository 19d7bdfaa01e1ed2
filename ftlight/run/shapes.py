"""What the files of a run may hold, as far as pages and cards show it."""

from __future__ import annotations

from ftlight.run import records
from ftlight.utils.json_file import ANY, NUMERAL, Shape

NUMBER = (float, None)
INTERVAL: Shape = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
ABOVE: Shape = {"gain": float, "low": float, "high": float, "p": NUMBER, "p_holm": NUMBER}
VERDICT: Shape = {"kind": str, "sentence": str, "evidence": {ANY: NUMBER}, "option": str}
CALIBRATION: Shape = {
    "temperature": NUMBER,
    "rows": int,
    "apart": bool,
    **dict.fromkeys(("error_before", "error", "floor"), NUMBER),
    "unit": str,
    "in_train": int,
    "at_least": {NUMERAL: ({"threshold": float, "answered": float}, None)},
    "coverage": {NUMERAL: NUMBER},
}
MODEL: Shape = {
    "name": str,
    "cheap": bool,
    "train_rows": (int, None),
    **dict.fromkeys(("score", "low", "high"), float),
    "weights": (int, None),
    "spent": (records.COST, None),
    "run_above": (ABOVE, None),
}
FORECAST: Shape = {"rows": int, "twice": INTERVAL, "last": INTERVAL, "helps": bool}
BASELINES: Shape = {
    "split": str,
    "rows": int,
    "score": str,
    "verdict": [str],
    "models": [MODEL],
    "learning_curve": ({"scores": {ANY: [float]}, "forecast": (FORECAST, None)}, None),
}
RUNG: Shape = {
    **dict.fromkeys(("name", "run", "score_name"), str),
    **dict.fromkeys(("score", "low", "high"), NUMBER),
    "seconds": float,
    "rows": int,
    "best": bool,
}
LADDER: Shape = {"rungs": [RUNG], "said": [{"word": str, "line": str}]}
KEPT: Shape = {
    "file": str,
    "rows": int,
    "score": str,
    "before": float,
    "after": float,
    "difference": ABOVE,
}
GROUP: Shape = {"rows": int, "low": NUMBER, "high": NUMBER, "p": NUMBER}
GROUPS: Shape = {"metric": str, "by_group": {ANY: GROUP}, "difference": NUMBER, "ratio": NUMBER}
TEST: Shape = {
    "classes": {ANY: {ANY: NUMBER}},
    "confusion": [list],
    "groups": {ANY: GROUPS},
    "swaps": {"rows": int, "changed": int},
}
LEARNING: Shape = {
    "monitor": str,
    "mode": str,
    "rows": {ANY: int},
    "kept_step": (int, None),
    "stages": [{"train": [str], "begins": int, "lr": NUMBER, "stored": bool}],
    "rates": [[float]],
}
