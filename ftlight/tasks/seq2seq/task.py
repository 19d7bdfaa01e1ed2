"""Texts to texts: summaries, translation, data to text."""

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
from ftlight.utils.errors import UserError

SHOWN = ("rouge1", "rouge2", "rougeLsum")
T5 = {"t5", "mt5", "umt5", "longt5", "switch_transformers"}
KEPT = (
    "bad_words_ids",
    "suppress_tokens",
    "forced_eos_token_id",
)  # what a backbone must or must not write, whatever the task


def drawn(row: int, rows: int, sample: int | None) -> bool:
    """Whether a row is one of ``sample`` that lie evenly among all.

    >>> [i for i in range(10) if drawn(i, 10, 3)]
    [3, 6, 9]
    """
    return sample is None or (row + 1) * sample // rows > row * sample // rows


class Seq2Seq(Task):
    """Writes a text for a text, with an encoder and a decoder.

    A backbone that is an encoder alone gets a decoder made of the same weights, with new cross-attention.

    While training, `sample` rows of the validation data are generated, and the best checkpoint is that of the highest BLEU
    (``val/bleu``): where many texts are right, the loss on one of them says little. The test generates for every row.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        num_beams: texts kept at each step of a beam search; 1 takes the most probable token each time.
        max_new_tokens: the most tokens of a generated text; 128 if not given, or fewer where the backbone takes fewer.
        length_penalty: power of the length by which the score of a beam is divided; above 0 favours longer texts.
        no_repeat_ngram_size: sequences of so many tokens occur once in a text; 0 for no such rule.
        sample: rows of the validation data, evenly spread, that are generated while training; all of them if null.
        label_smoothing: share of the target spread over the other tokens.
        base: options of Task.
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
                f"model.label_smoothing: {label_smoothing} is not a share; give 0 to below 1, for example 0.1"
            )
        self.sample, self.label_smoothing = sample, label_smoothing
        self.pair = is_encoder_decoder(loading.load_config(backbone))
        self.model = self.load("AutoModelForSeq2SeqLM") if self.pair else self._two()
        self.writes = {
            "num_beams": num_beams,
            "max_new_tokens": max_new_tokens or min(128, most - 1),
            "length_penalty": length_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
        }
        self._set_generation()

    def _two(self) -> nn.Module:
        return self.prepare(encoder_decoder_from_encoder(self.backbone, self.pretrained))

    def _set_generation(self) -> None:
        """Makes the options those of the model's own ``generate``, which an export keeps."""
        from transformers import GenerationConfig

        model: Any = self.model
        file = loading.backbone_file(self.backbone, "generation_config.json")
        own = {
            **model.generation_config.to_dict(),
            **(json.loads(Path(file).read_text()) if file else {}),
        }
        kept = {k: own[k] for k in KEPT if own.get(k) is not None}
        names = ("decoder_start_token_id", "pad_token_id", "eos_token_id", "bos_token_id")
        said = {
            **{k: own.get(k) for k in names},
            **{k: v for k in names if (v := getattr(model.config, k, None)) is not None},
        }
        ids = {k: v for k, v in said.items() if v is not None}
        model.generation_config = GenerationConfig(
            **ids, **kept, **self.writes, do_sample=False, use_cache=True
        )

    def default_lr(self, backbone: str) -> float:
        """The base's; more for T5, whose weights are large, and where cross-attention is new."""
        config, usual = loading.load_config(backbone), super().default_lr(backbone)
        return (
            3e-4 if config.model_type in T5 else usual if is_encoder_decoder(config) else 4 * usual
        )

    def setup(self, stage: str) -> None:
        """Checks what metrics and generation need before the first step."""
        super().setup(stage)
        if stage != "predict":
            texts.require()
        longest, most = getattr(self.data, "longest", 0), self.writes["max_new_tokens"]
        if stage == "fit" and longest > most:
            self.data.notes.append(
                f"targets have up to {longest} tokens, {most} at most are generated (model.max_new_tokens)"
            )

    def describe(self) -> str:
        """What the decoder is, and how it writes."""
        beams = self.writes["num_beams"]
        how = "greedy" if beams == 1 else f"{beams} beams"
        return (
            how
            if self.pair
            else f"encoder and decoder of the same weights with new cross-attention, {how}"
        )

    # Steps

    def losses(
        self, labels: Tensor, begun: Tensor | None = None, **given: Any
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each target token, with those before it known.

        Args:
            labels: ``int64 [rows, tokens]``, -100 where there is none.
            begun: what the decoder reads, ``int64 [rows, tokens]``; the labels one later, behind its start, if not given.
            given: what the model reads: ``input_ids`` or ``encoder_outputs``, and ``attention_mask``.

        Returns:
            Losses ``[n]`` of the tokens there are, and their mean for each row ``[rows]``.
        """
        reads = shift_right(self.model, labels) if begun is None else begun
        logits = self.model(**given, decoder_input_ids=reads, use_cache=False).logits
        real = labels != -100
        smoothing = self.label_smoothing if self.training else 0.0
        found = F.cross_entropy(
            logits[real].float(), labels[real], reduction="none", label_smoothing=smoothing
        )
        sums = found.new_zeros(len(labels)).index_add(0, real.nonzero()[:, 0], found.detach())
        return found, sums / real.sum(1).clamp(min=1)

    def _labels(self, batch: dict[str, Any]) -> Tensor:
        """Targets, without a first token that is the decoder's start anyway."""
        labels: Tensor = batch["labels"]
        start: Any = self.model.config.decoder_start_token_id  # type: ignore[union-attr]
        return labels[:, 1:] if bool((labels[:, 0] == start).all()) else labels

    def step(self, batch: dict[str, Any]) -> Step:
        """Mean loss over target tokens; the mean of each row as output."""
        losses, rows = self.losses(self._labels(batch), **batch["inputs"])
        return Step(losses.mean(), rows, weight=float(len(losses)))

    def evaluate(self, batch: dict[str, Any]) -> Step:
        """Loss on the first reference, and generated tokens with their probabilities ``[tokens, 2]`` for each row.

        Rows that are not among the sample have no tokens.
        """
        from transformers.modeling_outputs import BaseModelOutput

        self._begin_with_language(self.data)
        mask = batch["inputs"]["attention_mask"]
        states = self.model.get_encoder()(**batch["inputs"], return_dict=True)[0]  # type: ignore[operator]
        loss, weight = None, None
        if "labels" in batch:
            losses, _ = self.losses(
                self._labels(batch), encoder_outputs=BaseModelOutput(states), attention_mask=mask
            )
            loss, weight = losses.mean(), float(len(losses))
        chosen = [i for i, row in enumerate(batch["index"]) if self._is_drawn(row)]
        outputs = [states.new_zeros(0, 2, dtype=torch.float)] * len(states)
        for i, written in zip(
            chosen, self._write(states[chosen], mask[chosen]) if chosen else [], strict=True
        ):
            outputs[i] = written
        return Step(loss, outputs, weight=weight)

    def _is_drawn(self, row: int) -> bool:
        trainer = self._trainer
        if trainer is None or trainer.state.fn is None or trainer.state.fn.value != "fit":
            return True
        return (
            drawn(row, len(self.data.sets["validation"]), self.sample)
            if isinstance(self.data, DataModule)
            else True
        )

    def _write(self, states: Tensor, mask: Tensor) -> list[Tensor]:
        from transformers.modeling_outputs import BaseModelOutput

        model: Any = self.model
        # beam search repeats the states in place
        written = model.generate(
            encoder_outputs=BaseModelOutput(states.clone()), attention_mask=mask
        )
        end = model.generation_config.eos_token_id
        rows = [
            truncate_at_eos(row, set(end) if isinstance(end, list) else {end})
            for row in written[:, 1:].tolist()
        ]
        labels = tokens.pad(rows, -100).to(mask.device)
        begun = written[:, : labels.shape[1]]
        losses, _ = self.losses(
            labels, begun, encoder_outputs=BaseModelOutput(states), attention_mask=mask
        )
        pairs = torch.stack([labels[labels != -100].float(), (-losses).exp()], 1)
        return list(torch.split(pairs, [len(row) for row in rows]))

    def _begin_with_language(self, data: Any) -> None:
        """Makes generation begin with the target language, where the data have one."""
        if not isinstance(data, Seq2SeqData) or not data.languages["tgt_lang"]:
            return
        tokenizer, config = data.tokenizer, self.model.generation_config
        ids = tokenizer(text_target="a")["input_ids"]
        if ids[0] in tokenizer.all_special_ids:
            config.forced_bos_token_id = ids[0]  # type: ignore[union-attr]
        elif (
            ids[-1] != data.eos
        ):  # mBART's first: the language ends a target and starts the decoder
            config.decoder_start_token_id = ids[-1]  # type: ignore[union-attr]

    # Results

    def read(self, outputs: Sequence[Tensor], rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Texts of generated tokens ``[tokens, 2]``, with capitals where the tokenizer has none."""
        found = self.data.tokenizer.batch_decode(
            [o[:, 0].long().tolist() for o in outputs], skip_special_tokens=True
        )
        return [self.data.finished(text, row) for text, row in zip(found, rows, strict=True)]

    def compute_metrics(
        self, outputs: list[Tensor], targets: None, rows: Sequence[Mapping[str, Any]]
    ) -> EvaluationResult:
        """BLEU, chrF and ROUGE of the rows that were generated, against all their references."""
        known = [(o, r) for o, r in zip(outputs, rows, strict=True) if len(o) and "references" in r]
        references = [list(r["references"]) for _, r in known]
        predictions = self.read([o for o, _ in known], [r for _, r in known])
        parts = texts.bleu_parts(predictions, references)
        values = {
            "bleu": texts.bleu(predictions, references),
            "chrf": texts.chrf(predictions, references),
        }
        if is_uncased(self.data.tokenizer):
            small = [[r.lower() for r in several] for several in references]
            values["bleu_uncased"] = texts.bleu([p.lower() for p in predictions], small)
        values |= texts.rouge(predictions, references, SHOWN)
        return EvaluationResult(values, len(known), {"bleu": bootstrap(parts, texts.bleu_of)})

    def postprocess(
        self, outputs: list[Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Texts, with the geometric mean of the probabilities of their tokens."""
        scores = [o[:, 1].clamp(min=1e-30).log().mean().exp().item() for o in outputs]
        return [
            {"prediction": text, "score": score}
            for text, score in zip(self.read(outputs, rows), scores, strict=True)
        ]

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder whose ``generate`` writes the same texts."""
        assert isinstance(data, Seq2SeqData)
        self._begin_with_language(data)
        model: Any = self.model if self.pair else self._untied()
        export.transformers(model, data.tokenizer, data.max_length, folder)
        given = f"[{data.prefix!r} + text for text in texts]" if data.prefix else "texts"
        capitals = "  # in small letters" if data.truecase else ""
        return (
            "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n"
            "tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModelForSeq2SeqLM.from_pretrained(FOLDER)\n"
            f'inputs = tokenizer({given}, return_tensors="pt", padding=True, truncation=True, return_token_type_ids=False)\n'
            f"tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True){capitals}"
        )

    def _untied(self) -> nn.Module:
        """The same model as stock libraries make it: with a word table in each half, and an encoder's pooler that nothing reads."""
        from transformers import EncoderDecoderModel

        own: Any = self.model
        model: Any = EncoderDecoderModel(type(own.config).from_dict(own.config.to_dict()))
        model.load_state_dict(own.state_dict(), strict=False)
        model.generation_config = own.generation_config
        return model.eval()
