r"""Is `serve` as fast as `predict` for many clients at once, and does it outlive hostile requests?

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/serve.py speed RUN FILE.jsonl --rounds 5
    python scripts/bench/serve.py hostile RUN FILE.jsonl
    python scripts/bench/serve.py signal RUN FILE.jsonl
    python scripts/bench/serve.py memory RUN FILE.jsonl

RUN is one of TextClassification with one input column, FILE rows with that column.

- speed: in each round, in turn, `predict` in Python answers all rows at once, and --clients ask a
  server a row a request on connections that stay: `serve`, and a plain FastAPI app around
  transformers' pipeline (serve_pipeline.py, which needs `pip install fastapi`) on what `export`
  wrote. RUN must have its architecture's own head (`--model.pooling native`), since a pipeline
  reads no other. Answers must be equal.
- hostile: --requests of 17 kinds (serve_forms.py), slow senders beside them. Each is to be refused
  with a status of 4xx and a line of JSON; a good request follows each, and must be answered.
- signal: SIGTERM while 32 requests of many rows are in flight, --rounds times, each a little
  later. All are to be answered, the process and its workers to end with status 0, the port to be
  free.
- memory: that of the server after 1,000 requests and --requests more.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import serve_forms  # noqa: E402

SLOW = 8  # senders that stop in the middle
TRACE = re.compile(r"Traceback|File \"|line \d+, in ")


class Asked(NamedTuple):
    """Answers in order, the seconds of each, and those of all together."""

    answers: list[Any]
    times: list[float]
    seconds: float


@contextmanager
def started(command: Sequence[str], token: str = "") -> Iterator[tuple[int, Any]]:
    """A server in a process of its own: its port and process; its log has no trace at the end."""
    environment = {**os.environ, **({"FTLIGHT_TOKEN": token} if token else {})}
    with tempfile.TemporaryFile("w+") as log:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": log, "text": True}
        server = subprocess.Popen([sys.executable, *command], env=environment, **pipes)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            found = re.search(r":(\d+) \(", line)
            log.seek(0)
            assert found, line + log.read()
            yield int(found[1]), server
        finally:
            server.terminate()
            server.wait()
            log.seek(0)
            said = log.read()
            assert not TRACE.search(said), said


def serve(run: str, *options: str) -> list[str]:
    return ["-m", "ftlight", "serve", run, "--port", "0", *options]


def ask(connection: http.client.HTTPConnection, body: Any, token: str = "") -> Any:
    """What a server says, which must be status 200."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", "/predict", json.dumps(body), headers)
    response = connection.getresponse()
    found = json.load(response)
    assert response.status == 200, found
    return found


def through(port: int, bodies: list[Any], clients: int) -> Asked:
    """Asks a server with so many clients, each on a connection that stays."""

    def client(number: int) -> list[tuple[Any, float]]:
        found = []
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=600)) as connection:
            for body in bodies[number::clients]:
                began = time.perf_counter()
                found.append((ask(connection, body), time.perf_counter() - began))
        return found

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        shares = list(pool.map(client, range(clients)))
    seconds = time.perf_counter() - began
    answers: list[Any] = [None] * len(bodies)
    for number, share in enumerate(shares):
        answers[number::clients] = [answer for answer, _ in share]
    return Asked(answers, [taken for share in shares for _, taken in share], seconds)


def memory(process: int, kind: str = "RSS") -> float:
    """Memory of a process in MB: RSS now, HWM at its peak."""
    found = re.search(rf"Vm{kind}:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) / 1000


def speed(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Compares rows per second and latencies."""
    import ftlight

    column = next(iter(rows[0]))
    model = ftlight.load(options.run)
    own = [answer["prediction"] for answer in model.predict(rows)]
    with tempfile.TemporaryDirectory() as home:
        words = ["-m", "ftlight", "export", options.run, "--out", f"{home}/export"]
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        plain = [str(HERE / "serve_pipeline.py"), f"{home}/export"]
        with started(serve(options.run)) as (port, _), started(plain) as (other, _):
            sides = {"serve": (port, [{"rows": [row]} for row in rows])}
            sides["pipeline"] = (other, [{"text": row[column]} for row in rows])
            apart = f"predict, {options.clients} rows at a time"
            rates: dict[str, list[float]] = {name: [] for name in ("predict", apart, *sides)}
            times: dict[str, list[float]] = {side: [] for side in sides}
            for place, bodies in sides.values():
                through(place, bodies, options.clients)  # warm
            for _ in range(options.rounds):
                began = time.perf_counter()
                model.predict(rows)
                rates["predict"].append(len(rows) / (time.perf_counter() - began))
                began = time.perf_counter()
                for first in range(0, len(rows), options.clients):
                    model.predict(rows[first : first + options.clients])
                rates[apart].append(len(rows) / (time.perf_counter() - began))
                for side, (place, bodies) in sides.items():
                    found = through(place, bodies, options.clients)
                    rates[side].append(len(rows) / found.seconds)
                    times[side] += found.times
                    said = [label(answer) for answer in found.answers]
                    equal = sum(a == b for a, b in zip(said, own, strict=True))
                    print(f"{side}: {equal} of {len(rows)} labels as those of predict")
    for side, each in rates.items():
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(rates["serve"], each, strict=True))
        print(f"{side}: {median(each):.0f} rows/s; serve beside it: {ratios}")
    for side, taken in times.items():
        taken.sort()
        middle, last = taken[len(taken) // 2], taken[int(0.99 * len(taken))]
        print(f"{side}: p50 {1000 * middle:.1f} ms, p99 {1000 * last:.1f} ms")


def label(answer: Any) -> str:
    """The label that a server says, ours or the plain one."""
    if isinstance(answer, dict):
        return str(answer["answers"][0]["prediction"])
    return str(max(answer, key=lambda pair: pair["score"])["label"])


def send(port: int, pieces: Iterator[bytes], leaves: bool) -> bytes:
    """What comes back for bytes: a head and its body; nothing if the server only closes."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
            if leaves:
                connection.shutdown(socket.SHUT_WR)
        got = b""
        with suppress(ConnectionResetError):
            while not is_whole(got) and (part := connection.recv(65536)):
                got += part
    return got


def is_whole(got: bytes) -> bool:
    """Whether an answer has come to its end."""
    top, divider, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", top)
    return bool(divider and length and len(body) >= int(length[1]))


def check(got: bytes) -> int:
    """The status of an answer, which must be 4xx with a line of JSON."""
    top, _, body = got.partition(b"\r\n\r\n")
    status = int(top.split(b" ")[1])
    assert 400 <= status < 500, got
    assert "error" in json.loads(body), got
    assert b"\n" not in body, got
    assert not TRACE.search(body.decode()), got
    return status


def slow(port: int, number: int) -> int:
    """The status for a sender that stops in its head or in its body."""
    start = serve_forms.head(1000)
    return check(send(port, iter([start + b'{"rows"' if number % 2 else start[:40]]), False))


def hostile(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Sends what is to be refused, and a good request behind each."""
    kinds = serve_forms.forms(next(iter(rows[0])))
    statuses: dict[str, collections.Counter[int]] = {kind: collections.Counter() for kind in kinds}
    good, draws, wrong = {"rows": rows[:1]}, random.Random(0), []
    with started(serve(options.run), serve_forms.TOKEN) as (port, server):
        place = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        expected = ask(place, good, serve_forms.TOKEN)
        before = memory(server.pid)
        with ThreadPoolExecutor(SLOW) as pool:
            waiting = [pool.submit(slow, port, number) for number in range(SLOW)]
            for kind in itertools.islice(itertools.cycle(kinds), options.requests):
                form, place = kinds[kind], http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                got = send(port, iter(form.make(draws)), form.may_be_silent)
                try:
                    statuses[kind][check(got) if got or not form.may_be_silent else 0] += 1
                except (AssertionError, ValueError, IndexError):
                    wrong.append((kind, got[:300]))
                with closing(place):
                    assert ask(place, good, serve_forms.TOKEN) == expected, kind
            late = collections.Counter(future.result() for future in waiting)
        for kind, counts in {**statuses, "slow senders": late}.items():
            said = ", ".join(f"{count} x {status or 'closed'}" for status, count in counts.items())
            print(f"{kind}: {said}")
        peak = memory(server.pid, "HWM")
        print(f"memory: {before:.0f} MB, {memory(server.pid):.0f} after, {peak:.0f} at its peak")
    print(f"status at the end: {server.returncode}; not as it should be: {len(wrong)}")
    for kind, got in wrong[:20]:
        print(f"  {kind}: {got!r}")


def end_among(options: argparse.Namespace, rows: list[dict[str, Any]], number: int) -> str:
    """Ends a server while it answers 32 requests; what became of these, in words."""
    workers = 1 + number % 2
    with started(serve(options.run, "--workers", str(workers))) as (port, server):
        listed = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        sent = threading.Barrier(33)

        def one(_: int) -> int:
            place = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            with closing(place):
                place.request("POST", "/predict", json.dumps({"rows": rows}))
                sent.wait(60)
                with suppress(OSError, http.client.HTTPException):
                    response = place.getresponse()
                    return len(json.load(response).get("answers", []))
            return 0

        with ThreadPoolExecutor(32) as pool:
            found = [pool.submit(one, i) for i in range(32)]
            sent.wait(60)
            time.sleep(0.02 * number)
            server.send_signal(signal.SIGTERM)
            kept = sum(future.result() == len(rows) for future in found)
        status = server.wait(120)
    left = [child for child in listed.split() if Path(f"/proc/{child}").exists()]
    with socket.socket() as probe:
        is_free = probe.connect_ex(("127.0.0.1", port)) != 0
    free = "free" if is_free else "in use"
    return f"{workers} workers: {kept} of 32 kept, status {status}, {len(left)} left, port {free}"


def end(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Ends servers while they answer."""
    for number in range(options.rounds):
        print(end_among(options, rows, number), flush=True)


def grow(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Asks many times."""
    bodies = [{"rows": [row]} for row in rows]
    with started(serve(options.run)) as (port, server):
        asked = 0
        for count in (1000, *[options.requests // 4] * 4):
            more = list(itertools.islice(itertools.cycle(bodies), count))
            through(port, more, options.clients)
            asked += count
            print(f"{asked:,} requests: {memory(server.pid):.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"speed": speed, "hostile": hostile, "signal": end, "memory": grow}
    parser.add_argument("part", choices=parts)
    parser.add_argument("run")
    parser.add_argument("file")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int)
    options = parser.parse_args()
    options.requests = options.requests or {"memory": 20_000}.get(options.part, 1000)
    rows = [json.loads(line) for line in Path(options.file).read_text().splitlines()]
    parts[options.part](options, rows)


if __name__ == "__main__":
    main()
