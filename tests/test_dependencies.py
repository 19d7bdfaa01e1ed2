"""Versions with known holes: floors, the tested set, and the audit that never fails a run."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
HOLES = {  # the last version with a hole that reaches us
    "torch": "2.9.1",
    "lightning": "2.6.3",
    "transformers": "5.4.0",
    "pyarrow": "23.0.0",
    "pillow": "12.2.0",
    "datasets": "3.6.0",
}


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        r for name, rs in project["optional-dependencies"].items() if name != "dev" for r in rs
    ]
    return {r.name: r for r in map(Requirement, [*project["dependencies"], *extras])}


@pytest.mark.parametrize("name", HOLES)
def test_versions_with_holes_are_refused(name: str) -> None:
    assert not requirements()[name].specifier.contains(HOLES[name])


def test_the_tested_set_is_one_that_we_take() -> None:
    tested = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    tested = {name.lower().replace("_", "-"): version for name, version in tested.items()}
    wanted = {name: r for name, r in requirements().items() if name in tested}
    assert len(wanted) > 8
    for name, requirement in wanted.items():
        assert requirement.specifier.contains(tested[name]), name


KNOWN = "flask  0.12.2  PYSEC-2018-66 0.12.3"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo '{KNOWN}'", "no known vulnerabilities in constraints.txt"),
        (
            f"echo '{KNOWN}'; echo 'torch  2.9.0   GHSA-63cw-57p8-fm3p 2.10.0'; exit 1",
            "torch  2.9.0   GHSA-63cw-57p8-fm3p 2.10.0",
        ),
        (
            "echo 'No known vulnerabilities found'",
            "left out, the database of vulnerabilities cannot be reached from here",
        ),
        (
            "echo 'flask 0.12.2 could not be audited'",
            "left out, the database of vulnerabilities cannot be reached from here",
        ),
        ("exit 3", "left out, the database of vulnerabilities cannot be reached from here"),
        ("sleep 30", "left out, the database of vulnerabilities cannot be reached from here"),
    ],
)
def test_the_audit_never_fails(script: str, said: str, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    audit.write_text(f"#!/bin/sh\n{script}\n")
    audit.chmod(0o755)
    environment = {
        **os.environ,
        "FTLIGHT_PIP_AUDIT": str(audit),
        "FTLIGHT_AUDIT_SECONDS": "1",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "audit.sh")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0
    assert said in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["audit"]
