"""Trainings in one group of processes, one after the other: starting a group takes longest.

Every process runs ``python together.py JOBS.json``. JOBS.json is ``{backbone, rows, jobs: [{folder,
how, stop, resume, ckpt}]}``; ``stop`` is a hook, a step and the processes that are signalled there.
The exit status of each job, and the seconds from the signal to its end, go to ``JOBS.RANK.json``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from test_resume import run

from ftlight.training.signals import RunInterrupted


class SignalAt(L.Callback):
    """A real signal to this process, once, at a hook."""

    def __init__(self, hook: str, step: int, ranks: list[int]) -> None:
        self.step, self.ranks, self.sent = step, ranks, 0.0
        setattr(self, hook, self._send)

    def _send(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step >= self.step and trainer.global_rank in self.ranks and not self.sent:
            self.sent = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)


def work(about: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Runs a job in this process, one of the group."""
    stops = [SignalAt(*job["stop"])] if job.get("stop") else []
    code: Any = 0
    try:
        rest = {"resume": job.get("resume", False), "ckpt": job.get("ckpt")}
        run(about["backbone"], about["rows"], Path(job["folder"]), job["how"], *stops, **rest)
    except RunInterrupted as stopped:
        code = stopped.code
    return {
        "code": code,
        "seconds": time.monotonic() - stops[0].sent if stops and stops[0].sent else 0.0,
    }


def together(
    home: Path,
    backbone: str,
    rows: dict[str, str],
    jobs: list[dict[str, Any]],
    torchrun: bool = False,
) -> list[list[Any]]:
    """Runs jobs in two processes. Returns what came of each job, by process."""
    file = home / "jobs.json"
    file.write_text(json.dumps({"backbone": backbone, "rows": rows, "jobs": jobs}, default=str))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MASTER_", "PL_", "LOCAL_", "NODE_", "WORLD_"))
    }
    clean |= {
        "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    if torchrun:
        command = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            __file__,
            str(file),
        ]
        done = subprocess.run(
            [sys.executable, *command],
            env=clean,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
    else:
        shared = {
            **clean,
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": "x",
        }
        started = []
        for rank in ("0", "1"):
            environment = {
                **shared,
                "RANK": rank,
                "LOCAL_RANK": rank,
                "LOCAL_WORLD_SIZE": "2",
                "GROUP_RANK": "0",
            }
            with (home / f"log{rank}").open("w") as log:
                started.append(
                    subprocess.Popen(
                        [sys.executable, __file__, str(file)],
                        env=environment,
                        stdout=log,
                        stderr=log,
                    )
                )
        try:
            codes = [process.wait(timeout=400) for process in started]
        finally:
            for process in started:
                process.kill()
        assert codes == [0, 0], "\n".join(
            (home / f"log{rank}").read_text()[-3000:] for rank in (0, 1)
        )
    return list(
        zip(
            *(json.loads(file.with_suffix(f".{rank}.json").read_text()) for rank in (0, 1)),
            strict=True,
        )
    )


def main() -> None:
    """Runs all jobs as one process of the group."""
    file = Path(sys.argv[1])
    about = json.loads(file.read_text())
    found = [work(about, job) for job in about["jobs"]]
    file.with_suffix(f".{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
