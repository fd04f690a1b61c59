"""What a person does to kept checkpoints: keep one by a name, prune, forget, restore."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.environment import this_environment
from stream_app.core.keeping import Keep
from stream_app.core.log import Log
from stream_app.core.position import Position
from stream_app.core.recovery import require_own
from stream_app.core.topics import Topics
from stream_app.errors import StateUnavailable, StateUntrusted, UsageError
from stream_app.hosts.checkpoints import bytes_on_disk, saved_position
from stream_app.hosts.event_positions import event_position, require_meant
from stream_app.hosts.manifests import committed
from stream_app.hosts.state_directory import StateDirectory
from stream_app.near_names import did_you_mean
from stream_app.storage.kept_directory import Kept, KeptDirectory, copy_state
from stream_app.storage.private_files import is_there, named_os_errors, sync_directory
from stream_app.storage.rocksdb_store import RocksdbStore

_NAME = re.compile(r"(?=.*[a-z-])[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Change(msgspec.Struct, frozen=True):
    """What was done, or would be: to which checkpoint, and which directory that is."""

    change: str
    partition: int
    next_offset: int
    name: str | None
    directory: str


class KeptCheckpoints:
    """The kept checkpoints of some partitions of a pipeline, by default of all."""

    def __init__(
        self, log: Log, manifest: Manifest, state: StateDirectory, partition: int | None = None
    ) -> None:
        self._log = log
        self._manifest = manifest
        self._state = state
        if partition is not None:
            require_meant(manifest.pipeline, partition, manifest.partitions)
        every = range(manifest.partitions)
        self._partitions: Sequence[int] = every if partition is None else [partition]

    def keep(self, name: str) -> list[Change]:
        """Keep the live checkpoint of each partition under a name, also while it runs."""
        _require_name(name)
        for partition in self._partitions:
            for entry in self._kept(partition).entries():
                if entry.name == name:
                    raise UsageError(
                        f"partition {partition} has a checkpoint {name!r} already, at "
                        f"{entry.next_offset}",
                        attempt=f"another name, or --forget {name} first",
                    )
        return [self._keep(partition, name) for partition in self._partitions]

    def _keep(self, partition: int, name: str) -> Change:
        live, kept = self._live(partition), self._kept(partition)
        if not is_there(live):
            raise StateUnavailable(
                f"{self._manifest.pipeline}/{partition} has no checkpoint yet: there is no state "
                f"in {live}.",
                attempt="stream-app run FILE, which saves one at the latest when it ends",
            )
        with kept.changing(), kept.draft() as draft:
            kept.require_room(bytes_on_disk(live))
            copy_state(live, draft)
            next_offset = self._position(draft, partition).next_offset
            # The draft is the directory that `put` is to fill: one rename more.
            entry = kept.put(next_offset, name, lambda empty: _move(draft, empty))
        return _change("kept", partition, entry)

    def prune(self, policy: Keep, *, dry_run: bool) -> list[Change]:
        """Drop what the policy does not keep; named ones stay."""
        changes = []
        for partition in self._partitions:
            kept = self._kept(partition)
            by_offset = {entry.next_offset: entry for entry in kept.entries() if not entry.name}
            gone = policy.surplus(list(by_offset), self._manifest.origins[partition])
            changes += self._dropped(
                kept, partition, [by_offset[offset] for offset in sorted(gone)], dry_run=dry_run
            )
        return changes

    def forget(self, which: str) -> list[Change]:
        """Drop the kept checkpoints of that name, or at that position."""
        changes = []
        partitions, name = self._meant(which)
        for partition in partitions:
            kept = self._kept(partition)
            found = [entry for entry in kept.entries() if name in _names(entry)]
            changes += self._dropped(kept, partition, found, dry_run=False)
        if not changes:
            raise self._unknown(which)
        return changes

    def _dropped(
        self, kept: KeptDirectory, partition: int, entries: Sequence[Kept], *, dry_run: bool
    ) -> list[Change]:
        if entries and not dry_run:
            with kept.changing():
                for entry in entries:
                    kept.drop(entry)
        what = "would be dropped" if dry_run else "dropped"
        return [_change(what, partition, entry) for entry in entries]

    def restore(self, which: str) -> list[Change]:
        """Put a kept checkpoint in the live one's place, while no process owns the state.

        The next start learns from there to the committed position again, in silence. Nothing is
        changed unless every partition that is meant has the checkpoint, and it can be trusted.
        """
        if self._log.keeps_ledgers_in_topics:
            raise UsageError(
                "on Kafka a worker opens whichever is newer, its own state or the one in the "
                "topic of checkpoints: what is restored here would not be used",
                attempt="stream-app explain, or load_model, which read a kept checkpoint where "
                "it is",
            )
        partitions, name = self._meant(which)
        found = [self._one(partition, name, which) for partition in partitions]
        return [
            self._restored(partition, entry)
            for partition, entry in zip(partitions, found, strict=True)
        ]

    def _meant(self, which: str) -> tuple[Sequence[int], str]:
        """Return the partitions that are meant, and the name or offset: a position has both."""
        manifest, position = self._manifest, event_position(which, self._manifest)
        if position is None:
            return self._partitions, which
        number = position.partition
        require_meant(manifest.pipeline, number, manifest.partitions)
        if number not in self._partitions:
            raise UsageError(
                f"{which} is of partition {number}, and --partition names another one",
                attempt=f"{number}@{position.offset} without --partition",
            )
        return [number], str(position.offset)

    def _one(self, partition: int, name: str, which: str) -> Kept:
        entries = [e for e in self._kept(partition).entries() if name in _names(e)]
        if not entries:
            raise self._unknown(which)
        saved = self._position(entries[0].path, partition)
        where = f"the checkpoint {which} of {self._manifest.pipeline}/{partition}"
        if saved.next_offset != entries[0].next_offset:
            raise StateUntrusted(
                f"{where} stands at {saved.next_offset}, not where its name says.",
                attempt=f"another one; this one is in {entries[0].path}",
            )
        saved.environment.check(this_environment(), where)
        return entries[0]

    def _restored(self, partition: int, entry: Kept) -> Change:
        live, kept = self._live(partition), self._kept(partition)
        with self._owned(partition, live), kept.changing(), kept.draft() as draft:
            copy_state(entry.path, draft / "new")
            with named_os_errors(live):
                if is_there(live):
                    live.rename(draft / "old")
                (draft / "new").rename(live)
                sync_directory(live.parent)
        return _change("restored", partition, entry)

    @contextmanager
    def _owned(self, partition: int, live: Path) -> Iterator[None]:
        """Own the partition, as a worker does; raises `LogBusy` while one has it."""
        claim = self._log.claim(Topics(self._manifest.pipeline).ledger, partition)
        try:
            if is_there(live):
                # Whoever writes to it without a claim is found out, too.
                RocksdbStore.open(live, create=False).close()
            yield
        finally:
            claim.release()

    def _position(self, path: Path, partition: int) -> Position:
        """Return where a state stands, if it is one of this partition's."""
        saved = saved_position(path)
        commit = committed(self._log, self._manifest.pipeline, partition)
        if saved is None or commit is None:
            raise StateUnavailable(
                f"{self._manifest.pipeline}/{partition} has no checkpoint yet in {path}.",
                attempt="stream-app run FILE, which saves one at the latest when it ends",
            )
        require_own(self._manifest, partition, saved, commit.next_offset)
        return saved

    def _unknown(self, which: str) -> UsageError:
        known = [
            name
            for partition in self._partitions
            for entry in self._kept(partition).entries()
            for name in (*_names(entry), f"{partition}@{entry.next_offset}")
        ]
        pipeline = self._manifest.pipeline
        return UsageError(
            f"{pipeline} has kept no checkpoint {which!r}{did_you_mean(which, known)}",
            attempt=f"stream-app checkpoints {pipeline}, which lists them",
        )

    def _live(self, partition: int) -> Path:
        return self._state.partition(self._manifest.log_id, self._manifest.pipeline, partition)

    def _kept(self, partition: int) -> KeptDirectory:
        path = self._state.kept(self._manifest.log_id, self._manifest.pipeline, partition)
        return KeptDirectory(path)


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a checkpoint",
            attempt="lower-case letters, digits and dashes, at least one that is no digit, such "
            "as before-the-holidays",
        )


def _names(entry: Kept) -> tuple[str, ...]:
    return (str(entry.next_offset), *([entry.name] if entry.name else []))


def _move(source: Path, target: Path) -> None:
    for file in source.iterdir():
        file.rename(target / file.name)


def _change(change: str, partition: int, entry: Kept) -> Change:
    return Change(change, partition, entry.next_offset, entry.name or None, str(entry.path))
