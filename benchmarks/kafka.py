"""Ours and others side by side on a real Kafka: speed, latency, restarts, hand-overs.

    scripts/kafka start
    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/requirements-peers.txt
    .venv/bin/python benchmarks/kafka.py [--rows a,b] [--measures a,b] [--events N] [--rounds N]

Same model, events and broker in every row of one run; each row is a process of its own that is
asked and measured as `peers/contract.py` says. Quix Streams is looked for in `.venv-peers` (or
`--peers PYTHON`), an environment of its own: the project does not depend on it. Faust is in the
project's.

throughput: one full partition from its first event to the committed prediction of its last, and
every prediction is compared with what River alone says. `x bare` is the speed divided by that of
River's bare loop in the same round.
latency: a worker as a person starts it, events sent at a steady rate, from the send of each to its
prediction at a `read_committed` reader; at half of the speed that the same run measured, too.
restart: kill -9 under load and the same command again at once, until an event sent after the kill
is answered. All workers are static members of their group.
hand-over: a second worker of this project joins the first, and leaves again: the longest pause of
a partition that moves, and how long its new owner took to open and restore it, which it begins
while the old one still lets go.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(1, str(ROOT))  # scripts/broker

from on_kafka.rows import OURS, ROWS, Row  # noqa: E402
from on_kafka.throughput import Result, throughput  # noqa: E402
from on_kafka.workers import Move, Stuck, hand_over, latencies, placed, restarts  # noqa: E402

MEASURES = ("throughput", "latency", "restart", "hand-over")
PEERS = ROOT / ".venv-peers" / "bin" / "python"
EVENTS_MIN = 20_000
HALF_WITHOUT_THROUGHPUT = 5_000.0
PARTITIONS = 4


def say(text: str) -> None:
    """Tell how far it is, beside the tables."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def show_throughput(rows: list[Row], options: argparse.Namespace) -> dict[str, Result]:
    bare, results = throughput(
        rows, options.broker, options.peers, options.events, options.rounds, say
    )
    print(f"\n{options.events} events, medians of {options.rounds} rounds")
    print(f"{'row':46}{'wall µs':>9}{'CPU µs':>9}{'x bare':>8}{'peak MB':>9}")
    print(f"{'River alone, in memory':46}{bare.wall_us:9.1f}{bare.cpu_us:9.1f}{1.0:8.2f}")
    for row in rows:
        found = results[row.name]
        print(
            f"{row.title:46}{found.wall_us:9.1f}{found.cpu_us:9.1f}"
            f"{found.x_bare:8.2f}{found.peak_mb:9.0f}"
        )
    return results


def show_latency(rows: list[Row], options: argparse.Namespace, results: dict[str, Result]) -> None:
    print(f"\n{'row':46}{'events/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
    for row in rows:
        known = results.get(row.name)
        half = HALF_WITHOUT_THROUGHPUT if known is None else 0.5e6 / known.wall_us
        say(f"latency: {row.title}")
        with placed(options.broker, options.peers) as place:
            found, peaks = latencies(row, place, [100.0, half], options.seconds)
        for each in found:
            lacks = each.sent - each.answered
            late = f"  {lacks} of {each.sent} not answered" if lacks else ""
            print(f"{row.title:46}{each.rate:10.0f}{each.p50_ms:9.1f}{each.p99_ms:9.1f}{late}")
        memory = " + ".join(f"{peak:.0f}" for peak in peaks)
        print(f"{'':46}peak memory of its processes: {memory} MB")


def show_restarts(rows: list[Row], options: argparse.Namespace) -> None:
    print(f"\n{'kill -9 to the first new prediction':56}{'seconds'}")
    kinds = [(row, True, row.title) for row in rows]
    if OURS in rows:
        kinds.insert(1, (OURS, False, "this project, the worker alone (pause of 1 s)"))
    for row, whole, title in kinds:
        say(f"restart: {title}")
        with placed(options.broker, options.peers) as place:
            try:
                found = restarts(row, place, options.kills, whole=whole)
            except Stuck as stuck:
                print(f"{title:56}{stuck}")
                continue
        print(f"{title:56}{', '.join(f'{seconds:.1f}' for seconds in found)}")


def show_hand_over(options: argparse.Namespace) -> None:
    print(f"\n{'hand-over, this project':30}{'longest pause s':>16}{'its opening s':>17}")
    say("hand-over")
    with placed(options.broker, options.peers, PARTITIONS) as place:
        joined, left = hand_over(place)
    _show_move("a second worker joins", joined)
    _show_move("it leaves again (SIGTERM)", left)


def _show_move(title: str, move: Move) -> None:
    for partition, seconds in sorted(move.stood_still.items()):
        opening = f"{move.opening[partition]:17.2f}" if partition in move.opening else ""
        print(f"{f'{title}: {partition}':30}{seconds:16.2f}{opening}")
    if move.stayed:
        print(f"{'   those that stay':30}{max(move.stayed.values()):16.2f}")


def _several(known: tuple[str, ...], text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(known)}")
    return chosen


def _options() -> argparse.Namespace:
    names = tuple(row.name for row in ROWS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", default="kafka://127.0.0.1:9092")
    parser.add_argument("--events", type=int, default=EVENTS_MIN)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each rate of latency")
    parser.add_argument("--kills", type=int, default=2, help="of each row")
    parser.add_argument("--rows", type=lambda text: _several(names, text), default=list(names))
    parser.add_argument(
        "--measures", type=lambda text: _several(MEASURES, text), default=list(MEASURES)
    )
    parser.add_argument("--peers", type=Path, default=PEERS, help="the peers' interpreter")
    return parser.parse_args()


def main() -> None:
    """Print the tables of what was asked for."""
    options = _options()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file
    rows = [row for row in ROWS if row.name in options.rows]
    if not options.peers.exists():
        rows = [row for row in rows if not row.own_environment]
        say(f"no {options.peers}: rows of Quix Streams are left out")
    workers = sorted((row for row in rows if row.worker), key=lambda row: row is not OURS)
    if options.events < EVENTS_MIN:
        say(f"fewer than {EVENTS_MIN} events: the last commit weighs too much in such figures")
    results = show_throughput(rows, options) if "throughput" in options.measures else {}
    if "latency" in options.measures:
        show_latency(workers, options, results)
    if "restart" in options.measures:
        show_restarts(workers, options)
    if "hand-over" in options.measures and OURS in rows:
        show_hand_over(options)


if __name__ == "__main__":
    main()
