"""Record a new case of `cases.py`: `.venv/bin/python -m tests.golden.record NAME`."""

from __future__ import annotations

import sys

from tests.golden.cases import CASES
from tests.golden.recording import paths, record

if __name__ == "__main__":
    [name] = sys.argv[1:]
    record(name, CASES[name]())
    print(*paths(name), sep="\n")
