r"""Is `serve` as fast as `predict` for many clients at once, and does it outlive hostile bodies?

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/serve.py RUN FILE.jsonl --clients 32 --rounds 5

FILE holds rows with the input columns of RUN. In each round, in turn, `predict` in Python answers
all rows at once, and a server of its own process answers them to so many clients, a row a request
on a connection that stays. Then --hostile bodies are sent and --requests further ones; the memory
of the server is read before and after. Answers of both must be equal.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import ftlight

HOSTILE: list[tuple[bytes, dict[str, str]]] = [
    (b"{", {}),
    (b"\xff\xfe\x00", {}),
    (b"[" * 50_000, {}),
    (b"9" * 50_000, {}),
    (b"x" * 1_100_000, {}),
    (b'{"rows": [{"__container": "/etc", "__name": "passwd"}]}', {}),
    (b'{"rows": [{"nothing": 1}]}', {}),
    (b'{"rows": 3}', {}),
    (b"", {"Content-Type": "multipart/form-data"}),
    (b"x", {"Content-Encoding": "gzip"}),
    (b"{}", {"Host": "evil.example"}),
]


def ask(connection: http.client.HTTPConnection, row: Any) -> tuple[Any, float]:
    """The answer to a row, and its seconds."""
    began = time.perf_counter()
    connection.request("POST", "/predict", json.dumps({"rows": [row]}))
    response = connection.getresponse()
    found = json.load(response)
    assert response.status == 200, found
    return found["answers"][0], time.perf_counter() - began


def client(port: int, rows: list[Any]) -> list[tuple[Any, float]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    found = [ask(connection, row) for row in rows]
    connection.close()
    return found


def through(port: int, rows: list[Any], clients: int) -> tuple[list[Any], list[float], float]:
    """Answers in order, their seconds, and those of all."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        shares = list(pool.map(lambda i: client(port, rows[i::clients]), range(clients)))
    seconds = time.perf_counter() - began
    answers: list[Any] = [None] * len(rows)
    for i, share in enumerate(shares):
        answers[i::clients] = [answer for answer, _ in share]
    return answers, [time for share in shares for _, time in share], seconds


def hostile(port: int, count: int) -> dict[int, int]:
    """How often each status came back for bodies that cannot be answered."""
    statuses: dict[int, int] = {}
    for body, headers in itertools.islice(itertools.cycle(HOSTILE), count):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/predict", body, headers)
        response = connection.getresponse()
        assert "error" in json.loads(response.read())
        statuses[response.status] = statuses.get(response.status, 0) + 1
        connection.close()
    return statuses


def memory(process: int) -> float:
    """Memory of a process in MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) / 1000


def measure(port: int, server: int, options: argparse.Namespace) -> None:
    rows = [json.loads(line) for line in Path(options.file).read_text().splitlines()]
    model = ftlight.load(options.run)
    expected = model.predict(rows)
    through(port, rows, options.clients)
    own, served, times = [], [], list[float]()
    for _ in range(options.rounds):
        began = time.perf_counter()
        model.predict(rows)
        own.append(len(rows) / (time.perf_counter() - began))
        answers, each, seconds = through(port, rows, options.clients)
        served.append(len(rows) / seconds)
        times += each
    times.sort()
    equal = [a["prediction"] == e["prediction"] for a, e in zip(answers, expected, strict=True)]
    print(f"equal answers: {sum(equal)} of {len(equal)}")
    print(f"predict: {median(own):.0f} rows/s; {options.clients} clients: {median(served):.0f}")
    ratios = [s / o for s, o in zip(served, own, strict=True)]
    print(f"ratio of each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    middle, last = times[len(times) // 2], times[int(0.99 * len(times))]
    print(f"latency: p50 {1000 * middle:.1f} ms, p99 {1000 * last:.1f} ms")
    print(f"hostile: {hostile(port, options.hostile)}")
    before = memory(server)
    more = list(itertools.islice(itertools.cycle(rows), options.requests))
    through(port, more, options.clients)
    print(f"memory: {before:.0f} MB, after {len(more):,} further requests {memory(server):.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("file")
    for name, default in (("clients", 32), ("rounds", 5), ("hostile", 1000), ("requests", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    command = [sys.executable, "-m", "ftlight", "serve", options.run, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r":(\d+) \(", line)
        assert found, line
        measure(int(found[1]), server.pid, options)
    finally:
        server.terminate()
        print(f"status at the end: {server.wait()}")


if __name__ == "__main__":
    main()
