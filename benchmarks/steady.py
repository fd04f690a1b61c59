"""Does it stay steady on one machine? Checkpoints, restarts, a model for each key, workers.

    .venv/bin/python benchmarks/steady.py [ROW ...]      # all rows, or some

Each row runs in a process of its own and says what it saw, its target, and how busy the machine
was. Memory over millions of events is measured by `soak.py`. Exit code 1: a target was missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

from on_one_machine import checkpoints, kept, keys, restart, workers

ROWS: dict[str, tuple[str, Callable[[], bool]]] = {
    "checkpoints": ("what checkpoints cost", lambda: checkpoints.main(rounds=5)),
    "keys": ("a model for each of a million keys", lambda: keys.main(keys=1_000_000, rounds=3)),
    "restart": ("from kill -9 to the first new prediction", lambda: restart.main(kills=6)),
    "kept": ("what kept checkpoints cost on disk", lambda: kept.main(megabytes=1000)),
    "workers": ("two workers on two partitions", lambda: workers.main(rounds=3)),
}


def main() -> None:
    """Run the rows, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        sys.exit(0 if ROWS[options.rows[0]][1]() else 1)
    missed = []
    for row in options.rows or ROWS:
        print(f"{row}: {ROWS[row][0]}", flush=True)
        command = [sys.executable, __file__, row, "--here"]
        if subprocess.run(command, check=False).returncode:
            missed.append(row)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
