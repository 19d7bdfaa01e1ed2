"""Curves, shades and advice as plain values."""

from __future__ import annotations

import math
import random

from conftest import each

from ftlight.explain.explanation import Explanation, Side, Word
from ftlight.report import shades
from ftlight.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, draw, ticks
from ftlight.report.rows import words
from ftlight.report.verdicts import step_of


def test_a_line_is_drawn_to_scale() -> None:
    chart = draw("x", [Line("a", [(0.0, 0.0), (50.0, 1.0), (100.0, 0.5)])], y_ends=(0.0, 1.0))
    assert chart is not None
    right, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
    middle = (LEFT + right) / 2
    half = (TOP + foot) / 2
    path = f"M{LEFT:g} {foot:g}L{middle:g} {TOP:g}L{right:g} {half:g}"
    assert chart.paths == [(1, path)]
    assert [(t.text, t.x) for t in chart.x_ticks][::2] == [("0", LEFT), ("100", right)]


def test_lines_of_any_values_stay_within_the_drawing() -> None:
    draws = random.Random(0)

    def check(count: int, scale: float) -> None:
        points = [(float(i), draws.gauss(0, scale)) for i in range(count)]
        points[count // 2] = (float(count // 2), math.nan)
        chart = draw("x", [Line("a", points), Line("b", [(1.0, scale)], 2)])
        assert chart is not None
        for _, path in chart.paths:
            for place in path[1:].split("L"):
                x, y = map(float, place.split())
                assert LEFT <= x <= WIDTH - RIGHT
                assert TOP <= y <= HEIGHT - BOTTOM
        assert 2 <= len(chart.y_ticks) <= 8

    each([(n, s) for n in (3, 200, 5000) for s in (1e-9, 1.0, 1e9)], check)
    assert draw("x", [Line("a", [(0.0, math.inf)]), Line("b", [])]) is None


def test_ticks_are_few_and_round() -> None:
    draws = random.Random(1)

    def check(low: float, high: float) -> None:
        found = ticks(low, high, 5)
        assert 2 <= len(found) <= 6
        step = found[1] - found[0]
        assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5, 10)

    each([(a := draws.uniform(-9, 9), a + 10 ** draws.uniform(-3, 6)) for _ in range(200)], check)


def test_the_pieces_of_a_text_are_the_text() -> None:
    draws = random.Random(2)

    def check(length: int) -> None:
        text = "".join(draws.choice("ab c\n") for _ in range(length))
        found, at = list[Word](), 0
        while at < length:
            end = at + draws.randint(1, 9)
            found.append(Word(at, end, draws.uniform(-1, 1)))  # the last may end behind the text
            at = end + draws.randint(0, 2)
        span = (length // 3, length // 2)
        why = Explanation("x", 0.5, sides=[Side("text", text, found, span)])
        (drawn,) = shades.shaded(why).texts
        assert "".join(piece.text for piece in drawn.pieces) == text[: shades.TEXT]
        assert drawn.more == max(0, length - shades.TEXT)
        answer = "".join(piece.text for piece in drawn.pieces if piece.is_answer)
        assert answer == text[: shades.TEXT][span[0] : span[1]]

    each([0, 1, 40, 400, shades.TEXT, 9000], check)


def test_advice_is_taken_apart_into_why_and_what_to_copy() -> None:
    def check(advice: str, why: str, lines: list[str]) -> None:
        assert step_of(advice) == (why, lines)

    each(
        [
            ("keep it", "keep it", []),
            ("try: a third of model.lr, more rows", "try: a third of model.lr, more rows", []),
            (
                "see them: python -m ftlight check r --full; then data.on_leak: drop",
                "see them: ; then",
                ["python -m ftlight check r --full", "data.on_leak: drop"],
            ),
            ("out of train set data.on_leak: drop", "out of train", ["data.on_leak: drop"]),
            ("--trainer.max_epochs 6", "", ["--trainer.max_epochs 6"]),
        ],
        check,
    )


def test_cells_of_any_json_are_words() -> None:
    def check(cell: str, wanted: str) -> None:
        assert words(cell) == wanted

    each(
        [
            ("[]", ""),
            ("[not json", "[not json"),
            ('{"a": 1}', "a 1"),
            ('[{"id": "i4", "text": "it"}]', "i4: it"),
            (str(list(range(12))), "0 · 1 · 2 · 3 · 4 · 5 · 6 · 7 · and 4 more"),
            ("[" * 100_000, "[" * 100_000),
        ],
        check,
    )
