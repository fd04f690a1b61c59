"""The embedded event log: one SQLite file that many processes append to and read at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stream_app.codec.partitioning import partitions_for, require_partition
from stream_app.core.log import DiskUse, LedgerPlace, Owner, Sources
from stream_app.core.log_rules import (
    require_bounded_read,
    require_current,
    require_newest,
    require_plain_key,
    require_same_counts,
    require_value,
    unknown_topic,
)
from stream_app.records import NewRecord, Output, Record
from stream_app.storage import sqlite_errors
from stream_app.storage import sqlite_schema as schema
from stream_app.storage import sqlite_tables as tables
from stream_app.storage.lock_holder import holder_of
from stream_app.storage.partition_lock import PartitionLock, lock_file
from stream_app.storage.record_columns import RecordColumns, dense, take
from stream_app.storage.sqlite_claim import SqliteClaim, SqliteValueClaim
from stream_app.storage.sqlite_file import SqliteFile

BUSY_TIMEOUT_MS = 10_000
RETAIN_RECORDS_PER_STEP = 5_000

# How long a waiting reader sleeps before it looks again for what other processes appended: a
# tenth of the time that nothing came, so that a busy topic is seen soon and an idle one costs
# well under 1 % of a core (waking up alone takes about 0.1 ms).
_PAUSE_SHARE = 0.1
_PAUSE_MIN_S = 0.001
_PAUSE_MAX_S = 0.05


def wall_clock_ms() -> int:
    """Return this machine's time as Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SqliteLog:
    """A `Log` in one file of this machine, safe for many processes and threads.

    What `append` and `publish` return from is on disk: it survives kill -9 and a power cut.
    Every call may raise `LogUnavailable` (disk, permissions), `LogBusy` (another process held
    the file longer than the busy timeout) and `LogUntrusted` (damaged or replaced file).
    Open it anew in every process: a forked child is refused.
    """

    keeps_ledgers_in_topics = False
    every_offset_is_a_record = True

    def __init__(self, file: SqliteFile, url: str, clock_ms: Callable[[], int]) -> None:
        self._file = file
        self._path = file.path
        self._writing = file.writing
        self._reading = file.reading
        self._url = url
        self._clock_ms = clock_ms
        self._changed = threading.Condition()
        self._changes = 0
        self._grew: dict[int, float] = {}
        self._topics: dict[str, list[int]] = {}
        self._claims: list[SqliteClaim | SqliteValueClaim] = []

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool,
        read_only: bool = False,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> SqliteLog:
        """Open the log at `path`; with `create`, make it first when there is none.

        A new log's files belong to their user alone (mode 0600). Raises `LogUnavailable` when
        it cannot be opened, `LogUntrusted` when the file is not a log, damaged or too new.
        """
        place = Path(path).resolve()
        file = SqliteFile.open(
            place, create=create, read_only=read_only, busy_timeout_ms=busy_timeout_ms
        )
        try:
            with file.reading() as connection:
                tables.require_ends(connection)
        except BaseException:
            file.close()
            raise
        return cls(file, f"sqlite:///{os.fspath(path)}", clock_ms)

    @property
    def url(self) -> str:
        """How a person names this log."""
        return self._url

    @property
    def log_id(self) -> str:
        """The identity given to this file when it was made."""
        return self._file.log_id

    def topic_id(self, topic: str) -> str:  # noqa: ARG002
        """Return nothing: no topic is ever deleted."""
        return ""

    def topics(self) -> Mapping[str, int]:
        """Return the partition count of every topic."""
        self._load_topics()
        return {topic: len(row_ids) for topic, row_ids in self._topics.items()}

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Create what is missing; raises `UsageError` when a count differs from the present."""
        with self._writing() as connection:
            present = {topic: len(rows) for topic, rows in tables.topics(connection).items()}
            for topic in require_same_counts(partitions, present):
                rows = [(topic, number) for number in range(partitions[topic])]
                connection.executemany(schema.INSERT_PARTITION, rows)

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """Append durably, all or none; returns each record's (partition, offset)."""
        batches, places = self._batches_of(topic, records)
        with self._writing() as connection:
            first = tables.insert(connection, batches, self._clock_ms())
        self._announce()
        return [(partition, first[partition] + index) for partition, index in places]

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 1 << 24
    ) -> list[Record]:
        """Return records from `offset` on, in order, at least one if there is one.

        `bytes_max` bounds keys, values and headers together. Raises `LogUntrusted` when records
        that must be there are not.
        """
        require_bounded_read(records_max, bytes_max)
        row_id = self._row_id(topic, partition)
        with self._reading() as connection:
            start, stop = tables.bounds(connection, row_id)
            first = max(offset, start)
            if first >= stop:
                return []
            base = row_id << schema.OFFSET_BITS
            cursor = connection.execute(
                schema.SELECT_RECORDS, (base + first, base + stop, records_max)
            )
            records = take(cursor, topic, partition, bytes_max, checked=self._file.checked)
            cursor.close()
        if not dense(records, first):
            raise sqlite_errors.records_missing(self._path, topic, partition, first)
        return records

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset still kept, first offset not yet given)."""
        row_id = self._row_id(topic, partition)
        with self._reading() as connection:
            start, stop = tables.bounds(connection, row_id)
        return start, stop

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until `offset` may be readable; False when the time ran out.

        An append of this object wakes it at once, one of another process after at most a tenth
        of the time that nothing came, and 50 ms.
        """
        row_id = self._row_id(topic, partition)
        deadline = time.monotonic() + timeout_s
        seen_version: int | None = None
        while True:
            changes = self._changes
            seen_version, reached = self._reached(row_id, offset, seen_version)
            now = time.monotonic()
            if reached:
                self._grew[row_id] = now
            if reached or now >= deadline:
                return reached
            quiet_s = now - self._grew.setdefault(row_id, now)
            pause_s = min(max(quiet_s * _PAUSE_SHARE, _PAUSE_MIN_S), _PAUSE_MAX_S, deadline - now)
            with self._changed:
                if self._changes == changes:
                    self._changed.wait(pause_s)

    def claim(self, ledger: str, partition: int) -> SqliteClaim:
        """Take this ledger's partition over; raises `LogBusy` while another owner lives."""
        lock, epoch = self._claim(ledger, partition)
        claim = SqliteClaim(
            ledger,
            partition,
            epoch,
            lock=lock,
            publish=self._publish,
            ledger_get=self.ledger_get,
        )
        self._claims.append(claim)
        return claim

    def _claim(self, ledger: str, partition: int) -> tuple[PartitionLock, int]:
        """Return the kernel lock, and the epoch that fences whoever had it before."""
        self._file.require_writable()
        lock = PartitionLock.take(self._path, ledger, partition)
        try:
            with self._writing() as connection:
                return lock, tables.row(connection, schema.RAISE_EPOCH, (ledger, partition))[0]
        except BaseException:
            lock.release()
            raise

    def ledger_get(self, ledger: str, partition: int, key: str) -> bytes | None:
        """Return a ledger value, or None."""
        with self._reading() as connection:
            return tables.ledger_value(connection, ledger, partition, key)

    def ledger_put(
        self, ledger: str, partition: int, key: str, value: bytes, *, expected: bytes | None
    ) -> bool:
        """Set a ledger value if it still equals `expected`; durable; False when it does not."""
        require_plain_key(key)
        with self._writing() as connection:
            if tables.ledger_value(connection, ledger, partition, key) != expected:
                return False
            connection.execute(schema.UPSERT_LEDGER, (ledger, partition, key, value))
        return True

    def append_with_ledger(
        self,
        topic: str,
        records: Sequence[NewRecord],
        place: LedgerPlace,
        value: bytes,
        *,
        expected: bytes | None,
    ) -> list[tuple[int, int]] | None:
        """Append and set a ledger value as one step; None when it is not `expected`."""
        require_plain_key(place.key)

        def stands(connection: tables.Connection) -> bool:
            return tables.value_at(connection, place) == expected

        return self._append_if(stands, topic, records, place, value)

    def claim_value(self, place: LedgerPlace) -> SqliteValueClaim:
        """Own a ledger value; raises `LogBusy` while another owner lives."""
        require_plain_key(place.key)
        lock, epoch = self._claim(*tables.claimed_as(place))
        claim = SqliteValueClaim(
            place, epoch, lock=lock, append=self._append_owned, ledger_get=self.ledger_get
        )
        self._claims.append(claim)
        return claim

    def sources(self) -> Sources:
        """Return this log: topics are topics here, whoever writes them."""
        return self

    def retain(self, topic: str, partition: int, *, from_offset: int) -> int:
        """Delete the records below `from_offset`; returns how many there were.

        Offsets are never given again. Works in short steps, so that appends go on beside it.
        """
        row_id = self._row_id(topic, partition)
        deleted = 0
        while True:
            with self._writing() as connection:
                step = tables.delete_below(connection, row_id, from_offset, RETAIN_RECORDS_PER_STEP)
            if step == 0:
                return deleted
            deleted += step

    def retain_since(self, topic: str, timestamp_ms: int) -> int:
        """Delete the records appended before `timestamp_ms`; returns how many there were."""
        deleted = 0
        for partition, row_id in enumerate(self._row_ids(topic)):
            with self._reading() as connection:
                first = tables.first_since(connection, row_id, timestamp_ms)
            deleted += self.retain(topic, partition, from_offset=first)
        return deleted

    def owner(self, ledger: str, partition: int) -> Owner | None:
        """Return the process that holds a partition's kernel lock."""
        holder = holder_of(lock_file(self._path, ledger, partition))
        if holder is None:
            return None
        return Owner(holder.described, holder.pid, holder.stopped, holder.attempt)

    def disk_use(self) -> DiskUse | None:
        """Return what the log's files take on disk, and the pages in them that hold nothing."""
        sizes = []
        for suffix in ("", "-wal"):
            with suppress(OSError):
                sizes.append(self._path.with_name(self._path.name + suffix).stat().st_size)
        with self._file.looking() as connection:
            free = connection.pragma("freelist_count") * connection.pragma("page_size")
        return DiskUse(sum(sizes), free)

    def close(self) -> None:
        """Let go of claims, files and connections; a second call does nothing."""
        if self._file.closed:
            return
        for claim in self._claims:
            claim.release()
        self._file.close()
        self._announce()

    def _publish(
        self,
        claim: SqliteClaim,
        outputs: Sequence[Output],
        commit: bytes,
        *,
        expected: int | None,
        next_offset: int,
    ) -> None:
        """Do what `SqliteClaim.publish` promises."""
        batches = self._batches_of_outputs(outputs, claim.partition)
        place = (claim.ledger, claim.partition)
        with self._writing() as connection:
            epoch, committed = tables.row(connection, schema.SELECT_CLAIM, place)
            require_current(*place, claimed=(claim.epoch, expected), standing=(epoch, committed))
            tables.insert(connection, batches, self._clock_ms())
            connection.execute(schema.UPDATE_CLAIM, (next_offset, *place))
            connection.execute(schema.UPSERT_LEDGER, (*place, "commit", commit))
        self._announce()

    def _append_owned(
        self,
        claim: SqliteValueClaim,
        topic: str,
        records: Sequence[NewRecord],
        value: bytes,
        *,
        expected: bytes | None,
    ) -> list[tuple[int, int]]:
        """Do what `SqliteValueClaim.append` promises."""
        place = claim.place

        def is_ours(connection: tables.Connection) -> bool:
            epoch = tables.row(connection, schema.SELECT_CLAIM, tables.claimed_as(place))[0]
            require_newest(place, claimed=claim.epoch, standing=epoch)
            standing = tables.value_at(connection, place)
            require_value(place, expected=expected, standing=standing)
            return True

        return self._append_if(is_ours, topic, records, place, value) or []

    def _append_if(
        self,
        allowed: Callable[[tables.Connection], bool],
        topic: str,
        records: Sequence[NewRecord],
        place: LedgerPlace,
        value: bytes,
    ) -> list[tuple[int, int]] | None:
        """Append and set a ledger value in one transaction; None when that is not allowed."""
        batches, places = self._batches_of(topic, records) if records else ({}, [])
        with self._writing() as connection:
            if not allowed(connection):
                return None
            first = tables.insert(connection, batches, self._clock_ms())
            tables.set_value(connection, place, value)
        self._announce()
        return [(partition, first[partition] + index) for partition, index in places]

    # -- preparing, outside any transaction

    def _batches_of(
        self, topic: str, records: Sequence[NewRecord]
    ) -> tuple[dict[int, RecordColumns], list[tuple[int, int]]]:
        """Sort records by partition; also return each one's partition and place in its batch."""
        row_ids = self._row_ids(topic)
        batches: dict[int, RecordColumns] = {}
        places: list[tuple[int, int]] = []
        partitions = partitions_for(topic, records, len(row_ids))
        for record, partition in zip(records, partitions, strict=True):
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = RecordColumns(
                    row_ids[partition], checked=self._file.checked
                )
            places.append((partition, batch.add(record)))
        return batches, places

    def _batches_of_outputs(
        self, outputs: Sequence[Output], partition: int
    ) -> dict[str, RecordColumns]:
        batches: dict[str, RecordColumns] = {}
        for output in outputs:
            batch = batches.get(output.topic)
            if batch is None:
                row_id = self._row_id(output.topic, partition)
                batch = batches[output.topic] = RecordColumns(row_id, checked=self._file.checked)
            batch.add(output)
        return batches

    def _row_ids(self, topic: str) -> list[int]:
        row_ids = self._topics.get(topic)
        if row_ids is None:
            self._load_topics()
            row_ids = self._topics.get(topic)
        if row_ids is None:
            raise unknown_topic(self._url, topic, self._topics)
        return row_ids

    def _row_id(self, topic: str, partition: int) -> int:
        row_ids = self._row_ids(topic)
        require_partition(topic, partition, len(row_ids))
        return row_ids[partition]

    def _load_topics(self) -> None:
        with self._reading() as connection:
            self._topics = tables.topics(connection)

    def _reached(self, row_id: int, offset: int, seen: int | None) -> tuple[int, bool]:
        """Look whether `offset` was given; cheap while nobody has written since `seen`."""
        with self._file.looking() as connection:
            version: int = tables.row(connection, "PRAGMA data_version")[0]
            if version == seen:
                return version, False
            return version, tables.bounds(connection, row_id)[1] > offset

    def _announce(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()
