"""What hosts need of an event log: topics to read and append, and a fenced ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from stream_app.records import NewRecord, Output, Record


class Owner(msgspec.Struct, frozen=True):
    """Who works on a partition now, as far as its log can tell.

    `described` names it for people; `stopped` when it is frozen, and `attempt` says what to do.
    """

    described: str
    pid: int | None = None
    stopped: bool = False
    attempt: str = ""


class DiskUse(msgspec.Struct, frozen=True):
    """What a log's files take, in bytes, and how much of that new records take first."""

    total: int
    free: int


class Claim(Protocol):
    """The right to write one lineage's partition; at most one claim is valid at a time.

    Leaves out reading events: any number of readers may do that on the log itself.
    """

    @property
    def epoch(self) -> int:
        """A number that grows with every claim of this ledger and partition."""
        ...

    def committed(self) -> bytes | None:
        """Return the newest commit record's bytes, or None when nothing was ever committed."""
        ...

    def publish(
        self, outputs: Sequence[Output], commit: bytes, *, expected: int | None, next_offset: int
    ) -> None:
        """Append `outputs` and replace the commit record as one atomic, durable step.

        `expected` is the `next_offset` that this claim believes committed (None: no commit yet).
        Raises `Fenced` when the epoch or the position is no longer ours, and then wrote nothing.
        """
        ...

    def release(self) -> None:
        """Give the claim back. Ending the process, however it ends, does the same."""
        ...


class LedgerPlace(msgspec.Struct, frozen=True):
    """Where a ledger keeps one value."""

    ledger: str
    partition: int
    key: str

    def __str__(self) -> str:
        return f"{self.key} of {self.ledger}/{self.partition}"


class ValueClaim(Protocol):
    """The right to set one ledger value, with records beside it; the newest claim alone has it.

    Leaves out reading records, and claims of partitions: those have a position of their own.
    """

    def value(self) -> bytes | None:
        """Return the value as this claim knows it: found when it began, or set by it since."""
        ...

    def append(
        self, topic: str, records: Sequence[NewRecord], value: bytes, *, expected: bytes | None
    ) -> list[tuple[int, int]]:
        """Append and set the value as one atomic, durable step; returns the records' places.

        `expected` is the value that the owner believes in. Raises `Fenced` when a newer claim has
        begun or the value is another one, and then wrote nothing. Without records only the value
        is set.
        """
        ...

    def release(self) -> None:
        """Give the claim back. Ending the process, however it ends, does the same."""
        ...


class Sources(Protocol):
    """Topics that others write to, under the names that they gave them.

    Leaves out everything that would change them but `append`, for who plays the others' part.
    """

    def topics(self) -> Mapping[str, int]:
        """Return the partition count of every topic."""
        ...

    def topic_id(self, topic: str) -> str:
        """Return a topic's identity, as `Log.topic_id` does."""
        ...

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """Append durably; returns each record's (partition, offset)."""
        ...

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 1 << 24
    ) -> list[Record]:
        """Return committed records from `offset` on, as `Log.read` does."""
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset still kept, first offset not yet given)."""
        ...

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until `offset` may be readable; False when the time ran out."""
        ...


class Log(Protocol):
    """Topics of partitions of records, and beside them a ledger of small named values.

    Leaves out consumer groups and deserialisation: positions are ours and bytes stay bytes.
    """

    @property
    def url(self) -> str:
        """How a person names this log, without credentials."""
        ...

    @property
    def log_id(self) -> str:
        """The identity of this log, made when it was; another file or cluster has another."""
        ...

    def topic_id(self, topic: str) -> str:
        """Return a topic's identity, which one made anew under its name has not.

        Empty where the log's own identity says as much.
        """
        ...

    @property
    def keeps_ledgers_in_topics(self) -> bool:
        """Whether ledgers and checkpoints are topics, which have to be there like all others."""
        ...

    @property
    def every_offset_is_a_record(self) -> bool:
        """Whether an end less a start counts records; otherwise nobody can without reading them."""
        ...

    def topics(self) -> Mapping[str, int]:
        """Return the partition count of every topic."""
        ...

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Create what is missing; raises `UsageError` when a count differs from the present."""
        ...

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """Append durably, all or none; returns each record's (partition, offset)."""
        ...

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 1 << 24
    ) -> list[Record]:
        """Return records from `offset` on, in order, at least one if there is one.

        Never waits. Records below the start (retention) are skipped: compare `bounds`.
        """
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset still kept, first offset not yet given)."""
        ...

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait, without spinning, until `offset` may be readable; False when the time ran out."""
        ...

    def claim(self, ledger: str, partition: int) -> Claim:
        """Fence any previous owner of this ledger's partition and own it.

        Raises `LogBusy`, naming the process id, when a living process of this machine owns it.
        """
        ...

    def ledger_get(self, ledger: str, partition: int, key: str) -> bytes | None:
        """Return a ledger value ("manifest", "settings", "commit"), or None."""
        ...

    def ledger_put(
        self, ledger: str, partition: int, key: str, value: bytes, *, expected: bytes | None
    ) -> bool:
        """Set a ledger value if it still equals `expected`; durable; False when it does not."""
        ...

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
        ...

    def claim_value(self, place: LedgerPlace) -> ValueClaim:
        """Fence any previous owner of a ledger value and own it.

        Raises `LogBusy`, naming the process id, when a living process of this machine owns it.
        """
        ...

    def sources(self) -> Sources:
        """Return the topics of others that can be read here; they close with this log."""
        ...

    def owner(self, ledger: str, partition: int) -> Owner | None:
        """Return who works on a ledger's partition; None for nobody, or when it cannot be told."""
        ...

    def disk_use(self) -> DiskUse | None:
        """Return what the log takes on this machine's disk; None where it is on another."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
