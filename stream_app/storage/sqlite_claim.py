"""The right to write one ledger's partition of the embedded log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stream_app.core.log import LedgerPlace
from stream_app.core.log_rules import released, value_released
from stream_app.records import NewRecord, Output
from stream_app.storage.partition_lock import PartitionLock


class _Publish(Protocol):
    """Writes in the name of a claim; leaves out whether the claim was given back."""

    def __call__(
        self,
        claim: SqliteClaim,
        outputs: Sequence[Output],
        commit: bytes,
        *,
        expected: int | None,
        next_offset: int,
    ) -> None: ...


class _LedgerGet(Protocol):
    """Reads a ledger value."""

    def __call__(self, ledger: str, partition: int, key: str) -> bytes | None: ...


class _Append(Protocol):
    """Appends in the name of a claim; leaves out whether the claim was given back."""

    def __call__(
        self,
        claim: SqliteValueClaim,
        topic: str,
        records: Sequence[NewRecord],
        value: bytes,
        *,
        expected: bytes | None,
    ) -> list[tuple[int, int]]: ...


class SqliteClaim:
    """A `Claim` held through a kernel lock, which death lets go, and an epoch, which fences."""

    def __init__(
        self,
        ledger: str,
        partition: int,
        epoch: int,
        *,
        lock: PartitionLock,
        publish: _Publish,
        ledger_get: _LedgerGet,
    ) -> None:
        self.ledger = ledger
        self.partition = partition
        self._epoch = epoch
        self._lock = lock
        self._publish = publish
        self._ledger_get = ledger_get
        self._released = False

    @property
    def epoch(self) -> int:
        """A number that grows with every claim of this ledger and partition."""
        return self._epoch

    def committed(self) -> bytes | None:
        """Return the newest commit record's bytes, or None when nothing was ever committed."""
        return self._ledger_get(self.ledger, self.partition, "commit")

    def publish(
        self, outputs: Sequence[Output], commit: bytes, *, expected: int | None, next_offset: int
    ) -> None:
        """Append `outputs` and replace the commit record as one atomic, durable step.

        Each output goes to this claim's partition number of its topic. Raises `Fenced` when the
        epoch or the position is no longer ours, and then wrote nothing.
        """
        if self._released:
            raise released(self.ledger, self.partition)
        self._publish(self, outputs, commit, expected=expected, next_offset=next_offset)

    def release(self) -> None:
        """Give the claim back. Ending the process, however it ends, does the same."""
        self._released = True
        self._lock.release()


class SqliteValueClaim:
    """A `ValueClaim` held through a kernel lock, and an epoch, which fences."""

    def __init__(
        self,
        place: LedgerPlace,
        epoch: int,
        *,
        lock: PartitionLock,
        append: _Append,
        ledger_get: _LedgerGet,
    ) -> None:
        self.place = place
        self.epoch = epoch
        self._lock = lock
        self._append = append
        self._ledger_get = ledger_get
        self._released = False

    def value(self) -> bytes | None:
        """Return the value."""
        return self._ledger_get(self.place.ledger, self.place.partition, self.place.key)

    def append(
        self, topic: str, records: Sequence[NewRecord], value: bytes, *, expected: bytes | None
    ) -> list[tuple[int, int]]:
        """Append and set the value as one atomic, durable step; returns the records' places.

        Raises `Fenced` when a newer claim has begun or the value is not `expected`, and then
        wrote nothing.
        """
        if self._released:
            raise value_released(self.place)
        return self._append(self, topic, records, value, expected=expected)

    def release(self) -> None:
        """Give the claim back. Ending the process, however it ends, does the same."""
        self._released = True
        self._lock.release()
