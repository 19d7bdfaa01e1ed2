"""Text to text with an encoder and a decoder: summaries, translation, data to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.baselines.ladder import Ladder
from ftlight.data import tokens
from ftlight.data.module import DataModule
from ftlight.metrics import texts
from ftlight.metrics.evaluation import Asked
from ftlight.metrics.words import Tokenizer
from ftlight.models import loading
from ftlight.models import saving as export
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.generation import truncate_at_eos
from ftlight.tasks.seq2seq import cheap, decoding, scores
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.tasks.seq2seq.encoder_decoder import (
    encoder_decoder_from_encoder,
    is_encoder_decoder,
    shift_right,
    untied,
)
from ftlight.tasks.seq2seq.truecase import is_uncased
from ftlight.training.lightning_internals import trainer_of
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Count, Fraction, PositiveInt, Range

T5 = {"t5", "mt5", "umt5", "longt5", "switch_transformers"}


class Seq2Seq(Task):
    """Generates a text from a text, with an encoder and a decoder.

    A backbone that is only an encoder gets a decoder with the same weights and new cross-attention.

    In training, ``sample`` validation rows are generated, and the best checkpoint is the one with
    the highest BLEU: many texts can be right, so the loss on one reference says little. The test
    generates every row.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        num_beams: Beams of the beam search; 1 is greedy.
        max_new_tokens: The most tokens of a generated text. Default: 128, or what the backbone
            takes.
        length_penalty: Exponent of the length that divides a beam's score; above 0 favours longer
            texts.
        no_repeat_ngram_size: Size of n-grams that may occur only once in a text; 0 allows all.
        sample: Validation rows to generate in training, spread evenly; null for all.
        label_smoothing: Share of the target spread evenly over the other tokens.
        bleu_tokenize: How BLEU splits texts into words, by sacrebleu's names; auto takes zh for
            Chinese references, char for Japanese, Thai and others without spaces, else 13a.
        base: Options of Task.
    """

    data_module = "ftlight.Seq2SeqData"
    pipeline_tag = "text2text-generation"
    primary_metric = "bleu"
    monitor = "val/bleu"
    starts_trained = True
    no_onnx = "no fixed forward pass: it writes token by token"

    def __init__(
        self,
        backbone: str,
        *,
        num_beams: PositiveInt = 1,
        max_new_tokens: PositiveInt | None = None,
        length_penalty: Annotated[float, Range(least=-10, most=10)] = 1.0,
        no_repeat_ngram_size: Count = 0,
        sample: PositiveInt | None = 200,
        label_smoothing: Fraction = 0.0,
        bleu_tokenize: Tokenizer = "auto",
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        most = tokens.max_length(backbone, trained=False)
        if (max_new_tokens or 0) > most:
            raise UserError(
                f"model.max_new_tokens: {max_new_tokens} is more than the backbone's {most} tokens"
            )
        self.sample, self.label_smoothing = sample, label_smoothing
        self.bleu_tokenize = bleu_tokenize
        self.pair = is_encoder_decoder(loading.load_config(backbone))
        if self.pair:
            # generate() goes by this word of config.json, all else by the architecture
            self.model = self.load("AutoModelForSeq2SeqLM", is_encoder_decoder=True)
        else:
            made = encoder_decoder_from_encoder(backbone, self.pretrained, self.dropout)
            self.model = self.prepare(made)
        self.generates = {
            "num_beams": num_beams,
            "max_new_tokens": max_new_tokens or min(128, most - 1),
            "length_penalty": length_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
        }
        model: Any = self.model
        model.generation_config = decoding.generation_config(model, backbone, self.generates)
        decoding.set_start(model, backbone)

    def default_lr(self, backbone: str) -> float:
        """The base's rate; higher for T5, whose weights are large, and for new cross-attention."""
        config = loading.load_config(backbone)
        if config.model_type in T5:
            return 3e-4
        rate = super().default_lr(backbone)
        return rate if is_encoder_decoder(config) else 4 * rate

    def setup(self, stage: str) -> None:
        """Checks that metrics can be computed and targets are not longer than what is generated."""
        super().setup(stage)
        if stage != "predict":
            texts.tokenizer_of(self.bleu_tokenize, [])  # that it is installed
        if stage == "fit" and isinstance(self.data, Seq2SeqData) and self.data.has("validation"):
            references = self.data.load_split("validation")["references"][:]
            self.data.notes += scores.notes(references, self.bleu_tokenize)
        longest, most = getattr(self.data, "longest", 0), self.generates["max_new_tokens"]
        if stage == "fit" and longest > most:
            self.data.notes.append(
                f"targets have up to {longest} tokens, but at most {most} are generated"
                " (model.max_new_tokens)"
            )

    def ladder(self, data: DataModule) -> Ladder | str:
        """The first sentences, and what was written for the nearest text."""
        assert isinstance(data, Seq2SeqData)
        return cheap.ladder(self, data, self.bleu_tokenize)

    def describe(self) -> str:
        """What the decoder is, and how it generates."""
        beams = self.generates["num_beams"]
        search = "greedy" if beams == 1 else f"{beams} beams"
        if self.pair:
            return search
        return f"encoder and decoder of the same weights with new cross-attention, {search}"

    # Steps

    def losses(
        self, labels: Tensor, decoder_ids: Tensor | None = None, **inputs: Any
    ) -> tuple[Tensor, Tensor]:
        """Computes the cross-entropy of each target token, given those before it.

        Args:
            labels: ``int64 [rows, tokens]``, -100 for no token.
            decoder_ids: What the decoder reads, ``int64 [rows, tokens]``. Default: the labels,
                shifted right.
            inputs: What the model reads: ``input_ids`` or ``encoder_outputs``, and
                ``attention_mask``.

        Returns:
            Losses ``[n]`` of all target tokens, and their mean for each row, ``[rows]``.
        """
        if decoder_ids is None:
            decoder_ids = shift_right(self.model, labels)
        logits = self.model(**inputs, decoder_input_ids=decoder_ids, use_cache=False).logits
        real = labels != -100
        smoothing = self.label_smoothing if self.training else 0.0
        losses = F.cross_entropy(
            logits[real].float(), labels[real], reduction="none", label_smoothing=smoothing
        )
        sums = losses.new_zeros(len(labels)).index_add(0, real.nonzero()[:, 0], losses.detach())
        return losses, sums / real.sum(1).clamp(min=1)

    def _labels(self, batch: dict[str, Any]) -> Tensor:
        """The targets, without a first token that only repeats the decoder's start token."""
        labels: Tensor = batch["labels"]
        start: Any = self.model.config.decoder_start_token_id  # type: ignore[union-attr]
        return labels[:, 1:] if bool((labels[:, 0] == start).all()) else labels

    def step(self, batch: dict[str, Any]) -> Step:
        """Returns the mean loss over target tokens; the output of a row is its own mean loss."""
        losses, rows = self.losses(self._labels(batch), **batch["inputs"])
        return Step(losses.mean(), rows, weight=float(len(losses)))

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Returns the loss on the first reference, and what is generated for each row.

        The output of a row is ``[tokens, 2]``, generated tokens with their probabilities; it is
        empty for a row outside the sample.
        """
        from transformers.modeling_outputs import BaseModelOutput

        decoding.begin_with_language(self.model.generation_config, self.data)
        mask = batch["inputs"]["attention_mask"]
        states = self.model.get_encoder()(**batch["inputs"], return_dict=True)[0]  # type: ignore[operator]
        loss, weight, of_rows = None, None, None
        if "labels" in batch:
            encoded = {"encoder_outputs": BaseModelOutput(states), "attention_mask": mask}
            losses, of_rows = self.losses(self._labels(batch), **encoded)
            loss, weight = losses.mean(), float(len(losses))
        outputs = [states.new_zeros(0, 2, dtype=torch.float)] * len(states)
        sampled = [i for i, row in enumerate(batch["index"]) if self._is_drawn(row)]
        if sampled:
            generated = decoding.generate(self.model, states[sampled], mask[sampled], self.losses)
            for i, output in zip(sampled, generated, strict=True):
                outputs[i] = output
        return Step(loss, outputs, weight=weight, row_losses=of_rows)

    def _is_drawn(self, row: int) -> bool:
        """Whether a row of this evaluation is generated: all are, except in training.

        Before its first step none is: losses tell what a run begins with.
        """
        trainer = trainer_of(self)
        if trainer is None or trainer.state.fn is None or trainer.state.fn.value != "fit":
            return True
        if trainer.sanity_checking:
            return False
        if not isinstance(self.data, DataModule):
            return True
        return decoding.drawn(row, len(self.data.sets["validation"]), self.sample)

    # Results

    def decoded(self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Decodes generated tokens ``[tokens, 2]``; restores capitals if the tokenizer has none."""
        ids = [output[:, 0].long().tolist() for output in outputs]
        if not ids:
            return []  # a tokenizer decodes one text of none
        decoded = self.data.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [self.data.finished(text, row) for text, row in zip(decoded, rows, strict=True)]

    def compute_metrics(
        self, outputs: list[Tensor], targets: None, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes BLEU, chrF and ROUGE of the generated rows, against all their references."""
        # the words of all references, not only of those drawn to be compared
        every = [list(r["references"]) for r in rows if "references" in r]
        tokenize = texts.tokenizer_of(self.bleu_tokenize, every)
        known = [(o, r) for o, r in zip(outputs, rows, strict=True) if len(o) and "references" in r]
        references = [list(r["references"]) for _, r in known]
        predictions = self.decoded([o for o, _ in known], [r for _, r in known])
        uncased = is_uncased(self.data.tokenizer)
        values, interval = scores.compare(predictions, references, tokenize, uncased)
        about = {"bleu": {"tokenize": tokenize}}
        return EvaluationResult(values, len(known), {"bleu": interval}, about=about)

    def postprocess(
        self, outputs: list[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns texts, scored by the geometric mean of their tokens' probabilities."""
        means = [o[:, 1].clamp(min=1e-30).log().mean().exp().item() for o in outputs]
        return [
            {"prediction": text, "score": score}
            for text, score in zip(self.decoded(outputs, rows), means, strict=True)
        ]

    def asked(self, answer: Mapping[str, Any]) -> list[Asked]:
        """The text that was generated; its key are its tokens, with the one that ends it.

        One that was cut at max_new_tokens has no end.
        """
        decoding.begin_with_language(self.model.generation_config, self.data)
        ids, start = self.data.target(answer["prediction"]), decoding.start_of(self.model)
        ids = ids[1:] if ids[:1] == [start] and len(ids) > 1 else ids
        ends = set() if self.data.eos is None else {self.data.eos}
        written = truncate_at_eos(ids, ends)[: int(self.generates["max_new_tokens"])]
        return [Asked(answer["prediction"], tuple(written))]

    def support(self, batch: dict[str, Any], asked: Sequence[Asked]) -> Tensor:
        """The mean log-probability of a text's tokens, given the source."""
        decoding.begin_with_language(self.model.generation_config, self.data)
        start, pad = decoding.start_of(self.model), self.data.tokenizer.pad_token_id
        before = [[start, *part.key[:-1]] for part in asked]
        labels = tokens.pad([part.key for part in asked], tokens.IGNORE).to(self.device)
        losses, _ = self.losses(labels, tokens.pad(before, pad).to(self.device), **batch["inputs"])
        real = labels != tokens.IGNORE
        sums = losses.new_zeros(len(labels)).index_add(0, real.nonzero()[:, 0], losses)
        return -sums / real.sum(1)

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder whose ``generate`` gives the same texts."""
        assert isinstance(data, Seq2SeqData)
        decoding.begin_with_language(self.model.generation_config, data)
        model = self.model if self.pair else untied(self.model)
        export.transformers(model, data.tokenizer, data.max_length, folder)
        given = f"[{data.prefix!r} + text for text in texts]" if data.prefix else "texts"
        note = "  # in lower case" if data.truecase else ""
        return (
            "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n"
            "tokenizer = AutoTokenizer.from_pretrained(FOLDER)\n"
            "model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER)\n"
            'options = {"return_tensors": "pt", "padding": True, "truncation": True}\n'
            f"inputs = tokenizer({given}, return_token_type_ids=False, **options)\n"
            f"tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True){note}"
        )
