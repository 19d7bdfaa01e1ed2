from __future__ import annotations

import os
import re

import pytest

from ftlight.serve.metrics import Board

LINE = re.compile(r'ftlight_\w+\{model="(\\.|[^"\\])*"(,\w+="[^"]*")?\} [\d.e+-]+')


def value(text: str, start: str) -> float:
    """The value of the one line that starts so."""
    found = [line for line in text.splitlines() if line.startswith(start)]
    assert len(found) == 1, (start, found)
    return float(found[0].rpartition(" ")[2])


def test_counts_are_added_over_processes() -> None:
    board = Board(["tickets", "qa"], processes=2)
    for process, rows in ((0, 3), (1, 4), (1, 2000)):
        board.counts("tickets", process).batch(rows)
    board.counts("tickets", 0).request(200, 0.02)
    board.counts("tickets", 1).request(200, 99.0)
    board.counts("", 1).request(413, 0.001)
    board.counts("", 1).request(418, 0.001)
    board.counts("qa", 1).waiting(7)
    text = board.text()
    assert value(text, 'ftlight_requests_total{model="tickets",code="200"}') == 2
    assert value(text, 'ftlight_requests_total{model="",code="413"}') == 1
    assert value(text, 'ftlight_requests_total{model="",code="500"}') == 1  # a code not known
    assert value(text, 'ftlight_errors_total{model=""}') == 2
    assert value(text, 'ftlight_errors_total{model="tickets"}') == 0
    assert value(text, 'ftlight_rows_total{model="tickets"}') == 2007
    assert value(text, 'ftlight_queue_rows{model="qa"}') == 7
    bucket = 'ftlight_batch_rows_bucket{model="tickets",le="'
    assert [value(text, f'{bucket}{le}"') for le in (2, 4, 1024, "+Inf")] == [0, 2, 2, 3]
    assert value(text, 'ftlight_batch_rows_sum{model="tickets"}') == 2007
    assert value(text, 'ftlight_request_seconds_count{model="tickets"}') == 2
    assert value(text, 'ftlight_request_seconds_sum{model="tickets"}') == pytest.approx(99.02)


def test_every_line_is_one_that_prometheus_reads() -> None:
    board = Board(['a "name"\\of\nlines', "b"])
    board.counts("b", 0).request(200, 0.1)
    lines = board.text().splitlines()
    assert board.text().endswith("\n")
    for line in lines:
        assert line.startswith(("# HELP ftlight_", "# TYPE ftlight_")) or LINE.fullmatch(line), line
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) == 6


@pytest.mark.processes
def test_processes_share_what_is_counted() -> None:
    board = Board(["tickets"], processes=2)
    child = os.fork()
    if not child:
        board.counts("tickets", 1).batch(5)
        os._exit(0)
    os.waitpid(child, 0)
    assert value(board.text(), 'ftlight_rows_total{model="tickets"}') == 5
