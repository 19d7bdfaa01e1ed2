"""Heads that are solved before their first step: which, when, and what a run makes of them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Run, each, make_bert, same, toy_rows, write_csv
from lightning.pytorch.callbacks import EMAWeightAveraging
from resuming import SignalAt, differences, everything, run
from together import together

from ftlight import TextClassification, TextData, load
from ftlight.__main__ import main
from ftlight.freezing import callback as freezing
from ftlight.freezing import head
from ftlight.freezing.vectors import linear_head, vectors
from ftlight.task import Step
from ftlight.training import checkpoint
from ftlight.training.signals import RunInterrupted


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, str]:
    """Files of three splits."""
    sizes = {"train": 60, "validation": 15, "test": 15}
    made = toy_rows(90)
    files, start = {}, 0
    for split, size in sizes.items():
        files[split] = write_csv(tmp_path / f"{split}.csv", made[start : start + size])
        start += size
    return files


class Steps(L.Callback):
    """The weights of the head at the first step, and the number of steps."""

    def __init__(self) -> None:
        self.count, self.first = 0, {}

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        if not self.count:
            self.first = {n: p.detach().clone() for n, p in task.model.named_parameters()}
        self.count += 1


def solved(out: str) -> bool:
    return "the head is solved on 60 rows" in out


@pytest.mark.run
def test_a_head_alone_takes_no_step_and_ends_tested_and_exported(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    seen = Steps()
    trainer = run(bert, rows, tmp_path / "r", {"model": {"unfreeze": "head", "lr": None}}, seen)
    out = capsys.readouterr().out
    assert solved(out)
    assert "no steps: the head is solved" in out
    assert "kept" in out
    assert seen.count == 0
    facts = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (facts["status"], facts["steps"], facts["best"]["val/f1"]) == ("done", 0, 1.0)
    lines = (tmp_path / "r" / "metrics.csv").read_text().splitlines()
    assert "0,0,val/f1,1.0" in lines
    assert "0,0,test/accuracy,1.0" in lines
    best = checkpoint.load(tmp_path / "r" / "checkpoints" / "best.ckpt")["state_dict"]
    assert torch.equal(best["model.head.weight"], trainer.lightning_module.model.head.weight)
    tested = json.loads((tmp_path / "r" / "test_metrics.json").read_text())
    assert tested["test/accuracy"] == 1


@pytest.mark.run
def test_a_run_of_the_command_line_is_done_and_its_export_predicts_the_same(
    fit: Run, tmp_path: Path, capsys: Any
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = fit("--model.unfreeze", "head")
    assert main(["fit", "--resume", str(folder)]) == 0
    assert "is done; nothing is left to do" in capsys.readouterr().out
    assert main(["export", str(folder), "--out", "model"]) == 0
    texts = [text for text, _ in toy_rows(9)]
    exported = torch.as_tensor(SentenceTransformer("model").encode(texts)).softmax(-1)
    found = load(str(folder)).predict([{"text": text} for text in texts])
    own = torch.tensor([list(row["probabilities"].values()) for row in found])
    assert torch.allclose(exported, own, atol=1e-5)


@pytest.mark.run
def test_what_follows_begins_at_once_from_the_solved_head(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    def check(option: Any, starts: list[int], cache: Any) -> None:
        seen = Steps()
        folder = tmp_path / f"{option} {cache}"
        how = {"model": {"unfreeze": option, "cache": cache}}
        trainer = run(bert, rows, folder, how, seen)
        assert solved(capsys.readouterr().out)
        schedule = freezing.of(trainer)
        assert schedule.progress.stage_starts == starts
        assert seen.count == 16
        alone = run(
            bert, rows, folder.with_suffix(".a"), {"model": {"unfreeze": "head", "lr": None}}
        )
        weight = alone.lightning_module.model.head.weight
        assert torch.allclose(seen.first["head.weight"], weight, atol=1e-4)
        first = (folder / "metrics.csv").read_text().splitlines()[1]
        assert first.startswith("0,0,val/loss")

    each(
        [
            ([{"train": "head"}, {"train": "all"}], [0, 0], "auto"),
            (
                [{"train": "head"}, {"train": "last:1", "steps": 8}, {"train": "all"}],
                [0, 0, 8],
                True,
            ),
            ([{"train": "head"}, {"train": "last:1"}], [0, 0], False),
        ],
        check,
    )


@pytest.mark.run
def test_a_head_can_be_solved_after_other_stages(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    """As the last stage it ends the run; the contrastive loss then has done its work."""
    model = {
        "unfreeze": [{"train": ["last:1", "-head"], "steps": 5}, {"train": "head"}],
        "head_init": "labels",
        "contrastive": 1.0,
    }
    seen = Steps()
    how = {"model": model, "data": {"validation_split": 0.0}}
    train = {name: rows[name] for name in ("train", "test")}
    trainer = run(bert, train, tmp_path / "r", how, seen)
    out = capsys.readouterr().out
    assert solved(out)
    assert "by 5 of 5 folds" in out
    assert seen.count == trainer.global_step == 5
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "done"
    between = [{"train": "last:1", "steps": 5}, {"train": "head"}, {"train": "all"}]
    trainer = run(bert, rows, tmp_path / "b", {"model": {"unfreeze": between}})
    assert freezing.of(trainer).progress.stage_starts == [0, 5, 5]
    assert solved(capsys.readouterr().out)


@pytest.mark.run
def test_each_kind_of_head_gives_back_its_tasks_outputs(
    bert: str, plain_bert: str, llama: str, tmp_path: Path
) -> None:
    """The layer on the vectors is what the task computes; so the loss is that of its step."""
    texts = [text for text, _ in toy_rows(40)]
    kinds = {
        "single": [label for _, label in toy_rows(40)],
        "multi": [("good|bad" if i % 3 else "late") for i in range(40)],
        "regression": [str(100 + 7 * (i % 3) + i / 10) for i in range(40)],
    }

    def check(backbone: str, kind: str, model: dict[str, Any]) -> None:
        train = write_csv(tmp_path / f"{kind}.csv", list(zip(texts, kinds[kind], strict=True)))
        how = {"model": {"unfreeze": "head", "lr": None, "kind": kind, **model}}
        folder = tmp_path / f"{Path(backbone).name} {kind} {model}"
        trainer = run(backbone, {"train": train}, folder, how)
        task = trainer.lightning_module
        assert not freezing.of(trainer).stepped
        with torch.no_grad():
            seen = vectors(trainer, task, "train")
            assert seen.rows.tolist() == list(range(36))
            logits = linear_head(task.model)(seen.states)  # type: ignore[operator]
            task.eval()
            batch = task.data.collate(task.data.sets["train"][list(range(36))], list(range(36)))
            outputs = task.step(batch).outputs
        own = {"single": logits.softmax(-1), "multi": logits.sigmoid()}
        values = task.scale.values(logits.squeeze(-1))
        assert torch.allclose(outputs, own.get(kind, values).to(outputs), atol=1e-4)
        assert trainer.callback_metrics["val/loss"] < 0.6

    each(
        [
            *((bert, kind, {}) for kind in kinds),
            (bert, "single", {"class_weight": "balanced", "label_smoothing": 0.1}),
            (bert, "single", {"head_init": "labels"}),
            *((llama, kind, {"pooling": "native"}) for kind in kinds),
        ],
        check,
    )


@pytest.mark.run
def test_a_head_that_cannot_be_solved_is_stepped_with_one_line_why(
    bert: str, plain_bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    class Own(TextClassification):
        def step(self, batch: dict[str, Any]) -> Step:
            return super().step(batch)

    class Other(TextClassification):
        def head_objective(self) -> Any:
            return super().head_objective()

        def loss(self, logits: Any, targets: Any) -> Any:
            return super().loss(logits, targets).square()

    def check(reason: str, how: dict[str, Any], task: Any, backbone: str, monkeypatch: Any) -> None:
        monkeypatch.setattr("resuming.TextClassification", task)
        seen = Steps()
        model = {"unfreeze": "head", "lr": None, **how.pop("model", {})}
        run(
            backbone,
            rows,
            tmp_path / f"r{len(list(tmp_path.iterdir()))}",
            {"model": model, **how},
            seen,
        )
        out = capsys.readouterr().out
        assert not solved(out)
        assert seen.count > 0
        if reason:
            assert f"the head is stepped, not solved: {reason}" in " ".join(out.split())
        else:
            assert "the head is stepped" not in out

    cases: list[tuple[str, dict[str, Any], Any]] = [
        ("", {"model": {"head_fit": "step"}}, TextClassification),
        ("model.lr is given", {"model": {"lr": 1e-3}}, TextClassification),
        (
            "an option leaves training batches out",
            {"trainer": {"limit_train_batches": 2}},
            TextClassification,
        ),
        (
            "trainer.min_epochs or min_steps asks for steps",
            {"trainer": {"min_epochs": 1}},
            TextClassification,
        ),
        ("model.mixup mixes rows anew", {"model": {"mixup": 0.2}}, TextClassification),
        ("model.r_drop compares two passes", {"model": {"r_drop": 1.0}}, TextClassification),
        ("Own has a step of its own", {}, Own),
        ("its loss is not that of its last layer alone", {}, Other),
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        each([(*case, bert, monkeypatch) for case in cases], check)
        distil = (
            "its head has several layers",
            {"model": {"pooling": "native"}},
            TextClassification,
        )
        each([(*distil, no_pooler(tmp_path), monkeypatch)], check)


def no_pooler(folder: Path) -> str:
    """A tiny DistilBERT, whose native head has a dense layer below the last."""
    from conftest import save_tokenizer
    from transformers import DistilBertConfig, DistilBertModel

    size = save_tokenizer(folder / "distil")
    sizes = {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": 64,
    }
    DistilBertModel(DistilBertConfig(vocab_size=size, **sizes)).save_pretrained(folder / "distil")
    return str(folder / "distil")


@pytest.mark.run
def test_a_stepped_head_has_the_durations_of_old(
    bert: str, rows: dict[str, str], tmp_path: Path
) -> None:
    def check(option: Any, starts: list[int]) -> None:
        how = {"model": {"unfreeze": option, "head_fit": "step"}}
        if isinstance(option, list):
            how = {"model": {"unfreeze": option}, "trainer": {"min_epochs": 1}}
        trainer = run(bert, rows, tmp_path / f"{option}", how)
        assert freezing.of(trainer).progress.stage_starts == starts

    each(
        [
            ("lp_ft", [0, 6]),
            ("gradual", [0, 4, 8]),
            ([{"train": "head"}, {"train": "all"}], [0, 6]),
        ],
        check,
    )


@pytest.mark.run
def test_an_average_of_the_weights_begins_with_the_solved_head(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    plain = run(bert, rows, tmp_path / "a", {"model": {"unfreeze": "head", "lr": None}})
    average = EMAWeightAveraging(decay=0.9)
    how = {"model": {"unfreeze": "head", "lr": None}}
    trainer = run(bert, rows, tmp_path / "b", how, average)
    same(plain.lightning_module.model, trainer.lightning_module.model)
    scores = [json.loads((tmp_path / name / "run.json").read_text())["best"] for name in ("a", "b")]
    assert scores[0] == scores[1]
    later = [{"train": "last:1", "steps": 5}, {"train": "head"}]
    run(bert, rows, tmp_path / "c", {"model": {"unfreeze": later}, "ema": True})
    assert "stepped, not solved: the weights are averaged" in capsys.readouterr().out


class SignalIn:
    """Sends a real signal while the head is solved, the first time."""

    def __init__(self, monkeypatch: Any, name: str) -> None:
        self.sent, inner = False, getattr(head, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            found = inner(*args, **kwargs)
            if not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGTERM)
            return found

        monkeypatch.setattr(head, name, wrapped)


@pytest.mark.run
def test_a_run_that_is_stopped_while_solving_solves_again(
    bert: str, rows: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    def check(option: Any, where: str) -> None:
        how = {"model": {"unfreeze": option, "lr": None}}
        whole, folder = tmp_path / f"{option}", tmp_path / f"{option} {where}"
        if not whole.exists():
            run(bert, rows, whole, how)
        with monkeypatch.context() as patched:
            stop: list[Any] = []
            if where == "validation":
                stop = [SignalAt(0, "on_validation_batch_start")]
            else:
                SignalIn(patched, where)
            with pytest.raises(RunInterrupted):
                run(bert, rows, folder, how, *stop)
        run(bert, rows, folder, how, resume=True)
        assert differences(everything(whole), everything(folder)) == []

    both = [{"train": "head"}, {"train": "all"}]
    middle = [{"train": "last:1", "steps": 3}, {"train": "head"}, {"train": "all"}]
    each(
        [
            ("head", "vectors"),
            ("head", "_solved"),
            ("head", "validation"),
            (both, "_solved"),
            (both, "validation"),
            (middle, "_solved"),
        ],
        check,
    )


@pytest.mark.run
def test_a_run_that_is_stopped_after_solving_does_not_solve_again(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    how = {"model": {"unfreeze": [{"train": "head"}, {"train": "all"}]}}
    run(bert, rows, tmp_path / "whole", how)
    with pytest.raises(RunInterrupted):
        run(bert, rows, tmp_path / "r", how, SignalAt(5))
    capsys.readouterr()
    run(bert, rows, tmp_path / "r", how, resume=True)
    assert not solved(capsys.readouterr().out)
    assert differences(everything(tmp_path / "whole"), everything(tmp_path / "r")) == []


@pytest.mark.run
def test_a_run_whose_head_was_stepped_goes_on_so(
    bert: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    """A checkpoint of 0.1 has stages without a word about solving."""
    option = {"unfreeze": "head", "lr": None}
    how = {"model": {**option, "head_fit": "step"}}
    run(bert, rows, tmp_path / "whole", how)
    for step in (3, 9):
        with pytest.raises(RunInterrupted):
            run(bert, rows, tmp_path / f"r{step}", how, SignalAt(step))
        path = tmp_path / f"r{step}" / "checkpoints" / "last.ckpt"
        state = checkpoint.load(path)
        schedule = state["callbacks"]["Freezing"]
        del schedule["solved"]
        for stage in schedule["schedule"]:
            del stage["solved"]
        assert not checkpoint.write_packed(checkpoint.pack(state), path)
        capsys.readouterr()
        run(bert, rows, tmp_path / f"r{step}", {"model": option}, resume=True)
        assert not solved(capsys.readouterr().out)
        assert differences(everything(tmp_path / "whole"), everything(tmp_path / f"r{step}")) == []


@pytest.mark.processes
def test_two_processes_solve_what_one_does(
    rows: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    backbone = str(make_bert(tmp_path / "bert"))
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "cache"))
    two = {"devices": 2, "strategy": "ddp"}
    jobs = [
        {
            "folder": tmp_path / f"two {cache}",
            "how": {"model": {"unfreeze": "head", "lr": None, "cache": cache}, "trainer": two},
        }
        for cache in (False, True)
    ]
    stop = ["on_validation_batch_start", 0, [1]]
    jobs += [{**jobs[0], "folder": tmp_path / "stopped", "stop": stop}]
    jobs += [{**jobs[0], "folder": tmp_path / "stopped", "resume": True}]
    found = together(tmp_path, backbone, rows, jobs)
    assert [codes[0]["code"] for codes in found][:2] == [0, 0]
    run(backbone, rows, tmp_path / "one", {"model": {"unfreeze": "head", "lr": None}})
    for name in ("two False", "two True", "stopped"):
        for kept in ("best", "last"):
            ours = checkpoint.load(tmp_path / "one" / "checkpoints" / f"{kept}.ckpt")
            theirs = checkpoint.load(tmp_path / name / "checkpoints" / f"{kept}.ckpt")
            assert differences(ours["state_dict"], theirs["state_dict"]) == []


def test_the_data_module_is_not_needed_to_say_why(bert: str, toy: str) -> None:
    data = TextData(train=toy, tokenizer=bert)
    task = TextClassification(bert, labels=data.labels, unfreeze="head")
    schedule = task.freezing()
    schedule.check(task)
    assert schedule.progress.stages[0].solved
    assert head.refusal(task) == ""
