# Sourced by the scripts here: creates .venv if needed, and installs ftlight with the given extras
# whenever pyproject.toml or constraints.txt has changed.
# FTLIGHT_PYTHON names another Python (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Waiting threads sleep instead of spinning: spinning costs most of the speed on a busy machine.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

ftlight_install() {
  local extras=$1 python=${FTLIGHT_PYTHON:-python3} mark
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; set FTLIGHT_PYTHON" >&2
    exit 1
  }
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  mark=.venv/installed-$extras-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
  if [ ! -e "$mark" ]; then
    echo "installing into .venv …"
    # pep517: builds packages released as source only (seqeval, rouge-score) in isolation
    .venv/bin/python -m pip install --quiet --use-pep517 --constraint constraints.txt \
      --editable ".[$extras]"
    touch "$mark"
  fi
}
