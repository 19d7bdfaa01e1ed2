"""Breaks one file of a run, a model or an export, and looks at what every verb says.

    python scripts/bench/faults files --mutations 50

Trains tiny runs of six kinds (a sentence encoder with pooling, the same with adapters, a decoder
with a chat template, an image classifier, an encoder-decoder, a search) and exports them. Then, for
each file of each run, backbone and export, makes a copy of the folder, harms the file (removed, cut
off, empty, a web page, a pointer of Git LFS, flipped bits, other JSON, other values, …; see
mutations.py) and runs a verb on it: predict, test, validate, export and fit --resume on a run, fit
on a model. Memory and time of each are bounded.

Good is exit status 2 with a line that says what is wrong, 74 with one that says what could not be
written, or that the verb works all the same: a file that it does not read, a value that may be
another. Harm is a traceback, any other status, a
crash, more than --seconds, or a run that works with weights that are not finite.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import importlib
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import common
import mutations
import toys

VERBS = ("predict", "test", "validate", "export", "resume")
EXIT_UNSAVED = 74
GOOD = ("named", "refused", "unsaved", "used")
MEMORY = 6 << 30  # bytes that a process may take beside what all have
PRELOADED = (
    *("ftlight.trainer.export", "ftlight.models.saving", "peft", "pyarrow.parquet"),
    *(f"ftlight.cli.verbs.{verb}" for verb in ("predict", "test", "validate", "export", "fit")),
    *(f"transformers.models.{m}.modeling_{m}" for m in ("auto", "bert", "llama", "resnet", "t5")),
    *("transformers.models.convnext.image_processing_pil_convnext", "transformers.generation"),
    *(
        f"ftlight.tasks.{task}.{part}"
        for task in ("image_classification", "causal_lm", "seq2seq", "retrieval")
        for part in ("task", "data")
    ),
)
SAID = re.compile(r"^ftlight: error: (.*)$", re.MULTILINE)


class Case(NamedTuple):
    """A tiny run: task, backbone, data, what it predicts, options of the model."""

    task: str
    backbone: str
    files: str
    predicts: str
    model: Mapping[str, Any] = MappingProxyType({})


CASES = {
    "text": Case("TextClassification", "encoder", "text.csv", "text-test.csv"),
    "lora": Case("TextClassification", "encoder", "text.csv", "text-test.csv", {"peft": "lora"}),
    "bin": Case("TextClassification", "bin", "text.csv", "text-test.csv"),
    "sharded": Case("TextClassification", "sharded", "text.csv", "text-test.csv"),
    "chat": Case("CausalLM", "llama", "chat.jsonl", "chat-test.jsonl", {"max_new_tokens": 2}),
    "images": Case("ImageClassification", "resnet", "", "images/test/red/0.png"),
    "pairs": Case("Seq2Seq", "t5", "pairs.csv", "pairs-test.csv", {"max_new_tokens": 2}),
    "search": Case("Retrieval", "encoder", "pairs.csv", "pairs-test.csv"),
}
RUNS, MODELS = ("text", "lora", "chat", "images", "pairs", "search"), ("text", "bin", "sharded")
PLACES = [
    *(f"{name}/run" for name in RUNS),
    *(f"{name}/model" for name in (*MODELS, "chat", "images", "pairs")),
    *(f"{name}/export" for name in ("text", "chat", "images", "pairs")),
]


def make_models(made: Path) -> None:
    """Writes the backbones that toys.py does not: with pooling, and with other files of weights."""
    import torch
    import transformers as hf

    encoder = shutil.copytree(made / "bert", made / "encoder")
    names = json.loads((encoder / "tokenizer_config.json").read_text())
    special = {k: v for k, v in names.items() if k.endswith("_token") and isinstance(v, str)}
    (encoder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    write = (("1_Pooling/config.json", {"pooling_mode_mean_tokens": True}),)
    write += (("sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False}),)
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [{"path": p, "type": f"sentence_transformers.models.{kind}"} for p, kind in kinds]
    write += (("modules.json", modules),)  # type: ignore[assignment]
    for name, content in write:
        (encoder / name).parent.mkdir(exist_ok=True)
        (encoder / name).write_text(json.dumps(content))
    model = hf.AutoModel.from_pretrained(encoder, trust_remote_code=False)
    for name in ("bin", "sharded"):
        shutil.copytree(encoder, made / name)
        (made / name / "model.safetensors").unlink()
    torch.save(model.state_dict(), made / "bin" / "pytorch_model.bin")
    model.save_pretrained(made / "sharded", max_shard_size="40KB")
    template = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    (made / "llama" / "chat_template.jinja").write_text(template)


def config(case: Case) -> dict[str, Any]:
    """The config of a tiny run."""
    made = copy.deepcopy(toys.task(case.task, case.backbone, case.files, {}, **case.model))
    if case.task == "ImageClassification":
        made["data"] = {"train": "images", "batch_size": 8, "augment": "none"}
    if case.task == "Retrieval":
        made["data"] |= {"query": "source", "positive": "target"}
    steps = {"max_steps": 2, "save_every": 1, "enable_progress_bar": False}
    made["trainer"] = {**made["trainer"], **steps}
    return made


class Trial(NamedTuple):
    """A harmed copy of a folder, and the process that works with it."""

    name: str
    what: str
    folder: Path
    file: Path
    words: list[str]
    log: Path
    began: float


class Bench:
    """Folders to harm, in a home of their own.

    Args:
        home: where all files go.
        seconds: seconds after which a process counts as hanging.
        seed: seed of all mutations.
    """

    def __init__(self, home: Path, seconds: float, seed: int) -> None:
        self.home, self.seconds, self.seed = home, seconds, seed
        common.prepare(home)
        make_models(home / "made")
        for name in PRELOADED:
            importlib.import_module(name)
        from ftlight.__main__ import main

        self.main = main
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        self.limit = used + MEMORY

    def call(self, words: list[str], log: Path) -> int:
        """Starts a verb in a process with bounded memory."""

        def before() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (self.limit, self.limit))

        return common.start(words, log, before)

    def prepare(self, place: str) -> Path:
        """Makes the folder of a place, and what it needs. Returns it."""
        name, _, kind = place.partition("/")
        folder = self.home / "whole" / place
        config_file = self.home / "made" / f"{name}.yaml"
        if folder.exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        config_file.write_text(json.dumps(config(CASES[name])))
        if kind == "model":
            return Path(shutil.copytree(self.home / "made" / CASES[name].backbone, folder))
        words = ["fit", "-c", str(config_file), "--run", str(folder)]
        if kind == "export":
            words = ["export", str(self.prepare(f"{name}/run")), "--out", str(folder)]
        log = self.home / f"{name}-{kind}.log"
        codes = common.wait_group([self.call(words, log)])
        if codes != [0]:
            sys.exit(f"{' '.join(words)} ended with {codes}:\n{log.read_text()}")
        if kind == "run":
            self.warm_up(self.words(place, "predict", folder))
        return folder

    def warm_up(self, words: list[str]) -> None:
        """Runs a verb in this process: what it keeps in memory halves the time of all others."""
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            if self.main(words):
                sys.exit(f"{' '.join(words)} failed")

    def words(self, place: str, verb: str, folder: Path) -> list[str]:
        """The command line of a verb on the copy of a folder."""
        name, _, kind = place.partition("/")
        new = str(folder.parent / "new")
        if kind == "run":
            return {
                "predict": ["predict", str(folder), CASES[name].predicts, "--out", new],
                "test": ["test", str(folder)],
                "validate": ["validate", str(folder)],
                "export": ["export", str(folder), "--out", new],
                "resume": ["fit", "--resume", str(folder), "--trainer.max_steps", "3"],
            }[verb]
        backbone = folder / "0_Transformer" if (folder / "0_Transformer").exists() else folder
        fit = ["fit", "-c", str(self.home / "made" / f"{name}.yaml"), "--run", new]
        return [*fit, "--model.backbone", str(backbone), "--test", "false"]

    def start(self, name: str) -> tuple[int, Trial]:
        """Harms the file of a case, ``PLACE:FILE#NUMBER``, and starts a verb on it."""
        place, _, rest = name.partition(":")
        file, _, number = rest.rpartition("#")
        draw = random.Random(f"{self.seed} {name}")
        work = Path(tempfile.mkdtemp(dir=self.home))
        folder = Path(shutil.copytree(self.prepare(place), work / "it", symlinks=True))
        words = self.words(place, draw.choice(VERBS), folder)
        what = mutations.mutate(folder / file, folder, int(number), draw)
        log = work / "log"
        trial = Trial(name, what, folder, folder / file, words, log, time.monotonic())
        return self.call(words, log), trial

    def cases(self, places: list[str], count: int) -> list[str]:
        """Names of all cases: each file of each place so many times."""
        found = []
        for place in places:
            for file in mutations.files(self.prepare(place)):
                if file.name != ".lock":
                    found += [f"{place}:{file}#{number}" for number in range(count)]
        return found


def outcome(trial: Trial, code: int | None) -> tuple[str, str]:
    """How a trial ended, and what it said."""
    text = trial.log.read_text(errors="replace")
    said = SAID.findall(text)
    if code is None:
        return "hang", ""
    if "Traceback (most recent call last)" in text:
        frames = re.findall(r'File ".*?(ftlight/\S+\.py)", line (\d+)', text)
        last = text.strip().splitlines()[-1]
        return "traceback", f"{last[:150]} at {':'.join(frames[-1]) if frames else '?'}"
    if code == 0 and trial.what == "not finite" and str(trial.file.parent) in trial.words:
        return "status", "0, with weights that are not finite"
    if code == 0:
        return "used", ""
    if code == EXIT_UNSAVED and said:  # something cannot be written there
        return "unsaved", said[0]
    if code != 2 or not said:
        return "status", f"{code}: {text.strip()[-300:]}"
    short = trial.file.relative_to(trial.folder)
    named = any(part in said[0] for part in (str(short), short.parts[0], short.name))
    kind = "named" if named else "refused"
    return kind, "\n  ".join(line.replace(str(trial.folder), "IT") for line in said)


def run(
    bench: Bench, names: list[str], jobs: int, keep: bool, until: float
) -> list[tuple[Trial, str, str]]:
    """Runs cases, several at a time, and begins none after ``until``.

    Returns:
        Each with its outcome and what was said.
    """
    results, waiting, running = [], collections.deque(names), {}
    while (waiting and time.monotonic() < until) or running:
        while waiting and len(running) < jobs and time.monotonic() < until:
            number, trial = bench.start(waiting.popleft())
            running[number] = trial
        for number, trial in list(running.items()):
            done, status = os.waitpid(number, os.WNOHANG)
            late = time.monotonic() - trial.began > bench.seconds
            if not done and not late:
                continue
            if not done:
                common.kill(number)
            code = os.waitstatus_to_exitcode(status) if done else None
            results.append((trial, *outcome(trial, code)))
            del running[number]
            if results[-1][1] not in GOOD:  # at once: the whole may take hours
                print(f"  HARM {trial.name}: {trial.what}: {results[-1][1:]}", flush=True)
            if not keep:
                shutil.rmtree(trial.folder.parent)
            if len(results) % 100 == 0:
                kinds = collections.Counter(kind for _, kind, _ in results)
                print(f"  {len(results):,} of {len(names):,}: {dict(kinds)}", flush=True)
        time.sleep(0.005)
    return results


def report(results: list[tuple[Trial, str, str]], said_by_all: bool) -> int:
    """Prints a table by place, and each distinct harm. Returns how many came to harm."""
    columns = [*GOOD, "traceback", "status", "hang"]
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    files = collections.defaultdict(set)
    harm: dict[tuple[str, str], list[Trial]] = collections.defaultdict(list)
    for trial, kind, text in results:
        place, _, rest = trial.name.partition(":")
        for row in (place, "all"):
            table[row][kind] += 1
            files[row].add(f"{place}:{rest.rpartition('#')[0]}")
        if kind not in GOOD or said_by_all:
            short = re.sub(r"0x[0-9a-f]+|/\S*/tmp\w*", "…", text)
            harm[kind, re.sub(r"\d+", "N", short)].append(trial)
    print(f"{'place':16}{'files':>7}{'trials':>8}" + "".join(f"{c:>10}" for c in columns))
    for row in sorted(table, key=lambda r: r == "all"):
        counts = "".join(f"{table[row][c]:10,}" for c in columns)
        print(f"{row:16}{len(files[row]):7}{sum(table[row].values()):8,}{counts}")
    print("named: the line names the file, or the folder that it is in")
    for (kind, _), trials in sorted(harm.items(), key=lambda item: (item[0][0], -len(item[1]))):
        example = trials[0]
        said = next(text for trial, _, text in results if trial is example)
        print(f"\n{kind}, {len(trials)} times: {said}")
        print(f"  {example.what}; --case '{example.name}' ({' '.join(example.words[:1])})")
    return sum(table["all"][c] for c in columns if c not in GOOD)


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--mutations", type=int, default=50, help="of each file")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--places", nargs="*", default=PLACES, help=f"some of {', '.join(PLACES)}")
    about.add_argument("--file", default="", help="only files with this in their name")
    about.add_argument("--case", nargs="*", default=[], help="run these alone and show their logs")
    about.add_argument("--seconds", type=float, default=60, help="after which a verb hangs")
    about.add_argument("--minutes", type=float, default=600, help="after which no trial begins")
    about.add_argument("--jobs", type=int, default=os.cpu_count())
    about.add_argument("--messages", action="store_true", help="print all that is said")
    given = about.parse_args()
    home = Path(tempfile.mkdtemp(prefix="files-"))
    try:
        bench = Bench(home, given.seconds, given.seed)
        names = given.case or bench.cases(given.places, given.mutations)
        names = [name for name in names if given.file in name]
        random.Random(given.seed).shuffle(names)  # so that a part of them is of all kinds
        began = time.monotonic()
        until = began + 60 * given.minutes
        results = run(bench, names, given.jobs, bool(given.case), until)
        for trial, _, _ in results if given.case else ():
            print(f"{trial.name}: {trial.what}; {' '.join(trial.words)}\n{trial.log.read_text()}")
        harm = report(results, given.messages)
        minutes = (time.monotonic() - began) / 60
        print(f"\n{len(results):,} of {len(names):,} trials in {minutes:.1f} minutes: {harm} harm")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(bool(harm))
