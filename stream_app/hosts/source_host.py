"""Copies one partition of a source into the event log: copies and position are one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from stream_app.codec.intake_headers import REFUSED
from stream_app.codec.mapping import SourceMapper
from stream_app.core.log import Log, ValueClaim
from stream_app.core.source_position import (
    SourcePosition,
    decode_position,
    ledger_place,
    place_name,
    record_digest,
)
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, PositionMissing, SourceUntrusted
from stream_app.hosts.pace import Pace
from stream_app.hosts.source_list import known_sources, note_source
from stream_app.records import NewRecord, Record, format_position

BATCH_RECORDS_MAX = 1000
BATCH_BYTES_MAX = 4 << 20
LOOK_EVERY_S = 5.0
TURN_S = 0.02


def nothing(_step: str) -> None:
    """Watch no steps."""


class SourceHost:
    """The owner of one source partition's position, from opening it to `close`.

    Raises `PositionMissing` and `SourceUntrusted` where going on would lose or double records,
    and `Fenced` from a step when a newer owner has begun: then nothing of the step was written.
    Sources with one `pace` go on together in time. `reached` is called with the name of every
    step; crash tests die there.
    """

    def __init__(
        self,
        log: Log,
        pipeline: str,
        partitions: int,
        topic: str,
        partition: int,
        mapper: SourceMapper,
        *,
        pace: Pace | None = None,
        reached: Callable[[str], None] = nothing,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.place = place_name(topic, partition)
        self.idle = False
        self.records = 0
        self._log = log
        self._sources = log.sources()
        self._pipeline = pipeline
        self._events = Topics(pipeline).events
        self._mapper = mapper
        self._pace = Pace() if pace is None else pace
        self._waiting: list[Record] = []
        self._reached = reached
        self._looked_s = time.monotonic()
        # Fences the previous owner; what it wrote is what we read.
        self._claim: ValueClaim = log.claim_value(
            ledger_place(pipeline, topic, partition, partitions)
        )
        try:
            self._value = self._begin()
            self.position = decode_position(self._value, self.place)
            self._require_same_source()
        except BaseException:
            self._claim.release()
            raise

    @property
    def end(self) -> int:
        """First offset that the source has not given yet."""
        return self._sources.bounds(self.topic, self.partition)[1]

    def step(self, *, until: int | None = None) -> int:
        """Copy what is there, at most a batch, below `until`; returns how many records.

        `idle` tells whether there was nothing: what waits for its `pace` is something.
        """
        self._look()
        records = self._waiting or self._read(until)
        self.idle = not records
        if not records:
            self._pace.rest(self.place)
            return 0
        if not self._pace.may_go(self.place, records[0].timestamp_ms):
            self._waiting = records
            return 0
        self._waiting = []
        if records[0].offset > self.position.next_offset:
            self._require_kept()  # only bounds: every transaction of the others leaves a gap
        self._copy(records)
        self._pace.may_go(self.place, records[-1].timestamp_ms)  # or the next one is not known yet
        self.records += len(records)
        return len(records)

    def _read(self, until: int | None) -> list[Record]:
        try:
            records = self._sources.read(
                self.topic,
                self.partition,
                self.position.next_offset,
                records_max=BATCH_RECORDS_MAX,
                bytes_max=BATCH_BYTES_MAX,
            )
        except LogUntrusted:
            self._require_same()  # what to do about a source of others is another thing to say
            raise
        return [record for record in records if until is None or record.offset < until]

    def wait(self, timeout_s: float) -> bool:
        """Wait for more, or for its turn; False when the time ran out."""
        if self._waiting:
            time.sleep(min(timeout_s, TURN_S))
            return True
        return self._sources.wait(self.topic, self.partition, self.position.next_offset, timeout_s)

    def finish(self) -> None:
        """End in good order: every step has committed already."""

    def close(self) -> None:
        """Give the position back."""
        self._pace.rest(self.place)
        self._claim.release()

    def _copy(self, records: Sequence[Record]) -> None:
        copies: list[NewRecord] = []
        skipped = 0
        for record in records:
            made = self._mapper.copies(record)
            copies += made
            skipped += not made
        refused = sum(any(name == REFUSED for name, _ in copy.headers) for copy in copies)
        before, last = self.position, records[-1]
        position = SourcePosition(
            next_offset=last.offset + 1,
            copied=before.copied + len(copies) - refused,
            refused=before.refused + refused,
            skipped=before.skipped + skipped,
            last_offset=last.offset,
            last_digest=record_digest(last),
            topic_id=before.topic_id,
        )
        value = position.encode()
        self._reached("mapped")
        self._claim.append(self._events, copies, value, expected=self._value)
        self._reached("copied")
        self.position, self._value = position, value

    def _begin(self) -> bytes:
        """Return the position's value, having made the first one where there never was one."""
        value = self._claim.value()
        if value is None:
            if (self.topic, self.partition) in known_sources(self._log, self._pipeline):
                raise PositionMissing(
                    f"{self._pipeline} has copied from {self.place} before, and its position is "
                    f"gone from {self._log.url}.",
                    attempt=f"restore {Topics(self._pipeline).intake}; or --skip-to "
                    f"{self.place}@OFFSET to go on there: the newest records of {self._events} "
                    "say in their header intake-source how far it was copied",
                )
            start, _ = self._sources.bounds(self.topic, self.partition)
            position = SourcePosition(start, topic_id=self._sources.topic_id(self.topic))
            value = position.encode()
            self._claim.append(self._events, [], value, expected=None)
        note_source(self._log, self._pipeline, self.place)
        return value

    def _require_same_source(self) -> None:
        """Raise `SourceUntrusted` where the source is not the one that was copied so far."""
        self._require_same()
        position = self.position
        if position.last_offset is None:
            return
        start, _ = self._sources.bounds(self.topic, self.partition)
        if position.last_offset < start:
            return
        found = self._sources.read(self.topic, self.partition, position.last_offset, records_max=1)
        if not found or found[0].offset != position.last_offset:
            return  # compacted away
        if record_digest(found[0]) != position.last_digest:
            where = format_position(self.topic, self.partition, position.last_offset)
            raise self._another(f"another record is at {where} than the one that was copied")

    def _look(self) -> None:
        """Look now and then whether the source still is what it was."""
        now = time.monotonic()
        if now - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now
            self._require_same()

    def _require_same(self) -> None:
        known = self.position.topic_id
        if known and (found := self._sources.topic_id(self.topic)) != known:
            raise self._another(f"its id is {found}, and was {known}")
        self._require_kept()

    def _require_kept(self) -> None:
        next_offset = self.position.next_offset
        start, end = self._sources.bounds(self.topic, self.partition)
        if end < next_offset:
            raise self._another(f"it ends at {end}, and was copied up to {next_offset}")
        if start > next_offset:
            raise SourceUntrusted(
                f"{self.place} lost the records from {next_offset} to {start}, by its retention, "
                f"before they were copied into {self._events}.",
                attempt=f"--skip-to {format_position(self.topic, self.partition, start)} to go on "
                "without them; and a longer retention for that topic",
            )

    def _another(self, why: str) -> SourceUntrusted:
        return SourceUntrusted(
            f"{self.place} is not the topic that it was: {why}; it was deleted and made anew, or "
            "has lost records.",
            attempt=f"look at it; then --skip-to {format_position(self.topic, self.partition, 0)} "
            "copies it from its beginning",
        )


def skip_to(
    log: Log, pipeline: str, partitions: int, topic: str, partition: int, offset: int
) -> int | None:
    """Set a source partition's position, whatever it was; returns the one it had, if any."""
    place = ledger_place(pipeline, topic, partition, partitions)
    claim = log.claim_value(place)
    try:
        before = claim.value()
        if before is None:
            old = SourcePosition(next_offset=offset)
        else:
            old = decode_position(before, place.key)
        new = msgspec.structs.replace(
            old,
            next_offset=offset,
            last_offset=None,
            last_digest="",
            topic_id=log.sources().topic_id(topic),
        )
        claim.append(Topics(pipeline).events, [], new.encode(), expected=before)
        note_source(log, pipeline, place.key)
    finally:
        claim.release()
    return None if before is None else old.next_offset
