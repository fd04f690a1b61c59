"""What was made of records again has to be what was committed: chain, keys and settings."""

from __future__ import annotations

from msgspec import UNSET

from stream_app.core.commit import Commit
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import Recovery
from stream_app.errors import LogUntrusted, StateUntrusted


def require_agreement(
    processor: PartitionProcessor, recovery: Recovery, commit: Commit | None, place: str
) -> None:
    """Compare a processor that stands at the committed position with what was committed there.

    `place` is the topic and partition of its events. Raises `LogUntrusted` for other records, and
    `StateUntrusted` for a checkpoint that other records, or somebody, has made.
    """
    _require_chain(processor, recovery, place)
    _require_keys(processor, commit, place)
    _require_settings(processor, commit, place)


def _require_chain(processor: PartitionProcessor, recovery: Recovery, place: str) -> None:
    committed = recovery.start.committed
    if (processor.next_offset, processor.chain) != (committed, recovery.chain_at_commit):
        raise LogUntrusted(
            f"the records before {place}@{committed} are not the ones that were learned from: "
            "their chain digest differs from the committed one.",
            attempt="delete the state directory to learn all of the log again; if the error "
            "stays, restore the log from a backup",
        )


def _require_keys(processor: PartitionProcessor, commit: Commit | None, place: str) -> None:
    committed = UNSET if commit is None else commit.keys
    if (processor.authority.changed or UNSET) != committed:
        raise _other("keys for controls", place)


def _require_settings(processor: PartitionProcessor, commit: Commit | None, place: str) -> None:
    ours = processor.position()
    if commit is not None and (ours.settings, ours.settings_since) != (
        commit.settings,
        commit.settings_since,
    ):
        raise _other("settings", place)


def _other(what: str, place: str) -> StateUntrusted:
    return StateUntrusted(
        f"the checkpoint of {place} has other {what} than the committed position.",
        attempt="delete the state directory: the state is built again from the log",
    )
