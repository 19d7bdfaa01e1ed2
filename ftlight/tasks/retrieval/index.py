"""The catalogue as vectors, and its items ranked by their scores for queries."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftlight.data import sampling, tokens
from ftlight.data.encoded import EncodedSplit
from ftlight.metrics.ranking import ranks
from ftlight.models import loading, weights
from ftlight.models.pooling import Encoder, Pooling
from ftlight.task import Task
from ftlight.tasks.retrieval.loss import NEVER
from ftlight.training.lightning_internals import trainer_of
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
TOP = 10  # items in a prediction
CELLS = 2**26  # scores in memory at once (256 MB): queries times items


class RankingTask(Task):
    """The part of :class:`ftlight.Retrieval` that ranks the catalogue.

    Attributes:
        pooling: how token states become one vector.
        temperature: divides the scores in the loss.
        popularity: weight of an item's popularity; None for the default.
        baselines: whether the test also measures the pre-trained backbone.
    """

    pooling: Pooling
    temperature: float
    popularity: float | None
    baselines: bool
    # Model and catalogue vectors by name: "" for this model, "untuned" for the pre-trained one.
    _indexes: dict[str, tuple[Any, Tensor]]
    _rankings: list[str]
    _counts: Tensor
    _gains: Tensor

    def _index(self, stage: str) -> None:
        self._indexes = {"": (self.model, self._vectors(self.model))}
        untuned = self._untuned() if stage == "test" and self.baselines else None
        if self._all_have(untuned is not None):
            assert untuned is not None
            self._indexes["untuned"] = untuned, self._vectors(untuned)
        self._counts = torch.tensor(
            self.data.catalogue.counts, dtype=torch.float, device=self.device
        )
        self._gains = self._prior()
        self._rankings = [*self._indexes, *(["popularity"] if self._counts.any() else [])]

    def _all_have(self, mine: bool) -> bool:
        """Whether all processes have something: one alone would wait for the others."""
        trainer = trainer_of(self)
        if trainer is None:
            return mine
        return bool(trainer.strategy.reduce_boolean_decision(mine, all=True))

    def _untuned(self) -> nn.Module | None:
        """Loads the pre-trained backbone; None if it is not available."""
        try:
            model = weights.load(self.data.origin or self.backbone)
        except UserError as error:
            log.info("the untuned backbone is not measured: %s", error)
            return None
        return Encoder(model, self.pooling, scale=1.0).to(self.device).eval()

    @torch.no_grad()
    def _vectors(self, model: nn.Module) -> Tensor:
        """Encodes the whole catalogue, ``[items, width]``; each process encodes a share."""
        trainer, table = trainer_of(self), self.data.candidates
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        shape = len(table), loading.width(self.backbone)
        vectors = torch.zeros(shape, dtype=torch.float, device=self.device)
        precision: Any = contextlib.nullcontext()
        if trainer is not None:
            precision = trainer.precision_plugin.forward_context()
        lengths = np.asarray(table["length"])
        with precision:
            for numbers in sampling.eval_batches(lengths, 64, rank=rank, world=world):
                inputs = tokens.collate(table[numbers.tolist()], self.data.tokenizer)
                inputs = {k: v.to(self.device) for k, v in inputs.items()}
                vectors[torch.from_numpy(numbers).to(self.device)] = model(**inputs).float()
        if world > 1:
            vectors = trainer.strategy.reduce(vectors, reduce_op="sum")  # type: ignore[union-attr]
        return vectors

    @torch.no_grad()
    def embed(self, texts: Sequence[str], prompt: str) -> tuple[Tensor, int]:
        """Encodes texts, in batches of similar length.

        Args:
            texts: the texts.
            prompt: what they are: query or document.

        Returns:
            Vectors of length 1, ``[texts, width]``, and the number of their tokens.
        """
        table = EncodedSplit(self.data.prompted(texts, prompt))
        vectors = torch.zeros(len(table), loading.width(self.backbone), device=self.device)
        for numbers in sampling.eval_batches(np.asarray(table["length"]), self.data.batch_size):
            inputs = tokens.collate(table[numbers.tolist()], self.data.tokenizer)
            inputs = {k: v.to(self.device) for k, v in inputs.items()}
            vectors[torch.from_numpy(numbers).to(self.device)] = self(inputs).float()
        return vectors, int(sum(table["length"]))

    def _prior(self) -> Tensor:
        """Addition to each item's cosine for its popularity in training, ``[items]``."""
        counts = torch.tensor(self.data.catalogue.counts, dtype=torch.float, device=self.device)
        return self.temperature * self._weight() * counts.add(1).log()

    def _weight(self) -> float:
        return float(bool(self.data.user)) if self.popularity is None else self.popularity

    def _rank(
        self,
        queries: dict[str, Tensor],
        golds: Sequence[Sequence[int]],
        exclude: Sequence[Sequence[int]],
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Ranks the catalogue for some queries.

        Args:
            queries: Vectors ``[rows, width]`` by name of the model.
            golds: Items that each row seeks.
            exclude: Items not to rank for a row.

        Returns:
            Numbers and scores of the best items, ``[rows, 2, TOP]``; cross-entropy of the items
            sought against the whole catalogue, ``[rows]``; for each row the ranks of the items it
            seeks, ``[golds, rankings]``.
        """
        scores = self._scores(queries, exclude)
        own = scores[""]
        best = own.topk(min(TOP, own.shape[1]))
        outputs = torch.stack([best.indices.float(), best.values], 1)
        if not any(golds):
            return outputs, own.new_zeros(len(golds)), []
        log_probabilities = (own / self.temperature).log_softmax(1)
        losses = [-log_probabilities[i, torch.tensor(gold)].mean() for i, gold in enumerate(golds)]
        by_rank = zip(*(ranks(values, golds) for values in scores.values()), strict=True)
        return outputs, torch.stack(losses), [torch.stack(parts, 1) for parts in by_rank]

    def _scores(
        self, queries: dict[str, Tensor], exclude: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """Scores ``[rows, items]`` by ranking, minus infinity for excluded items."""
        scores = {}
        with torch.autocast(self.device.type, enabled=False):
            for name, vectors in queries.items():
                scores[name] = vectors.float() @ self._indexes[name][1].T + self._gains
        if "popularity" in self._rankings:
            scores["popularity"] = self._counts.repeat(len(exclude), 1)
        pairs = [(row, item) for row, items in enumerate(exclude) for item in items]
        excluded = torch.tensor(pairs, dtype=torch.long, device=self.device).reshape(-1, 2)
        never = torch.tensor(NEVER, dtype=torch.float, device=self.device)
        where = (excluded[:, 0], excluded[:, 1])
        return {name: values.index_put(where, never) for name, values in scores.items()}
