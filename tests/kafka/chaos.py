"""Chaos on a real Kafka: workers and broker are killed, frozen and moved while events stream.

What is left must be, byte for byte, what one undisturbed fold of the same records puts out.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from stream_app.kafka.connection import connection
from stream_app.kafka.topics import create_topics, wanted_topics
from tests.kafka.broker import Broker
from tests.kafka.chaos_pipeline import PARTITIONS, tempest
from tests.kafka.chaos_producer import Produced, Production, rows_of
from tests.kafka.chaos_verdict import Verdict, judge
from tests.kafka.chaos_watch import Watch
from tests.kafka.chaos_worker import ROOT, ChaosFailure, Worker, guard

DECLARATION = "from tests.kafka.chaos_pipeline import tempest\n"
TICK_S = 0.05
PAUSE_S = (0.5, 4.0)
# Some faults hit what still recovers from the last one; most hit what works again.
AT_ONCE_SHARE = 0.25
RECOVERS_WITHIN_S = 20.0
# Fewer faults than these while events were in flight prove little.
IN_FLIGHT_SHARE = 0.6
IN_FLIGHT_MIN = 2
IN_FLIGHT_PER_MINUTE = 2
STOP_MAX_S = 180.0
# What a broker logs when it leaves a transaction open on a partition (`stream_app.kafka.ending`).
LEFT_OPEN = "these partitions are likely deleted already"
CATCHES_UP_WITHIN_S = 300.0
# Longer than the session timeout: the group has given its partitions away when it wakes up.
ZOMBIE_S = (11.0, 15.0)
RESTART_S = (0.2, 4.0)
VISIT_S = (15.0, 30.0)
DECK = Counter(
    {
        "worker killed": 5,
        "worker terminated": 2,
        "worker frozen": 3,
        "all workers killed": 1,
        "visitor joined": 2,
        "state lost": 2,
        "states swapped": 2,
        "broker killed": 1,
        "broker terminated": 1,
        "broker frozen": 1,
    }
)


class Plan(msgspec.Struct, frozen=True):
    """What was asked for; the seed decides events, faults and pauses."""

    events: int
    minutes: float
    workers: int
    seed: int

    @property
    def command(self) -> str:
        return (
            f"scripts/kafka-chaos --events {self.events} --minutes {self.minutes:g} "
            f"--workers {self.workers} --seed {self.seed}"
        )


class Chaos:
    """One broker, its workers, and a generator of mishaps."""

    def __init__(self, plan: Plan, directory: Path, broker: Broker) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._directory = directory
        self._broker = broker
        self._began_s = time.monotonic()
        self._url = f"kafka://{broker.bootstrap}"
        self._file = directory / "tempest_pipeline.py"
        self._states = [directory / "state" / name for name in ("shared", "lone")]
        self._workers = [self._worker(n) for n in range(plan.workers)]
        self._visitor: Worker | None = None
        self._visitors: list[Worker] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._restarting: set[str] = set()
        self._held: set[str] = set()
        self._watch = Watch(broker.bootstrap)
        self._producer: subprocess.Popen[bytes] | None = None
        self._broker_room = ThreadPoolExecutor(1, "broker")
        self._broker_busy: Future[None] | None = None
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.restarts = 0

    def _worker(self, number: int) -> Worker:
        """Make a worker: all but the last of three or more share one state directory."""
        if number >= len(self._states) and number == self._plan.workers - 1:
            state = self._states[1]
        elif self._plan.workers == len(self._states):
            state = self._states[number]
        else:
            state = self._states[0]
        return self._made(f"worker-{number}", state)

    def _made(self, name: str, state: Path) -> Worker:
        return Worker(name, self._file, self._url, state, self._directory / "logs")

    # -- the course of it

    def run(self) -> Verdict:
        """Have chaos, let everything catch up, and judge; ends every process in any case."""
        try:
            self._prepare()
            self._rage()
            self._catch_up()
            self._part()
            produced = self._produced()
        finally:
            self._end_all()
        print(f"produced: {msgspec.json.encode(produced).decode()}; judging", flush=True)
        return judge(self._broker.bootstrap, rows_of(self._production))

    @property
    def _production(self) -> Production:
        rate = self._plan.events / (self._plan.minutes * 60)
        return Production(self._url, self._plan.events, rate, self._plan.seed)

    def _prepare(self) -> None:
        (self._directory / "logs").mkdir()
        (self._directory / "state").mkdir()
        self._file.write_text(DECLARATION)
        specs = wanted_topics(tempest.name, tempest.versions, PARTITIONS)
        create_topics(connection(self._url), specs, 1)
        self._watch.start()
        for worker in self._workers:
            worker.start()
        with (self._directory / "logs" / "producer.log").open("wb") as log:
            self._producer = subprocess.Popen(
                [sys.executable, "-m", "tests.kafka.chaos_producer"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._producer_guard = guard(self._producer)
        self._tell_producer(msgspec.json.encode(self._production))
        self._until(self._flows, 120, "nothing was committed")

    def _tell_producer(self, line: bytes) -> None:
        assert self._producer is not None
        assert self._producer.stdin is not None
        self._producer.stdin.write(line + b"\n")
        self._producer.stdin.flush()

    def _rage(self) -> None:
        until = time.monotonic() + self._plan.minutes * 60
        deck: list[str] = []
        assert self._producer is not None
        # When all has been produced, a fault would hit nothing in flight.
        while time.monotonic() < until and self._producer.poll() is None:
            if self._random.random() >= AT_ONCE_SHARE:
                self._recovered(min(until, time.monotonic() + RECOVERS_WITHIN_S))
            self._pass(self._random.uniform(*PAUSE_S))
            deck = deck or self._shuffled()
            kind = deck.pop()
            self._do(kind)

    def _recovered(self, deadline: float) -> None:
        while time.monotonic() < deadline and not self._flows():
            self._pass(0)

    def _flows(self) -> bool:
        """Tell whether events are committed about as fast as they come."""
        return self._watch.committed() > 0 and self._watch.lag() < 3 * self._production.rate

    def _shuffled(self) -> list[str]:
        deck = sorted(DECK.elements())
        self._random.shuffle(deck)
        return deck

    def _do(self, kind: str) -> None:
        deeds: dict[str, Callable[[], bool]] = {
            "worker killed": self._kill,
            "worker terminated": self._terminate,
            "worker frozen": self._freeze,
            "all workers killed": self._kill_all,
            "visitor joined": self._join,
            "state lost": self._lose,
            "states swapped": self._swap,
            "broker killed": lambda: self._harm_broker(self._broker_killed),
            "broker terminated": lambda: self._harm_broker(self._broker.restart),
            "broker frozen": lambda: self._harm_broker(self._broker_frozen),
        }
        assert self._producer is not None
        while (lag := self._watch.lag()) == 0:
            if self._producer.poll() is not None:  # nothing is left to hit
                return
            self._pass(0)
        if deeds[kind]():
            self.faults[kind] += 1
            self.in_flight += lag > 0
            at = time.monotonic() - self._began_s
            print(f"{at:6.1f} s  {kind}, {lag} events in flight", flush=True)

    def _catch_up(self) -> None:
        """Disturb nobody any more until no lag is left."""
        with suppress(BrokenPipeError):  # it is through already
            self._tell_producer(b"hurry")
        self._broker_settled()
        for worker in self._all():
            worker.thaw()
        assert self._producer is not None
        producer = self._producer
        # The watch may see a burst later than the workers, and what an abandoned transaction holds
        # back nobody sees until that is over.
        self._until(
            lambda: (
                producer.poll() is not None
                and self._watch.events >= self._plan.events
                and self._watch.lag() == 0
            ),
            CATCHES_UP_WITHIN_S,
            "it did not catch up",
        )
        # What the watch has not seen yet would be a lag.
        self._pass(1.0)
        self._until(lambda: self._watch.lag() == 0, CATCHES_UP_WITHIN_S, "it did not catch up")

    def _part(self) -> None:
        """End every worker in good order."""
        self._due.clear()
        self._held = {worker.name for worker in self._all()}
        for worker in self._all():
            worker.terminate()
        self._until(lambda: not any(w.running for w in self._all()), 200, "workers do not end")

    def _produced(self) -> Produced:
        assert self._producer is not None
        assert self._producer.stdout is not None
        if self._producer.wait(10) != 0:
            raise ChaosFailure(f"the producer ended with exit code {self._producer.returncode}")
        return msgspec.json.decode(self._producer.stdout.read(), type=Produced)

    def _end_all(self) -> None:
        for worker in self._all():
            worker.kill()
        if self._producer is not None:
            self._producer.kill()
            self._producer.wait()
            self._producer_guard.communicate(b"done\n")
        if self._broker_busy is not None:
            self._broker_busy.exception()
        self._broker_room.shutdown()
        if self._watch.is_alive():
            self._watch.stop()

    # -- mishaps; each returns whether it could be done

    def _kill(self) -> bool:
        def kill(worker: Worker) -> None:
            worker.kill()
            self._restart(worker)

        return self._one(kill)

    def _terminate(self) -> bool:
        return self._one(lambda worker: worker.terminate(), frozen=False)

    def _freeze(self) -> bool:
        def freeze(worker: Worker) -> None:
            life = worker.lives
            worker.freeze()
            self._later(
                self._random.uniform(*ZOMBIE_S),
                lambda: worker.thaw() if worker.lives == life else None,
            )

        return self._one(freeze, frozen=False)

    def _one(self, deed: Callable[[Worker], object], *, frozen: bool = True) -> bool:
        able = [
            worker
            for worker in self._workers
            if worker.running and worker.ending_since_s is None and (frozen or not worker.frozen)
        ]
        if not able:
            return False
        deed(self._random.choice(able))
        return True

    def _kill_all(self) -> bool:
        for worker in self._workers:
            worker.kill()
            self._restart(worker)
        return True

    def _join(self) -> bool:
        if self._visitor is not None:
            return False
        state = self._random.choice([self._states[0], self._directory / "state" / "visiting"])
        visitor = self._made(f"visitor-{len(self._visitors)}", state)
        visitor.start()
        self._visitor = visitor
        self._visitors.append(visitor)
        self._later(self._random.uniform(*VISIT_S), visitor.terminate)
        return True

    def _lose(self) -> bool:
        state = self._random.choice(self._states)
        self._stop_users([state], gently=False)
        shutil.rmtree(state, ignore_errors=True)
        for place in state.parent.glob(f"{state.name}.*"):
            shutil.rmtree(place)
        self._release()
        return True

    def _swap(self) -> bool:
        one, other = self._states
        self._stop_users(self._states, gently=self._random.random() < 0.5)
        between = one.with_name("between")
        for source, target in ((one, between), (other, one), (between, other)):
            if source.exists():
                source.rename(target)
        self._release()
        return True

    def _stop_users(self, states: Sequence[Path], *, gently: bool) -> None:
        users = [worker for worker in self._all() if worker.state in states]
        self._held = {worker.name for worker in users}
        for worker in users:
            if gently and not worker.frozen:
                worker.terminate()
            else:
                worker.kill()
        self._until(lambda: not any(w.running for w in users), 200, "workers do not end")

    def _release(self) -> None:
        held, self._held = self._held, set()
        for worker in self._workers:
            if worker.name in held:
                self._restart(worker)

    def _harm_broker(self, harm: Callable[[], None]) -> bool:
        if self._broker_busy is not None and not self._broker_busy.done():
            return False
        self._broker_settled()
        self._broker_busy = self._broker_room.submit(harm)
        return True

    def _broker_killed(self) -> None:
        self._broker.kill()
        time.sleep(1.0)
        self._broker.restart()

    def _broker_frozen(self) -> None:
        self._broker.pause()
        time.sleep(8.0)
        self._broker.resume()

    def _broker_settled(self) -> None:
        busy = self._broker_busy
        if busy is not None:
            self._until(busy.done, 120, "the broker does not come back")
            busy.result()

    # -- what goes on meanwhile

    def _all(self) -> list[Worker]:
        return [*self._workers, *self._visitors]

    def _later(self, seconds: float, deed: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._order, deed))

    def _restart(self, worker: Worker) -> None:
        """Start a worker again after a while, unless somebody else does."""
        if worker.name in self._restarting or worker.name in self._held:
            return
        self._restarting.add(worker.name)

        def start() -> None:
            self._restarting.discard(worker.name)
            if worker.name not in self._held and not worker.running:
                self.restarts += 1
                worker.start()

        self._later(self._random.uniform(*RESTART_S), start)

    def _pass(self, seconds: float) -> None:
        """Let time pass, at least a tick."""
        until = time.monotonic() + seconds
        while True:
            time.sleep(TICK_S)
            self._tick()
            if time.monotonic() >= until:
                return

    def _until(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ChaosFailure(f"{complaint} within {seconds:.0f} s{self._dumps()}")
            self._pass(0)

    def _tick(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        for worker in self._all():
            if worker.look():
                if worker is self._visitor:
                    self._visitor = None
                elif worker in self._workers:
                    self._restart(worker)
        if self._watch.failure is not None:
            raise self._watch.failure
        if self._producer is not None and self._producer.poll():
            raise ChaosFailure(f"the producer ended with exit code {self._producer.returncode}")
        partition, stopped_s = self._watch.stopped_s()
        if stopped_s > STOP_MAX_S:
            complaint = f"partition {partition} has not moved for {stopped_s:.0f} s"
            raise ChaosFailure(f"{complaint}{self._dumps()}")

    def _dumps(self) -> str:
        """Return where everything stands, and what every worker does: they die of that."""
        told = [worker.dump() for worker in self._all() if worker.running]
        return "\n".join([f"; committed/end: {self._watch.places()}", *told])

    def summary(self, verdict: Verdict) -> str:
        """Say in a few lines what happened and what came of it."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        own: Counter[str] = Counter()
        for worker in self._all():
            own.update(worker.own_ends)
        lines = [
            f"{self._plan.command}",
            f"{verdict.events} events in {PARTITIONS} partitions, {verdict.outputs} outputs, "
            f"{verdict.digests} state digests among them; {verdict.hidden} records of aborted "
            "transactions in their topics stayed hidden",
            f"{self.faults.total()} faults, {self.in_flight} of them while events were in flight: "
            f"{kinds}",
            f"{self.restarts} restarts, {own.total()} of them after an error that a worker named; "
            f"longest stop of a partition: {self._watch.longest_stop_s():.0f} s",
            f"{len(verdict.differences)} differences from one undisturbed fold, in memory and by "
            "replay",
            *(f"  {count} x {error}" for error, count in own.most_common()),
            *(f"  {difference[:2000]}" for difference in verdict.differences),
        ]
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, make a place and a broker, run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/kafka-chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of chaos (10)")
    parser.add_argument("--workers", type=int, default=3, help="2 or more (3)")
    parser.add_argument("--seed", type=int, default=1, help="decides events and faults (1)")
    parser.add_argument("--directory", type=Path, help="an empty one, kept; default: a temporary")
    chosen = parser.parse_args(arguments)
    plan = Plan(chosen.events, chosen.minutes, max(2, chosen.workers), chosen.seed)
    print(f"to repeat: {plan.command}", flush=True)
    # The watch's own client says a line for every attempt while the broker is away.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if chosen.directory is not None:
        chosen.directory.mkdir(parents=True)
        return _chaos(plan, chosen.directory.resolve())
    with tempfile.TemporaryDirectory(prefix="stream-app-kafka-chaos-") as directory:
        return _chaos(plan, Path(directory))


def _chaos(plan: Plan, directory: Path) -> int:
    with Broker() as broker:
        chaos = Chaos(plan, directory, broker)
        try:
            verdict = chaos.run()
        except ChaosFailure as failure:
            _keep(broker, directory)
            print(f"{failure}\nfailed; to repeat: {plan.command}", flush=True)
            return 1
        print(chaos.summary(verdict), flush=True)
        if verdict.differences:
            _keep(broker, directory)
    wanted = max(
        IN_FLIGHT_MIN,
        IN_FLIGHT_PER_MINUTE * plan.minutes,
        IN_FLIGHT_SHARE * chaos.faults.total(),
    )
    if chaos.in_flight < wanted:
        print(f"too few faults while events were in flight: {wanted:.0f} wanted", flush=True)
        return 1
    return 1 if verdict.differences else 0


def _keep(broker: Broker, directory: Path) -> None:
    """Keep the broker's data, which go with it, and tell which transactions it left open."""
    broker.restart()
    broker.kill()
    shutil.copytree(broker.place, directory / "broker")
    for line in broker.server.log.read_text(errors="replace").splitlines():
        if LEFT_OPEN in line:
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
