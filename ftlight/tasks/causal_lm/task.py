"""Supervised fine-tuning of a decoder language model on chats or plain texts."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.data.tokens import blank
from ftlight.metrics import texts
from ftlight.metrics.evaluation import Asked
from ftlight.models.modes import evaluating
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks import generation
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm import replies, truncation
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.packing import padded
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Count, NonNegative, PositiveInt, PositiveShare

FACTS = ("nll", "tokens", "right", "log_probability")
"""What an evaluation keeps of each row before the tokens of its reply; the last is nan if no reply
was generated."""


class CausalLM(Task):
    """Fine-tunes a decoder language model on the replies of chats, or on plain texts.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        sample: Chats per evaluation whose last reply is generated and compared (BLEU, ROUGE-L).
        max_new_tokens: The most tokens of a generated reply, at most half the context.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Probability mass to sample from (nucleus sampling) if temperature is above 0.
        base: Options of Task.
    """

    data_module = "ftlight.ChatData"
    pipeline_tag = "text-generation"
    primary_metric = "perplexity"
    monitor = "val/loss"
    mode = "min"
    starts_trained = True
    no_onnx = "no fixed forward pass: it writes token by token"

    def __init__(
        self,
        backbone: str,
        *,
        sample: Count = 32,
        max_new_tokens: PositiveInt = 128,
        temperature: NonNegative = 0.0,
        top_p: PositiveShare = 1.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        if self.cache is True:
            raise UserError(
                "model.cache: outputs of frozen layers cannot be cached for chats; leave it out"
            )
        # A row of an evaluation is several samples, and a packed batch is one row.
        self.cache = False
        self.sample, self.max_new_tokens = sample, max_new_tokens
        self.temperature, self.top_p = temperature, top_p
        self.model = self.load("AutoModelForCausalLM")
        self._replies: dict[int, tuple[list[int], float]] | None = None
        self._split = ""

    def setup(self, stage: str) -> None:
        """Checks that the model is a decoder, and turns packing off if it mixes packed rows.

        Raises:
            UserError: The model sees later tokens.
        """
        super().setup(stage)
        causal, packs = generation.probe(self.model)
        if not causal:
            raise UserError(
                f"model.backbone: {self.backbone} is not a decoder: it sees the words it has to"
                " predict; use model.task: MaskedLM"
            )
        if isinstance(self.data, ChatData) and self.data.packing and not packs:
            self.data.packing = False
            self.data.notes.append(
                f"{type(self.model).__name__} does not keep packed rows apart:"
                " batches are padded (data.packing)"
            )

    # Loss

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the mean loss over the learned tokens of a batch."""
        nll, _, _ = generation.likelihood(self.model, batch["inputs"], batch["labels"])
        return Step(nll.mean(), nll.detach(), None, len(nll))

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Returns the loss of each row's replies, and generated replies of the sampled rows.

        Rows to predict have no loss: all get a reply.
        """
        facts = torch.zeros(len(batch["index"]), 3, dtype=torch.float, device=self.device)
        if "labels" in batch:
            for nll, right, line in replies.likelihood(
                self.model, batch["inputs"], batch["labels"]
            ):
                parts = torch.stack([nll, torch.ones_like(nll), right], 1)
                facts.index_add_(0, batch["places"][line], parts)
            said = self._sampled(batch["index"])
        else:
            asked = dict(zip(batch["index"], batch["chats"], strict=True))
            asked = {number: text for number, text in asked.items() if text}  # "": not a chat
            written = self.reply([chat.load(text) for text in asked.values()])
            said = dict(zip(asked, written, strict=True))
        outputs = []
        for row, number in zip(facts, batch["index"], strict=True):
            ids, score = said.get(number, ([], math.nan))
            outputs.append(torch.cat([row, row.new_tensor([score, *ids])]))
        if "labels" not in batch:
            return Step(None, outputs)
        total = facts.sum(0)
        return Step(total[0] / total[1].clamp(min=1), outputs, None, float(total[1]))

    # Replies

    def on_validation_epoch_start(self) -> None:
        """Drops the replies of the last evaluation: they are of other weights."""
        self._replies, self._split = None, "validation"

    def on_test_epoch_start(self) -> None:
        """Drops the replies of the last evaluation: they are of other weights."""
        self._replies, self._split = None, "test"

    def _sampled(self, numbers: list[int]) -> dict[int, tuple[list[int], float]]:
        """Replies to the sampled rows of the split, generated together when first asked for."""
        table = self.data.sets[self._split]
        sampled = replies.evenly(len(table), 0 if self.data.plain else self.sample)
        if self._replies is None and not set(sampled).isdisjoint(numbers):
            chats = zip(sampled, table[sampled]["chat"], strict=True)
            prompts = {n: truncation.last_turn(chat.load(chat_json))[0] for n, chat_json in chats}
            prompts = {n: messages for n, messages in prompts.items() if messages}
            written = self.reply(list(prompts.values()))
            self._replies = dict(zip(prompts, written, strict=True))
        return self._replies or {}

    @property
    def new_tokens(self) -> int:
        """The most tokens of a reply."""
        return max(1, min(self.max_new_tokens, int(self.data.max_length) // 2))

    def generation_config(self) -> Any:
        """How replies are generated, as a transformers GenerationConfig."""
        drawn = (self.new_tokens, self.temperature, self.top_p)
        return replies.generation_config(self.data.tokenizer, self.data.end_tokens, *drawn)

    def reply(self, chats: Sequence[list[chat.Message]]) -> list[tuple[list[int], float]]:
        """Generates replies to chats, in batches of similar length.

        Args:
            chats: Messages of each chat, up to the turn to reply to.

        Returns:
            For each chat the tokens of the reply, with the one that ends it, and their mean
            log-probability.
        """
        longest = self.data.max_length - self.new_tokens
        prompts = [self.data.prompt(messages, longest) for messages in chats]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        # The model's own config may penalise repetition or sample.
        self.model.generation_config = self.generation_config()
        found: dict[int, tuple[list[int], float]] = {}
        with evaluating(self), torch.no_grad():
            for a in range(0, len(order), self.data.batch_size):
                batch = order[a : a + self.data.batch_size]
                seed = self.data.seed + a if self.temperature > 0 else None
                written = replies.write(self.model, [prompts[i] for i in batch], seed)
                found.update(zip(batch, written, strict=True))
        return [found[i] for i in range(len(prompts))]

    def _text(self, output: Tensor) -> str | None:
        """The reply of a row as text, or None if none was generated."""
        if output[len(FACTS) - 1].isnan():
            return None
        ids = output[len(FACTS) :].long()
        return str(self.data.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _last_reply(self, messages: list[chat.Message]) -> str:
        """The text that a generated reply is compared with: also of calls, if it has any."""
        answered = truncation.answered(messages)
        if answered[-1].calls:
            return self.data.template.last_reply(answered)
        return answered[-1].content

    # Measures

    def compute_metrics(
        self, outputs: list[Tensor], targets: None, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes perplexity and accuracy of all reply tokens, BLEU and ROUGE-L of the sample."""
        facts = torch.stack([o[:3] for o in outputs]).double()
        values = {
            "perplexity": perplexity(facts.sum(0)),
            "token_accuracy": (facts[:, 2].sum() / facts[:, 1].sum()).item(),
        }
        predictions, references = [], []
        for output, row in zip(outputs, rows, strict=True):
            text = self._text(output)
            if text is not None:
                predictions.append(text)
                references.append([self._last_reply(chat.load(row["messages"]))])
        about = {}
        if predictions:
            with contextlib.suppress(UserError):  # BLEU needs sacrebleu, an extra
                tokenize = texts.tokenizer_of("auto", references)
                values["bleu"] = texts.bleu(predictions, references, tokenize)
                about = {"bleu": {"tokenize": tokenize}}
            values["rougeL"] = texts.rouge(predictions, references, ("rougeL",))["rougeL"]
        interval = {"perplexity": texts.bootstrap_perplexity(facts[:, :2])}
        return EvaluationResult(values, len(outputs), interval, about=about)

    def row_scores(self, result: EvaluationResult, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Negative mean loss of the reply tokens of each row."""
        assert result.outputs is not None
        facts = torch.stack([output[:2] for output in result.outputs]).double()
        return -facts[:, 0] / facts[:, 1].clamp(min=1)

    def postprocess(
        self, outputs: list[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns replies with the mean probability of their tokens.

        Rows of an evaluation also have the perplexity of their own replies.
        """
        decoded = []
        for output in outputs:
            text = self._text(output)
            nll, count, _, score = output[: len(FACTS)].tolist()
            answer: dict[str, Any] = {"prediction": text, "score": None}
            if text is not None:
                answer["score"] = math.exp(score)
            if count:
                answer["perplexity"] = texts.perplexity(nll, count)
            decoded.append(answer)
        return decoded

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """The reply, if there is one; its key are its tokens, with the one that ends it.

        One that was cut at max_new_tokens has no end.
        """
        text = answer["prediction"]
        if text is None:
            return []
        return [Asked(text, tuple(self.data.reply_tokens(text)[: self.new_tokens]))]

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """The mean log-probability of a reply's tokens behind the prompt; nan if that is no chat.

        At a temperature of 1, whatever the reply was drawn at.
        """
        longest, nothing = self.data.max_length - self.new_tokens, [blank(self.data.tokenizer)]
        is_chat = torch.tensor([bool(text) for text in batch["chats"]], device=self.device)
        prompts = [
            (self.data.prompt(chat.load(text), longest) if text else []) or nothing
            for text in batch["chats"]
        ]
        pairs = list(zip(prompts, (list(part.key) for part in asked), strict=True))
        masks = [[False] * len(prompt) + [True] * len(reply) for prompt, reply in pairs]
        ids, pad = [prompt + reply for prompt, reply in pairs], self.data.tokenizer.pad_token_id
        made = move_data_to_device(padded(ids, masks, pad), self.device)
        total = torch.zeros(len(ids), dtype=torch.float, device=self.device)
        for nll, _, line in replies.likelihood(self.model, made["inputs"], made["labels"]):
            total = total.index_add(0, line, -nll)
        means = total / total.new_tensor([len(part.key) for part in asked])
        return means.where(is_chat, torch.nan)

    def ladder(self, data: DataModule) -> Ladder | str:
        """The untuned model alone: nothing cheap gives probabilities of tokens."""
        return Ladder([], None, self.primary_metric, untuned=True)

    def describe(self) -> str:
        """Length of replies, and how they are generated."""
        drawn = f"sampled at temperature {self.temperature:g}" if self.temperature else "greedy"
        return f"replies of at most {self.new_tokens} tokens, {drawn}"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder with the chat template and the tokens that end a reply."""
        assert isinstance(data, ChatData)
        model: Any = self.model
        model.generation_config = self.generation_config()
        model.save_pretrained(folder)
        tokenizer = copy.deepcopy(data.tokenizer)
        template = data.template
        several = {"default": template.source, "tool_use": template.tool_source}
        tokenizer.chat_template = several if template.tool_source else template.source
        tokenizer.model_max_length = data.max_length
        tokenizer.save_pretrained(folder)
        prompt = '[{"role": "user", "content": "Where is my parcel?"}]'
        if data.plain:
            prompt = '"Once upon a time"'
        return (
            "from transformers import pipeline\n"
            f'pipeline("text-generation", FOLDER)({prompt}, return_full_text=False)'
        )


def perplexity(sums: Tensor) -> float:
    """Returns the exponential of the mean negative log-likelihood.

    Args:
        sums: Negative log-likelihood and number of tokens, ``[2 or more]``.

    >>> perplexity(torch.tensor([0.0, 5.0]))
    1.0
    """
    return texts.perplexity(*sums[:2].tolist())
