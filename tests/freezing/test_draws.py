"""Augmented rows that are kept: a few draws in turn, the same rows whether they are kept or not."""

from __future__ import annotations

import functools
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import each
from forked import command, group
from resuming import SignalAt, differences, everything
from tiny.image_classification import write_zip
from transformers import ViTConfig, ViTForImageClassification

from ftlight import ImageClassification, ImageData, Trainer
from ftlight.freezing import verify
from ftlight.freezing.callback import Freezing
from ftlight.freezing.room import cache_dir
from ftlight.freezing.store import ActivationStore
from ftlight.training import checkpoint
from ftlight.training.signals import RunInterrupted
from ftlight.utils.errors import UserError

ROWS, BATCH = 24, 8
STEPS = ROWS // BATCH  # of an epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("images")
    return write_zip(folder / "squares.zip", {"train": ROWS, "val": 9, "test": 9})


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vit")
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = ViTConfig(image_size=32, patch_size=8, num_hidden_layers=3, **sizes)
    ViTForImageClassification(config).save_pretrained(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "size": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "kept"))


class Seen(L.Callback):
    """The images of each row, by epoch."""

    def __init__(self) -> None:
        self.epochs: dict[int, dict[int, torch.Tensor]] = {}

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        images = zip(batch["index"], batch["inputs"]["pixel_values"], strict=True)
        self.epochs.setdefault(trainer.current_epoch, {}).update(images)

    def kinds(self) -> list[int]:
        """For each epoch the first one that had the same images, of all rows that both saw."""
        return [next(e for e in self.epochs if self._alike(e, epoch)) for epoch in self.epochs]

    def _alike(self, one: int, other: int) -> bool:
        rows = self.epochs[one].keys() & self.epochs[other].keys()
        return all(torch.equal(self.epochs[one][i], self.epochs[other][i]) for i in rows)


def run(
    images: str,
    backbone: str,
    folder: Path,
    *callbacks: L.Callback,
    resume: bool = False,
    **how: Any,
) -> tuple[dict[str, torch.Tensor], Seen]:
    """Trains on augmented images. Returns the weights, and what was seen."""
    L.seed_everything(how.get("seed", 3), verbose=False)
    data = ImageData(images, tokenizer=backbone, batch_size=BATCH, **how.get("data", {}))
    model = {"lr": 1e-3, "cache_draws": 2, "unfreeze": "last:1", **how.get("model", {})}
    task = ImageClassification(backbone, labels=data.labels, **model)
    seen = Seen()
    trainer = Trainer(
        run=str(folder),
        resume=resume,
        max_epochs=how.get("epochs", 5),
        accelerator="cpu",
        precision="32-true",
        patience=0,
        callbacks=[seen, *callbacks],
        enable_progress_bar=False,
    )
    trainer.fit(task, datamodule=data)
    return task.state_dict(), seen


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference between two sets of weights."""
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


STAGES = [
    {"train": "head", "epochs": 2},
    {"train": "last:1", "epochs": 3},
    {"train": "all"},
]


@pytest.mark.run
def test_a_run_from_kept_draws_is_the_run_through_all_layers(
    images: str, resnet: str, vit: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def check(backbone: str, unfreeze: Any) -> None:
        folder = tmp_path / f"{Path(backbone).name} {unfreeze}"
        folder.mkdir()
        monkeypatch.setenv("FTLIGHT_CACHE", str(folder / "kept"))
        model = {"unfreeze": unfreeze}
        runs = [
            run(images, backbone, folder / str(cache), model={**model, "cache": cache}, epochs=6)
            for cache in (False, True)
        ]
        out = capsys.readouterr().out
        assert "run at every step" not in out
        assert out.count("draw 1 of 2: the output") == out.count("draw 2 of 2: the output") > 0
        assert apart(runs[0][0], runs[1][0]) < 1e-5
        kinds = [0, 1, 0, 1, 0, 5 if unfreeze == STAGES else 1]
        assert [seen.kinds() for _, seen in runs] == [kinds, kinds]

    each([(b, u) for b in (resnet, vit) for u in ("head", "last:1", STAGES)], check)


@pytest.mark.run
def test_rows_are_new_in_each_epoch_unless_lower_layers_are_frozen(
    images: str, resnet: str, tmp_path: Path, capsys: Any
) -> None:
    def check(model: dict[str, Any], kinds: list[int], line: str) -> None:
        name = str(len(list(tmp_path.iterdir())))
        _, seen = run(images, resnet, tmp_path / name, model=model)
        assert seen.kinds() == kinds
        assert line in capsys.readouterr().out

    new, by_stage = [0, 1, 2, 3, 4], [{"train": "head", "epochs": 3}, {"train": "all"}]
    back = [{"train": "all", "epochs": 3}, {"train": "head", "lr": 0.01}]
    each(
        [
            ({"unfreeze": "all"}, new, "stages"),
            ({"unfreeze": "bias"}, new, "stages"),
            ({"cache_draws": 0}, new, "inputs differ between epochs (augmentation or masking?)"),
            ({"unfreeze": by_stage}, [0, 1, 0, 3, 4], "has 2 augmented forms, one an epoch"),
            ({"unfreeze": back, "cache": True}, [0, 1, 2, 1, 0], "stage 2, draw 1 of 2"),
            ({"cache_draws": 1}, [0] * 5, "draw 1 of 1: the output of the lowest 4 layers"),
        ],
        check,
    )


@pytest.mark.run
def test_a_solved_head_is_said_to_see_rows_as_they_are(
    images: str, resnet: str, tmp_path: Path, capsys: Any
) -> None:
    run(images, resnet, tmp_path / "a", model={"unfreeze": "head", "lr": None})
    out = capsys.readouterr().out
    assert "the head is solved on training rows as they are, without augmentation" in out
    for contrary in ("augmented forms", "run once and kept", "run at every step"):
        assert contrary not in out


@pytest.mark.run
def test_a_draw_is_kept_when_it_is_first_taken_and_serves_later_runs(
    images: str, resnet: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def files() -> int:
        return len(list(cache_dir().glob("*.bin")))

    checked = []
    find = verify.find_fault
    monkeypatch.setattr(verify, "find_fault", lambda *all: checked.append(all[4]) or find(*all))
    model = {"cache": True, "cache_draws": 3}
    run(images, resnet, tmp_path / "one", model=model, epochs=1)
    assert files() == 2  # validation, and one draw
    assert sorted(checked) == ["train", "validation"]
    first, _ = run(images, resnet, tmp_path / "a", model=model, epochs=4)
    assert files() == 4
    assert sorted(checked[2:]) == ["train"] * 3 + ["validation"]
    capsys.readouterr()
    second, _ = run(images, resnet, tmp_path / "b", model=model, epochs=4)
    assert apart(first, second) == 0
    assert capsys.readouterr().out.count("kept from an earlier run") == files() == 4
    run(images, resnet, tmp_path / "rate", model={**model, "lr": 1e-4}, epochs=4)
    assert files() == 4  # a sweep of rates pays once

    def check(how: dict[str, Any]) -> None:
        before = files()
        run(images, resnet, tmp_path / str(before), model=model, epochs=1, **how)
        assert files() == before + 1  # validation is not augmented

    each([{"seed": 4}, {"data": {"augment": "strong"}}, {"data": {"flip": "any"}}], check)


@pytest.mark.run
def test_draws_that_do_not_fit_run_all_layers_on_the_same_rows(
    images: str, resnet: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    model = {"cache": True, "cache_draws": 3}
    whole, rows = run(images, resnet, tmp_path / "whole", model=model)
    sizes = [file.stat().st_size for file in cache_dir().glob("*.bin")]
    capsys.readouterr()

    def check(name: str, bytes_: float, kept: int, said: list[str]) -> None:
        place = tmp_path / "other" / name
        if name == "no folder":
            place.parent.mkdir(exist_ok=True)
            place.write_text("")
        monkeypatch.setenv("FTLIGHT_CACHE", str(place))
        weights, seen = run(
            images, resnet, tmp_path / name, model={**model, "cache_gb": bytes_ / 1e9}
        )
        out = capsys.readouterr().out
        lines = [line for line in out.splitlines() if "run at every step" in line]
        assert len(lines) == len(said)
        assert all(words in line for words, line in zip(said, lines, strict=True))
        assert out.count("computed once now") == kept
        assert sum(file.stat().st_size for file in place.glob("*.bin")) <= bytes_
        assert seen.kinds() == rows.kinds() == [0, 1, 2, 0, 1]
        assert apart(weights, whole) < 1e-5

    later = "of this draw and of those to come"
    each(
        [
            (
                "two fit",
                sum(sizes) - max(sizes) // 2,
                3,
                [f"draw 3 of 3: the frozen layers run at every step {later}"],
            ),
            ("validation fits", min(sizes) + 1, 1, ["draw 1 of 3"]),
            ("none fits", 10, 0, ["of validation: it would take", "draw 1 of 3"]),
            ("no folder", 1e9, 0, ["cannot be written", "cannot be written"]),
        ],
        check,
    )


@pytest.mark.run
def test_a_run_that_is_stopped_goes_on_to_the_bit(
    images: str, resnet: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """While a draw is filled, within an epoch that repeats one, and after a thaw within it."""
    thaw = [{"train": "head", "steps": STEPS + 1}, {"train": "all"}]
    put = ActivationStore.put

    def check(name: str, model: dict[str, Any], step: int, fills: int) -> None:
        def signalled(store: Any, *rest: Any) -> None:
            put(store, *rest)
            filled.append(store)
            if len(filled) == fills:
                signal.raise_signal(signal.SIGUSR1)

        filled: list[Any] = []
        folder, how = tmp_path / name, {"model": {"cache": True, **model}, "epochs": 4}
        folder.mkdir()
        monkeypatch.setenv("FTLIGHT_CACHE", str(folder / "kept"))
        whole = run(images, resnet, folder / "whole", **how)[1]
        monkeypatch.setenv("FTLIGHT_CACHE", str(folder / "other"))
        monkeypatch.setattr(ActivationStore, "put", signalled)
        with pytest.raises(RunInterrupted):
            run(images, resnet, folder / "r", SignalAt(step), **how)
        monkeypatch.setattr(ActivationStore, "put", put)
        _, rest = run(images, resnet, folder / "r", resume=True, **how)
        for epoch, rows in rest.epochs.items():
            assert all(torch.equal(whole.epochs[epoch][i], x) for i, x in rows.items())
        assert max(rest.epochs) == 3
        assert differences(everything(folder / "whole"), everything(folder / "r")) == []

    each(
        [
            ("filling", {}, -1, 3),  # validation and the first draw are whole
            ("epoch", {}, 2 * STEPS + 1, 0),
            ("boundary", {}, 3 * STEPS, 0),
            ("thawed", {"unfreeze": thaw, "cache_draws": 1}, STEPS + 2, 0),
            ("anew", {"unfreeze": thaw, "cache_draws": 1}, 2 * STEPS + 1, 0),
        ],
        check,
    )


@pytest.mark.run
def test_a_run_of_0_1_goes_on_without_draws_and_another_number_is_refused(
    images: str, resnet: str, tmp_path: Path, monkeypatch: Any
) -> None:
    how = {"epochs": 5, "model": {"cache_draws": 2}}
    with pytest.raises(RunInterrupted):
        run(images, resnet, tmp_path / "r", SignalAt(STEPS + 1), **how)
    more = {**how, "model": {"cache_draws": 3}}
    with pytest.raises(UserError, match=r"model.cache_draws: the run began with 2, this is 3"):
        run(images, resnet, tmp_path / "r", resume=True, **more)

    state_dict = Freezing.state_dict

    def old(self: Freezing) -> dict[str, Any]:
        return {key: value for key, value in state_dict(self).items() if key != "draws"}

    monkeypatch.setattr(Freezing, "state_dict", old)
    with pytest.raises(RunInterrupted):
        run(images, resnet, tmp_path / "old", SignalAt(STEPS + 1), epochs=6)
    monkeypatch.setattr(Freezing, "state_dict", state_dict)
    with pytest.raises(RunInterrupted):
        run(images, resnet, tmp_path / "old", SignalAt(3 * STEPS + 1), epochs=6, resume=True)
    _, seen = run(images, resnet, tmp_path / "old", epochs=6, resume=True)
    assert seen.kinds() == [3, 4, 5]  # the second resume too


# Several processes


def _spoil(folder: str, after: int) -> None:
    """Gives one process a folder of its own, and has its stores fail from some batch on."""
    if os.environ["RANK"] == "1":
        os.environ["FTLIGHT_CACHE"] = folder
        get, asked = ActivationStore.get, []

        def failing(store: Any, split: str, *rest: Any) -> Any:
            asked.extend([split] if split == "train" else [])
            return None if split == "train" and len(asked) > after else get(store, split, *rest)

        ActivationStore.get = failing  # type: ignore[method-assign]


@pytest.mark.run
@pytest.mark.processes
def test_processes_keep_draws_together_and_give_up_together(
    images: str, resnet: str, tmp_path: Path
) -> None:
    """One folder for both; one that cannot be written; a store that fails within an epoch."""
    options = {"max_epochs": 5, "accelerator": "cpu", "precision": "32-true", "test": False}
    config = {
        "model": {"task": "ImageClassification", "backbone": resnet, "unfreeze": "last:1"},
        "data": {"train": images, "batch_size": BATCH // 2},
        "trainer": {**options, "enable_progress_bar": False, "devices": 2},
    }
    config["model"] |= {"cache_draws": 2, "lr": 1e-3}
    (tmp_path / "X.yaml").write_text(json.dumps(config))
    (tmp_path / "file").write_text("")
    alone = run(images, resnet, tmp_path / "alone", seed=0)[0]

    def together(name: str, *words: str, before: Any = None) -> tuple[Any, str]:
        def start(rank: dict[str, str]) -> str:
            fit = ["fit", "-c", "X.yaml", "--run", name, *words]
            done = command(fit, tmp_path, 240, before, **rank)
            assert done.returncode == 0, done.stdout
            return done.stdout

        with ThreadPoolExecutor() as pool:
            out = "".join(pool.map(start, group(2 if before else 1)))
        return checkpoint.load(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"], out

    nodes = ("--trainer.devices", "1", "--trainer.num_nodes", "2")

    def check(name: str, before: Any, kept: int, said: str) -> None:
        weights, out = together(name, *(nodes if before else ()), before=before)
        assert out.count("computed once now") + out.count("an earlier run") == kept
        assert said in out
        assert apart({n: weights[n] for n in alone}, alone) < 1e-5

    spoil = functools.partial
    each(
        [
            ("both", None, 3, "draw 2 of 2: the output of the lowest 4 layers"),
            ("no folder", spoil(_spoil, str(tmp_path / "file"), 99), 0, "file cannot be written"),
            ("fails", spoil(_spoil, str(tmp_path / "b"), 2), 2, "given up on another process"),
        ],
        check,
    )
