"""The metadata of a model card, which the Hub reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlight.data.hub import PREFIX, parse_hub
from ftlight.trainer import card_scores
from ftlight.trainer.card_facts import Facts, hub_id
from ftlight.utils import secrets
from ftlight.utils.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

METRICS = {  # what the Hub calls a metric, if not as ftlight does
    "mcc": "matthews_correlation",
    "auroc": "roc_auc",
    "pearson": "pearsonr",
    "rougeL": "rouge",
}


def metadata(facts: Facts, library: str, title: str) -> str:
    """The YAML at the top of a card; nothing that the run does not know.

    Args:
        facts: what the run's files hold.
        library: name of the library that loads it.
        title: what the model is called.
    """
    from huggingface_hub import ModelCardData

    results = _results(facts)
    base, train = str(facts.run.get("backbone") or ""), str(facts.data.get("train") or "")
    datasets = [parse_hub(train)[0]] if train.startswith(PREFIX) else []
    data = ModelCardData(
        library_name=library,
        pipeline_tag=facts.pipeline or None,
        base_model=base if hub_id(base) else None,
        datasets=[d for d in datasets if hub_id(d)] or None,
        metrics=[result.metric_type for result in results] or None,
        tags=["ftlight"],
        model_name=plain(title) if results else None,
        eval_results=results or None,
    )
    return data.to_yaml(line_break="\n")


def _results(facts: Facts) -> list[EvalResult]:
    """The scores of the test, the one that counts first."""
    from huggingface_hub import EvalResult

    if not facts.pipeline:
        return []
    given = str(facts.data.get("test") or facts.data.get("train") or "")
    is_hub = given.startswith(PREFIX) and hub_id(parse_hub(given)[0])
    return [
        EvalResult(
            task_type=facts.pipeline,
            dataset_type=parse_hub(given)[0] if is_hub else "unknown",
            dataset_name=plain(parse_hub(given)[0] if is_hub else Path(given).name) or "unknown",
            dataset_split="test",
            metric_type=METRICS.get(score.name, score.name),
            metric_value=round(score.value, 6),
            metric_name=f"{score.name} (95 % interval {score.interval})"
            if score.interval
            else score.name,
        )
        for score in card_scores.scores(facts.scores, facts.score)
    ]


def plain(value: Any) -> str:
    """A text of others as one line of metadata."""
    return " ".join(printable(str(secrets.redact(str(value)))).split())
