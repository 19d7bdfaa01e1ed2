"""Harms runs in every way that a machine can, and checks what becomes of them.

    python scripts/bench/faults kills --kills 200
    python scripts/bench/faults KIND --help

Each kind is a module beside this one. All work on tiny models and data made on the spot, in
processes forked from one that has imported everything, so that a trial costs a second and not
seven. Exits with 1 if a run came to harm.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

KINDS = ("kills", "disk", "caches", "minds", "values", "files", "processes")


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind not in KINDS:
        print(__doc__)
        sys.exit(f"kinds: {', '.join(KINDS)}" if kind not in ("", "-h", "--help") else 0)
    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # toys.py
    sys.argv = [f"{sys.argv[0]} {kind}", *sys.argv[2:]]
    importlib.import_module(kind).main()


if __name__ == "__main__":
    main()
