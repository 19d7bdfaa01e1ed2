"""Answers to questions, found in a text (extractive question answering)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftlight.data import duplicates, files, tokens
from ftlight.data.module import Columns, DataModule, Encoded
from ftlight.metrics import answers
from ftlight.metrics.intervals import bootstrap, wilson
from ftlight.models import saving as export
from ftlight.task import Evidence, Step, Task
from ftlight.tasks.question_answering import readers
from ftlight.tasks.question_answering import windows as contexts
from ftlight.utils.errors import UserError

LONGEST = 384  # tokens of a window, where the model takes more: attention costs their square
AT_ONCE = 8  # windows that are run together, where a batch has fewer rows
LOADS = """\
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
import torch

tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModelForQuestionAnswering.from_pretrained(FOLDER).eval()
cut = {{"truncation": "only_second", "max_length": {limit}, "stride": {overlap}, "return_overflowing_tokens": True, "padding": True}}
windows = tokenizer(question, context, **cut, return_offsets_mapping=True, return_tensors="pt")
places, _ = windows.pop("offset_mapping"), windows.pop("overflow_to_sample_mapping")
inside = torch.tensor([[part == 1 for part in windows.sequence_ids(i)] for i in range(len(places))])
none = {null}
with torch.no_grad():
    out = model(**windows)
start, end = (x.masked_fill(~(inside | none), -torch.inf).log_softmax(1) for x in (out.start_logits, out.end_logits))
spans = (start[:, :, None] + end[:, None, :]).masked_fill(~(inside[:, :, None] & inside[:, None, :]), -torch.inf)
spans = spans.masked_fill(~torch.ones_like(spans[0], dtype=torch.bool).triu().tril({most} - 1), -torch.inf)
window, first, last = torch.unravel_index(spans.argmax(), spans.shape)
answer = context[places[window, first, 0] : places[window, last, 1]].strip()  # its probability is spans.max().exp()"""


class QAData(DataModule):
    """Questions with answers in a context: SQuAD JSON (1.1, 2.0), or a table, also with the answers as on the hub.

    Args:
        question: column of the question.
        context: column of the text that holds the answer.
        answer: column of the answer, as it stands in the context; empty where there is none. Also a list of several, or
            SQuAD's {text: […], answer_start: […]}, for which the column answers is taken too.
        answer_start: column of the answer's first character in the context; the first occurrence is taken without it.
        missing: what to do with an answer that is not in its context: error or skip.
        max_length: the most tokens of question and context together, longer ones are read in several windows; 384, or as
            many as the backbone takes, if not given.
        stride: tokens of a context that two windows share; below 1 as a share of max_length.
        base: options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        question: str = "question",
        context: str = "context",
        answer: str = "answer",
        answer_start: str = "answer_start",
        missing: readers.Missing = "error",
        max_length: int | None = None,
        stride: float = 0.25,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.question, self.context, self.answer, self.answer_start = question, context, answer, answer_start
        self.missing, self.given_length, self.given_stride = missing, max_length, stride

    @property
    def columns(self) -> list[str]:
        """Question and context."""
        return [self.question, self.context]

    @property
    def max_length(self) -> int:
        """Tokens of a window; how long the texts of a sentence encoder's training were does not count."""
        most = tokens.max_length(self.tokenizer_name, trained=False)
        return tokens.limit(self.tokenizer_name, self.given_length or min(LONGEST, most), most)

    @property
    def overlap(self) -> int:
        """Tokens of a context that two windows share.

        Raises:
            UserError: windows would not get on: the question may take half of one.
        """
        given, longest = self.given_stride, self.max_length
        room = longest - longest // 2 - self.tokenizer.num_special_tokens_to_add(pair=True)
        found = int(given * longest if given < 1 else given)
        if given < 0 or found >= room:
            raise UserError(f"data.stride: {given:g} leaves no room in windows of {longest} tokens, of which a question may take half")
        return found

    def source(self, split: str) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text, number = datasets.Value("string"), datasets.Value("int64")
        named = {
            "id": text,
            self.question: text,
            self.context: text,
            "answers": datasets.List(text),
            "answer_starts": datasets.List(number),
        }
        columns = {"question": self.question, "context": self.context, "answer": self.answer, "answer_start": self.answer_start}
        arguments = {"name": self.files[split], "split": split, "columns": columns, "missing": self.missing, "encoding": self.encoding}
        return readers.read_rows, arguments, datasets.Features({**named, "line": number, "__placed": number, "__skipped": number})

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The contexts: a question about a text that was trained on would flatter."""
        numbers: dict[str, int] = {}
        return [str(numbers.setdefault(text, len(numbers))) for text in table[self.context][:]]

    def inputs(self, table: datasets.Dataset) -> list[str]:
        """What tells the question and context of each row from others."""
        return [duplicates.key(*texts) for texts in zip(table[self.question], table[self.context], strict=True)]

    def _windows(self, rows: Columns) -> Columns:
        made = contexts.windows(self.tokenizer, rows[self.question], rows[self.context], self.max_length, self.overlap)
        if "answers" not in rows:
            return made
        made["first"], made["last"] = [], []
        for i, found in enumerate(zip(rows["answers"], rows["answer_starts"], strict=True)):
            spans = Counter(zip(*found, strict=True)).most_common(1)  # of several annotators what most say, else the first
            text, start = spans[0][0] if spans else ("", -1)
            sizes = made["sizes"][i]
            inside = contexts.target(made["begin"][i], made["end"][i], sizes, start, start + len(text)) if text else [(-1, -1)] * len(sizes)
            made["first"].append([f for f, _ in inside])
            made["last"].append([last for _, last in inside])
        return made

    def encode(self, table: datasets.Dataset, split: str) -> Encoded:
        """Windows of a split with the answers in them, cached by data, tokenizer and sizes."""
        tokens.check_places(self.tokenizer)
        about = (tokens.identity(self.tokenizer), self.max_length, self.overlap, files.code(contexts.windows), self.columns)
        made = self.mapped(table, self._windows, *about)
        self._note(table, made, split)
        return Encoded(made, fingerprint=made._fingerprint)

    def _note(self, table: datasets.Dataset, made: datasets.Dataset, split: str) -> None:
        placed, windows = np.asarray(table["__placed"][:]), np.array([len(s) for s in made["sizes"][:]])
        golden = np.array([bool(a) for a in table["answers"][:]])
        unreached = sum(max(f) < 0 for f, g in zip(made["first"][:], golden, strict=True) if g)
        counts = {
            "have no answer in their context": np.count_nonzero(~golden),
            "have an answer that occurs several times and no place for it: the first is taken": np.count_nonzero(placed == readers.FIRST),
            "have an answer whose place was wrong and moved to where its text is": np.count_nonzero(placed == readers.MOVED),
            f"are longer than half of {self.max_length} tokens and cut": sum(made["cut"][:]),
            f"have a context of more than {self.max_length} tokens, read in up to {windows.max()} windows": np.count_nonzero(windows > 1),
            "have an answer that no window holds whole: they train for none": unreached,
        }
        self.notes += [f"{split}: {n:,} of {len(table):,} questions {what}" for what, n in counts.items() if n]
        if skipped := sum(table["__skipped"][:]):
            self.notes.append(f"{split}: {skipped:,} questions are left out, since their answer is not in the context (data.missing)")

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict: SQuAD's layout, with or without answers, or a table."""
        content = readers.document(name, self.encoding)
        if content is None:
            return super().read_predict(name)
        names = {"question": self.question, "context": self.context}
        return [{names.get(k, k): v for k, v in row.items()} for row in readers.flat(content, name, gold=False)]

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> Encoded:
        """Windows of rows to predict."""
        texts: Columns = {c: [] for c in self.columns}
        for i, row in enumerate(rows, 1):
            files.need(row, self.columns, place)
            for column, found in texts.items():
                found.append(files.as_text(row[column], place, i, column))
                if not found[-1].strip():
                    raise UserError(f"{place}:{row.get(files.LINE, i)}: column {column} is empty; fill it in or take the row out")
        chunks = [self._windows({c: v[i : i + 1000] for c, v in texts.items()}) for i in range(0, len(rows), 1000)]
        return Encoded({k: [v for chunk in chunks for v in chunk[k]] for k in chunks[0]})

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch of all windows of the rows, see :func:`contexts.collate`; ``index`` are the numbers of the rows."""
        return {**contexts.collate(columns, self.tokenizer), "index": rows}


class QuestionAnswering(Task):
    """Finds the answer to a question in a text, and says where it stands, or that there is none.

    The head gives each token a chance to be the first and the last of the answer. In a window without the answer both are the
    class token (the first token of a model without one), as in BERT (Devlin et al. 2019). Whether "no answer" is said is a matter
    of a threshold, found on the validation data and kept in the checkpoint; data in which every question has one never get it.

    Args:
        backbone: pre-trained model: a hub id (OWNER/NAME) or a local folder.
        max_answer_length: the most tokens of an answer that is predicted.
        base: options of Task.
    """

    data_module = "ftlight.tasks.question_answering.task.QAData"
    score = "f1"
    monitor = "val/f1"

    def __init__(self, backbone: str, *, max_answer_length: int = 30, **base: Any) -> None:
        super().__init__(backbone, **base)
        if max_answer_length < 1:
            raise UserError(f"model.max_answer_length: {max_answer_length} is not a number of tokens; give 1 or more, for example 30")
        self.max_answer_length = max_answer_length
        self.threshold = math.inf  # log-odds above which there is no answer
        self.model = self.load("AutoModelForQuestionAnswering", num_labels=2)

    def setup(self, stage: str) -> None:
        """Allows "no answer" where questions of the training data have none."""
        super().setup(stage)
        if stage == "fit" and isinstance(self.data, QAData) and self.threshold == math.inf:
            self.threshold = 0.0 if not all(self.data.raw("train")["answers"][:]) else math.inf

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the threshold."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["no_answer_threshold"] = self.threshold

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the threshold."""
        super().on_load_checkpoint(checkpoint)
        self.threshold = checkpoint["no_answer_threshold"]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log-probability of each token to be the first and the last of the answer, ``[windows, tokens]`` each.

        Tokens outside the context have none, but for the one that stands for no answer.
        """
        possible = (batch["begin"] >= 0).scatter(1, batch["null"][:, None], True)
        logits = self._logits(batch["inputs"], max(len(batch["index"]), AT_ONCE))
        start, end = (x.float().masked_fill(~possible, -torch.inf).log_softmax(1) for x in logits)
        return start, end

    def _logits(self, inputs: dict[str, Tensor], most: int) -> tuple[Tensor, Tensor]:
        """Logits of the windows, ``most`` at a time; in training what lies between is then computed again for the gradients.

        So the memory is that of a batch with one window a row, however long the contexts are.
        """

        def run(part: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            out = self.model(**part)
            return out.start_logits, out.end_logits

        windows = len(inputs["input_ids"])
        if windows <= most:
            return run(inputs)
        parts = [{k: v[i : i + most] for k, v in inputs.items()} for i in range(0, windows, most)]
        again = self.training and torch.is_grad_enabled()
        found: list[Any] = [checkpoint(run, part, use_reentrant=False) if again else run(part) for part in parts]
        start, end = (torch.cat(logits) for logits in zip(*found, strict=True))
        return start, end

    def step(self, batch: dict[str, Any]) -> Step:
        """Loss, a mean over windows in training and over rows otherwise, and the best span of each row."""
        start, end = self(batch)
        outputs = contexts.best_spans(start.detach(), end.detach(), batch, self.max_answer_length)
        if "first" not in batch:
            return Step(None, outputs)
        losses = (F.nll_loss(start, batch["first"], reduction="none") + F.nll_loss(end, batch["last"], reduction="none")) / 2
        if self.training:
            return Step(losses.mean(), outputs, weight=len(losses))
        counts = torch.bincount(batch["owner"])
        return Step((losses / counts[batch["owner"]]).sum() / len(counts), outputs)

    def measure(self, outputs: Tensor, targets: Any, rows: Sequence[Mapping[str, Any]]) -> Evidence:
        """Exact match and F1 by SQuAD's rules, as shares; on validation data this also finds the threshold."""
        golds = [row["answers"] for row in rows]
        answerable = torch.tensor([bool(g) for g in golds])
        v2 = not bool(answerable.all())
        odds = (outputs[:, 3] - outputs[:, 2]).double()
        texts = [contexts.text_of(row[self.data.context], int(b), int(e))[0] for row, (b, e) in zip(rows, outputs[:, :2], strict=True)]
        found = torch.tensor([answers.scores(t, g, v2) for t, g in zip(texts, golds, strict=True)], dtype=torch.double)
        threshold, best = answers.best_threshold(odds, found[:, 1] * answerable, answerable)
        trainer: Any = self._trainer
        if v2 and trainer is not None and not trainer.testing:
            self.threshold = threshold
        nothing = torch.tensor([answers.scores("", g, v2) for g in golds], dtype=torch.double)
        found = torch.where((odds > self.threshold)[:, None], nothing, found)
        exact, f1 = found.mean(0).tolist()
        values = {"f1": f1, "exact": exact}
        if v2:
            has, without = found[answerable].mean(0).tolist(), found[~answerable, 0].mean().item()
            values |= {"has_answer_f1": has[1], "has_answer_exact": has[0], "no_answer_accuracy": without, "best_f1": best}
        interval = bootstrap(torch.stack([found[:, 1], torch.ones(len(found))], 1), lambda sums: float(sums[0] / sums[1]))
        return Evidence(values, len(rows), {"f1": interval, "exact": wilson(exact, len(rows))})

    def decode(self, outputs: Tensor, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answer as text, its probability, its first character in the context and the one after its last.

        Where there may be none also the probability of that (0.5 at the threshold); the answer is then empty, without a place.
        """
        decoded = []
        for row, (begin, end, span, null) in zip(rows, outputs.tolist(), strict=True):
            text, start, stop = contexts.text_of(row[self.data.context], int(begin), int(end))
            answer: dict[str, Any] = {"prediction": text, "score": math.exp(span), "start": start, "end": stop}
            if self.threshold < math.inf:
                none = torch.tensor(null - span - self.threshold, dtype=torch.double).sigmoid().item()
                answer["no_answer"] = none
                if null - span > self.threshold:
                    answer |= {"prediction": "", "score": none, "start": None, "end": None}
            decoded.append(answer)
        return decoded

    def describe(self) -> str:
        """How it answers."""
        return f"spans of up to {self.max_answer_length} tokens"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder; the threshold, where there is one, into its config as ``no_answer_threshold``."""
        assert isinstance(data, QAData)
        model: Any = self.model
        class_token = data.tokenizer.cls_token_id is not None
        null = 'windows["input_ids"] == tokenizer.cls_token_id' if class_token else 'windows["attention_mask"].cumsum(1) == 1'
        lines = LOADS.format(limit=data.max_length, overlap=data.overlap, most=self.max_answer_length, null=null)
        if self.threshold < math.inf:
            model.config.no_answer_threshold = self.threshold
            lines += '\nnull = (start + end)[none].min() - spans.max()\nif null > model.config.no_answer_threshold:\n    answer = ""'
        export.transformers(model, data.tokenizer, data.max_length, folder)
        return lines
