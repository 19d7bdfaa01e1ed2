"""The frozen-prefix cache of a stage: filled once, checked on the first batch, read at every later one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor

from ftlight.data import sampling
from ftlight.data.files import code
from ftlight.data.module import DataModule
from ftlight.freezing import store as pc
from ftlight.freezing.tap import Tap
from ftlight.models import kernels
from ftlight.models.layers import layer_of, module_layers
from ftlight.models.modes import compiled, evaluating
from ftlight.run.state import state_of
from ftlight.training.fsdp import FSDP2
from ftlight.utils.atomic import part_of

log = logging.getLogger(__name__)
Cache = bool | Literal["auto"]
FILL, TOKENS = (
    64,
    16384,
)  # most rows and tokens of a batch while filling, whatever trains: activations depend on the data alone
CLOSE = (
    1e-4,
    5e-2,
)  # noise of another batch in fp32 and in 16 bits, as a share of the largest activation


class PrefixCache:
    """Feeds the layers of a stage from stored activations of the frozen ones below.

    Args:
        gigabytes: the most that stored activations may take on the disk.
    """

    def __init__(self, gigabytes: float) -> None:
        self.limit = gigabytes * 1e9
        self.tap: Tap | None = None
        self.store: pc.ActivationStore | None = None
        self.checked: set[str] = set()
        self.off: set[str] = set()
        self.moved: set[str] = set()

    def begin(self, trainer: Any, task: Any, cut: int, stage: str) -> None:
        """Opens the store of the activations below ``cut`` and fills it where it is not there yet; keeps one that is open."""
        self.trainer, self.task, self.stage, self.checked, self.off = (
            trainer,
            task,
            stage,
            set(),
            set(),
        )
        # it may have been given up on one process only
        if trainer.strategy.reduce_boolean_decision(self.store is not None, all=True):
            return
        self.end()
        with pc.preserve_rng():  # an iteration over a loader draws a random number
            reason = self._open(cut)
            if not self._agree(reason):
                return
            path = pc.cache_dir() / f"{self.key}.bin"
            if trainer.strategy.reduce_boolean_decision(not path.is_file(), all=False):
                part = Path(trainer.strategy.broadcast(str(part_of(path))))
                if not self._agree(
                    pc.reserve(part, self.layout.bytes, self.limit)
                    if trainer.local_rank == 0
                    else ""
                ):
                    return
                self._fill(path, part)
            else:
                self._say(path, "kept by an earlier run")
        self.store = pc.ActivationStore(path, self.layout)
        trainer.strategy.barrier()
        with contextlib.suppress(OSError):
            path.touch() if self.reusable else path.unlink()

    def _agree(self, reason: str) -> bool:
        """Whether all processes can go on; gives up where one cannot."""
        if self.trainer.strategy.reduce_boolean_decision(not reason, all=True):
            return True
        self._give_up(reason or "another process cannot")
        return False

    def _open(self, cut: int) -> str:
        """Finds the tap, the layout and the key of the store. Returns why there can be none, or nothing."""
        data = self.trainer.datamodule
        if not isinstance(data, DataModule):
            return "without a data module of ftlight rows have no numbers"
        if compiled(self.task):
            return "the model is compiled"
        if isinstance(self.trainer.strategy, FSDP2):
            return "no process has all weights under fsdp2"
        if any(getattr(m, "gradient_checkpointing", False) for m in self.task.model.modules()):
            return "gradient checkpointing runs layers twice"
        try:
            self.tap = Tap(self.task.model, cut)
            self.tables: dict[str, Any] = {
                s: t for s, t in data.sets.items() if s in ("train", "validation")
            }
            self.lengths: dict[str, np.ndarray] = {
                s: np.asarray(t["length"]) for s, t in self.tables.items()
            }
            batch = next(iter(self._batches("train", 0, 1)))
            states, mask = self._capture(batch), pc.mask_of(batch["inputs"])
            for split in (
                s for s, n in self.lengths.items() if len(n)
            ):  # a row of several windows is longest, not in the first batch
                for longest in self._load([np.array([int(self.lengths[split].argmax())])], split):
                    self._capture(longest)
        except ValueError as error:
            return str(error)
        whole = mask is None or states.ndim < 3 or states.shape[1] != mask.shape[1]
        self.layout = pc.Layout(
            self.lengths, states.shape[1 if whole else 2 :], states.dtype, whole
        )
        self.key = self._key(str(states.dtype))
        return ""

    def _batches(self, split: str, first: int, step: int) -> Any:
        lengths = self.lengths[split]
        rows = sampling.eval_batches(lengths, FILL)
        plan = [
            part
            for b in rows
            for part in np.array_split(b, -(-len(b) * int(lengths[b].max()) // TOKENS))
        ][first::step]
        yield from self._load(plan, split)

    def _load(self, plan: list[np.ndarray], split: str) -> Iterator[dict[str, Any]]:
        for batch in (
            self.trainer.datamodule.loader(lambda epoch: plan, self.tables[split]) if plan else ()
        ):
            yield self.trainer.strategy.batch_to_device(batch)

    def _capture(self, batch: dict[str, Any]) -> Tensor:
        assert self.tap is not None
        with (
            evaluating(self.task),
            torch.no_grad(),
            self.trainer.precision_plugin.forward_context(),
        ):
            return self.tap.capture(lambda: self.task.step(batch), len(batch["index"])).detach()

    def _below(self) -> list[tuple[str, Tensor]]:
        """Parameters and buffers that the stored activations depend on."""
        assert self.tap is not None
        model, found = self.task.model, module_layers(self.task.model)
        above = (
            {"head"}
            if self.tap.at_head
            else {"head", "post", *(f"layer {i}" for i in range(self.tap.cut, len(found)))}
        )
        named = [*model.named_parameters(), *model.named_buffers()]
        return [(n, t) for n, t in named if layer_of(n, found) not in above]

    def _key(self, dtype: str) -> str:
        """Names all that stored activations depend on; a new name where the data cannot be told apart."""
        assert self.tap is not None
        prints = [
            getattr(t, "fingerprint", None) or self.trainer.strategy.broadcast(uuid.uuid4().hex)
            for t in self.tables.values()
        ]
        self.reusable = all(getattr(t, "fingerprint", None) for t in self.tables.values())
        device = self.trainer.strategy.root_device
        where = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else torch.backends.cpu.get_cpu_capability()
        )
        below, config = self._below(), getattr(self.tap.base, "config", None)
        self.weights = pc.fingerprint(below)
        parts = [
            *(
                pc.digest(below),
                config.to_json_string() if config is not None else "",
                str(self.tap.cut),
                str(self.tap.at_head),
                dtype,
            ),
            *(
                repr(self.task.model),
                self.trainer.precision,
                device.type,
                where,
                torch.__version__,
                transformers.__version__,
            ),
            *(str(FILL), str(TOKENS), *prints, self.task.kernels, code(kernels.attend)),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _fill(self, path: Path, part: Path) -> None:
        """Each process of a node computes a share of the batches; the file appears once it is whole."""
        strategy, local = self.trainer.strategy, self.trainer.local_rank
        count = max(1, self.trainer.world_size // self.trainer.num_nodes)
        self._say(path, "computed once now")
        store = pc.ActivationStore(part, self.layout, write=True)
        for split in self.tables:
            for batch in self._batches(split, local, count):
                self._asked()
                store.put(split, batch["index"], self._capture(batch), batch["inputs"])
        store.flush()
        strategy.barrier()
        if local == 0:
            os.replace(part, path)
        strategy.barrier()

    def _asked(self) -> None:
        """Stops where a signal asked for it; several processes do at the next step, since they must meet."""
        run = state_of(self.trainer)
        if run is not None and run.obey is not None and self.trainer.world_size == 1:
            run.obey(self.trainer)

    def _say(self, path: Path, how: str) -> None:
        assert self.tap is not None
        size, rows = f"{self.layout.bytes / 1e6:,.0f} MB", f"{self.layout.rows:,}"
        what = "the backbone" if self.tap.at_head else f"the lowest {self.tap.cut} layers"
        log.info(
            "%s: the output of %s for %s rows is %s (%s in %s)",
            self.stage,
            what,
            rows,
            how,
            size,
            path,
        )

    # Reading

    def load(self, batch: dict[str, Any], split: str, first: bool) -> None:
        """Puts the stored activations of a batch at the tap, for its next forward pass.

        Args:
            batch: the batch.
            split: train or validation.
            first: whether it begins an epoch.
        """
        if self.store is None or self.tap is None or split in self.off:
            return
        if first:  # an average of the weights may stand in for them while it is validated
            self.moved.discard(split)
            if pc.fingerprint(self._below()) != self.weights:
                self.moved.add(split)
        if split in self.moved:
            return
        if split not in self.checked:
            self.checked.add(split)
            reason = self._check(batch, split)
            # processes agree while training; in evaluation they may have unequal numbers of batches
            fine = (
                self.trainer.strategy.reduce_boolean_decision(not reason, all=True)
                if split == "train"
                else not reason
            )
            if not fine:
                self._give_up(reason or "it failed its check on another process", split)
                return
        kept = self.store.get(split, batch["index"], batch["inputs"])
        if kept is None:
            self._give_up(
                "an input is not the one of the first pass (augmentation or masking?)", split
            )
            return
        self.tap.pending = kept

    def done(self) -> None:
        """After a batch: nothing stays at the tap."""
        if self.tap is not None:
            self.tap.pending = None

    def _check(self, batch: dict[str, Any], split: str) -> str:
        """Why stored activations would not give the result of the whole model on this batch; nothing where they do."""
        try:
            with pc.preserve_rng(), self.trainer.precision_plugin.forward_context():
                return self._compare(batch, split)
        except Exception as error:  # whatever a model does when its lower layers are skipped
            return f"this architecture cannot skip its lower layers ({type(error).__name__})"

    def _compare(self, batch: dict[str, Any], split: str) -> str:
        assert self.tap is not None
        assert self.store is not None
        inputs, whole = batch["inputs"], self.store.layout.whole
        with torch.enable_grad():
            live = self.tap.capture(lambda: self.task.step(batch), len(batch["index"]))
        if live.requires_grad:
            return "something below trains"
        kept = self.store.get(split, batch["index"], inputs)
        if kept is None:
            return "inputs are not the same in every epoch (augmentation or masking?)"
        close = CLOSE["16" in str(self.trainer.precision) or live.dtype.itemsize < 4]
        real = (
            torch.ones(len(live), dtype=torch.bool, device=live.device)
            if whole
            else pc.mask_of(inputs)
        )
        noise = float(
            (kept[real].float() - live[real].float()).abs().max()
            / live.float().abs().max().clamp(min=1e-12)
        )
        if not noise <= close:
            return f"the frozen layers give another result when run again (by {noise:.1g}): is there randomness in them?"
        with evaluating(self.task), torch.no_grad():
            plain, same, near = (
                self._outputs(batch, states) for states in (None, live.detach(), kept)
            )
        exact = torch.equal(plain, same) or (
            plain.is_cuda and torch.allclose(plain, same, atol=1e-5)
        )
        if not exact or not torch.allclose(
            plain, near, rtol=0, atol=10 * close * float(plain.abs().max().clamp(min=1))
        ):
            return "this architecture gives another result when its lower layers are skipped"
        return ""

    def _outputs(self, batch: dict[str, Any], states: Tensor | None) -> Tensor:
        assert self.tap is not None
        self.tap.pending = states
        try:
            outputs = self.task.step(batch).outputs
            return (
                torch.cat([o.flatten() for o in outputs]) if isinstance(outputs, list) else outputs
            ).float()
        finally:
            self.tap.pending = None

    def _give_up(self, reason: str, split: str = "train") -> None:
        self.off.add(split)
        log.info("%s: the frozen layers run at every step of %s: %s", self.stage, split, reason)
        if split == "train":
            self.end()

    def end(self) -> None:
        """Leaves the model as it was."""
        if self.tap is not None:
            self.tap.remove()
        self.tap = self.store = None


def epochs_of(lengths: Sequence[int | None], total: int, per_epoch: float) -> list[float]:
    """Epochs of each stage; the last, and one of unknown length, take what is left of the run."""
    left, found = float(total), []
    for length in lengths:
        mine = left if length is None else min(float(length), left)
        found.append(mine / per_epoch)
        left -= mine if length is not None else 0
    return found
