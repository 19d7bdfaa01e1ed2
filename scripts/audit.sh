#!/usr/bin/env bash
# Prints the known vulnerabilities of the versions in constraints.txt. Never fails, and ends within
# a minute. Installs pip-audit into a temporary folder, unless FTLIGHT_PIP_AUDIT names one.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 0
place=$(mktemp -d) || exit 0
trap 'rm -rf "$place"' EXIT
seconds=${FTLIGHT_AUDIT_SECONDS:-25}

skip() {
  echo "audit of dependencies: left out, $1"
  exit 0
}

audit=${FTLIGHT_PIP_AUDIT:-}
if [ -z "$audit" ]; then
  audit=$place/venv/bin/pip-audit
  install='"$0" -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check pip-audit'
  timeout 30 bash -c "$install" "${FTLIGHT_PYTHON:-python3}" "$place/venv" >/dev/null 2>&1 ||
    skip "pip-audit cannot be installed here"
fi

# A package with known vulnerabilities comes first, to recognise a mirror that knows none at all.
{ echo "flask==0.12.2" && cat constraints.txt; } >"$place/requirements.txt"
timeout "$seconds" "$audit" --requirement "$place/requirements.txt" --no-deps --disable-pip \
  --progress-spinner off --timeout 5 >"$place/found" 2>/dev/null
grep -qE '^flask +0\.12\.2 +(CVE|GHSA|PYSEC)-' "$place/found" ||
  skip "the database of vulnerabilities cannot be reached from here"
vulnerable='^[A-Za-z0-9._-]+ +[0-9][^ ]* +(CVE|GHSA|PYSEC)-'
if grep -E "$vulnerable" "$place/found" | grep -v '^flask ' >"$place/ours"; then
  echo "audit of dependencies: known vulnerabilities in constraints.txt" \
    "(package, version, name, fixed in):"
  cat "$place/ours"
else
  echo "audit of dependencies: no known vulnerabilities in constraints.txt"
fi
