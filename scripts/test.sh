#!/usr/bin/env bash
# Installs ftlight with what its tests need, checks style and types, runs the tests.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ftlight_install dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# files side by side, as many as there are cores; tests of one file stay together, for what they share is made once
HF_HUB_OFFLINE=1 .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
