"""What backfills, replays in pieces, joins, explanations and cut-overs cost.

    .venv/bin/python benchmarks/versions.py [ROW ...] [--events N]     # all rows, or some
    .venv/bin/python benchmarks/versions.py explaining --events 10000000 --folder DIR
    scripts/kafka start && .venv/bin/python benchmarks/versions.py kafka

Ratios within one run; each row says what it saw, its target, and how busy the machine was. Exit
code 1: a target was missed. `--folder` keeps the log that `explaining` makes, so that it is there
already the next time. `kafka` needs a broker, and is run only by its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from on_versions.building import from_kafka, joining, pieces, processes, speed
from on_versions.champion import beside, cutting_over
from on_versions.explaining import explaining
from peers.work import FEATURES

ROWS: dict[str, tuple[int, Callable[[int], bool]]] = {
    "speed": (200_000, speed),
    "processes": (200_000, processes),
    "pieces": (400_000, pieces),
    "joining": (50_000, joining),
    "beside": (20_000, beside),
    "cutting-over": (0, cutting_over),
}
EXPLAINED, ON_KAFKA = 1_000_000, 100_000


def main() -> None:
    """Run the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows", nargs="*", choices=[[], *ROWS, "explaining", "kafka"], metavar="ROW"
    )
    parser.add_argument("--events", type=int)
    parser.add_argument("--folder", type=Path, help="where explaining keeps its log")
    parser.add_argument("--broker", default="kafka://127.0.0.1:9092")
    options = parser.parse_args()
    rows: dict[str, tuple[int, Callable[[int], bool]]] = {
        **ROWS,
        "explaining": (EXPLAINED, partial(explaining, folder=options.folder)),
        "kafka": (ON_KAFKA, partial(from_kafka, broker=options.broker)),
    }
    print(f"{FEATURES} features, scaler|logreg, one model in each partition")
    missed = []
    for row in options.rows or [name for name in rows if name != "kafka"]:
        count, measure = rows[row]
        if not measure(options.events or count):
            missed.append(row)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
