"""A server as a process of its own: its signals, its port, its workers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, toy_rows
from serve.served import Client, Reply
from serve.test_counts import value

from ftlight.__main__ import main

pytestmark = [pytest.mark.run, pytest.mark.processes]


@contextmanager
def started(*words: str, **environment: str) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """A server on a free port, which is killed if it has not ended afterwards."""
    command = [sys.executable, "-m", "ftlight", "serve", *words, "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, **pipes, env={**os.environ, **environment})
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"at http://([\d.]+):(\d+) ", line)
        assert found, line + server.communicate(timeout=60)[1]
        yield Client(found[1], int(found[2]), environment.get("FTLIGHT_TOKEN", "")), server
    finally:
        server.kill()
        server.communicate(timeout=60)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def test_a_signal_ends_it_once_all_are_answered(fit: Run) -> None:
    run = str(fit())
    texts = [text for text, _ in toy_rows(40)]

    def ends(number: int, status: int, *words: str) -> None:
        with started(run, *words) as (client, server), ThreadPoolExecutor(32) as pool:
            workers = children(server.pid)
            sent, may_read = threading.Barrier(33), threading.Event()

            def ask(_: int) -> Reply:
                connection = client.connection()
                body = json.dumps({"rows": texts})
                connection.request("POST", "/predict", body)
                sent.wait(60)
                may_read.wait(60)
                response = connection.getresponse()
                return Reply(response.status, json.load(response), {})

            replies = [pool.submit(ask, i) for i in range(32)]
            sent.wait(60)
            server.send_signal(number)
            may_read.set()
            found = [reply.result(60) for reply in replies]
            _, err = server.communicate(timeout=60)
            assert [reply.status for reply in found] == [200] * 32
            assert {len(reply.body["answers"]) for reply in found} == {40}
            assert (server.returncode, err.strip()) == (status, "")
            assert is_free(client.port)
            assert not any(Path(f"/proc/{worker}").exists() for worker in workers)

    ends(signal.SIGTERM, 0)
    ends(signal.SIGINT, 130)
    ends(signal.SIGTERM, 0, "--workers", "2")


def test_workers_share_a_port_and_their_counts(fit: Run) -> None:
    with started(str(fit()), "--workers", "2", FTLIGHT_TOKEN="secret") as (client, server):
        workers = children(server.pid)
        assert len(workers) == 2
        assert client._replace(token="").ask({"text": "a"}).status == 401
        for number in range(1, 8):
            assert client.ask({"rows": ["good"] * number}).status == 200
        text = client.ask(path="/metrics").body
        assert value(text, 'ftlight_rows_total{model="run"}') == 28
        server.kill()  # nobody ends them, so they end themselves
        server.communicate(timeout=60)
        assert is_free(client.port)


def test_a_worker_that_dies_ends_the_others(fit: Run) -> None:
    with started(str(fit()), "--workers", "2") as (client, server):
        os.kill(children(server.pid)[0], signal.SIGKILL)
        _, err = server.communicate(timeout=60)
        assert server.returncode == 2
        assert err == "ftlight: error: a worker has ended with status 137, so all have\n"
        assert is_free(client.port)


TERM = """
import os, signal
from starlette.applications import Starlette
from ftlight.serve import process
listening = process.bind("127.0.0.1", 0)
process.serve(Starlette(), listening, ready=lambda: os.kill(os.getpid(), signal.SIGTERM))
print("ended")
"""
WORKERS = """
import os, signal, sys, time
from ftlight.serve import workers

def work(number, lifeline, ready):
    kind = sys.argv[1]
    if kind == "fails":
        raise ValueError(f"{number} cannot load")
    ready()
    if kind == "loads":
        signal.pause()  # a signal ends it at once, as while models are loaded
    return 0

def told():
    if sys.argv[1] == "loads":
        os.kill(os.getpid(), signal.SIGTERM)

def wait(real=os.wait):
    found = real()
    os.kill(os.getpid(), signal.SIGTERM)  # before the process is struck off
    return found

if sys.argv[1] == "ends":
    os.wait = wait
print(workers.run(2, work, told))
"""


def test_a_signal_that_comes_before_the_first_request_ends_it() -> None:
    command = [sys.executable, "-c", TERM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_signals_while_workers_load_or_end_are_no_faults() -> None:
    for kind in ("loads", "ends"):
        command = [sys.executable, "-c", WORKERS, kind]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", ""), kind


def test_a_worker_that_fails_says_why() -> None:
    command = [sys.executable, "-c", WORKERS, "fails"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "ValueError: 0 cannot load" in done.stderr


def test_what_is_wrong_shows_before_anything_is_loaded(fit: Run, capsys: Any) -> None:
    run = str(fit())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, line in (
            ([], "serve needs a run"),
            (["none"], "none"),
            ([run, run], "given twice"),
            ([run, "--port", port], f"--port {port}: address already in use; give another"),
            ([run, "--port", "70000"], "expected a whole number from 0 to 65,535"),
            ([run, "--port", "http"], "--port: expected a whole number from 0 to 65,535, got http"),
            ([run, "--workers", "0"], "--workers: expected a whole number from 1 to 1,000"),
            ([run, "--host", "0.0.0.0"], "can be reached by others"),
            ([run, "--host", "no.such.host.invalid", "--token_file", "token"], "no.such.host"),
            ([run, "--token", "secret"], 'did you mean "--token_file"?'),
            ([run, "--token_file", "none"], "--token_file none: cannot be read"),
            ([run, "--max_body", "0"], "--max_body: expected a whole number from 1 to 1,000"),
        ):
            Path("token").write_text("secret")
            capsys.readouterr()
            assert main(["serve", *words]) == 2
            said = capsys.readouterr().err
            assert line in said
            assert "secret" not in said or "--token" in said
            assert said.count("\n") == 1


def test_a_run_that_was_not_made_here_is_not_served(
    fit: Run, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = fit()
    config = (run / "config.yaml").read_text()
    Path("mine.py").write_text("raise SystemExit('code of a stranger ran')\n")
    named = re.sub(r"class_path: \S*TextClassification", "class_path: mine.Mine", config)
    assert named != config
    (run / "config.yaml").write_text(named)
    capsys.readouterr()
    assert main(["serve", str(run), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "names code: mine.Mine" in said
    assert "--trust" in said
