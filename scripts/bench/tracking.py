"""What W&B gets of each task, of a run that is killed, of a sweep; and what tracking costs.

All offline, on tiny models made on the spot, and read back from W&B's files:

    python scripts/bench/tracking.py tasks --out /tmp/tracking
    python scripts/bench/tracking.py kills --out /tmp/tracking
    python scripts/bench/tracking.py sweep --out /tmp/tracking
    python scripts/bench/tracking.py cost --out /tmp/tracking
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts" / "bench"), str(ROOT)]

import toys  # noqa: E402
from conftest import make_bert, toy_rows, write_csv  # noqa: E402
from wandb_files import OURS, records  # noqa: E402

FIT = (sys.executable, "-m", "ftlight", "fit")
TINY = ("--trainer.accelerator", "cpu", "--data.batch_size", "8")
RATES, SCHEDULES = (1e-3, 3e-3, 1e-2), ("head", "gradual")
KILLS = 5
CASES = (  # one of each task, of toys.cases()
    *("text, single label", "text, regression", "images, not augmented, head", "tokens"),
    *("answers", "chat", "pairs, t5", "retrieval", "masked"),
)
TRAINER = """
import os, torch
os.makedirs(os.environ["WANDB_DIR"])
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments
model = AutoModelForSequenceClassification.from_pretrained("bare", num_labels=3)
ids = torch.ones(12, dtype=torch.long)
rows = [{"input_ids": ids, "attention_mask": ids, "labels": i % 3} for i in range(48)]
arguments = TrainingArguments(
    "hf-run", report_to="wandb", logging_steps=1, eval_strategy="epoch", num_train_epochs=2,
    save_strategy="epoch", load_best_model_at_end=True, disable_tqdm=True,
)
score = lambda found: {"accuracy": float((found[0].argmax(-1) == found[1]).mean())}
trainer = Trainer(
    model, arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=score
)
trainer.train()
trainer.evaluate(rows, metric_key_prefix="test")
"""


def environment(**variables: str) -> dict[str, str]:
    """Variables of a process that sends nothing anywhere."""
    offline = {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **offline, **variables}


def fit(folder: Path, run: str, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    """Starts a training in a process of its own."""
    log = (folder / f"{run}.log").open("ab")
    command = [*FIT, *words, "--run", run]
    return subprocess.Popen(
        command, cwd=folder, env=environment(**variables), stdout=log, stderr=log
    )


def must(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process that has to end well."""
    if process.wait():
        raise SystemExit(f"{process.args} ended with status {process.returncode}")


def sent(run: Path) -> dict[str, Any]:
    """What W&B got of a run: rows of its history, names in its summary, artifacts, ids."""
    found: dict[str, Any] = {"rows": [], "summary": {}, "artifacts": [], "ids": [], "stats": 0}
    for path in sorted(run.glob("wandb/*run-*/*.wandb")):
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                found["rows"].append(values(record.history.item))
            elif kind == "summary":
                found["summary"].update(values(record.summary.update))
            elif kind == "artifact":
                found["artifacts"].append(f"{record.artifact.type} {record.artifact.name}")
            elif kind == "run":
                found["ids"].append(record.run.run_id)
            elif kind == "stats":
                found["stats"] += 1
    return found


def values(items: Any) -> dict[str, Any]:
    """Values of a record by their names."""
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Each metric's values with their steps, as they came."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in sent(run)["rows"]:
        if any(name.endswith("._type") for name in row):
            continue  # tables and files
        for name in row.keys() - OURS:
            found.setdefault(name, []).append((row["trainer/global_step"], row[name]))
    return found


def made(folder: Path, rows: int) -> list[str]:
    """Data and a model in a folder. Returns the options that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    make_bert(folder / "bert")
    write_csv(folder / "train.csv", toy_rows(rows))
    write_csv(folder / "test.csv", toy_rows(60))
    own = ["--model", "TextClassification", "--model.backbone", "bert"]
    return [*own, "--data.train", "train.csv", "--data.test", "test.csv", *TINY]


def tasks(folder: Path) -> None:
    """Lists what W&B gets of a run of each task, beside transformers' Trainer."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    toys.make(folder)
    configs = toys.cases()
    for number, name in enumerate(CASES):
        (folder / f"{number}.yaml").write_text(json.dumps(configs[name]))
        must(fit(folder, f"run-{number}", "-c", f"{number}.yaml", "--wandb", "tasks"))
        print(json.dumps({"task": name, **listed(sent(folder / f"run-{number}"))}), flush=True)
    make_bert(folder / "bare", sentence_encoder=False)
    command = [sys.executable, "-c", TRAINER]
    subprocess.run(command, cwd=folder, env=environment(WANDB_DIR=str(folder / "hf")), check=True)
    print(json.dumps({"task": "Trainer of transformers", **listed(sent(folder / "hf"))}))


def listed(found: dict[str, Any]) -> dict[str, Any]:
    """Names of what W&B got, those of one kind together."""
    rows = found["rows"]
    names = {name.split(".")[0] for row in rows for name in row if not name.startswith("_")}
    media = {n.split(".")[0] for row in rows for n in row if n.endswith("._type")}
    summary = {n.split(".")[0] for n in found["summary"] if not n.startswith("_")}
    return {
        "rows": len(rows),
        "curves": sorted({re.sub(r"^lr/.*", "lr/LAYER", n) for n in names - media}),
        "tables and files": sorted(media),
        "summary alone": sorted(summary - names - media),
        "artifacts": sorted({a.split()[0] for a in found["artifacts"]} - {"run_table"}),
        "system metrics": found["stats"] > 0,
    }


def kills(folder: Path) -> None:
    """Kills a run at random moments of its training and compares its history with another's."""
    words = [*made(folder, 600), "--trainer.max_epochs", "6", "--trainer.log_every_n_steps", "1"]
    words += ["--trainer.save_every", "7", "--wandb", "kills", "--resume", "auto"]
    must(fit(folder, "calm", *words))
    draw, lines, places = random.Random(0), folder / "killed" / "metrics.csv", []
    whole = len((folder / "calm" / "metrics.csv").read_text().splitlines())
    for kill in range(1, KILLS + 1):
        until = int(whole * (kill - draw.random()) / (KILLS + 1))
        process = fit(folder, "killed", *words)
        while not lines.is_file() or len(lines.read_text().splitlines()) < until:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        places.append(len(lines.read_text().splitlines()))
    must(fit(folder, "killed", *words))
    calm, killed, found = (
        curves(folder / "calm"),
        curves(folder / "killed"),
        sent(folder / "killed"),
    )
    steps = [row["_step"] for row in found["rows"]]
    print(
        json.dumps(
            {
                "killed after lines of metrics.csv": places,
                "of": whole,
                "files of W&B with rows": len(found["ids"]),
                "ids": len(set(found["ids"])),
                "values": sum(map(len, killed.values())),
                "equal": killed == calm,
                "steps twice": len(steps) - len(set(steps)),
            }
        )
    )


def sweep(folder: Path) -> None:
    """Runs the command lines that an agent writes for a grid of six runs."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    made(folder, 200)
    model, data = {"task": "TextClassification", "backbone": "bert"}, {"train": "train.csv"}
    config = {"model": model, "data": data, "trainer": {"max_epochs": 12, "accelerator": "cpu"}}
    (folder / "X.yaml").write_text(json.dumps(config))
    for number, (lr, unfreeze) in enumerate((a, b) for a in RATES for b in SCHEDULES):
        drawn = {"model.lr": {"value": lr}, "model.unfreeze": {"value": unfreeze}}
        arguments = create_sweep_command_args({"args": drawn})["args"]
        (folder / f"p{number}.yaml").write_text(json.dumps({"wandb_version": 1, **drawn}))
        agent = {"WANDB_SWEEP_ID": "grid", "WANDB_PROJECT": "swept", "WANDB_RUN_ID": f"r{number}"}
        agent["WANDB_SWEEP_PARAM_PATH"] = str(folder / f"p{number}.yaml")
        command = [*FIT, "-c", "X.yaml", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment(**agent), capture_output=True, text=True
        )
        runs = [
            path.parent.parent.parent for path in folder.glob(f"runs/X/*/wandb/*-r{number}/*.wandb")
        ]
        score = sent(runs[0])["summary"].get("val/f1") if runs else None
        line = {"arguments": arguments, "status": done.returncode, "val/f1": score}
        print(json.dumps(line), flush=True)


def cost(folder: Path, turns: int = 3) -> None:
    """CPU seconds of a run with tracking and without, in turns, as medians.

    The seconds of W&B's own process, which runs beside, are counted too. A third run logs few
    steps: what it takes more than the one without is what start, end and epochs cost.
    """
    words = [*made(folder, 1600), "--trainer.max_epochs", "5", "--model.unfreeze", "all"]
    words += ["--trainer.report", "false", "--trainer.log_every_n_steps"]
    arms = {"without": ["1"], "few": ["100", "--wandb", "cost"], "all": ["1", "--wandb", "cost"]}
    taken: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(turns):
        for arm, more in arms.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            must(fit(folder, f"{arm}-{turn}", *words, *more))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            taken[arm].append(seconds)
    rows = {arm: len(sent(folder / f"{arm}-0")["rows"]) for arm in ("few", "all")}
    paired = list(zip(*taken.values(), strict=True))
    fixed = [few - without for without, few, _ in paired]
    a_row = [(every - few) / (rows["all"] - rows["few"]) for _, few, every in paired]
    facts = json.loads((folder / "all-0" / "run.json").read_text())
    report = {f"CPU seconds, {arm}": statistics.median(s) for arm, s in taken.items()}
    report |= {"start, end and epochs, s": statistics.median(fixed), "of each turn": fixed}
    report |= {"a row of W&B, ms": 1000 * statistics.median(a_row), "rows": rows}
    report |= {"steps": facts["steps"], "epochs": facts["epochs"]}
    print(json.dumps(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["tasks", "kills", "sweep", "cost"])
    parser.add_argument("--out", type=Path, required=True, help="a folder that need not exist")
    asked = parser.parse_args()
    {"tasks": tasks, "kills": kills, "sweep": sweep, "cost": cost}[asked.part](
        asked.out.absolute() / asked.part
    )
