#!/usr/bin/env bash
# Installs ftlight for its tests, checks style and types, runs the tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ftlight_install dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# files run in parallel
HF_HUB_OFFLINE=1 .venv/bin/python -m pytest \
  --numprocesses auto --maxprocesses 4 "$@"
