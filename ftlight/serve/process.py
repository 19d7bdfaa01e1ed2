"""A process that serves: its socket, slow senders of heads, signals, and the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ftlight.utils.errors import UserError

HEAD = 10.0  # seconds in which the head of a request must have come
DRAIN = 60  # seconds that requests have to end once a signal has come
BACKLOG = 2048
LOOKS = 20  # turns of the loop; a connection that waits takes five until its request is read


class Protocol(H11Protocol):
    """A connection, which is closed if the head of a request does not come in time.

    A body that is not read is taken and dropped as long, so that the answer reaches its sender.
    """

    late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begins to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Begins to wait for the next one."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        super().connection_lost(exc)
        if self.late is not None:
            self.late.cancel()

    def _wait(self) -> None:
        if self.late is not None:
            self.late.cancel()
        self.late = self.loop.call_later(HEAD, self._close)

    def _close(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(408, "the head of the request has not come")
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Says that a request is none of HTTP."""
        self._refuse(400, "not a request of HTTP")

    def _refuse(self, status: int, why: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is there already
            self.transport.close()
            return
        body = f'{{"error":"{why}"}}'.encode()
        headers = [
            *((b"content-type", b"application/json"), (b"connection", b"close")),
            (b"content-length", str(len(body)).encode()),
        ]
        reason = HTTPStatus(status).phrase.encode()
        for event in (
            h11.Response(status_code=status, headers=headers, reason=reason),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """A server that, before it ends, takes in what was sent before."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Reads what the system holds for the process, then closes and answers."""
        for _ in range(LOOKS):
            await asyncio.sleep(0)
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: the port is in use, or the host is not this machine's.
    """
    made = None
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        if made is not None:
            made.close()
        why = f"{error.strerror or error}".lower()
        raise UserError(f"--host {host} --port {port}: {why}; give another --port") from None
    return made


def server_of(app: Any) -> Server:
    """What answers for an application, once it is given a socket."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN,
    )
    return Server(config)


def serve(
    app: Any,
    listening: socket.socket,
    lifeline: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answers until a signal comes, then whoever has asked, and nobody else.

    Args:
        app: the application.
        listening: the socket.
        lifeline: a pipe that closes if the process that started this one ends.
        ready: called once a signal ends it so.
    """
    server = server_of(app)

    # before uvicorn takes signals itself, and at its end, when it raises one again
    def end(number: int, frame: Any) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, end)
    ready()
    asyncio.run(_watched(server, listening, lifeline))


async def _watched(server: Server, listening: socket.socket, lifeline: int | None) -> None:
    loop = asyncio.get_running_loop()
    if lifeline is not None:

        def end() -> None:
            loop.remove_reader(lifeline)
            server.should_exit = True

        loop.add_reader(lifeline, end)
    await server.serve([listening])


def address(listening: socket.socket) -> str:
    """Where a socket is reached, as http://HOST:PORT."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
