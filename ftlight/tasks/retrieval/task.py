"""Queries and the items that they seek: search, matching, recommendation."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.data import sampling, tokens
from ftlight.data.module import DataModule
from ftlight.metrics.ranking import gain, ranking, ranks
from ftlight.models import loading, saving
from ftlight.models.pooling import Encoder, Pooling, trained_pooling
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.retrieval.data import RetrievalData
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
TOP = 10  # items that a prediction lists
NEVER = float("-inf")
CELLS = 2**26  # scores held at once, 256 MB: queries times items


def contrast(scores: Tensor, positive: Tensor, known: Tensor, symmetric: bool = False) -> Tensor:
    """Cross-entropy of what each query seeks against the other items of the batch (van den Oord et al. 2018).

    Args:
        scores: ``[rows, items]``, divided by the temperature.
        positive: column of each row's item ``[rows]``.
        known: items that are no negatives of a row, bool ``[rows, items]``.
        symmetric: whether each item has to find its query among those of the batch, too.

    Returns:
        The mean over rows.
    """
    loss = F.cross_entropy(scores.masked_fill(known, NEVER), positive)
    if not symmetric:
        return loss
    same = (positive[:, None] == positive) | known[:, positive].T  # [item's row, query's row]
    same.fill_diagonal_(False)
    back = F.cross_entropy(
        scores[:, positive].T.masked_fill(same, NEVER),
        torch.arange(len(positive), device=scores.device),
    )
    return (loss + back) / 2


class Retrieval(Task):
    """Finds the items that a query seeks, by one encoder of texts for both.

    Each text becomes a vector of length 1; the score is their cosine. Trained against the other items of the batch, measured
    on the whole catalogue; items that a user had are not ranked.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        pooling: how token states become one vector: mean, cls, last or max; auto pools a sentence encoder as it was trained,
            any other by the mean.
        temperature: what scores are divided by in the loss; the smaller, the more the hardest negatives count.
        symmetric: whether items have to find their queries in the loss, too.
        popularity: weight of how often an item was sought in training; if not given 1 for interactions, 0 for pairs. Items of a
            batch come as often as they are sought, so the loss learns how much more often than that a query seeks one: 1 is Bayes' rule.
        baselines: whether a test measures the pre-trained backbone, ranking in the same way, beside the fine-tuned one.
        base: options of Task.
    """

    data_module = "ftlight.RetrievalData"
    primary_metric = "ndcg@10"
    monitor = "val/ndcg@10"

    def __init__(
        self,
        backbone: str,
        *,
        pooling: Pooling = "auto",
        temperature: float = 0.05,
        symmetric: bool = False,
        popularity: float | None = None,
        baselines: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        if not temperature > 0:
            raise UserError(
                f"model.temperature: {temperature} is not a temperature; give a number above 0, for example 0.05"
            )
        if pooling == "native":
            raise UserError("model.pooling: native has no vectors; give mean, cls, last or max")
        trained = trained_pooling(backbone) if pooling == "auto" else pooling
        self.pooling: Pooling = "mean" if trained == "native" else trained
        self.temperature, self.symmetric, self.popularity, self.baselines = (
            temperature,
            symmetric,
            popularity,
            baselines,
        )
        self.model = Encoder(self.load(), self.pooling, scale=1.0)
        self._indexes: dict[
            str, tuple[Any, Tensor]
        ] = {}  # of the model and, in a test, of the pre-trained one
        self._rivals: list[str] = []

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Vectors of texts, ``[rows, width]``.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [rows, tokens]``.
        """
        return cast(Tensor, self.model(**inputs))

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss of a training batch, each process against the items of its own; vectors of the queries."""
        queries = self(batch["inputs"])
        if "items" not in batch:
            return Step(None, queries)
        items = self(batch["items"])
        with torch.autocast(
            queries.device.type, enabled=False
        ):  # bf16 cannot tell near cosines apart
            scores = queries @ items.T / self.temperature
        return Step(
            contrast(scores, batch["positive"], batch["known"], self.symmetric), queries.detach()
        )

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Encodes the catalogue."""
        self._index("val")

    def on_test_epoch_start(self) -> None:
        """Encodes the catalogue, also as the pre-trained backbone does."""
        self._index("test")

    def on_predict_epoch_start(self) -> None:
        """Encodes the catalogue."""
        self._index("predict")

    def on_validation_epoch_end(self) -> None:
        """Measures the validation."""
        super().on_validation_epoch_end()
        self._indexes = {}

    def on_test_epoch_end(self) -> None:
        """Measures the test."""
        super().on_test_epoch_end()
        self._indexes = {}

    def on_predict_epoch_end(self) -> None:
        """Forgets the catalogue's vectors."""
        self._indexes = {}

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
        self._rivals = [*self._indexes, *(["popularity"] if self._counts.any() else [])]

    def _all_have(self, mine: bool) -> bool:
        """Whether something is there on all processes: one alone would wait for the others."""
        return (
            mine
            if self._trainer is None
            else bool(self._trainer.strategy.reduce_boolean_decision(mine, all=True))
        )

    def _untuned(self) -> nn.Module | None:
        """The pre-trained backbone, or None where it cannot be had."""
        try:
            model = loading.load(self.data.origin or self.backbone)
        except UserError as error:
            log.info("no figures of the untuned embeddings: %s", error)
            return None
        return Encoder(model, self.pooling, scale=1.0).to(self.device).eval()

    @torch.no_grad()
    def _vectors(self, model: nn.Module) -> Tensor:
        """Vectors of the whole catalogue ``[items, width]``; each process encodes a share."""
        data, trainer = self.data, self._trainer
        table, tokenizer = data.candidates, data.tokenizer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        found = torch.zeros(
            len(table), loading.width(self.backbone), dtype=torch.float, device=self.device
        )
        with (
            trainer.precision_plugin.forward_context()
            if trainer is not None
            else contextlib.nullcontext()
        ):
            for numbers in sampling.eval_batches(
                np.asarray(table["length"]), 64, rank=rank, world=world
            ):
                inputs = {
                    k: v.to(self.device)
                    for k, v in tokens.collate(table[numbers.tolist()], tokenizer).items()
                }
                found[torch.from_numpy(numbers).to(self.device)] = model(**inputs).float()
        if world > 1:
            found = trainer.strategy.reduce(found, reduce_op="sum")  # type: ignore[union-attr]
        return found

    def _prior(self) -> Tensor:
        """What an item's score gains by how often it was sought in training, in units of the cosine ``[items]``."""
        counts = torch.tensor(self.data.catalogue.counts, dtype=torch.float, device=self.device)
        return self.temperature * self._weight() * counts.add(1).log()

    def _weight(self) -> float:
        return float(bool(self.data.user)) if self.popularity is None else self.popularity

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Ranks the catalogue for each query; keeps the best items with their scores and the ranks of what is sought."""
        if not self._indexes:
            self._index("predict")
        golds, exclude = batch["golds"], batch["exclude"]
        queries = {name: model(**batch["inputs"]) for name, (model, _) in self._indexes.items()}
        size = max(1, CELLS // len(self._counts))
        parts = [slice(i, i + size) for i in range(0, len(golds), size)]
        found = [
            self._rank({name: q[part] for name, q in queries.items()}, golds[part], exclude[part])
            for part in parts
        ]
        best, losses, by_rank = zip(*found, strict=True)
        loss = torch.cat(losses).mean() if any(golds) else None
        return Step(
            loss, torch.cat(best), [r for part in by_rank for r in part] if any(golds) else None
        )

    def _rank(
        self,
        queries: dict[str, Tensor],
        golds: Sequence[Sequence[int]],
        exclude: Sequence[Sequence[int]],
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Ranks the catalogue for some queries.

        Args:
            queries: vectors ``[rows, width]`` by the model and by the pre-trained one.
            golds: items that each row seeks.
            exclude: items that are not ranked for a row.

        Returns:
            Numbers and scores of the best items ``[rows, 2, TOP]``; the cross-entropy of what is sought against the whole catalogue
            ``[rows]``; for each row the ranks of what it seeks ``[golds, rankings]``.
        """
        row = torch.tensor(
            [i for i, items in enumerate(exclude) for _ in items],
            dtype=torch.long,
            device=self.device,
        )
        column = torch.tensor(
            [item for items in exclude for item in items], dtype=torch.long, device=self.device
        )
        never = torch.tensor(NEVER, dtype=torch.float, device=self.device)
        with torch.autocast(self.device.type, enabled=False):
            scores = {
                name: q.float() @ self._indexes[name][1].T + self._gains
                for name, q in queries.items()
            }
        if "popularity" in self._rivals:
            scores["popularity"] = self._counts.repeat(len(golds), 1)
        scores = {name: values.index_put((row, column), never) for name, values in scores.items()}
        own = scores[""]
        best = own.topk(min(TOP, own.shape[1]))
        outputs = torch.stack([best.indices.float(), best.values], 1)
        if not any(golds):
            return outputs, own.new_zeros(len(golds)), []
        logs = (own / self.temperature).log_softmax(1)
        losses = torch.stack([-logs[i, torch.tensor(gold)].mean() for i, gold in enumerate(golds)])
        by_rank = zip(*(ranks(values, golds) for values in scores.values()), strict=True)
        return outputs, losses, [torch.stack(parts, 1) for parts in by_rank]

    def compute_metrics(
        self, outputs: Any, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Recall, NDCG and reciprocal rank, with recall@10 and NDCG@10 of the baselines, and by how much NDCG@10 is above theirs."""
        columns = list(zip(*(t.unbind(1) for t in targets), strict=True))
        values, intervals = ranking(columns[0])
        for name, ranked in list(zip(self._rivals, columns, strict=True))[1:]:
            theirs, ends = ranking(ranked)
            for metric in ("recall@10", "ndcg@10"):
                values[f"{name}_{metric}"], intervals[f"{name}_{metric}"] = (
                    theirs[metric],
                    ends[metric],
                )
            above = f"ndcg@10_over_{name}"
            values[above], intervals[above] = gain(columns[0], ranked)
        return EvaluationResult(values, len(targets), intervals)

    def postprocess(self, outputs: Any, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The best item's text, its score, its id where it has one, and the ten best as ``items``."""
        catalogue, decoded = self.data.catalogue, []
        for numbers, scores in outputs.tolist():
            items = [
                catalogue.item(int(n), s) for n, s in zip(numbers, scores, strict=True) if s > NEVER
            ]
            best = items[0] if items else {"text": "", "score": float("nan")}
            decoded.append(
                {
                    "prediction": best["text"],
                    "score": best["score"],
                    **{k: v for k, v in best.items() if k == "id"},
                    "items": items,
                }
            )
        return decoded

    def describe(self) -> str:
        """Pooling, temperature and what popularity counts for."""
        weight = self._weight()
        return f"{self.pooling} pooling, temperature {self.temperature:g}" + (
            f", popularity {weight:g}" if weight else ""
        )

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a sentence-transformers folder (transformer, pooling, normalization) and the catalogue as items.jsonl."""
        assert isinstance(data, RetrievalData)
        model = cast(Encoder, self.model)
        saving.sentence_transformers(model, data.tokenizer, data.max_length, folder, data.prompts)
        with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
            for number, gains in enumerate(self._prior().tolist()):
                item = {k: v for k, v in data.catalogue.item(number, 0.0).items() if k != "score"}
                file.write(json.dumps({**item, "prior": gains}, ensure_ascii=False) + "\n")
        query = '"; ".join(reversed(texts_of_the_last_items))' if data.user else '"a query"'
        return (
            "import json\nfrom sentence_transformers import SentenceTransformer\n"
            'items = [json.loads(line) for line in open(f"{FOLDER}/items.jsonl", encoding="utf-8")]\n'
            "model = SentenceTransformer(FOLDER)\n"
            f"query = model.encode_query({query})\n"
            'scores = model.encode_document([i["text"] for i in items]) @ query + [i["prior"] for i in items]'
        )
