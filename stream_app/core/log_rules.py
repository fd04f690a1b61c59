"""What every log of this machine refuses, in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stream_app.core.log import LedgerPlace
from stream_app.core.topics import Topics
from stream_app.errors import Fenced, StreamAppError, UsageError
from stream_app.near_names import near_name

_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def require_same_counts(wanted: Mapping[str, int], present: Mapping[str, int]) -> list[str]:
    """Return the topics that are still to be made.

    Raises `UsageError` for a name or count that Kafka would refuse too, and for a count that
    differs from the present one: a topic's partitions are for ever, since keys hash to them.
    """
    for topic, count in wanted.items():
        if not _TOPIC_NAME.fullmatch(topic) or count < 1:
            raise UsageError(
                f"A topic {topic!r} with {count} partitions cannot be made.",
                attempt="name it with letters, digits, '.', '_' or '-', and give it 1 or more.",
            )
        if present.get(topic, count) != count:
            raise UsageError(
                f"Topic {topic} has {present[topic]} partitions, not {count}, and keeps them.",
                attempt=f"declare {present[topic]}, or use a new name.",
            )
    return [topic for topic in wanted if topic not in present]


def unknown_topic(url: str, topic: str, present: Iterable[str]) -> StreamAppError:
    """Return the error for a topic that the log does not have."""
    present = sorted(present)
    predictions = Topics(topic).predictions
    meant = f"{predictions}, or another of {topic}'s topics" if predictions in present else None
    known = ", ".join(present[:20]) or "none yet: run a pipeline first"
    return UsageError(
        f"There is no topic {topic} in {url}.",
        attempt=meant or near_name(topic, present) or f"use one of its topics ({known}).",
    )


def require_bounded_read(records_max: int, bytes_max: int) -> None:
    """Raise `UsageError` for a read that could return nothing although there is something."""
    if records_max < 1 or bytes_max < 1:
        raise UsageError(
            f"A read of at most {records_max} records and {bytes_max} bytes reads nothing.",
            attempt="ask for at least one of both.",
        )


def require_plain_key(key: str) -> None:
    """Raise `UsageError` for the ledger key that only a claim may write."""
    if key == "commit":
        raise UsageError(
            "A ledger's `commit` is written by the owner of its claim alone.",
            attempt="claim the partition and `publish`.",
        )


def require_current(
    ledger: str,
    partition: int,
    *,
    claimed: tuple[int, int | None],
    standing: tuple[int, int | None],
) -> None:
    """Raise `Fenced` unless the claim's epoch and committed position are those that stand."""
    if claimed[0] != standing[0]:
        raise Fenced(
            f"Partition {partition} of {ledger} was taken over: this claim's epoch is"
            f" {claimed[0]}, the owner's is {standing[0]}.",
            attempt="let the new owner work; this process must end without saving.",
        )
    if claimed[1] != standing[1]:
        raise Fenced(
            f"Partition {partition} of {ledger} is committed up to {standing[1]},"
            f" where this claim expected {claimed[1]}.",
            attempt="end this process without saving and start it again from the commit.",
        )


def require_value(place: LedgerPlace, *, expected: bytes | None, standing: bytes | None) -> None:
    """Raise `Fenced` unless a ledger value is the one that its owner believes in."""
    if expected != standing:
        raise Fenced(
            f"The {place} is not what this claim expected: somebody else has set it.",
            attempt="end this process and start it again from the value.",
        )


def require_newest(place: LedgerPlace, *, claimed: int, standing: int) -> None:
    """Raise `Fenced` unless no newer claim of a ledger value has begun."""
    if claimed != standing:
        raise Fenced(
            f"The {place} was taken over: this claim's epoch is {claimed}, the owner's is"
            f" {standing}.",
            attempt="let the new owner work; this process must end.",
        )


def value_released(place: LedgerPlace) -> StreamAppError:
    """Return the error for a claim of a value used after it was given back."""
    return Fenced(f"The claim on the {place} was released.", attempt="claim it again.")


def released(ledger: str, partition: int) -> StreamAppError:
    """Return the error for a claim used after it was given back."""
    return Fenced(
        f"The claim on partition {partition} of {ledger} was released.",
        attempt="claim it again.",
    )
