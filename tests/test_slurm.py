"""The sbatch template on two nodes of a real SLURM: preempted, requeued, several seeds at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import toy_rows, write_csv

pytestmark = [pytest.mark.run, pytest.mark.processes]
ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "scripts" / "slurm" / "train.sbatch"
DAEMONS = ("munged", "slurmctld", "slurmd")
OVER = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY")
CONF = """
ClusterName=ftlight
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5  # a requeued job waits that long, else 2 min
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=n1,n2 PriorityTier=2 PreemptMode=off
"""


def until(
    what: str, condition: Callable[[], Any], seconds: float, hint: Callable[[], str] = lambda: ""
) -> Any:
    """Waits until a condition holds. Returns its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.25)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s\n{hint()}")


class Cluster:
    """A controller and two nodes of two CPUs each, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("SLURM", "SBATCH", "SRUN", "MASTER_"))
        }
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), clean.get("PATH", ""), "/usr/sbin"]
        )
        python = os.pathsep.join([str(ROOT), *filter(None, [clean.get("PYTHONPATH")])])
        meeting = {
            "MASTER_ADDR": "127.0.0.1",
            "GLOO_SOCKET_IFNAME": "lo",
        }  # the nodes' names do not resolve
        self.env = {
            **clean,
            **meeting,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": path,
            "PYTHONPATH": python,
        }
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(
            CONF.format(folder=self.folder, host=socket.gethostname().split(".")[0], ports=ports)
        )
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {
            "socket": "munge.sock",
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "seed-file": "seed",
            "log-file": "munged.log",
        }
        self._daemon(
            "munged",
            "--foreground",
            "--force",
            *(f"--{k}={self.folder / v}" for k, v in files.items()),
        )
        until("munged", (self.folder / "munge.sock").exists, 10, self.logs)
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", "n1")
        self._daemon("slurmd", "-D", "-N", "n2")
        until("two idle nodes", lambda: self._states() == ["idle"] * 2, 30, self.logs)

    def _daemon(self, *command: str) -> None:
        with (self.folder / "daemons.log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def stop(self) -> None:
        """Ends all jobs and daemons, and what they have left."""
        if len(self.daemons) > 1:
            self.ask("scancel", "--user=root", "--signal=KILL", "--full")
            self.ask("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in self.processes():
            os.kill(process, signal.SIGKILL)

    def lose(self, node: str) -> None:
        """Kills a node: its daemon, and all of its jobs."""
        daemon = self.daemons[-1 if node == "n2" else -2]
        daemon.kill()
        daemon.wait()
        for process in self.processes(f"SLURMD_NODENAME={node}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def bring_back(self, node: str) -> None:
        """Starts a node again that was lost."""
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        self._daemon("slurmd", "-D", "-N", node)

        def is_up() -> bool:
            self.ask("scontrol", "update", f"nodename={node}", "state=resume")  # no-op if it is
            return self._states() == ["idle"] * 2

        until("two idle nodes", is_up, 60, lambda: f"{self._states()} {self.logs()}")

    def _states(self) -> list[str]:
        return self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()

    def processes(self, also: str = "") -> list[int]:
        """All processes of this cluster, its jobs among them: they know its config.

        Args:
            also: a variable that they must have, with its value.
        """
        mine = {f"SLURM_CONF={self.folder / 'slurm.conf'}".encode(), also.encode()} - {b""}
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mine <= set(environ.read_bytes().split(b"\0")):
                    found.append(int(environ.parent.name))
            except OSError:  # it has ended
                continue
        return found

    def logs(self, *more: Path) -> str:
        """The ends of all logs."""
        files = [p for p in (*sorted(self.folder.glob("*.log")), *more) if p.is_file()]
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in files)

    def ask(self, *command: str) -> str:
        """What a command of SLURM says."""
        try:
            return subprocess.run(
                command, env=self.env, capture_output=True, text=True, timeout=30, check=False
            ).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def submit(
        self,
        folder: Path,
        *options: str,
        config: str = "x.yaml",
        words: tuple[str, ...] = (),
        **environ: str,
    ) -> str:
        """Submits the template from a folder. Returns the job's id."""
        command = [
            "sbatch",
            "--parsable",
            f"--chdir={folder}",
            "--time=10",
            *options,
            str(TEMPLATE),
            config,
            *words,
        ]
        done = subprocess.run(
            command,
            env={**self.env, **environ},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fact(self, job: str, name: str) -> str:
        """A fact about a job, such as JobState."""
        words = self.ask("scontrol", "show", "job", "--oneliner", job).split()
        return next((w.partition("=")[2] for w in words if w.startswith(f"{name}=")), "")

    def wait(self, job: str, seconds: float = 150, log: Path | None = None) -> str:
        """Waits until a job is over, its processes too. Returns its state."""

        def over() -> str:
            state = self.fact(job, "JobState")
            return state if state in OVER and not self.ask("squeue", "-h", "-j", job) else ""

        return until(f"job {job}", over, seconds, lambda: self.logs(*([log] if log else [])))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two nodes, stopped at the end."""
    missing = [
        name
        for name in (*DAEMONS, "sbatch", "srun")
        if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None
    ]
    if missing:
        pytest.skip(f"no SLURM here: {', '.join(missing)} not installed (Debian: slurm-wlm, munge)")
    if os.geteuid() != 0:
        pytest.skip("only root can start SLURM's daemons")
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    before = signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(143)
    )  # so that what follows "finally" is done
    try:
        try:
            made.start()
        except (OSError, TimeoutError) as error:
            pytest.skip(f"SLURM does not start here: {error}")
        yield made
    finally:
        made.stop()
        signal.signal(signal.SIGTERM, before)


ROWS = '''
import os, pathlib, time
from lightning.pytorch.callbacks import Callback

class Rows(Callback):
    """Notes the rows of each batch; slow while the job is to be stopped."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        numbers = " ".join(map(str, batch["index"]))
        with pathlib.Path(f"rows-{trainer.global_rank}.txt").open("a") as file:
            file.write(f"{trainer.current_epoch} {trainer.global_step} {numbers}\\n")
        if int(os.environ.get("SLURM_RESTART_COUNT", 0)) < int(os.environ.get("STOPS", 0)):
            time.sleep(0.5)
'''
TRAIN, EPOCHS, BATCH = 96, 4, 4


def prepare(folder: Path, bert: str) -> None:
    """Writes config, data and the class that counts rows into a folder."""
    folder.mkdir(exist_ok=True)
    write_csv(folder / "train.csv", toy_rows(TRAIN))
    write_csv(folder / "rest.csv", toy_rows(30))
    (folder / "rows.py").write_text(ROWS)
    data = {"train": "train.csv", "validation": "rest.csv", "test": "rest.csv", "batch_size": BATCH}
    trainer = {
        "accelerator": "cpu",
        "precision": "32-true",
        "max_epochs": EPOCHS,
        "patience": 0,
        "callbacks": [{"class_path": "rows.Rows"}],
    }
    model = {"task": "TextClassification", "backbone": bert}
    (folder / "x.yaml").write_text(json.dumps({"model": model, "data": data, "trainer": trainer}))


def digest(run: Path) -> str:
    """SHA-256 of the weights, the optimizer and the schedule in a run's last checkpoint."""
    made = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            made.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                made.update(str(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            made.update(repr(value).encode())

    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["state"]
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        add(state[key])
    return made.hexdigest()


def rows_seen(folder: Path) -> list[list[list[int]]]:
    """By rank: epoch, step and the rows of each batch."""
    return [
        [
            [int(n) for n in line.split()]
            for line in (folder / f"rows-{rank}.txt").read_text().splitlines()
        ]
        for rank in range(2)
    ]


STAND_IN = """#!{python}
import os, signal, sys, time

def say(*words):
    with open("said.txt", "a") as file:
        print(*words, file=file)

def stop(number, frame):
    time.sleep(1)
    say("saved", signal.Signals(number).name)
    sys.exit(75)

if "EARLY" not in os.environ:
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, stop)
say("start", *sys.argv[1:])
if "SLURM_RESTART_COUNT" not in os.environ:
    time.sleep(90)
say("done")
"""


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.is_file() else 0


def stand_in(cluster: Cluster, folder: Path, *options: str, **environ: str) -> str:
    """Submits the template with a program that stops at once, as ftlight does. Returns the job."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    return cluster.submit(
        folder,
        "--nodes=1",
        *options,
        PATH=os.pathsep.join([str(python.parent), cluster.env["PATH"]]),
        **environ,
    )


@pytest.fixture(scope="module")
def short_of_time(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and id of a job that gets a minute; SLURM signals it 5 to 35 s after its start."""
    folder = tmp_path_factory.mktemp("short")
    return folder, stand_in(cluster, folder, "--time=1", "--signal=USR1@25")


@pytest.fixture(scope="module")
def unbroken(
    cluster: Cluster,
    short_of_time: tuple[Path, str],
    bert: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """The folder of a job over two nodes that nothing stopped, and its id."""
    folder = tmp_path_factory.mktemp("unbroken")
    prepare(folder, bert)
    job = cluster.submit(folder)
    log = folder / f"slurm-{job}.out"
    assert cluster.wait(job, log=log) == "COMPLETED", log.read_text()
    return folder, job


def test_two_nodes_see_every_row_once(unbroken: tuple[Path, str]) -> None:
    folder, job = unbroken
    run = folder / "runs" / f"slurm-{job}"
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "done"
    assert facts["steps"] == TRAIN // (2 * BATCH) * EPOCHS
    batches = [batch for rank in rows_seen(folder) for batch in rank]
    for epoch in range(EPOCHS):
        assert sorted(n for b in batches if b[0] == epoch for n in b[2:]) == list(range(TRAIN))
    assert json.loads((run / "test_metrics.json").read_text())["test/rows"] == 30


def test_stopped_and_requeued_is_the_same_as_unbroken(
    cluster: Cluster, unbroken: tuple[Path, str], bert: str, tmp_path: Path
) -> None:
    prepare(tmp_path, bert)
    job = cluster.submit(tmp_path, STOPS="2")
    log, seen = tmp_path / f"slurm-{job}.out", tmp_path / "rows-1.txt"
    until("5 steps", lambda: lines(seen) >= 5, 120, lambda: cluster.logs(log))
    cluster.ask(
        "scancel", "--signal=USR1", job
    )  # what --signal=USR1@120 sends before the end of the time
    until("a requeue", lambda: cluster.fact(job, "Restarts") == "1", 60, lambda: cluster.logs(log))
    stopped = lines(seen)
    until("5 steps more", lambda: lines(seen) >= stopped + 5, 120, lambda: cluster.logs(log))
    cluster.ask("scontrol", "requeue", job)  # the scheduler stops it: SIGTERM
    assert cluster.wait(job, log=log) == "COMPLETED", log.read_text()
    assert cluster.fact(job, "Restarts") == "2", log.read_text()
    assert log.read_text().count("resuming from step") == 2
    runs = list((tmp_path / "runs").glob("slurm-*"))
    assert [r.name for r in runs] == [f"slurm-{job}"]
    assert rows_seen(tmp_path) == rows_seen(unbroken[0])  # none lost, none twice
    reference = unbroken[0] / "runs" / f"slurm-{unbroken[1]}"
    assert digest(runs[0]) == digest(reference)
    scores = [json.loads((r / "test_metrics.json").read_text()) for r in (runs[0], reference)]
    assert scores[0] == scores[1]


def test_an_array_makes_independent_runs(cluster: Cluster, bert: str, tmp_path: Path) -> None:
    prepare(tmp_path, bert)
    job = cluster.submit(
        tmp_path, "--array=1-4", "--nodes=1", words=("--trainer.max_epochs", "1", "--test", "false")
    )
    runs = {seed: tmp_path / "runs" / f"slurm-{job}_{seed}" for seed in range(1, 5)}
    for seed, run in runs.items():
        log = tmp_path / f"slurm-{job}_{seed}.out"
        assert cluster.wait(f"{job}_{seed}", log=log) == "COMPLETED", log.read_text()
        facts = json.loads((run / "run.json").read_text())
        assert (facts["status"], facts["seed"]) == ("done", seed)
    assert sorted((tmp_path / "runs").glob("slurm-*")) == sorted(runs.values())
    assert len({digest(run) for run in runs.values()}) == 4


@pytest.mark.parametrize("how", ["cancelled", "preempted", "ended before training"])
def test_a_job_that_was_stopped_is_tried_again_unless_cancelled(
    cluster: Cluster, tmp_path: Path, how: str
) -> None:
    job = stand_in(cluster, tmp_path, **({"EARLY": "1"} if how == "ended before training" else {}))
    said = tmp_path / "said.txt"
    until("start", lambda: lines(said), 60, cluster.logs)
    stop = {
        "cancelled": ["scancel", job],
        "preempted": ["srun", "--partition=urgent", "--nodes=2", "--exclusive", "true"],
        "ended before training": ["scancel", "--signal=USR1", job],
    }
    cluster.ask(*stop[how])
    assert cluster.wait(job) == ("CANCELLED" if how == "cancelled" else "COMPLETED")
    start = (
        f"start -m ftlight fit -c x.yaml --run runs/slurm-{job} --resume auto"
        " --trainer.num_nodes 1 --trainer.devices 1"
    )
    again = {
        "cancelled": ["saved SIGTERM"],
        "preempted": ["saved SIGTERM", start, "done"],
        "ended before training": [start, "done"],
    }
    assert said.read_text().splitlines() == [start, *again[how]]


def test_a_job_whose_time_is_over_goes_on(
    cluster: Cluster, short_of_time: tuple[Path, str]
) -> None:
    folder, job = short_of_time
    assert cluster.wait(job) == "COMPLETED"
    assert [line.split(" -m ")[0] for line in (folder / "said.txt").read_text().splitlines()] == [
        "start",
        "saved SIGUSR1",
        "start",
        "done",
    ]


def test_an_array_shares_a_tune_though_a_node_dies(
    cluster: Cluster, bert: str, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    prepare(tmp_path, bert)
    lr = "{min: 1.0e-4, max: 1.0e-2, distribution: log_uniform_values}"
    (tmp_path / "s.yaml").write_text(f"parameters: {{model.lr: {lr}}}")
    tune = "python -m ftlight tune -c x.yaml --sweep s.yaml --trials 8 --seeds 1 --run t"
    options = ["--parsable", f"--chdir={tmp_path}", "--time=10", "--no-requeue", "--array=0-3"]
    job = cluster.ask("sbatch", *options, "--ntasks=1", "--wrap", f"{tune} --prune false")
    assert job
    log = tmp_path / f"slurm-{job}_0.out"

    def begun() -> int:
        return len(list(tmp_path.glob("t/trial-*/metrics.csv")))

    until("four trials", lambda: begun() >= 4, 150, lambda: cluster.logs(log))
    dead = {task for task in range(4) if cluster.fact(f"{job}_{task}", "NodeList") == "n2"}
    cluster.lose("n2")
    try:
        assert 0 < len(dead) < 4
        for task in set(range(4)) - dead:
            log = tmp_path / f"slurm-{job}_{task}.out"
            assert cluster.wait(f"{job}_{task}", 300, log) == "COMPLETED", log.read_text()
        trials = json.loads((tmp_path / "t" / "tune.json").read_text())["trials"]
        assert [trial["number"] for trial in trials] == list(range(8))
        assert {trial["state"] for trial in trials} == {"complete"}
        assert (tmp_path / "t" / "best" / "test_metrics.json").is_file()
    finally:
        cluster.bring_back("n2")
