"""Text to text with an encoder and a decoder: summaries, translation, data to text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.data import tokens
from ftlight.data.module import DataModule
from ftlight.metrics import texts
from ftlight.metrics.intervals import bootstrap
from ftlight.models import loading
from ftlight.models import saving as export
from ftlight.task import EvaluationResult, Step, Task
from ftlight.tasks.generation import truncate_at_eos
from ftlight.tasks.seq2seq.data import Seq2SeqData, is_uncased
from ftlight.tasks.seq2seq.encoder_decoder import (
    encoder_decoder_from_encoder,
    is_encoder_decoder,
    shift_right,
)
from ftlight.training.lightning_internals import trainer_of
from ftlight.utils.errors import UserError

ROUGES = ("rouge1", "rouge2", "rougeLsum")
T5 = {"t5", "mt5", "umt5", "longt5", "switch_transformers"}
# What a backbone must or must not generate, whatever the task.
KEPT_OPTIONS = ("bad_words_ids", "suppress_tokens", "forced_eos_token_id")
TOKEN_IDS = ("decoder_start_token_id", "pad_token_id", "eos_token_id", "bos_token_id")


def drawn(row: int, rows: int, sample: int | None) -> bool:
    """Whether a row is among ``sample`` rows spread evenly over all.

    >>> [i for i in range(10) if drawn(i, 10, 3)]
    [3, 6, 9]
    """
    return sample is None or (row + 1) * sample // rows > row * sample // rows


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
        base: Options of Task.
    """

    data_module = "ftlight.Seq2SeqData"
    primary_metric = "bleu"
    monitor = "val/bleu"

    def __init__(
        self,
        backbone: str,
        *,
        num_beams: int = 1,
        max_new_tokens: int | None = None,
        length_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        sample: int | None = 200,
        label_smoothing: float = 0.0,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        most = tokens.max_length(backbone, trained=False)
        given = {"num_beams": num_beams, "max_new_tokens": max_new_tokens, "sample": sample}
        for name, value in given.items():
            if value is not None and value < 1:
                raise UserError(f"model.{name}: {value} is too few; give 1 or more")
        if (max_new_tokens or 0) > most:
            raise UserError(
                f"model.max_new_tokens: {max_new_tokens} is more than the backbone's {most} tokens"
            )
        if not 0 <= label_smoothing < 1:
            raise UserError(
                f"model.label_smoothing: {label_smoothing} is not a share;"
                " give 0 to below 1, for example 0.1"
            )
        self.sample, self.label_smoothing = sample, label_smoothing
        self.pair = is_encoder_decoder(loading.load_config(backbone))
        if self.pair:
            self.model = self.load("AutoModelForSeq2SeqLM")
        else:
            self.model = self.prepare(encoder_decoder_from_encoder(backbone, self.pretrained))
        self.generates = {
            "num_beams": num_beams,
            "max_new_tokens": max_new_tokens or min(128, most - 1),
            "length_penalty": length_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
        }
        self._set_generation()

    def _set_generation(self) -> None:
        """Puts the options into the model's generation_config, which an export keeps."""
        from transformers import GenerationConfig

        model: Any = self.model
        own = model.generation_config.to_dict()
        file = loading.backbone_file(self.backbone, "generation_config.json")
        if file:
            own |= json.loads(Path(file).read_text())
        options = {k: own[k] for k in KEPT_OPTIONS if own.get(k) is not None}
        for name in TOKEN_IDS:
            value = getattr(model.config, name, None)
            value = own.get(name) if value is None else value
            if value is not None:
                options[name] = value
        options |= {**self.generates, "do_sample": False, "use_cache": True}
        model.generation_config = GenerationConfig(**options)

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
            texts.require()
        longest, most = getattr(self.data, "longest", 0), self.generates["max_new_tokens"]
        if stage == "fit" and longest > most:
            self.data.notes.append(
                f"targets have up to {longest} tokens, but at most {most} are generated"
                " (model.max_new_tokens)"
            )

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

        self._begin_with_language(self.data)
        mask = batch["inputs"]["attention_mask"]
        states = self.model.get_encoder()(**batch["inputs"], return_dict=True)[0]  # type: ignore[operator]
        loss, weight = None, None
        if "labels" in batch:
            encoded = {"encoder_outputs": BaseModelOutput(states), "attention_mask": mask}
            losses, _ = self.losses(self._labels(batch), **encoded)
            loss, weight = losses.mean(), float(len(losses))
        outputs = [states.new_zeros(0, 2, dtype=torch.float)] * len(states)
        sampled = [i for i, row in enumerate(batch["index"]) if self._is_drawn(row)]
        if sampled:
            generated = self._generate(states[sampled], mask[sampled])
            for i, output in zip(sampled, generated, strict=True):
                outputs[i] = output
        return Step(loss, outputs, weight=weight)

    def _is_drawn(self, row: int) -> bool:
        """Whether a row of this evaluation is generated: all are, except in training."""
        trainer = trainer_of(self)
        if trainer is None or trainer.state.fn is None or trainer.state.fn.value != "fit":
            return True
        if not isinstance(self.data, DataModule):
            return True
        return drawn(row, len(self.data.sets["validation"]), self.sample)

    def _generate(self, states: Tensor, mask: Tensor) -> list[Tensor]:
        """Generates from encoder states; returns tokens and their probabilities of each row."""
        from transformers.modeling_outputs import BaseModelOutput

        model: Any = self.model
        # beam search repeats the states in place
        encoded = BaseModelOutput(states.clone())
        generated = model.generate(encoder_outputs=encoded, attention_mask=mask)
        end = model.generation_config.eos_token_id
        ends = set(end) if isinstance(end, list) else {end}
        rows = [truncate_at_eos(row, ends) for row in generated[:, 1:].tolist()]
        labels = tokens.pad(rows, -100).to(mask.device)
        losses, _ = self.losses(
            labels,
            generated[:, : labels.shape[1]],
            encoder_outputs=BaseModelOutput(states),
            attention_mask=mask,
        )
        pairs = torch.stack([labels[labels != -100].float(), (-losses).exp()], 1)
        return list(torch.split(pairs, [len(row) for row in rows]))

    def _begin_with_language(self, data: Any) -> None:
        """Makes generation begin with the target language, if the data name one."""
        if not isinstance(data, Seq2SeqData) or not data.languages["tgt_lang"]:
            return
        tokenizer, config = data.tokenizer, self.model.generation_config
        ids = tokenizer(text_target="a")["input_ids"]
        if ids[0] in tokenizer.all_special_ids:
            config.forced_bos_token_id = ids[0]  # type: ignore[union-attr]
        elif ids[-1] != data.eos:  # mBART ends a target, and starts the decoder, with the language
            config.decoder_start_token_id = ids[-1]  # type: ignore[union-attr]

    # Results

    def decoded(self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Decodes generated tokens ``[tokens, 2]``; restores capitals if the tokenizer has none."""
        ids = [output[:, 0].long().tolist() for output in outputs]
        decoded = self.data.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [self.data.finished(text, row) for text, row in zip(decoded, rows, strict=True)]

    def compute_metrics(
        self, outputs: list[Tensor], targets: None, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """Computes BLEU, chrF and ROUGE of the generated rows, against all their references."""
        known = [(o, r) for o, r in zip(outputs, rows, strict=True) if len(o) and "references" in r]
        references = [list(r["references"]) for _, r in known]
        predictions = self.decoded([o for o, _ in known], [r for _, r in known])
        parts = texts.bleu_parts(predictions, references)
        values = {
            "bleu": texts.bleu(predictions, references),
            "chrf": texts.chrf(predictions, references),
        }
        if is_uncased(self.data.tokenizer):
            small = [[r.lower() for r in several] for several in references]
            values["bleu_uncased"] = texts.bleu([p.lower() for p in predictions], small)
        values |= texts.rouge(predictions, references, ROUGES)
        return EvaluationResult(values, len(known), {"bleu": bootstrap(parts, texts.bleu_of)})

    def postprocess(
        self, outputs: list[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Returns texts, scored by the geometric mean of their tokens' probabilities."""
        scores = [o[:, 1].clamp(min=1e-30).log().mean().exp().item() for o in outputs]
        return [
            {"prediction": text, "score": score}
            for text, score in zip(self.decoded(outputs, rows), scores, strict=True)
        ]

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder whose ``generate`` gives the same texts."""
        assert isinstance(data, Seq2SeqData)
        self._begin_with_language(data)
        model: Any = self.model if self.pair else self._untied()
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

    def _untied(self) -> nn.Module:
        """The same model as transformers builds it: embeddings in both halves, and a pooler."""
        from transformers import EncoderDecoderModel

        own: Any = self.model
        model: Any = EncoderDecoderModel(type(own.config).from_dict(own.config.to_dict()))
        model.load_state_dict(own.state_dict(), strict=False)
        model.generation_config = own.generation_config
        return model.eval()
