"""Chats, or plain texts, for a decoder language model: supervised fine-tuning on replies."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor

from ftlight.data.module import DataModule
from ftlight.metrics import texts
from ftlight.metrics.intervals import bootstrap
from ftlight.models.modes import evaluating
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks import generation as decoder
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm import truncation
from ftlight.tasks.causal_lm.data import ChatData, padded
from ftlight.utils.errors import UserError

LOGITS, TOKENS = 2**26, 2**14  # the most logits and tokens that an evaluation holds at once
FACTS = ("nll", "tokens", "right", "log_probability")
"""What an evaluation keeps of a row, before the tokens of its reply; the last is nan where none was written."""


class CausalLM(Task):
    """Fine-tunes a decoder language model on the replies of chats, or on plain texts, and writes replies.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        sample: chats of an evaluation whose last reply is written anew and compared (BLEU, ROUGE-L), spread evenly over its rows.
        max_new_tokens: the most tokens of a reply that is written; at most half the context.
        temperature: how freely replies are drawn: 0 takes the likeliest word each time.
        top_p: share of the likeliest words to draw from, where temperature is above 0.
        base: options of Task.
    """

    data_module = "ftlight.ChatData"
    primary_metric = "perplexity"
    monitor = "val/loss"
    mode = "min"

    def __init__(
        self,
        backbone: str,
        *,
        sample: int = 32,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        if max_new_tokens < 1:
            raise UserError(
                f"model.max_new_tokens: {max_new_tokens} is not a number of tokens; give 1 or more"
            )
        if temperature < 0 or not 0 < top_p <= 1:
            raise UserError(
                f"model.temperature: {temperature}, model.top_p: {top_p}; give 0 or more, and above 0 to 1"
            )
        if self.cache is True:
            raise UserError(
                "model.cache: the output of frozen layers cannot be kept for chats; leave it out"
            )
        self.cache = False  # a row of an evaluation is several samples, and a packed batch is one
        self.sample, self.max_new_tokens, self.temperature, self.top_p = (
            sample,
            max_new_tokens,
            temperature,
            top_p,
        )
        self.model = self.load("AutoModelForCausalLM")
        self._replies: dict[int, tuple[list[int], float]] | None = None
        self._split = ""

    def setup(self, stage: str) -> None:
        """Checks that the model is a decoder, and whether it keeps packed rows apart; they are padded where it does not.

        Raises:
            UserError: the model sees what comes after a token.
        """
        super().setup(stage)
        causal, packs = decoder.probe(self.model)
        if not causal:
            raise UserError(
                f"model.backbone: {self.backbone} is no decoder, it sees the words that it is to predict; MaskedLM takes it"
            )
        if isinstance(self.data, ChatData) and self.data.packing and not packs:
            self.data.packing = False
            self.data.notes.append(
                f"{type(self.model).__name__} does not keep packed rows apart: batches are padded (data.packing)"
            )

    # Loss

    def step(self, batch: dict[str, Any]) -> Step:
        """Mean loss over the learned tokens of a batch."""
        nll, _, _ = decoder.likelihood(self.model, batch["inputs"], batch["labels"])
        return Step(nll.mean(), nll.detach(), None, len(nll))

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Loss of the replies of each row, and replies of the sampled rows; of rows to predict the replies alone."""
        facts = torch.zeros(len(batch["index"]), 3, dtype=torch.float, device=self.device)
        if "labels" in batch:
            for nll, right, line in self._in_parts(batch["inputs"], batch["labels"]):
                facts.index_add_(
                    0, batch["places"][line], torch.stack([nll, torch.ones_like(nll), right], 1)
                )
            replies = self._sampled(batch["index"])
        else:
            written = self.reply([chat.load(text) for text in batch["chats"]])
            replies = dict(zip(batch["index"], written, strict=True))
        outputs = []
        for row, number in zip(facts, batch["index"], strict=True):
            ids, score = replies.get(number, ([], math.nan))
            outputs.append(torch.cat([row, row.new_tensor([score, *ids])]))
        if "labels" not in batch:
            return Step(None, outputs)
        total = facts.sum(0)
        return Step(total[0] / total[1].clamp(min=1), outputs, None, float(total[1]))

    def _in_parts(
        self, inputs: dict[str, Tensor], labels: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The likelihood of a batch in parts that fit memory."""
        width = labels.shape[1]
        rows = max(1, min(LOGITS // (self._vocabulary * width), TOKENS // width))
        for a in range(0, len(labels), rows):
            nll, right, line = decoder.likelihood(
                self.model, {k: v[a : a + rows] for k, v in inputs.items()}, labels[a : a + rows]
            )
            yield nll.float(), right, line + a

    @property
    def _vocabulary(self) -> int:
        return int(self.model.get_input_embeddings().num_embeddings)  # type: ignore[operator]

    # Replies

    def on_validation_epoch_start(self) -> None:
        """The replies of the last evaluation are of other weights."""
        self._replies, self._split = None, "validation"

    def on_test_epoch_start(self) -> None:
        """The replies of the last evaluation are of other weights."""
        self._replies, self._split = None, "test"

    def _sampled(self, numbers: list[int]) -> dict[int, tuple[list[int], float]]:
        """Replies to the sampled rows of the split, written together when the first of them is asked for."""
        table = self.data.sets[self._split]
        chosen = evenly(len(table), 0 if self.data.plain else self.sample)
        if self._replies is None and not set(chosen).isdisjoint(numbers):
            asked = [
                truncation.upto_reply(truncation.answered(chat.load(text)))[0]
                for text in table[chosen]["chat"]
            ]
            chosen = [n for n, messages in zip(chosen, asked, strict=True) if messages]
            self._replies = dict(zip(chosen, self.reply([m for m in asked if m]), strict=True))
        return self._replies or {}

    @property
    def _new(self) -> int:
        return max(1, min(self.max_new_tokens, int(self.data.max_length) // 2))

    def generation(self) -> Any:
        """How replies are written, as transformers has it."""
        from transformers import GenerationConfig

        drawn = (
            {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
            if self.temperature
            else {"do_sample": False}
        )
        tokenizer = self.data.tokenizer
        about = {
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": self.data.end_tokens,
        }
        return GenerationConfig(max_new_tokens=self._new, **drawn, **about)

    def reply(self, chats: Sequence[list[chat.Message]]) -> list[tuple[list[int], float]]:
        """Replies to chats: their tokens, with the one that ends them, and their mean log probability; in batches of like length."""
        prompts = [
            self.data.prompt(messages, self.data.max_length - self._new) for messages in chats
        ]
        order, found = (
            sorted(range(len(prompts)), key=lambda i: len(prompts[i])),
            dict[int, tuple[list[int], float]](),
        )
        with evaluating(self), torch.no_grad():
            for a in range(0, len(order), self.data.batch_size):
                some = order[a : a + self.data.batch_size]
                found.update(zip(some, self._write([prompts[i] for i in some], a), strict=True))
        return [found[i] for i in range(len(prompts))]

    def _write(self, prompts: list[list[int]], number: int) -> list[tuple[list[int], float]]:
        model: Any = self.model
        model.generation_config = (
            self.generation()
        )  # its own may punish repetition, draw at random, …
        pad = self.data.tokenizer.pad_token_id
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices, enabled=self.temperature > 0):
            if self.temperature > 0:
                torch.manual_seed(self.data.seed + number)
            written = decoder.write(model, prompts, pad, set(self.data.end_tokens))
        ids = [p + w for p, w in zip(prompts, written, strict=True)]
        learned = [
            [False] * len(p) + [True] * len(w) for p, w in zip(prompts, written, strict=True)
        ]
        batch = move_data_to_device(padded(ids, learned, pad), self.device)
        total = torch.zeros(len(ids), dtype=torch.float, device=self.device)
        for nll, _, line in self._in_parts(batch["inputs"], batch["labels"]):
            total.index_add_(0, line, -nll)
        return [(w, v / len(w)) for w, v in zip(written, total.tolist(), strict=True)]

    def _said(self, output: Tensor) -> str | None:
        """The reply of a row as text, or None where none was written."""
        if output[len(FACTS) - 1].isnan():
            return None
        return str(
            self.data.tokenizer.decode(output[len(FACTS) :].long(), skip_special_tokens=True)
        ).strip()

    # Measures

    def compute_metrics(
        self, outputs: list[Tensor], targets: None, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Perplexity and share of tokens rightly predicted, over all tokens of replies; BLEU and ROUGE-L of the replies written."""
        facts = torch.stack([o[:3] for o in outputs]).double()
        values = {
            "perplexity": perplexity(facts.sum(0)),
            "token_accuracy": (facts[:, 2].sum() / facts[:, 1].sum()).item(),
        }
        written = [
            (said, row)
            for o, row in zip(outputs, rows, strict=True)
            if (said := self._said(o)) is not None
        ]
        if written:
            predictions = [said for said, _ in written]
            references = [
                [truncation.upto_reply(truncation.answered(chat.load(row["messages"])))[1]]
                for _, row in written
            ]
            with contextlib.suppress(UserError):  # without sacrebleu there is no BLEU
                values["bleu"] = texts.bleu(predictions, references)
            values["rougeL"] = texts.rouge(predictions, references, ("rougeL",))["rougeL"]
        return EvaluationResult(values, len(outputs), {"perplexity": bootstrap(facts, perplexity)})

    def postprocess(
        self, outputs: list[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Replies with the mean probability of their tokens; rows of an evaluation have their perplexity too."""
        decoded = []
        for output in outputs:
            said, (nll, count, _, score) = self._said(output), output[: len(FACTS)].tolist()
            found: dict[str, Any] = {
                "prediction": said,
                "score": None if said is None else math.exp(score),
            }
            decoded.append(
                {**found, "perplexity": math.exp(min(nll / count, 700))} if count else found
            )
        return decoded

    def describe(self) -> str:
        """How replies are written."""
        return f"replies of at most {self._new} tokens, " + (
            f"drawn at temperature {self.temperature:g}" if self.temperature else "greedy"
        )

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder whose tokenizer has the chat template, and which ends replies where they were learned to end."""
        assert isinstance(data, ChatData)
        model: Any = self.model
        model.generation_config = self.generation()
        model.save_pretrained(folder)
        tokenizer = copy.deepcopy(data.tokenizer)
        tokenizer.chat_template, tokenizer.model_max_length = data.template.source, data.max_length
        tokenizer.save_pretrained(folder)
        asked = (
            '"Once upon a time"'
            if data.plain
            else '[{"role": "user", "content": "Where is my parcel?"}]'
        )
        return f'from transformers import pipeline\npipeline("text-generation", FOLDER)({asked}, return_full_text=False)'


def perplexity(sums: Tensor) -> float:
    """The exponential of the mean negative log likelihood.

    Args:
        sums: negative log likelihood and number of tokens, ``[2 or more]``.

    >>> perplexity(torch.tensor([0.0, 5.0]))
    1.0
    """
    nll, count = sums[:2].tolist()
    return math.exp(min(nll / count, 700)) if count else math.nan


def evenly(rows: int, count: int) -> list[int]:
    """Numbers of rows, evenly spread.

    >>> evenly(10, 3)
    [1, 5, 8]
    """
    count = min(rows, count)
    return [(2 * i + 1) * rows // (2 * count) for i in range(count)]
