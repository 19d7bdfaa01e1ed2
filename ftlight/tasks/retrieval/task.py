"""Retrieval: finds items for a query; search, matching and recommendation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.metrics.evaluation import Asked
from ftlight.metrics.ranking import gain, ranking
from ftlight.models import saving
from ftlight.models.pooling import Encoder, Pooling, trained_pooling
from ftlight.models.portable import Portable
from ftlight.task import EvaluationResult, Step
from ftlight.tasks.retrieval import cheap, portable
from ftlight.tasks.retrieval.data import RetrievalData
from ftlight.tasks.retrieval.index import CELLS, RankingTask
from ftlight.tasks.retrieval.loss import NEVER, contrast
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Finite, Positive


class Retrieval(RankingTask):
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
    pipeline_tag = "sentence-similarity"
    primary_metric = "ndcg@10"
    monitor = "val/ndcg@10"
    starts_trained = True
    support_unit = "cosine"

    def __init__(
        self,
        backbone: str,
        *,
        pooling: Pooling = "auto",
        temperature: Positive = 0.05,
        symmetric: bool = False,
        popularity: Finite | None = None,
        baselines: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        if pooling == "native":
            raise UserError("model.pooling: native gives no vectors; choose mean, cls, last or max")
        trained = trained_pooling(backbone) if pooling == "auto" else pooling
        self.pooling: Pooling = "mean" if trained == "native" else trained
        self.temperature, self.symmetric = temperature, symmetric
        self.popularity, self.baselines = popularity, baselines
        self.model = Encoder(self.load(), self.pooling, scale=1.0)
        self._indexes, self._rankings = {}, []

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

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Reciprocal rank of the first relevant item of each row; 0 if it has none."""
        assert result.targets is not None
        ranks = [of_row[:, 0].double() for of_row in result.targets]
        return torch.stack([1 / r.min() if len(r) else r.new_zeros(()) for r in ranks])

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

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """The best item, if there is one."""
        if not answer["items"]:
            return []
        best = answer["items"][0]
        number = self.data.numbers([best.get("id", best["text"])], "prediction")[0]
        return [Asked(best["text"], number)]

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """The cosine of query and item, without the item's popularity.

        The catalogue is encoded once, as for a prediction.
        """
        if not self._indexes:
            self._index("predict")
        items = self._indexes[""][1][[part.key for part in asked]]
        queries = self(batch["inputs"])
        with torch.autocast(queries.device.type, enabled=False):
            return (queries.float() * items).sum(1)

    def ladder(self, data: DataModule) -> Ladder | str:
        """Popularity, words in common, the untuned model."""
        assert isinstance(data, RetrievalData)
        return cheap.ladder(self, data)

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
        self._write_items(folder)
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

    def _write_items(self, folder: Path) -> None:
        """Writes the catalogue as items.jsonl, with what popularity adds to each score."""
        with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
            for number, gains in enumerate(self._prior().tolist()):
                item = self.data.catalogue.item(number, 0.0)
                del item["score"]
                file.write(json.dumps({**item, "prior": gains}, ensure_ascii=False) + "\n")

    def portable(self, data: DataModule) -> Portable:
        """Its encoder, and the catalogue as items.jsonl and items.npy."""
        assert isinstance(data, RetrievalData)

        def finish(folder: Path) -> None:
            self._write_items(folder)
            np.save(folder / "items.npy", self._vectors(self.model).numpy())

        return portable.portable(data, finish)
