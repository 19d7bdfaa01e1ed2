from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import each
from serve.served import Client, serving
from serve.test_counts import value

from ftlight.serve import process
from ftlight.serve.access import Access
from ftlight.serve.app import Served
from ftlight.serve.batches import Queue
from ftlight.serve.bodies import Asked, Inputs
from ftlight.serve.limits import Limits
from ftlight.utils.errors import UserError

Answers = list[list[dict[str, Any]] | Exception]


class Model:
    """Says the length of texts; waits before that while it is held, and notes its batches."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()
        self.batches: list[list[int]] = []
        self.told: queue.Queue[int] = queue.Queue()

    def hold(self) -> None:
        self.begun.clear()
        self.go.clear()

    def answer(self, requests: Sequence[Asked]) -> Answers:
        self.batches.append([len(request.rows) for request in requests])
        self.begun.set()
        self.go.wait(60)
        return [self.one(request) for request in requests]

    def one(self, request: Asked) -> Any:
        if any("message" not in row for row in request.rows):
            return UserError("rows: no column message")
        if any(row["message"] == "fail" for row in request.rows):
            return KeyError("secret of the model")
        return [{"prediction": len(row["message"])} for row in request.rows]

    def served(self, waiting: int = 1000) -> Served:
        line = Queue(self.answer, most=64, waiting=waiting, waits=self.told.put)
        return Served(Inputs(["message"], []), line)

    def until(self, rows: int) -> None:
        """Returns when so many rows wait."""
        while self.told.get(timeout=60) != rows:
            pass


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def client(model: Model) -> Iterator[Client]:
    with serving({"tickets": model.served()}, limits=Limits(body=2000, seconds=0.1)) as made:
        yield made


def raw(client: Client, data: bytes, behind: bytes = b"") -> bytes:
    """What comes back on a connection that sends these bytes, others once an answer comes."""
    with socket.create_connection((client.host, client.port), timeout=60) as connection:
        connection.sendall(data)
        got = connection.recv(65536) if behind else b""
        connection.sendall(behind)
        while part := connection.recv(65536):
            got += part
    return got


def test_rows_are_answered_by_the_run_that_is_named() -> None:
    runs = {"a": Model().served(), "b": Model().served()}
    with serving(runs) as client:
        reply = client.ask({"rows": ["one", {"message": "three"}], "model": "b"})
        assert reply.status == 200
        assert reply.body == {"model": "b", "answers": [{"prediction": 3}, {"prediction": 5}]}
        assert client.ask({"message": "x", "model": "a"}).body["answers"] == [{"prediction": 1}]
        assert client.ask({"message": "x"}).body == {"error": "model: name one of the runs: a, b"}
        assert client.ask(path="/health").body == {"status": "ok"}


def test_what_is_wrong_is_a_line_of_json_and_never_a_trace(client: Client) -> None:
    def check(body: Any, status: int, line: str, headers: dict[str, str], path: str) -> None:
        reply = client.ask(body, path, headers=headers)
        assert reply.status == status
        assert set(reply.body) == {"error"}
        assert line in reply.body["error"]
        assert "\n" not in json.dumps(reply.body)
        assert "Traceback" not in reply.body["error"]

    each(
        [
            (b"{", 400, "not valid JSON", {}, "/predict"),
            ({"massage": "a"}, 400, "no column message", {}, "/predict"),
            (b"x" * 3000, 413, "longer than 2,000 bytes", {}, "/predict"),
            (b"x", 415, "compressed", {"content-encoding": "gzip"}, "/predict"),
            ({"message": "a"}, 403, "localhost", {"host": "evil.example"}, "/predict"),
            ({"message": "a"}, 403, "another site", {"sec-fetch-site": "cross-site"}, "/predict"),
            ({"message": "a"}, 404, 'did you mean "/predict"?', {}, "/predictt"),
            ({"message": "a"}, 404, 'did you mean "/predict"?', {}, "/predict/"),
            ({"message": "a"}, 404, "no path", {}, "/../../etc/passwd"),
            ({"message": "a"}, 405, "method not allowed", {}, "/health"),
            (None, 405, "method not allowed", {}, "/predict"),
            ({"message": "fail"}, 500, "the server failed; its log says why", {}, "/predict"),
        ],
        check,
    )
    assert client.ask({"message": "a"}).status == 200
    for path, status in (("/", 200), ("/health", 200), ("/metrics", 403)):
        assert client.ask(path=path, headers={"sec-fetch-site": "cross-site"}).status == status


def test_a_body_is_counted_while_it_streams(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HEAD", 0.2)  # what is sent after the answer is dropped so long
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    assert raw(client, head + chunk * 50 + b"0\r\n\r\nGET / HTTP/1.0\r\n\r\n").startswith(
        b"HTTP/1.1 413"
    )
    lies = head.replace(b"Transfer-Encoding: chunked", b"Content-Length: " + b"9" * 20)
    assert raw(client, lies).startswith(b"HTTP/1.1 4")
    assert client.ask({"message": "a"}).status == 200


def test_slow_senders_are_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HEAD", 0.2)
    body = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    assert b"408" in raw(client, body).splitlines()[0]  # returns when the connection is closed
    assert raw(client, b"POST /predict HTT").startswith(b"HTTP/1.1 408")
    assert raw(client, b"") != b"HTTP/1.1 200 OK"
    assert client.ask({"message": "a"}).status == 200


def test_what_is_no_http_is_told_in_json(client: Client) -> None:
    chunks = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    for sent in (b"\x16\x03\x01 nothing\r\n\r\n", chunks):
        reply = raw(client, sent)
        assert reply.startswith(b"HTTP/1.1 400")
        assert reply.endswith(b'\r\n\r\n{"error":"not a request of HTTP"}')


def test_what_is_no_http_behind_an_answer_ends_the_connection(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    long = b"7d1\r\n" + b"x" * 2001 + b"\r\n"
    for sent, status in ((head % b"evil.example", b"403"), (head % b"localhost" + long, b"413")):
        reply = raw(client, sent, behind=b"zz\r\n")
        assert reply.split()[1] == status
        assert reply.count(b"HTTP/1.1") == 1
    assert client.ask({"message": "a"}).status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_many_clients_are_answered_in_batches(client: Client, model: Model) -> None:
    model.hold()
    texts = [f"{'x' * (number % 7)}" for number in range(33)]
    with ThreadPoolExecutor(33) as pool:
        first = pool.submit(client.ask, {"message": texts[0]})
        assert model.begun.wait(60)
        others = [pool.submit(client.ask, {"message": text}) for text in texts[1:]]
        model.until(len(others))
        model.go.set()
        replies = [future.result(60) for future in [first, *others]]
    assert [r.body["answers"][0]["prediction"] for r in replies] == [len(t) for t in texts]
    assert model.batches == [[1], [1] * 32]
    text = client.ask(path="/metrics").body
    assert value(text, 'ftlight_requests_total{model="tickets",code="200"}') == 33


def test_a_full_queue_is_told_and_when_to_come_again() -> None:
    model = Model()
    model.hold()
    with serving({"tickets": model.served(waiting=1)}) as client, ThreadPoolExecutor(2) as pool:
        replies = [pool.submit(client.ask, {"message": "a"})]
        assert model.begun.wait(60)
        replies.append(pool.submit(client.ask, {"message": "b"}))
        model.until(0)
        model.until(1)
        refused = client.ask({"message": "c"})
        model.go.set()
        assert [reply.result(60).status for reply in replies] == [200, 200]
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "too many requests wait for tickets" in refused.body["error"]


def test_what_is_held_of_bodies_is_limited() -> None:
    model = Model()
    model.hold()
    for limits in (Limits(requests=1), Limits(held=40)):
        model.hold()
        with serving({"tickets": model.served()}, limits=limits) as client:
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(client.ask, {"message": "a" * 10})
                assert model.begun.wait(60)
                refused = client.ask({"message": "b" * 10})
                model.go.set()
                assert first.result(60).status == 200
            assert refused.status == 503
            assert client.ask({"message": "b"}).status == 200


def test_a_token_is_demanded(model: Model) -> None:
    with serving({"tickets": model.served()}, Access("secret")) as client:
        assert client.ask({"message": "a"}).status == 200
        for path in ("/predict", "/metrics"):
            for token in ("", "other", "secre", "secrets"):
                body = {"message": "a"} if path == "/predict" else None
                reply = client._replace(token=token).ask(body, path)
                assert reply.status == 401
                assert reply.headers["www-authenticate"] == "Bearer"
                assert "Authorization: Bearer" in reply.body["error"]
        assert client._replace(token="").ask(path="/health").status == 200
        assert model.batches == [[1]]


def test_a_request_that_nobody_waits_for_is_dropped(client: Client, model: Model) -> None:
    model.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.ask, {"message": "a"})
        assert model.begun.wait(60)
        gone = client.connection()
        gone.request("POST", "/predict", b'{"message": "gone"}')
        model.until(0)
        model.until(1)
        gone.close()
        while 'code="499"' not in client.ask(path="/metrics").body:
            pass
        model.go.set()
        assert first.result(60).status == 200
    assert client.ask({"message": "b"}).status == 200
    assert model.batches == [[1], [1]]


def test_several_requests_use_one_connection(client: Client) -> None:
    connection = client.connection()
    for number in range(3):
        body = json.dumps({"message": "x" * number})
        connection.request("POST", "/predict", body)
        assert json.load(connection.getresponse())["answers"] == [{"prediction": number}]
    connection.close()


def test_what_was_sent_before_the_end_is_answered(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, sent = threading.Event(), threading.Event()

    async def end(*given: Any) -> bool:
        looks.set()
        sent.wait(60)  # the loop stands still, so that the system holds what comes
        return True

    monkeypatch.setattr(process.Server, "on_tick", end)
    with serving({"tickets": model.served()}) as client:
        assert looks.wait(60)
        connections = [client.connection() for _ in range(32)]
        for connection in connections:
            connection.request("POST", "/predict", b'{"message": "a"}')
        sent.set()
        assert [connection.getresponse().status for connection in connections] == [200] * 32
        for connection in connections:
            connection.close()
