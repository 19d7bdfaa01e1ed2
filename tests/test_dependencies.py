"""Versions with known vulnerabilities are refused; the audit of the tested ones never fails."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from conftest import each
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
VULNERABLE = {  # the last version with a vulnerability that reaches us
    "torch": "2.9.1",
    "lightning": "2.6.3",
    "transformers": "5.4.0",
    "pyarrow": "23.0.0",
    "pillow": "12.2.0",
    "datasets": "3.6.0",
    "pypdf": "6.6.1",
}


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"]]
    for name in extras:
        if name != "dev":
            lines += extras[name]
    return {r.name: r for r in map(Requirement, lines)}


def test_vulnerable_versions_are_refused() -> None:
    def check(name: str) -> None:
        assert not requirements()[name].specifier.contains(VULNERABLE[name])

    each(VULNERABLE, check)


def test_the_tested_set_meets_the_requirements() -> None:
    tested = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    tested = {name.lower().replace("_", "-"): version for name, version in tested.items()}
    wanted = {name: r for name, r in requirements().items() if name in tested}
    assert len(wanted) > 8
    for name, requirement in wanted.items():
        assert requirement.specifier.contains(tested[name]), name


KNOWN = "flask  0.12.2  PYSEC-2018-66 0.12.3"
TORCH = "torch  2.9.0   GHSA-63cw-57p8-fm3p 2.10.0"
LEFT_OUT = "left out, the database of vulnerabilities cannot be reached from here"


@pytest.mark.processes
def test_the_audit_never_fails(tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    environment = {
        **os.environ,
        "FTLIGHT_PIP_AUDIT": str(audit),
        "FTLIGHT_AUDIT_SECONDS": "1",
        "TMPDIR": str(tmp_path),
    }

    def check(script: str, said: str) -> None:
        audit.write_text(f"#!/bin/sh\n{script}\n")
        audit.chmod(0o755)
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

    each(
        [
            (f"echo '{KNOWN}'", "no known vulnerabilities in constraints.txt"),
            (f"echo '{KNOWN}'; echo '{TORCH}'; exit 1", TORCH),
            ("echo 'No known vulnerabilities found'", LEFT_OUT),
            ("echo 'flask 0.12.2 could not be audited'", LEFT_OUT),
            ("exit 3", LEFT_OUT),
            ("sleep 30", LEFT_OUT),
        ],
        check,
    )
