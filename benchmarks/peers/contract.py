"""What every system is asked for in the same words, and how its work is measured.

    python -m peers.NAME --broker HOST:PORT --events-topic T --predictions-topic T --group G
        --name STATIC_MEMBER --state DIR --events N

It reads its topic from the beginning, alone in its group, and publishes one prediction for each
event. The clock begins when the first event reaches the code that predicts, so that starting,
joining the group and the first fetch are in no row; it ends when the prediction of the last one is
acknowledged, where there are transactions: committed. Then one line of JSON is printed. With
`--events 0` it goes on until it is killed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from pathlib import Path
from typing import NoReturn


class Clock:
    """Wall time and CPU time (all threads of the process) from the first event to the last."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None
        # Events make no cycles. Every row is spared walks over all that was imported.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    def begin(self) -> None:
        """Take note of the first event; later calls do nothing."""
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def end(self) -> NoReturn:
        """Tell what was measured, and end the process: how long it takes to leave is no matter."""
        assert self._began is not None
        wall, cpu = self._began
        said = {
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "peak_mb": peak_mb(os.getpid()),
        }
        print(json.dumps(said), flush=True)
        os._exit(0)


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had in RAM so far, in MB.

    What `getrusage` tells may be the parent's, of before this program was loaded.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def arguments(**choices: list[str]) -> argparse.Namespace:
    """Return what was asked for; `choices` are the row's own options."""
    parser = argparse.ArgumentParser()
    for name in ("broker", "events-topic", "predictions-topic", "group", "name", "state"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--events", type=int, required=True)
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, required=True)
    return parser.parse_args()
