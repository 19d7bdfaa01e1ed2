"""What work takes: counters of energy where there are any, else an assumption that is named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftlight.utils import spent
from ftlight.utils.spent import ASSUMED, CARDS, COUNTED, WATTS, Meter


@pytest.fixture(autouse=True)
def _no_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spent, "COUNTERS", tmp_path)
    monkeypatch.setitem(sys.modules, "pynvml", None)


def counter(folder: Path, name: str, joules: float) -> Path:
    (folder / name).mkdir()
    (folder / name / "max_energy_range_uj").write_text(str(100_000_000))
    file = folder / name / "energy_uj"
    file.write_text(str(int(joules * 1e6)))
    return file


def test_without_counters_energy_is_assumed_from_processor_seconds() -> None:
    meter = Meter()
    sum(i * i for i in range(2_000_000))
    found = meter.read()
    assert 0 < found.processor <= found.seconds + 0.1
    assert found.joules == pytest.approx(WATTS * found.processor)
    assert found.way == ASSUMED


def test_counters_of_processors_add_up_and_begin_anew(tmp_path: Path) -> None:
    first, second = (counter(tmp_path, f"intel-rapl:{i}", 90.0) for i in range(2))
    part = counter(tmp_path, "intel-rapl:0:0", 50.0)
    meter = Meter()
    first.write_text("95000000")
    second.write_text("15000000")  # over its end, which is at 100 J
    part.write_text("54000000")
    found = meter.read()
    assert (found.joules, found.way) == (5 + 25, COUNTED)


def test_counters_of_gpus_come_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    millijoules = {0: 1000, 1: 5000}
    cards = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetTotalEnergyConsumption=millijoules.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", cards)
    meter = Meter()
    millijoules[1] += 70_000
    found = meter.read()
    assert found.joules - WATTS * found.processor == pytest.approx(70)
    assert found.way == f"{ASSUMED} and {CARDS}"
