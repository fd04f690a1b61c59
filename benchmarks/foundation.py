"""How much of River's bare speed is left: core alone, embedded live, replay, delayed labels.

    .venv/bin/python benchmarks/foundation.py [--events N] [--rounds N] [--profile ROW]

Every row learns the same events with the same model in one process; a row's figure is its speed
divided by that of River's bare loop (predict, metric, learn; events as dicts in memory) in the
same round, and the median over the rounds is shown. The machine's noise hits both alike.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

from peers.work import FEATURES, Example, examples, metric, model

from stream_app import Binary, Label, Labels, Observation, Pipeline, Version
from stream_app.codec.encode import encode_event
from stream_app.compiled import build_name
from stream_app.core.rehearsal import rehearsal_processor
from stream_app.events import Event
from stream_app.hosts.embedded import open_hosts, run_hosts
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.registration import register
from stream_app.hosts.replay import replay
from stream_app.hosts.state_directory import StateDirectory
from stream_app.records import Record

DELAY = 2000  # examples between an observation and its label
T0 = 1_700_000_000_000
Clock = tuple[float, float]  # wall, CPU


def pipeline(model_per: Literal["pipeline", "partition"] = "pipeline") -> Pipeline:
    """Return the declaration of all rows."""
    return Pipeline(
        "bench",
        model_per=model_per,
        task=Binary(),
        features={f"f{i}": float for i in range(FEATURES)},
        labels=Labels(wait=timedelta(days=1)),
        metrics=metric(),
        versions={"v1": Version(model())},
    )


def inline(rows: list[Example]) -> Iterator[Event]:
    """Yield observations that carry their label."""
    for i, (x, y) in enumerate(rows):
        yield Observation(f"id-{i}", T0 + i, x, key="k", label=y)


def delayed(rows: list[Example]) -> Iterator[Event]:
    """Yield every label `DELAY` examples after its observation."""
    for i, (x, _) in enumerate(rows):
        yield Observation(f"id-{i}", T0 + i, x, key="k")
        if i >= DELAY:
            yield Label(f"id-{i - DELAY}", T0 + i, rows[i - DELAY][1], key="k")
    for i in range(max(0, len(rows) - DELAY), len(rows)):
        yield Label(f"id-{i}", T0 + i + DELAY, rows[i][1], key="k")


def timed(run: Callable[[], object]) -> Clock:
    """Return the seconds that `run` took."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def bare(rows: list[Example]) -> Clock:
    """Time River's own loop."""
    learner, score = model(), metric()

    def run() -> None:
        for x, y in rows:
            score.update(y, learner.predict_proba_one(x))
            learner.learn_one(x, y)

    return timed(run)


def core(events: list[Event]) -> Clock:
    """Time decode, gate, chain, predict, evaluate, learn and encode; records in memory."""
    records = []
    for offset, event in enumerate(events):
        new = encode_event(event)
        records.append(Record("bench.events", 0, offset, event.ts_ms, new.key, new.value))
    processor = rehearsal_processor(pipeline())

    def run() -> None:
        for start in range(0, len(records), 1000):
            processor.process(records[start : start + 1000])

    return timed(run)


def embedded(events: list[Event], folder: Path) -> tuple[Clock, Clock]:
    """Time live (log to log, with checkpoints, fsync for every batch), then its replay."""
    declared = pipeline()
    log = open_broker(str(folder / "log.db"), create=True)
    state = StateDirectory(folder / "state")
    manifest = register(log, declared, state.public_keys)
    log.append("bench.events", [encode_event(event) for event in events])
    until = {0: log.bounds("bench.events", 0)[1]}
    hosts = open_hosts(log, declared, manifest, state, [0])
    live = timed(lambda: run_hosts(log, declared, hosts, stopped=lambda: False, until=until))
    hosts[0].close()
    again = timed(lambda: replay(log, declared, manifest, 0))
    log.close()
    return live, again


TARGETS = {
    "core alone": 0.80,
    "embedded live": 0.60,
    "replay": 0.60,
    "core alone, delayed": None,
    "embedded live, delayed": 0.50,
}


def one_round(count: int) -> dict[str, Clock]:
    """Return every row's seconds."""
    rows = examples(count)
    now, later = list(inline(rows)), list(delayed(rows))
    result = {"bare": bare(rows), "core alone": core(now), "core alone, delayed": core(later)}
    with tempfile.TemporaryDirectory() as folder:
        result["embedded live"], result["replay"] = embedded(now, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        result["embedded live, delayed"], _ = embedded(later, Path(folder))
    return result


def profile(row: str, count: int) -> None:
    """Print where a row's time goes."""
    rows = examples(count)
    events = list(delayed(rows) if "delayed" in row else inline(rows))
    profiler = cProfile.Profile()
    profiler.enable()
    if row.startswith("core"):
        core(events)
    else:
        with tempfile.TemporaryDirectory() as folder:
            embedded(events, Path(folder))
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", choices=list(TARGETS))
    options = parser.parse_args()
    if options.profile:
        profile(options.profile, options.events)
        return
    rounds = [one_round(options.events) for _ in range(options.rounds)]
    size = f"{options.events} examples, {FEATURES} features, median of {len(rounds)} rounds"
    print(f"{size}, {build_name()}")
    print(f"{'row':26}{'µs/example':>12}{'x bare':>9}{'x bare (CPU)':>14}{'target':>9}")
    for row in ["bare", *TARGETS]:
        micros = statistics.median(r[row][0] for r in rounds) / options.events * 1e6
        ratio = statistics.median(r["bare"][0] / r[row][0] for r in rounds)
        cpu = statistics.median(r["bare"][1] / r[row][1] for r in rounds)
        target = TARGETS.get(row)
        wanted = "" if target is None else f"{target:.2f}"
        print(f"{row:26}{micros:12.1f}{ratio:9.2f}{cpu:14.2f}{wanted:>9}")


if __name__ == "__main__":
    main()
