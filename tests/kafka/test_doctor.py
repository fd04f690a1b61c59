"""`doctor` on a real cluster: each thing is broken for real, named, repaired as told, and gone."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from stream_app.codec.partitioning import partition_of
from stream_app.core.upkeep import Finding
from stream_app.hosts.doctor import doctor, wall_clock_ms
from stream_app.hosts.event_samples import SAMPLED_MAX
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.registration import register
from stream_app.hosts.topic_report import topics_made
from stream_app.kafka.admin import administer
from stream_app.kafka.connection import Connection, connection
from tests.cli.terminal import Terminal
from tests.kafka.broker import Broker
from tests.kafka.cluster import HasBootstrap, Place
from tests.kafka.transactions import commit, leave_open, transaction

NOW_MS = 1_700_000_000_000
# The protocol's numbers of what ACLs are about; of these operations each but the last implies
# that things may be seen (Describe).
TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 8, 10


class Patient(Place):
    """A pipeline whose topics are made, and that a doctor is asked about."""

    def make(self, partitions: int = 1) -> None:
        topics_made(self.url, str(self.file), self.plan(), partitions=partitions)

    def start(self) -> None:
        """Write the manifest, as the first start does."""
        log = open_broker(self.url)
        try:
            register(log, self.plan(), dict)
        finally:
            log.close()

    def findings(
        self, *, role: str = "worker", clock_ms: Callable[[], int] = wall_clock_ms
    ) -> list[Finding]:
        """Return all but what every broker without replicas is told."""
        found = doctor(self.url, str(self.file), self.plan(), role=role, clock_ms=clock_ms)
        rows = found.findings
        return [row for row in rows if (row.level, row.check) != ("note", "durability")]

    def one(self, check: str) -> Finding:
        """Return the only finding, which is of this check."""
        [found] = self.findings()
        assert found.check == check, found
        return found

    def observations(
        self, count: int, partitions: int = 1, *, ts_ms: int = NOW_MS, key: str | None = None
    ) -> list[tuple[bytes | None, bytes, int]]:
        """Return rows to send that are all right but for the time or key that is given."""
        rows: list[tuple[bytes | None, bytes, int]] = []
        for i in range(count):
            own = f"o{i}" if key is None else key
            event = {"kind": "observation", "id": f"o{i}", "ts_ms": ts_ms}
            value = json.dumps(event | {"features": {"price": 1.0}}).encode()
            rows.append((own.encode(), value, partition_of(own.encode(), partitions)))
        return rows


@pytest.fixture
def patient(broker: HasBootstrap, tmp_path: Path) -> Iterator[Patient]:
    made = Patient(broker.bootstrap, tmp_path)
    yield made
    made.delete()


def test_a_pipeline_with_the_topics_that_were_made_for_it_is_well(patient: Patient) -> None:
    patient.make()
    assert patient.findings() == []
    patient.start()
    patient.send("events", patient.observations(10))
    assert patient.findings() == []


def test_one_replica_is_a_note(patient: Patient) -> None:
    patient.make()
    [note] = doctor(patient.url, str(patient.file), patient.plan()).findings
    assert (note.level, note.check) == ("note", "durability")
    assert "one replica" in note.what


def test_a_missing_topic_is_found_until_it_is_made(patient: Patient) -> None:
    patient.make()
    patient.delete("drift-alerts")
    found = patient.one("missing")
    assert found.where == patient.topic("drift-alerts")
    assert found.attempt == f"stream-app topics {patient.file} --create --broker {patient.url}"
    patient.make()
    assert patient.findings() == []


def test_a_transaction_that_stays_open_is_found_until_it_ends(patient: Patient) -> None:
    patient.make()
    at = Connection(connection(patient.url).servers)
    rows = [(patient.topic("predictions"), b"k", b"theirs")]
    transaction(at, rows, leave_open, patient.name)
    found = patient.one("transaction")
    assert (found.level, found.where) == ("problem", f"{patient.topic('predictions')}/0@0")
    assert "kafka-transactions.sh" in found.attempt
    transaction(at, rows, commit, patient.name)  # whose start has aborted the one before
    assert patient.findings() == []


WRONG = {
    ("events", "message.timestamp.type"): ("CreateTime", "append-time"),
    ("predictions", "message.timestamp.type"): ("CreateTime", "append-time"),
    ("ledger", "message.timestamp.type"): ("CreateTime", "append-time"),
    ("events", "cleanup.policy"): ("compact", "cleanup-policy"),
    ("shadow.v2", "cleanup.policy"): ("compact,delete", "cleanup-policy"),
    ("ledger", "cleanup.policy"): ("delete", "cleanup-policy"),
    ("checkpoints", "cleanup.policy"): ("compact,delete", "cleanup-policy"),
    ("events", "retention.ms"): ("604800000", "retention"),
    ("events", "retention.bytes"): ("1000000000", "retention"),
    ("events", "max.message.bytes"): ("65536", "message-size"),
    ("checkpoints", "max.message.bytes"): ("65536", "message-size"),
    ("dead-letters", "min.insync.replicas"): ("2", "durability"),
}


def test_wrong_settings_are_found_until_they_are_set_as_told(patient: Patient) -> None:
    patient.make()
    for (ending, name), (value, _) in WRONG.items():
        patient.set(ending, **{name.replace(".", "_"): value})
    found = patient.findings()
    assert {row.level for row in found} == {"problem"}
    seen = {(row.where.removeprefix(f"{patient.name}."), row.what.split()[0]): row for row in found}
    assert {at: row.check for at, row in seen.items()} == {
        at: check for at, (_, check) in WRONG.items()
    }
    assert len(found) == len(WRONG)
    for at, (value, _) in WRONG.items():
        assert f" is {value}" in seen[at].what
    for row in found:
        patient.carry_out(row.attempt)
    assert patient.findings() == []


def test_events_may_be_as_large_as_the_declared_limit(patient: Patient) -> None:
    patient.make()
    patient.declare(value_bytes_max=3_000_000)
    found = patient.one("message-size")
    assert found.where == patient.topic("events")
    patient.carry_out(found.attempt)
    assert patient.findings() == []


def test_topics_of_a_started_pipeline_have_the_manifests_number_of_partitions(
    patient: Patient,
) -> None:
    patient.declare(model_per="key")
    patient.make(partitions=2)
    patient.start()
    patient.delete("evaluations")
    patient.create(
        "evaluations", partitions=1, message_timestamp_type="LogAppendTime", cleanup_policy="delete"
    )
    found = patient.one("partitions")
    assert found.where == patient.topic("evaluations")
    patient.carry_out(found.attempt)
    assert patient.findings() == []


def test_more_partitions_of_events_than_the_manifest_has_cannot_be_repaired(
    patient: Patient,
) -> None:
    patient.make()
    patient.start()
    patient.grow("events", 3)
    found = patient.one("partitions")
    assert found.where == patient.topic("events")
    assert "is 3, and has to be 1" in found.what
    assert "new name" in found.attempt


def test_a_log_that_has_lost_its_origin_says_so(patient: Patient) -> None:
    patient.make()
    patient.start()
    patient.send("events", patient.observations(10))
    assert patient.findings() == []
    patient.forget("events", before=4)
    found = patient.one("origin")
    assert (found.level, found.where) == ("note", f"{patient.topic('events')}/0@0")
    assert "to 4 are gone" in found.what


def test_keys_that_are_not_the_events_own_are_found_until_newer_ones_are(patient: Patient) -> None:
    patient.make()
    wrong = [(b"elsewhere", value, place) for _, value, place in patient.observations(2)]
    patient.send("events", wrong + patient.observations(3))
    found = patient.one("keys")
    assert "2 of the newest 5 events" in found.what
    assert f"{patient.topic('events')}/0@1 has 'elsewhere', not 'o1'" in found.what
    patient.send("events", patient.observations(SAMPLED_MAX))
    assert patient.findings() == []


@pytest.mark.parametrize("cause", ["CRC32", "random"])
def test_another_partitioner_is_found_until_newer_events_are_where_they_belong(
    patient: Patient, cause: str
) -> None:
    patient.declare(model_per="key")
    patient.make(partitions=4)
    rows = patient.observations(40, 4)
    if cause == "CRC32":
        wrong = [(key, value, zlib.crc32(key or b"") % 4) for key, value, _ in rows]
    else:
        wrong = [(b"", value, 3 - place) for _, value, place in rows]
    patient.send("events", wrong)
    [found] = [row for row in patient.findings() if row.check == "partitioner"]
    assert ("by CRC32" in found.what) == (cause == "CRC32")
    assert "partitioner=murmur2_random" in found.attempt
    patient.send("events", patient.observations(6 * SAMPLED_MAX, 4))
    assert patient.findings() == []


def test_times_in_another_unit_are_found_until_newer_events_are_in_milliseconds(
    patient: Patient,
) -> None:
    patient.make()
    wrong = {
        "looks like seconds": NOW_MS // 1000,
        "looks like microseconds": NOW_MS * 1000,
        "looks like nanoseconds": NOW_MS * 1_000_000,
        "is too far ahead of the time of append": NOW_MS * 3,
        "is before the earliest allowed": 7,
    }
    for ts_ms in wrong.values():
        patient.send("events", patient.observations(3, ts_ms=ts_ms))
    found = patient.findings()
    assert [row.check for row in found] == ["event-time"] * len(wrong)
    for words, ts_ms in wrong.items():
        assert any(words in row.what and f"has {ts_ms}" in row.what for row in found), words
    patient.send("events", patient.observations(SAMPLED_MAX))
    assert patient.findings() == []


def test_what_is_no_event_at_all_is_left_to_the_gate(patient: Patient) -> None:
    patient.make()
    bad = [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000, b'{"id": 7, "ts_ms": "x", "key": []}']
    patient.send("events", [(b"k", value, 0) for value in bad])
    assert patient.findings() == []


def test_a_shadow_of_no_declared_version_is_noted_until_it_is_deleted(patient: Patient) -> None:
    patient.make()
    patient.declare(versions=("v1",))
    found = patient.one("leftover")
    assert (found.level, found.where) == ("note", patient.topic("shadow.v2"))
    patient.carry_out(found.attempt)
    assert patient.findings() == []


def test_a_broker_that_is_ahead_of_this_machine_shows_in_its_newest_record(
    patient: Patient,
) -> None:
    patient.make()
    patient.send("events", patient.observations(1))
    late = patient.findings(clock_ms=lambda: wall_clock_ms() - 3_600_000)
    assert [row.check for row in late] == ["clock"]
    assert "ahead of" in late[0].what
    assert patient.findings() == []


@pytest.mark.parametrize(("shift_ms", "word"), [(-60_000, "ahead of"), (60_000, "behind")])
def test_while_events_come_a_skew_shows_both_ways(
    patient: Patient, shift_ms: int, word: str
) -> None:
    patient.make()
    enough = threading.Event()

    def produce() -> None:
        while not enough.is_set():
            patient.send("events", patient.observations(1))
            time.sleep(0.05)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        skewed = patient.findings(clock_ms=lambda: wall_clock_ms() + shift_ms)
        right = patient.findings()
    finally:
        enough.set()
        producer.join()
    assert [row.check for row in skewed] == ["clock"]
    assert f"{word} this machine's" in skewed[0].what
    assert right == []


def test_looking_changes_nothing(patient: Patient) -> None:
    patient.make()
    patient.start()
    patient.send("events", patient.observations(5))
    endings = [name.removeprefix(f"{patient.name}.") for name in patient.partitions()]

    def everything() -> list[object]:
        log = open_broker(patient.url)
        try:
            ends = {name: log.bounds(patient.topic(name), 0) for name in endings}
        finally:
            log.close()
        return [patient.partitions(), ends, {name: patient.settings(name) for name in endings}]

    before = everything()
    patient.findings()
    assert everything() == before


def test_the_exit_code_is_5_while_something_needs_a_person(
    patient: Patient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    terminal = Terminal(tmp_path_factory.mktemp("terminal"))
    try:
        patient.make()
        patient.start()
        arguments = ("doctor", "shop.py", "--broker", patient.url)
        well = terminal.run(patient.directory, *arguments)
        assert well.code == 0, well
        assert well.out.splitlines()[-1].endswith("0 problems, 1 note")
        patient.set("events", retention_ms="1000000")
        ill = terminal.run(patient.directory, *arguments)
        assert ill.code == 5, ill
        assert ill.out.startswith(f"Problem retention: {patient.topic('events')}: ")
        assert "Try: kafka-configs.sh " in ill.out
        by_name = terminal.run(patient.directory, "doctor", patient.name, *arguments[2:], "--json")
        assert by_name.code == 5, by_name
        assert [row["check"] for row in by_name.json()] == ["retention", "durability"]
    finally:
        terminal.close()


def test_acls_are_printed_for_each_role_with_prefixes(
    patient: Patient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    terminal = Terminal(tmp_path_factory.mktemp("terminal"))
    try:
        arguments = ("doctor", patient.name, "--acls", "--reader-principal", "User:CN=a b")
        printed = terminal.run(patient.directory, *arguments, "--broker", patient.url)
    finally:
        terminal.close()
    assert printed.code == 0, printed
    lines = printed.out.splitlines()
    start = f"kafka-acls.sh --bootstrap-server {patient.bootstrap} --add --allow-principal"
    assert all(line.startswith(start) for line in lines)
    worker = [line.removeprefix(f"{start} ") for line in lines if "User:worker" in line]
    prefixed = f"{patient.name}. --resource-pattern-type prefixed"
    assert f"User:worker --operation Write --operation Describe --transactional-id {prefixed}" in (
        worker
    )
    assert sum("'User:CN=a b'" in line for line in lines) == 2


@pytest.fixture(scope="module")
def guarded(kafka_is_here: None) -> Iterator[Broker]:
    """A broker that obeys ACLs, and allows all where there are none."""
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with Broker(properties) as running:
        yield running


def test_rights_that_the_credentials_lack_are_found_until_they_are_given(
    guarded: Broker, tmp_path: Path
) -> None:
    patient = Patient(guarded.bootstrap, tmp_path)
    patient.make()
    patient.start()
    assert patient.findings() == []
    _allow(patient, TOPIC, READ)
    _allow(patient, TOPIC, DESCRIBE_CONFIGS)
    _allow(patient, GROUP, DESCRIBE)
    _allow(patient, TRANSACTIONAL_ID, WRITE, "User:somebody-else")
    rows = patient.findings()
    assert [row.check for row in rows] == ["acls"] * 3
    where = {row.where.split()[0]: row for row in rows}
    assert "has to Write there" in where["topic"].what
    assert "has to Read there" in where["group"].what
    assert "Describe, Write" in where["transactional-id"].what
    assert [row.where.split()[0] for row in patient.findings(role="reader")] == ["group"]
    [producers] = patient.findings(role="producer")
    assert producers.where == f"topic {patient.topic('events')}"
    _allow(patient, TOPIC, WRITE)
    _allow(patient, GROUP, READ)
    _allow(patient, TRANSACTIONAL_ID, WRITE)
    assert patient.findings() == []


def _allow(patient: Patient, kind: int, operation: int, principal: str = "User:ANONYMOUS") -> None:
    """Add an ACL on the pipeline's prefix."""
    prefixed, allow = 4, 3

    async def use(admin: AIOKafkaAdminClient) -> None:
        request = CreateAclsRequest(
            kind, f"{patient.name}.", prefixed, principal, "*", operation, allow
        )
        answer = await admin._send_to_controller(request)
        assert answer.to_object()["creation_responses"][0]["error_code"] == 0, answer

    administer(patient.connection, "testing", use)
    time.sleep(0.1)
