#!/usr/bin/env bash
# Looks up the versions in constraints.txt among known vulnerabilities and prints what is found. Never fails, and ends
# within a minute. pip-audit is installed into a folder that is removed again; FTLIGHT_PIP_AUDIT names one that is there.
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
  timeout 30 bash -c '"$0" -m venv "$1/venv" && "$1/venv/bin/pip" install --quiet --disable-pip-version-check pip-audit' \
    "${FTLIGHT_PYTHON:-python3}" "$place" >/dev/null 2>&1 || skip "pip-audit cannot be installed here"
fi

# A package with holes that are long known comes first: a mirror that knows no vulnerabilities at all says "none" of any package.
{ echo "flask==0.12.2" && cat constraints.txt; } >"$place/requirements.txt"
timeout "$seconds" "$audit" --requirement "$place/requirements.txt" --no-deps --disable-pip --progress-spinner off --timeout 5 \
  >"$place/found" 2>/dev/null
grep -qE '^flask +0\.12\.2 +(CVE|GHSA|PYSEC)-' "$place/found" || skip "the database of vulnerabilities cannot be reached from here"
if grep -E '^[A-Za-z0-9._-]+ +[0-9][^ ]* +(CVE|GHSA|PYSEC)-' "$place/found" | grep -v '^flask ' >"$place/ours"; then
  echo "audit of dependencies: known vulnerabilities in constraints.txt (package, version, name, fixed in):"
  cat "$place/ours"
else
  echo "audit of dependencies: no known vulnerabilities in constraints.txt"
fi
