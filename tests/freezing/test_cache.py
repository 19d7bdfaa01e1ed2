"""The frozen-prefix cache: cached equals uncached on every architecture; no stale one is used."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import each, toy_rows, write_csv
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from ftlight import TextClassification, TextData, Trainer
from ftlight.freezing import callback
from ftlight.freezing.cache import PrefixCache
from ftlight.freezing.room import cache_dir
from ftlight.freezing.store import ActivationStore, Layout
from ftlight.freezing.tap import Tap

SMALL = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 6,
    "intermediate_size": 64,
    "vocab_size": 200,
}
IMAGES = {
    **{k: v for k, v in SMALL.items() if k != "vocab_size"},
    "image_size": 32,
    "patch_size": 8,
}
DECODER = {**SMALL, "num_key_value_heads": 2, "pad_token_id": 0}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "roberta": {**SMALL, "pad_token_id": 0},
    "electra": {**SMALL, "embedding_size": 32},
    "camembert": {**SMALL, "pad_token_id": 0},
    "mpnet": {**SMALL, "pad_token_id": 0},
    "deberta": {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **SMALL,
        **{
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 16,
            "max_relative_positions": 32,
        },
        **{"norm_rel_ebd": "layer_norm"},
    },
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 6, "hidden_dim": 64, "vocab_size": 200},
    "modernbert": {
        **SMALL,
        "pad_token_id": 0,
        "local_attention": 8,
        "global_attn_every_n_layers": 3,
    },
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 6, "vocab_size": 200, "pad_token_id": 0},
    "gpt_neox": {**SMALL, "pad_token_id": 0},
    "opt": {
        **{
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_hidden_layers": 6,
            "ffn_dim": 64,
            "vocab_size": 200,
            "word_embed_proj_dim": 32,
        },
        **{"pad_token_id": 0},
    },
    "llama": DECODER,
    "qwen2": DECODER,
    "gemma2": {**DECODER, "head_dim": 8},
    "gemma3_text": {**DECODER, "head_dim": 8, "sliding_window": 8},
    "xlnet": {"d_model": 32, "n_head": 4, "n_layer": 6, "d_inner": 64, "vocab_size": 200},
    "vit": IMAGES,
    "dinov2": IMAGES,
    "deit": IMAGES,
    "convnext": {"num_stages": 4, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "bloom": {"hidden_size": 32, "n_head": 4, "n_layer": 6, "vocab_size": 200, "pad_token_id": 0},
    "qwen3": {**DECODER, "head_dim": 8},
}
CLASSIFIERS = [a for a in ARCHITECTURES if a not in ("vit", "dinov2", "deit", "convnext")]


def build(family: str, auto: Any = AutoModel, **more: Any) -> Any:
    torch.manual_seed(0)
    return auto.from_config(AutoConfig.for_model(family, **{**ARCHITECTURES[family], **more}))


def text(count: int = 24, longest: int = 20) -> tuple[list[torch.Tensor], np.ndarray]:
    torch.manual_seed(3)
    lengths = torch.randint(5, longest, (count,))
    return [torch.randint(5, 200, (int(n),)) for n in lengths], lengths.numpy()


def collate(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids, mask = (
        torch.zeros(len(rows), longest, dtype=torch.long),
        torch.zeros(len(rows), longest, dtype=torch.long),
    )
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def test_the_same_batch_gives_the_same_bits() -> None:
    def check(family: str) -> None:
        model = build(family).eval()
        for cut in (1, 4):
            same_bits(model, family, cut)

    def same_bits(model: Any, family: str, cut: int) -> None:
        inputs = (
            {"pixel_values": torch.randn(2, 3, 32, 32)}
            if family in ("vit", "dinov2", "deit", "convnext")
            else collate(text(4)[0])
        )
        rows = len(next(iter(inputs.values())))
        tap = Tap(model, min(cut, 3) if family == "convnext" else cut)
        with torch.no_grad():
            states = tap.capture(lambda: model(**inputs), rows)
            plain = model(**inputs)[0]
            tap.pending = states
            again = model(**inputs)[0]
        assert torch.equal(plain, again)
        assert tap.pending is None
        layers = [m for m in model.modules() if "forward" in vars(m)]
        assert len(layers) == tap.cut
        tap.feed(torch.zeros_like(states))
        with torch.no_grad():
            fed = model(**inputs)[0]
            assert not torch.equal(plain, fed)  # what is put in is what counts
            assert torch.equal(fed, model(**inputs)[0])  # in every pass on these inputs
            assert torch.equal(plain, model(**{k: v.clone() for k, v in inputs.items()})[0])
        tap.remove()
        assert not any("forward" in vars(m) for m in model.modules())
        with torch.no_grad():
            assert torch.equal(plain, model(**inputs)[0])

    each(ARCHITECTURES, check)


def test_the_input_of_a_native_head() -> None:
    def check(family: str) -> None:
        model = build(family, AutoModelForSequenceClassification, num_labels=3).eval()
        inputs = collate(text(4)[0])
        tap = Tap(model, 6)
        assert tap.at_head
        with torch.no_grad():
            states = tap.capture(lambda: model(**inputs), 4)
            plain = model(**inputs).logits
            tap.pending = states
            assert torch.equal(plain, model(**inputs).logits)
        tap.remove()

    each(CLASSIFIERS, check)


def test_a_new_pooler_inside_the_backbone_leaves_the_top_layer_to_run() -> None:
    model = build("bert", AutoModelForSequenceClassification, num_labels=3).eval()
    model.new_parameters = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    tap = Tap(model, 6)
    assert not tap.at_head
    assert tap.cut == 5
    tap.remove()


def train(
    model: Any,
    head: nn.Module,
    tap: Tap | None,
    store: ActivationStore | None,
    rows: list[torch.Tensor],
) -> list[torch.Tensor]:
    """An epoch of SGD over shuffled batches of eight."""
    trained = [p for p in [*model.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(9)).tolist()
    for start in range(0, len(rows), 8):
        numbers = order[start : start + 8]
        inputs = collate([rows[i] for i in numbers])
        torch.manual_seed(start)
        if tap is not None and store is not None:
            tap.pending = store.get("train", numbers, inputs)
            assert tap.pending is not None
        mask = inputs["attention_mask"].unsqueeze(-1)
        states = model(**inputs)[0]
        loss = nn.functional.cross_entropy(
            head((states * mask).sum(1) / mask.sum(1)), torch.tensor(numbers) % 4
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in trained]


@pytest.mark.run
def test_other_batches_give_the_same_up_to_rounding() -> None:
    """Activations, and weights after an epoch of SGD, within 1e-5 of those of other batches."""

    def check(family: str) -> None:
        rows, lengths = text()
        results = []
        for cached in (False, True):
            model = build(family)
            torch.manual_seed(5)
            head = nn.Linear(32, 4)
            names = [n for n, _ in model.named_parameters()]
            schedule = callback.Freezing("last:2", lr=1e-3, lr_given=True, defaults={})

            class Holder(L.LightningModule):
                monitor = "val/loss"

            holder = Holder()
            holder.model = model
            schedule.task, schedule.eligible = holder, set(names)
            schedule.resolve(holder)
            schedule._apply()
            assert schedule.cut(0) == 4
            tap = store = None
            if cached:
                tap = Tap(model, 4)
                layout = Layout({"train": lengths}, (32,), torch.float32, per_row=False)
                path = Path("states.bin")
                path.write_bytes(bytes(layout.bytes))
                store = ActivationStore(path, layout, write=True)
                order = np.argsort(lengths, kind="stable")
                for numbers in np.array_split(order, 5):
                    inputs = collate([rows[i] for i in numbers])
                    model.eval()
                    with torch.no_grad():
                        states = tap.capture(functools.partial(model, **inputs), len(numbers))
                    schedule._apply()
                    store.put("train", numbers.tolist(), states, inputs)
                with torch.no_grad():
                    inputs = collate(rows[:8])
                    live = tap.capture(functools.partial(model, **inputs), 8)
                kept = store.get("train", list(range(8)), inputs)
                assert kept is not None
                real = inputs["attention_mask"].bool()
                assert float((kept[real] - live[real]).abs().max()) <= 1e-5
            results.append(train(model, head, tap, store, rows))
        for a, b in zip(*results, strict=True):
            assert float((a - b).abs().max()) <= 1e-5

    each(CLASSIFIERS, check)


# In a run


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "kept"))


def run(
    backbone: str,
    folder: Path,
    *,
    task: Any = TextClassification,
    data: Any = TextData,
    **model: Any,
) -> tuple[Any, Any, list[float]]:
    train = write_csv(folder.parent / "train.csv", toy_rows(80))
    losses: list[float] = []

    class Losses(L.Callback):
        def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, *rest: Any) -> None:
            losses.append(float(outputs["loss"]))

    L.seed_everything(0, verbose=False)
    rows = data(train=train, tokenizer=backbone, batch_size=8)
    extra = model.pop("callbacks", [])
    how = {"lr": 1e-3, "weight_decay": 0.0, "head_fit": "step", **model}
    made = task(backbone, labels=rows.labels, **how)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        precision="32-true",
        run=str(folder),
        callbacks=[Losses(), *extra],
        patience=0,
        enable_progress_bar=False,
    )
    trainer.fit(made, datamodule=rows)
    return made, trainer, losses


STEPS = [
    {"train": "head", "epochs": 1},
    {"train": "last:1", "epochs": 1},
    {"train": "last:2", "epochs": 1},
    {"train": "all"},
]


@pytest.mark.run
def test_a_cached_run_is_the_uncached_one(
    still: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def check(pooling: str, option: Any) -> None:
        folder = tmp_path / f"{pooling} {option}"
        folder.mkdir()
        monkeypatch.setenv("FTLIGHT_CACHE", str(folder / "kept"))
        if option == "[head, post]":  # everything but the pooler and the head is frozen
            option = [{"train": ["head", "post"] if pooling == "native" else ["head"]}]
        runs = {
            cache: run(still, folder / str(cache), unfreeze=option, cache=cache, pooling=pooling)
            for cache in (False, True)
        }
        out = capsys.readouterr().out
        assert "run at every step" not in out
        assert "is computed once now" in out
        assert np.allclose(runs[False][2], runs[True][2], atol=2e-4)
        scores = [r[1].callback_metrics["val/loss"].item() for r in runs.values()]
        assert scores[0] == pytest.approx(scores[1], abs=2e-4)
        assert not any("forward" in vars(m) for m in runs[True][0].modules())

    options = ["head", "last:1", "last:2", "[head, post]", STEPS]
    each(itertools.product(["native", "mean", "cls", "max"], options), check)


@pytest.mark.run
def test_the_next_run_reads_the_file_of_the_first_to_the_bit(
    still: str, tmp_path: Path, capsys: Any
) -> None:
    first = run(still, tmp_path / "a", unfreeze="last:2")
    files = sorted(cache_dir().glob("*"))
    second = run(still, tmp_path / "b", unfreeze="last:2")
    out = capsys.readouterr().out
    assert "is computed once now" in out
    assert "is kept from an earlier run" in out
    assert first[2] == second[2]
    assert sorted(cache_dir().glob("*")) == files
    assert len(files) == 1
    run(still, tmp_path / "c", unfreeze="last:2", lr=5e-4)  # a sweep of rates pays once
    assert sorted(cache_dir().glob("*")) == files
    run(still, tmp_path / "d", unfreeze="last:1")
    assert len(list(cache_dir().glob("*"))) == 2
    for pooling in ("mean", "cls"):
        run(still, tmp_path / pooling, unfreeze="head", pooling=pooling)
    assert len(list(cache_dir().glob("*"))) == 4


@pytest.mark.run
def test_other_weights_or_data_make_another_file(still: str, tmp_path: Path) -> None:
    run(still, tmp_path / "a", unfreeze="last:1")
    model = AutoModel.from_pretrained(still)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] += 1e-6
    from transformers import AutoTokenizer

    other = tmp_path / "other"
    model.save_pretrained(other)
    AutoTokenizer.from_pretrained(still).save_pretrained(other)
    run(str(other), tmp_path / "b", unfreeze="last:1")
    assert len(list(cache_dir().glob("*.bin"))) == 2

    class Cut(TextData):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, max_length=40, **kwargs)

    run(still, tmp_path / "c", unfreeze="last:1", data=Cut)
    assert len(list(cache_dir().glob("*.bin"))) == 3


class Masking(TextData):
    """Inputs that differ each time they are asked for."""

    every = 1

    def collate(self, columns: Any, rows: list[int]) -> Any:
        batch = super().collate(columns, rows)
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked % self.every == 0:
            batch["inputs"]["input_ids"][:, 1] = torch.randint(5, 40, (len(rows),))
        return batch


@pytest.mark.run
def test_changing_inputs_switch_it_off(
    still: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def check(every: int) -> None:
        monkeypatch.setattr(Masking, "every", every)
        run(still, tmp_path / str(every), unfreeze="head", data=Masking, cache=True)
        assert "augmentation or masking" in capsys.readouterr().out

    each([1, 17], check)


class Noisy(TextClassification):
    """Noise in the lowest layer, whatever the mode."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.base_model.encoder.layer[0].register_forward_hook(
            lambda m, a, out: out + torch.randn_like(out)
        )


class Leaking(TextClassification):
    """A trained weight that also acts below the cut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        top = self.model.base_model.encoder.layer[3].output.dense.bias
        self.model.base_model.encoder.layer[0].register_forward_hook(lambda m, a, out: out + top)


class Skipping(TextClassification):
    """The top layer looks at what the lowest gave."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        layers, box = self.model.base_model.encoder.layer, {}
        layers[0].register_forward_hook(lambda m, a, out: box.update(low=out.detach()))
        layers[3].register_forward_hook(lambda m, a, out: out + box["low"])


class Throwing(TextClassification):
    """The top layer needs what only the lowest sets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        layers, box = self.model.base_model.encoder.layer, {}
        layers[0].register_forward_pre_hook(lambda m, a: box.clear())
        layers[0].intermediate.register_forward_hook(
            lambda m, a, out: box.update(low=0.0 * out.detach().mean())  # no row depends on others
        )
        layers[3].register_forward_hook(lambda m, a, out: out + box.pop("low"))


@pytest.mark.run
def test_a_model_that_the_cache_would_change_runs_whole(
    still: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def check(task: Any, words: str) -> None:
        monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "kept" / task.__name__))
        run(still, tmp_path / task.__name__, unfreeze="last:1", task=task, pooling="native")
        assert words in capsys.readouterr().out

    each(
        [
            (Noisy, "is there randomness in them?"),
            (Leaking, "something below trains"),
            (Skipping, "another result when its lower layers are skipped"),
            (Throwing, "cannot skip its lower layers (KeyError)"),
        ],
        check,
    )


@pytest.mark.run
def test_an_average_of_other_weights_is_not_fed(still: str, tmp_path: Path, capsys: Any) -> None:
    """While an average of thawed and re-frozen layers is validated, these run."""
    from lightning.pytorch.callbacks import EMAWeightAveraging

    back = [{"train": "all", "epochs": 1}, {"train": "head"}]
    scores = []
    for cache in (False, True):
        average = EMAWeightAveraging(decay=0.99)
        _, trainer, _ = run(
            still, tmp_path / str(cache), unfreeze=back, cache=cache, callbacks=[average]
        )
        scores.append(trainer.callback_metrics["val/loss"].item())
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert (
        "run at every step" not in capsys.readouterr().out
    )  # it is not off: it waits until the weights are back


@pytest.mark.run
def test_too_little_room_is_said(still: str, tmp_path: Path, capsys: Any) -> None:
    run(still, tmp_path / "r", unfreeze="last:1", cache_gb=1e-6)
    assert "model.cache_gb allows" in capsys.readouterr().out
    assert not list(cache_dir().glob("*"))


@pytest.mark.run
def test_a_folder_that_cannot_be_written_is_said(
    still: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "file" / "kept"))
    run(still, tmp_path / "r", unfreeze="last:1")
    assert "kept cannot be written" in capsys.readouterr().out


@pytest.mark.run
def test_data_without_a_fingerprint_are_kept_for_the_run_alone(
    still: str, tmp_path: Path, capsys: Any
) -> None:
    class Nameless(TextData):
        def encode(self, table: Any, split: str) -> Any:
            made = super().encode(table, split)
            made.fingerprint = ""
            return made

    run(still, tmp_path / "r", unfreeze="last:1", data=Nameless)
    assert "computed once now" in capsys.readouterr().out
    assert not list(cache_dir().glob("*"))


@pytest.mark.run
def test_a_part_left_by_a_kill_is_not_read(still: str, tmp_path: Path) -> None:
    first = run(still, tmp_path / "a", unfreeze="last:1")
    (file,) = cache_dir().glob("*.bin")
    file.rename(file.with_suffix(".bin.123"))
    with file.with_suffix(".bin.123").open("r+b") as part:
        part.write(b"\1" * 1000)
    second = run(still, tmp_path / "b", unfreeze="last:1")
    assert first[2] == second[2]


@pytest.mark.run
def test_auto_does_not_store_what_one_epoch_reads(still: str, tmp_path: Path, capsys: Any) -> None:
    run(still, tmp_path / "r", unfreeze=[{"train": "last:1", "epochs": 1}, {"train": "all"}])
    assert "once" not in capsys.readouterr().out
    assert not cache_dir().exists()


@pytest.mark.run
def test_bytes_on_disk_are_as_predicted(still: str, tmp_path: Path) -> None:
    _, trainer, _ = run(still, tmp_path / "r", unfreeze="last:1")
    tables = [trainer.datamodule.sets[s] for s in ("train", "validation")]
    tokens, rows = sum(sum(t["length"]) for t in tables), sum(map(len, tables))
    (file,) = cache_dir().glob("*.bin")
    assert file.stat().st_size == pytest.approx(tokens * 32 * 4 + rows * 8, rel=0.01)


def test_a_store_that_one_process_gave_up_is_opened_anew_by_all() -> None:
    """Otherwise the others would wait for it in the collectives of the opening."""
    asked: list[bool] = []

    class Strategy:
        def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
            asked.append(decision)
            return False

        class root_device:
            type = "cpu"

    class Fake:
        strategy = Strategy()
        datamodule = None
        world_size = 1

    cached = PrefixCache(1.0)
    cached.tap = SimpleNamespace(remove=lambda: None)  # type: ignore[assignment]
    cached.begin(Fake(), None, 1, "stage 2")
    assert asked == [True]
    assert cached.tap is None


def test_giving_up_is_said_if_steps_follow_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for trains in (True, False):
            cached = PrefixCache(1.0, trains)
            cached.stage = "stage 1"
            cached._give_up("inputs differ")
    assert [record.message for record in caplog.records] == [
        "stage 1: the frozen layers run at every step of train: inputs differ"
    ]
