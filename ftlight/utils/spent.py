"""What a piece of work takes: seconds, seconds of processors, and energy with how it is known."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

COUNTERS = Path("/sys/class/powercap")
WATTS = 10.0  # of a core at work, where nothing counts it
ASSUMED = f"processor seconds at {WATTS:g} W a core, which is assumed"
COUNTED = "counter of the whole machine's processors (intel-rapl)"
CARDS = "counter of the GPUs (NVML)"


class Spent(NamedTuple):
    """What was spent.

    Attributes:
        seconds: by the clock.
        processor: seconds of processors, of this process and of those that it waited for.
        joules: energy.
        way: how the energy is known.
    """

    seconds: float
    processor: float
    joules: float
    way: str


class _Counter(NamedTuple):
    """A counter of energy: reads joules, and begins anew at most."""

    way: str
    joules: Callable[[], float]
    most: float = math.inf


class Meter:
    """Measures what is spent from its making on."""

    def __init__(self) -> None:
        self.counters = [*_processors(), *_graphics()]
        self.before = [counter.joules() for counter in self.counters]
        self.clock, self.processor = time.monotonic(), processor_seconds()

    def read(self) -> Spent:
        """What was spent so far."""
        seconds = time.monotonic() - self.clock
        processor = processor_seconds() - self.processor
        ways, joules = dict.fromkeys(counter.way for counter in self.counters), 0.0
        for counter, before in zip(self.counters, self.before, strict=True):
            used = counter.joules() - before
            joules += used if used >= 0 else used + counter.most
        if COUNTED not in ways:
            joules += WATTS * processor
            ways = {ASSUMED: None, **ways}
        return Spent(seconds, processor, joules, " and ".join(ways))


def processor_seconds() -> float:
    """Seconds of processors that this process and those it waited for have used."""
    return sum(os.times()[:4])


def _processors() -> list[_Counter]:
    """The counters of a machine's processors; containers mostly have none that can be read."""
    found = []
    for folder in sorted(COUNTERS.glob("intel-rapl:[0-9]*")):
        if folder.name.count(":") > 1:
            continue  # a part of a processor, which is counted in it
        try:
            most = _microjoules(folder / "max_energy_range_uj")
            _microjoules(folder / "energy_uj")
        except (OSError, ValueError):
            continue
        found.append(_Counter(COUNTED, partial(_microjoules, folder / "energy_uj"), most))
    return found


def _microjoules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _graphics() -> list[_Counter]:
    """The counters of the GPUs, if nvidia-ml-py is there and the GPUs have one."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        energy = pynvml.nvmlDeviceGetTotalEnergyConsumption  # in mJ
        for handle in handles:
            energy(handle)
    except Exception:  # not installed, no driver, or a GPU without such a counter
        return []
    return [_Counter(CARDS, lambda: sum(map(energy, handles)) / 1e3)] if handles else []
