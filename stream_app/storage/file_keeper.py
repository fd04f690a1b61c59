"""What an operator sees of a log in a file: where it is, who may write it, what room is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stream_app.core.upkeep import Deviation, Finding, Subject, TopicFound, TopicSpec
from stream_app.errors import StateUntrusted, UsageError
from stream_app.storage.file_systems import file_system_of
from stream_app.storage.private_files import refuse_writers
from stream_app.storage.sqlite_log import SqliteLog

FREE_BYTES_MIN = 1 << 30
# SQLite's locks and its shared memory do not work across machines.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
NETWORK |= {"fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.rclone", "beegfs", "gpfs"}
MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


class FileKeeper:
    """A `Keeper` of the embedded log."""

    makes_topics = True

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def url(self) -> str:
        """How a person names this log."""
        return f"sqlite:///{self._path}"

    def wanted(self, subject: Subject) -> list[TopicSpec]:
        """Return every topic that the pipeline needs; the file's ledger is a table."""
        names = subject.topics.all(subject.versions)
        blobs = [TopicSpec(subject.topics.blobs, 1)] if subject.imports else []
        return [*(TopicSpec(name, subject.partitions) for name in names), *blobs]

    def found(self, pipeline: str) -> dict[str, TopicFound]:
        """Return every topic whose name begins with the pipeline's; none while there is no log."""
        if not self._path.exists():
            return {}
        log = SqliteLog.open(self._path, create=False, read_only=True)
        try:
            present = log.topics()
        finally:
            log.close()
        return {
            name: TopicFound(name, count)
            for name, count in sorted(present.items())
            if name.startswith(f"{pipeline}.")
        }

    def create(self, specs: Sequence[TopicSpec], replication: int | None) -> list[str]:  # noqa: ARG002 - the protocol's
        """Make nothing: the first start does."""
        return []

    def remedy(self, topic: str, deviation: Deviation) -> str:
        """Return what to type: only a number of partitions can differ here."""
        return (
            f"give the pipeline a new name: {topic} has {deviation.present} partitions for ever, "
            "since keys hash to them"
        )

    def removal(self, topic: str) -> str:  # noqa: ARG002 - the protocol's
        """Return what to do with a topic that nobody needs."""
        return "nothing: an embedded log keeps all that was ever published"

    def findings(
        self,
        subject: Subject,  # noqa: ARG002 - the protocol's
        role: str,  # noqa: ARG002 - the protocol's
        clock_ms: Callable[[], int],  # noqa: ARG002 - one machine has one clock
    ) -> list[Finding]:
        """Return what is wrong with the file's place."""
        if not self._path.exists():
            return []
        return [*self._file_system(), *self._writers(), *self._access(), *self._room()]

    def _file_system(self) -> Iterator[Finding]:
        kind = file_system_of(self._path)
        if kind in NETWORK:
            what = f"it is on a network file system ({kind}), where SQLite's locks do not work"
            yield self._problem("file-system", self._path, what, "move it to a local disk")
        elif kind in MEMORY:
            what = f"it is in memory ({kind}): a restart of the machine loses it"
            yield self._problem("file-system", self._path, what, "move it to a disk")

    def _writers(self) -> Iterator[Finding]:
        """Look who may write: whoever else may can put other events into the past."""
        try:
            refuse_writers(self._path.resolve().parent)
        except StateUntrusted as error:
            yield self._problem("permissions", self._path.parent, error.problem, error.attempt)
        # SQLite gives the files beside the log the log's own mode.
        files = [self._path.with_name(self._path.name + suffix) for suffix in ("", "-wal", "-shm")]
        wide = [str(file) for file in files if file.exists() and file.stat().st_mode & 0o022]
        if wide:
            what = f"others may write {', '.join(wide)}, and so what models learn from"
            yield self._problem("permissions", self._path, what, f"chmod go-w {' '.join(wide)}")

    def _access(self) -> Iterator[Finding]:
        for place in (self._path, self._path.parent):
            if not os.access(place, os.W_OK):
                what = "this user may not write it, so it can only be looked at"
                attempt = f"ls -ld {place} shows whose it is: run as that user"
                yield self._problem("permissions", place, what, attempt)

    def _room(self) -> Iterator[Finding]:
        """Look at the space left: a full disk stops everything, and a log only grows."""
        disk = os.statvfs(self._path)
        free = disk.f_bavail * disk.f_frsize
        least = max(FREE_BYTES_MIN, self._path.stat().st_size // 10)
        if free < least:
            what = f"{free / 1e9:.2f} GB are free on its disk, less than {least / 1e9:.2f} GB"
            attempt = f"free some space: df -h {self._path.parent}"
            yield self._problem("disk-space", self._path, what, attempt)

    def _problem(self, check: str, where: Path, what: str, attempt: str) -> Finding:
        return Finding("problem", check, str(where), what, attempt)

    def acl_commands(
        self,
        pipeline: str,
        principals: Mapping[str, str],
        sources: Sequence[str] = (),  # noqa: ARG002 - the protocol's
    ) -> list[str]:
        """Raise `UsageError`: a file has no ACLs of ours."""
        raise UsageError(
            f"{self.url} has no ACLs ({pipeline} for {', '.join(principals.values())}): who may "
            "read and write the file may do all",
            attempt="--broker kafka://host:9092, or `doctor` without --acls",
        )
