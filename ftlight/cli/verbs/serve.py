"""``serve``: answers over HTTP what ``predict`` answers."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

from ftlight.cli import serving
from ftlight.cli.command import Words
from ftlight.serve import workers
from ftlight.serve.metrics import Board, Counts
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted
from ftlight.utils.printable import printable, say

TOGETHER = 8  # batches of a run's size whose rows are sorted by length and answered together


def run(words: Words) -> str:
    """Serves runs until a signal ends it, and what is asked by then is answered.

    Raises:
        UserError: something is wrong with the command line, the port is in use, or a run cannot be
            served.
    """
    asked = serving.read(words)
    from ftlight.serve import process

    listening = process.bind(asked.access.host, asked.port)
    board = Board(list(asked.runs), asked.workers)
    place = process.address(listening)

    def ready() -> None:
        what = ", ".join(asked.runs)
        say(f"{what} at {place} ({counted(asked.workers, 'worker')}); Ctrl-C ends it")

    with listening:
        if asked.workers == 1:
            _serve(asked, listening, board, 0, ready)
        elif status := workers.run(asked.workers, _work(asked, listening, board), ready):
            raise UserError(f"a worker has ended with status {status}, so all have")
    return ""


def _work(asked: serving.Asked, listening: socket.socket, board: Board) -> workers.Work:
    """What each of several processes does."""

    def work(number: int, lifeline: int, ready: Callable[[], None]) -> int:
        try:
            _serve(asked, listening, board, number, ready, lifeline)
        except UserError as error:
            if number == 0:  # the others would say the same
                print(f"ftlight: error: {printable(str(error))}", file=sys.stderr)
            return error.status
        return 0

    return work


def _serve(
    asked: serving.Asked,
    listening: socket.socket,
    board: Board,
    number: int,
    ready: Callable[[], None],
    lifeline: int | None = None,
) -> None:
    """Loads the runs, and answers."""
    from ftlight.serve import app, process

    _share_processors(asked.workers, process.processors())
    logging.basicConfig(format="%(levelname)s: %(message)s")
    runs = {}
    for name, path in asked.runs.items():
        runs[name] = loaded(path, asked, board.counts(name, number))
    server = app.Server(runs, asked.access, asked.limits, board, number)
    try:
        process.serve(app.make(server), listening, lifeline, ready)
    finally:
        for served in runs.values():
            served.queue.close()


def loaded(path: str, asked: serving.Asked, counts: Counts) -> Any:
    """A run with its model and queue.

    Args:
        path: folder of the run.
        asked: what is to be served.
        counts: counts of the run in this process.
    """
    from ftlight.cli import parser
    from ftlight.serve import answering, app, batches, bodies, speech, streams
    from ftlight.task import Task

    predictor = parser.opened(path, asked.options)
    data = predictor.data
    data.workers = 0  # a process for each request would cost more than it saves
    queue: streams.Line = batches.Queue(
        lambda requests: answering.reply(predictor, requests),
        most=TOGETHER * data.batch_size,
        waiting=asked.limits.requests,
        note=counts.batch,
        waits=counts.waiting,
    )
    embeds = hasattr(predictor.task, "embed")
    chats = speech.knows_chats(predictor.task, data)
    explains = type(predictor.task).asked is not Task.asked
    inputs = bodies.Inputs(data.columns, data.image_columns, embeds, chats, explains)
    return app.Served(inputs, queue)


def _share_processors(workers: int, processors: int) -> None:
    """Lets each of several processes compute with its share of the processors."""
    if workers > 1:
        import torch

        torch.set_num_threads(max(1, processors // workers))
