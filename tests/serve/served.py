"""A server in a thread, and what asks it over real HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ftlight.serve import app, process
from ftlight.serve.access import Access
from ftlight.serve.limits import Limits
from ftlight.serve.metrics import Board


class Reply(NamedTuple):
    status: int
    body: Any  # of JSON, else text
    headers: Mapping[str, str]


class Client(NamedTuple):
    """Asks a server; each request has a connection of its own."""

    host: str
    port: int
    token: str = ""

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def ask(
        self,
        body: Any = None,
        path: str = "/predict",
        method: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Sends a body: bytes as they are, anything else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        method = method or ("GET" if body is None else "POST")
        connection = self.connection()
        try:
            connection.request(method, path, data, {**given, **(headers or {})})
            return reply(connection.getresponse())
        finally:
            connection.close()


def reply(response: http.client.HTTPResponse) -> Reply:
    text = response.read().decode()
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_json = headers.get("content-type", "").startswith("application/json")
    return Reply(response.status, json.loads(text) if is_json else text, headers)


@contextmanager
def serving(
    runs: Mapping[str, app.Served],
    access: Access = Access(),  # noqa: B008
    limits: Limits = Limits(),  # noqa: B008
) -> Iterator[Client]:
    """Serves runs in a thread; they and the thread have ended afterwards."""
    listening = process.bind("127.0.0.1", 0)
    board = Board(list(runs))
    server = process.server_of(app.make(app.Server(runs, access, limits, board)))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        yield Client("127.0.0.1", listening.getsockname()[1], access.token)
    finally:
        server.should_exit = True
        thread.join()
        for run in runs.values():
            run.queue.close()
        assert not any(run.queue.works for run in runs.values())
