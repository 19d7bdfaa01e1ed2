"""Whether a file holds questions with answers in a context, as ``init`` asks."""

from __future__ import annotations

from ftlight.data.recognition import Content, Look, Options, Shape
from ftlight.data.sources import Source
from ftlight.tasks.question_answering import readers
from ftlight.utils.errors import UserError

QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph")
ANSWERS = ("answer", "answers", "answer_text")


def recognize(look: Look) -> Shape | None:
    """SQuAD's layout, or columns question, context and answer."""
    if isinstance(look.first.get("paragraphs"), list):
        return Shape({}, "SQuAD's layout")
    question, context = look.named(QUESTIONS), look.named(CONTEXTS)
    answer = look.named(ANSWERS)
    if not (question and context and answer):
        return Shape({}, "as asked for") if look.asked else None
    names = {"question": question, "context": context, "answer": answer}
    options = {k: v for k, v in names.items() if k != v and (k, v) != ("answer", "answers")}
    return Shape(options, f"columns {question}, {context} and {answer}")


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read.
    """
    defaults = readers.Names("question", "context", "answer", "answer_start")
    names = defaults._replace(**options)
    further = {}
    try:
        rows = list(readers.read_rows(source, names, "error", ""))
    except UserError as error:
        if "data.missing" not in str(error):
            raise
        rows = list(readers.read_rows(source, names, "skip", ""))
        further = {"missing": "skip"}
    skipped = sum(row["__skipped"] for row in rows)
    notes = [f"{skipped:,} answers are not in their context and left out"] if skipped else []
    without = sum(not row["answers"] for row in rows)
    if without:
        notes.append(f"{without:,} questions have no answer")
    groups = [row[names.context] for row in rows]
    return Content(len(rows), "questions", groups=groups, options=further, notes=notes)
