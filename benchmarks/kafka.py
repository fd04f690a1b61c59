"""How much of River's bare speed is left on a real Kafka, and how late a prediction is.

    scripts/kafka start
    .venv/bin/python benchmarks/kafka.py [--broker kafka://127.0.0.1:9092] [--events N] [--rounds N]

Same model, events and broker in every row of one run. Throughput: one partition is drained from
its beginning to its end; `x bare` is the speed divided by that of River's bare loop in the same
round. Latency: a worker process as `stream-app run` starts it, events sent at a steady rate, and
the time from the send of each to its committed prediction at a `read_committed` consumer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import foundation
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.codec.encode import encode_event
from stream_app.core.topics import Topics
from stream_app.hosts.embedded import calm_garbage_collector, open_hosts
from stream_app.hosts.member import SWITCH_S
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.kafka.connection import Connection, parse_servers
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics, wanted_topics

PIPELINE = """
import sys
sys.path.insert(0, {folder!r})
from foundation import pipeline as make
pipeline = make()
"""
Clock = tuple[float, float]


def fresh(broker: str, partitions: int = 1) -> Connection:
    """Return a connection with topics of its own."""
    connection = Connection(parse_servers(broker), prefix=f"bench-{time.time_ns()}.")
    declared = foundation.pipeline()
    specs = wanted_topics(declared.name, declared.versions, partitions)
    create_topics(connection, specs, 1)
    return connection


def fill(log: KafkaLog, rows: list[Any]) -> None:
    """Append all events, durably."""
    records = [encode_event(event) for event in foundation.inline(rows)]
    for start in range(0, len(records), 5000):
        log.append("bench.events", records[start : start + 5000])


def exactly_once(broker: str, rows: list[Any]) -> Clock:
    """Time what a worker's lane does: read, learn, publish and commit, with checkpoints."""
    declared = foundation.pipeline()
    log = KafkaLog(fresh(broker))
    with tempfile.TemporaryDirectory() as folder:
        state = StateDirectory(Path(folder) / "state")
        manifest = register(log, declared, state.public_keys)
        fill(log, rows)
        [host] = open_hosts(
            log, declared, manifest, state, [0], publisher=lambda: ThreadPoolExecutor(1)
        )
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)

        def run() -> None:
            while host.step(until=len(rows)):
                pass
            host.finish()

        clock = foundation.timed(run)
        sys.setswitchinterval(interval)
        host.close()
    log.close()
    return clock


def plain_loop(broker: str, rows: list[Any]) -> Clock:
    """Time what people write first: consume, predict, learn, send; no guarantee at all."""
    connection = fresh(broker)
    log = KafkaLog(connection)
    fill(log, rows)
    log.close()

    async def run() -> None:
        options = connection.client_options()
        events, out = connection.prefix + "bench.events", connection.prefix + "bench.predictions"
        model, metric = foundation.model(), foundation.metric()
        async with (
            AIOKafkaConsumer(
                events, **options, auto_offset_reset="earliest", group_id=None
            ) as consumer,
            AIOKafkaProducer(**options) as producer,
        ):
            seen = 0
            while seen < len(rows):
                for batch in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in batch:
                        event = json.loads(record.value)
                        said = model.predict_proba_one(event["features"])
                        metric.update(event["label"], said)
                        model.learn_one(event["features"], event["label"])
                        value = json.dumps({"id": event["id"], "p": said[True]}).encode()
                        await producer.send(out, value, key=record.key)
                        seen += 1
            await producer.flush()

    return foundation.timed(lambda: asyncio.run(run()))


async def latency(connection: Connection, rate: float, seconds: float) -> list[float]:
    """Return each event's milliseconds from its send to its committed prediction."""
    options = connection.client_options()
    rows = foundation.examples(int(rate * seconds) + 1)
    events = [encode_event(event) for event in foundation.inline(rows)]
    mark = f"{time.time_ns()}-"
    sent: dict[bytes, float] = {}
    late: list[float] = []
    topics = Topics("bench")
    place = TopicPartition(connection.prefix + topics.predictions, 0)

    async def produce(producer: AIOKafkaProducer) -> None:
        began = time.perf_counter()
        for number, event in enumerate(events):
            name = f"{mark}{number}"
            value = event.value.replace(f'"id-{number}"'.encode(), f'"{name}"'.encode())
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            sent[name.encode()] = time.perf_counter()
            await producer.send(connection.prefix + topics.events, value, key=b"k")

    async def consume(consumer: AIOKafkaConsumer) -> None:
        while len(late) < len(events):
            for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, ()):
                name = dict(record.headers)["observation-id"]
                if name in sent:
                    late.append((time.perf_counter() - sent[name]) * 1000)

    async with (
        AIOKafkaConsumer(
            **options, isolation_level="read_committed", group_id=None, fetch_max_wait_ms=10
        ) as consumer,
        AIOKafkaProducer(**options) as producer,
    ):
        consumer.assign([place])
        await consumer.seek_to_end(place)
        await asyncio.wait_for(both(produce(producer), consume(consumer)), seconds * 4 + 30)
    return late


async def both(*parts: Awaitable[None]) -> None:
    """Wait for all."""
    await asyncio.gather(*parts)


def latencies(broker: str, rates: list[float], seconds: float) -> None:
    """Print p50 and p99 at some rates, with a real worker process."""
    connection = fresh(broker)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.py"
        file.write_text(PIPELINE.format(folder=str(Path(__file__).parent)))
        command = [sys.executable, "-m", "stream_app", "run", str(file), "--broker", broker]
        command += ["--state", str(Path(folder) / "state")]
        environment = {**os.environ, "STREAM_APP_KAFKA_TOPIC_PREFIX": connection.prefix}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as worker:
            try:
                asyncio.run(latency(connection, 100, 3))  # warms up, and waits for the start
                for rate in rates:
                    times = sorted(asyncio.run(latency(connection, rate, seconds)))
                    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
                    print(f"{rate:8.0f} events/s: p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")
            finally:
                worker.terminate()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", default="kafka://127.0.0.1:9092")
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    calm_garbage_collector()
    rows = foundation.examples(options.events)
    rounds = []
    for _ in range(options.rounds):
        rounds.append(
            {
                "River's bare loop": foundation.bare(rows),
                "plain aiokafka loop, no guarantee": plain_loop(options.broker, rows),
                "exactly once": exactly_once(options.broker, rows),
            }
        )
    print(f"{options.events} examples, median of {len(rounds)} rounds")
    print(f"{'row':36}{'wall µs':>10}{'CPU µs':>10}{'x bare':>9}")
    for row in rounds[0]:
        wall = statistics.median(r[row][0] for r in rounds) / options.events * 1e6
        cpu = statistics.median(r[row][1] for r in rounds) / options.events * 1e6
        ratio = statistics.median(r["River's bare loop"][0] / r[row][0] for r in rounds)
        print(f"{row:36}{wall:10.1f}{cpu:10.1f}{ratio:9.2f}")
    latencies(options.broker, [100.0, 5000.0], options.seconds)


if __name__ == "__main__":
    main()
