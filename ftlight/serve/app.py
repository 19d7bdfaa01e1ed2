"""The paths of a server; the only file that knows its framework."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ftlight.serve import bodies, chat_forms, chats, embeddings, page, streams
from ftlight.serve.access import Access
from ftlight.serve.bodies import Asked, Inputs
from ftlight.serve.embeddings import Texts
from ftlight.serve.limits import Limits, Refused
from ftlight.serve.metrics import Board
from ftlight.serve.streams import Line
from ftlight.utils.errors import UserError, unknown

log = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]
PATHS = ("/predict", "/v1/chat/completions", "/v1/embeddings", "/v1/models", "/health", "/metrics")
AGAIN = {"retry-after": "1"}
STREAM = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # no proxy is to hold it back


class Served(NamedTuple):
    """A run that is served.

    Attributes:
        inputs: what it reads.
        queue: what waits for its model.
    """

    inputs: Inputs
    queue: Line


class Server:
    """What the paths have in common.

    Args:
        runs: the runs by name.
        access: who may ask.
        limits: limits of what is taken.
        board: counts of all processes.
        process: number of this one.
    """

    def __init__(
        self,
        runs: Mapping[str, Served],
        access: Access,
        limits: Limits,
        board: Board,
        process: int = 0,
    ) -> None:
        self.runs, self.access, self.limits = runs, access, limits
        self.board, self.process = board, process
        self.inputs = {name: run.inputs for name, run in runs.items()}
        self.began = int(time.time())
        self.requests = self.held = 0  # requests that are read or wait, and bytes of their bodies

    async def predict(self, request: Request) -> Response:
        """Answers rows."""
        with self.room() as hold:
            body = await self.body(request, hold)
            kind = request.headers.get("content-type", "")
            asked = bodies.read(body, kind, self.inputs, self.limits)
            request.state.model = asked.model
            answers = await self.answer(request, asked)
        return JSONResponse({"model": asked.model, "answers": answers})

    async def embeddings(self, request: Request) -> Response:
        """Makes vectors of texts, in OpenAI's form."""
        with self.room() as hold:
            body = await self.body(request, hold)
            asked = embeddings.read(body, self.inputs, self.limits)
            request.state.model = asked.model
            vectors = await self.answer(request, asked)
        return JSONResponse(embeddings.reply(asked, vectors))

    async def chat(self, request: Request) -> Response:
        """Replies to a chat, in OpenAI's form."""
        with self.room() as hold:
            body = await self.body(request, hold)
            asked = chats.read(body, self.inputs, self.limits)
            request.state.model = asked.model
            head = chat_forms.heading(asked.model)
            said = streams.replies(self.runs[asked.model].queue, asked)
            if not asked.stream:
                whole = await streams.unless_left(request, streams.together(said))
                return JSONResponse(chat_forms.whole(head, whole))
            first = await streams.unless_left(request, anext(said))
        parts = streams.events(head, first, said, asked.counts)
        return StreamingResponse(parts, media_type="text/event-stream", headers=STREAM)

    async def models(self, request: Request) -> Response:
        """The runs, or one of them, in OpenAI's form."""
        known = {name: inputs._asdict() for name, inputs in self.inputs.items()}
        if name := request.path_params.get("name"):
            name = bodies.run_of(name, known)
            return JSONResponse(chat_forms.model(name, known[name], self.began))
        return JSONResponse(chat_forms.models(known, self.began))

    async def health(self, request: Request) -> Response:
        """Whether all models can be asked; of which ones only /v1/models tells, to who may know."""
        works = all(run.queue.works for run in self.runs.values())
        return JSONResponse(
            {"status": "ok" if works else "a model has ended"}, 200 if works else 503
        )

    async def metrics(self, request: Request) -> Response:
        """The counts of all processes."""
        return PlainTextResponse(self.board.text(), media_type="text/plain; version=0.0.4")

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Room for a request; gives what is told of each further byte that is held.

        Raises:
            Refused: too much is held already.
        """
        if self.requests >= self.limits.requests:
            raise Refused(503, "too many requests wait; try again")
        self.requests += 1
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self.held + size > self.limits.held:
                raise Refused(503, "too many requests wait; try again")
            held += size
            self.held += size

        try:
            yield hold
        finally:
            self.requests -= 1
            self.held -= held

    async def body(self, request: Request, hold: Callable[[int], None]) -> bytes:
        """The body of a request, counted while it comes.

        Raises:
            Refused: it is too long or too slow, or compressed.
        """
        most = self.limits.body
        too_long = f"body: longer than {most:,} bytes (serve --max_body MB sets the most)"
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "body: compressed; send it as it is")
        length = request.headers.get("content-length", "")
        if length.isdigit() and (len(length) > 18 or int(length) > most):
            raise Refused(413, too_long)
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > most:
                        raise Refused(413, too_long)
                    hold(len(chunk))
                    body += chunk
        except TimeoutError:
            raise Refused(408, f"body: not here after {self.limits.seconds:g} s") from None
        return bytes(body)

    async def answer(self, request: Request, asked: Asked | Texts) -> Any:
        """What the model says; the request is dropped if nobody waits for it any more.

        Raises:
            Refused: too many wait, or nobody does.
        """
        future = streams.put(self.runs[asked.model].queue, asked, asked.model, len(asked.rows))
        try:
            return await streams.unless_left(request, asyncio.wrap_future(future))
        finally:
            future.cancel()  # without effect once the model has begun

    def guarded(self, endpoint: Endpoint, is_open: bool = False) -> Endpoint:
        """A path that lets in who may ask, says what is wrong in a line, and counts.

        Args:
            endpoint: answers a request.
            is_open: whether it needs no token and is not counted.
        """

        async def answer(request: Request) -> Response:
            began = time.monotonic()
            request.state.model = ""
            try:
                self.check(request, is_open)
                response = await endpoint(request)
            except (UserError, Refused, HTTPException, ClientDisconnect) as error:
                response = fault(error, request.url.path)
            except Exception as error:
                log.error("%s could not be answered", request.url.path, exc_info=error)
                response = failed(500, streams.FAILED, request.url.path)
            if not is_open:
                counts = self.board.counts(request.state.model, self.process)
                counts.request(response.status_code, time.monotonic() - began)
            return response

        return answer

    def check(self, request: Request, is_open: bool) -> None:
        """Checks that a request may be answered.

        Raises:
            Refused: it may not.
        """
        host, site = (request.headers.get(name, "") for name in ("host", "sec-fetch-site"))
        if not self.access.is_meant(host, "" if is_open else site):  # a link may lead to the page
            why = "this server answers to localhost alone, and to no page of another site, without"
            raise Refused(403, f"{why} a token")
        if not is_open and not self.access.allows(request.headers.get("authorization", "")):
            raise Refused(401, "a token is needed, in the header Authorization: Bearer TOKEN")

    async def missing(self, request: Request, error: Exception) -> Response:
        """What is said of a path or method that is not there."""

        async def refuse(request: Request) -> Response:
            if getattr(error, "status_code", 404) == 404:
                raise Refused(404, unknown("no path", request.url.path[:60], PATHS, "paths"))
            raise error

        return await self.guarded(refuse)(request)


def fault(error: Exception, path: str) -> Response:
    """What is said of a request that is not answered."""
    if isinstance(error, HTTPException):
        return failed(error.status_code, str(error.detail).lower(), path, error.headers)
    if isinstance(error, ClientDisconnect):
        return failed(499, "nobody waits for the answer", path)
    status = error.status if isinstance(error, Refused) else 400
    headers = {503: AGAIN, 401: {"www-authenticate": "Bearer"}}.get(status)
    return failed(status, str(error), path, headers)


def failed(status: int, why: str, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a line of JSON; in OpenAI's form for the paths that are OpenAI's."""
    line = " ".join(why.split())
    said = chat_forms.fault(line, status) if path.startswith("/v1/") else {"error": line}
    return JSONResponse(said, status, headers)


def _page(server: Server, file: page.File) -> Route:
    """A file of the page, which is the same for everybody; what it asks for needs a token."""

    async def send(request: Request) -> Response:
        return Response(file.content, headers=page.HEADERS, media_type=file.kind)

    return Route(file.path, server.guarded(send, is_open=True), methods=["GET"])


def make(server: Server) -> Any:
    """The application of a server, for ASGI."""
    made = Starlette(
        routes=[
            *(_page(server, file) for file in page.files()),
            Route("/predict", server.guarded(server.predict), methods=["POST"]),
            Route("/v1/chat/completions", server.guarded(server.chat), methods=["POST"]),
            Route("/v1/embeddings", server.guarded(server.embeddings), methods=["POST"]),
            Route("/v1/models", server.guarded(server.models), methods=["GET"]),
            Route("/v1/models/{name:path}", server.guarded(server.models), methods=["GET"]),
            Route("/health", server.guarded(server.health, is_open=True), methods=["GET"]),
            Route("/metrics", server.guarded(server.metrics), methods=["GET"]),
        ],
        exception_handlers={404: server.missing, 405: server.missing},
    )
    made.router.redirect_slashes = False  # to an address that the request itself names
    return made
