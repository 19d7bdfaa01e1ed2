"""Retrieval: finds items for a query; search, matching and recommendation."""

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
from ftlight.training.lightning_internals import trainer_of
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
TOP = 10  # items in a prediction
NEVER = float("-inf")
CELLS = 2**26  # scores in memory at once (256 MB): queries times items


def contrast(scores: Tensor, positive: Tensor, known: Tensor, symmetric: bool = False) -> Tensor:
    """Cross-entropy of each query's item against the other items of the batch (InfoNCE).

    Source: van den Oord et al. 2018, arXiv:1807.03748.

    Args:
        scores: ``[rows, items]``, divided by the temperature.
        positive: Column of each row's item, ``[rows]``.
        known: Items that are not negatives of a row, bool ``[rows, items]``.
        symmetric: Whether each item must also find its query among those of the batch.

    Returns:
        The mean over rows.
    """
    loss = F.cross_entropy(scores.masked_fill(known, NEVER), positive)
    if not symmetric:
        return loss
    same = (positive[:, None] == positive) | known[:, positive].T  # [item's row, query's row]
    same.fill_diagonal_(False)
    by_item = scores[:, positive].T.masked_fill(same, NEVER)
    back = F.cross_entropy(by_item, torch.arange(len(positive), device=scores.device))
    return (loss + back) / 2


class Retrieval(Task):
    """Finds the items that match a query, with one text encoder for both.

    Each text becomes a vector of length 1; the score is their cosine. Trains against the other
    items of the batch and evaluates on the whole catalogue, without the items a user already had.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        pooling: How token states become one vector: mean, cls, last or max. Default auto: the
            pooling a sentence encoder was trained with, mean for any other model.
        temperature: Divides the scores in the loss; the lower, the more the hardest negatives
            count.
        symmetric: Whether the loss also makes items find their queries.
        popularity: Weight of an item's popularity in its score, as a prior by Bayes' rule; 0
            ignores it. Default: 1 for interactions, 0 for pairs.
        baselines: Whether the test also measures the pre-trained backbone, ranked the same way.
        base: Options of Task.
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
                f"model.temperature: {temperature} is not above 0; give for example 0.05"
            )
        if pooling == "native":
            raise UserError("model.pooling: native gives no vectors; choose mean, cls, last or max")
        trained = trained_pooling(backbone) if pooling == "auto" else pooling
        self.pooling: Pooling = "mean" if trained == "native" else trained
        self.temperature, self.symmetric = temperature, symmetric
        self.popularity, self.baselines = popularity, baselines
        self.model = Encoder(self.load(), self.pooling, scale=1.0)
        # Model and catalogue vectors by name: "" for this model, "untuned" for the pre-trained one.
        self._indexes: dict[str, tuple[Any, Tensor]] = {}
        self._rankings: list[str] = []

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns vectors of texts, ``[rows, width]``.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, ``int64 [rows, tokens]``.
        """
        return cast(Tensor, self.model(**inputs))

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the loss of a batch, against the items of this process, and the query vectors."""
        queries = self(batch["inputs"])
        if "items" not in batch:
            return Step(None, queries)
        items = self(batch["items"])
        # bfloat16 cannot tell close cosines apart
        with torch.autocast(queries.device.type, enabled=False):
            scores = queries @ items.T / self.temperature
        loss = contrast(scores, batch["positive"], batch["known"], self.symmetric)
        return Step(loss, queries.detach())

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Encodes the catalogue."""
        self._index("val")

    def on_test_epoch_start(self) -> None:
        """Encodes the catalogue, also with the pre-trained backbone."""
        self._index("test")

    def on_predict_epoch_start(self) -> None:
        """Encodes the catalogue."""
        self._index("predict")

    def on_validation_epoch_end(self) -> None:
        """Computes the metrics, then drops the catalogue's vectors."""
        super().on_validation_epoch_end()
        self._indexes = {}

    def on_test_epoch_end(self) -> None:
        """Computes the metrics, then drops the catalogue's vectors."""
        super().on_test_epoch_end()
        self._indexes = {}

    def on_predict_epoch_end(self) -> None:
        """Drops the catalogue's vectors."""
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
            model = loading.load(self.data.origin or self.backbone)
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

    def _prior(self) -> Tensor:
        """Addition to each item's cosine for its popularity in training, ``[items]``."""
        counts = torch.tensor(self.data.catalogue.counts, dtype=torch.float, device=self.device)
        return self.temperature * self._weight() * counts.add(1).log()

    def _weight(self) -> float:
        return float(bool(self.data.user)) if self.popularity is None else self.popularity

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Ranks the catalogue for each query.

        The output of a row is ``[2, TOP]``, numbers and scores of the best items; its target the
        ranks of the items it seeks, ``[golds, rankings]``.
        """
        if not self._indexes:
            self._index("predict")
        golds, exclude = batch["golds"], batch["exclude"]
        queries = {name: model(**batch["inputs"]) for name, (model, _) in self._indexes.items()}
        size = max(1, CELLS // len(self._counts))
        best, losses, ranks_of = [], [], []
        for start in range(0, len(golds), size):
            part = slice(start, start + size)
            vectors = {name: q[part] for name, q in queries.items()}
            of_part = self._rank(vectors, golds[part], exclude[part])
            best.append(of_part[0])
            losses.append(of_part[1])
            ranks_of += of_part[2]
        if not any(golds):
            return Step(None, torch.cat(best), None)
        return Step(torch.cat(losses).mean(), torch.cat(best), ranks_of)

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

    def compute_metrics(
        self, outputs: Any, targets: Any, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes recall, NDCG and reciprocal rank, the baselines', and the gain over them."""
        columns = list(zip(*(t.unbind(1) for t in targets), strict=True))
        values, intervals = ranking(columns[0])
        for name, ranked in list(zip(self._rankings, columns, strict=True))[1:]:
            baseline, ends = ranking(ranked)
            for metric in ("recall@10", "ndcg@10"):
                values[f"{name}_{metric}"] = baseline[metric]
                intervals[f"{name}_{metric}"] = ends[metric]
            above = f"ndcg@10_over_{name}"
            values[above], intervals[above] = gain(columns[0], ranked)
        return EvaluationResult(values, len(targets), intervals)

    def postprocess(self, outputs: Any, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns the best item's text, score and id, and the ten best as ``items``."""
        catalogue, decoded = self.data.catalogue, []
        for numbers, scores in outputs.tolist():
            ranked = zip(numbers, scores, strict=True)
            items = [catalogue.item(int(n), score) for n, score in ranked if score > NEVER]
            best = items[0] if items else {"text": "", "score": float("nan")}
            answer = {"prediction": best["text"], "score": best["score"]}
            if "id" in best:
                answer["id"] = best["id"]
            decoded.append({**answer, "items": items})
        return decoded

    def describe(self) -> str:
        """Pooling, temperature, and the weight of popularity."""
        weight = self._weight()
        popularity = f", popularity {weight:g}" if weight else ""
        return f"{self.pooling} pooling, temperature {self.temperature:g}{popularity}"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a sentence-transformers folder, and the catalogue as items.jsonl."""
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
            'lines = open(f"{FOLDER}/items.jsonl", encoding="utf-8")\n'
            "items = [json.loads(line) for line in lines]\n"
            "model = SentenceTransformer(FOLDER)\n"
            f"query = model.encode_query({query})\n"
            'vectors = model.encode_document([i["text"] for i in items])\n'
            'scores = vectors @ query + [i["prior"] for i in items]'
        )
