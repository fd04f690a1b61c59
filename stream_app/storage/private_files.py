"""Files of this user alone: made private, replaced whole, refused when others may write."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stream_app.errors import StateUnavailable, StateUntrusted

MORE_FILES = "raise the number of files that a process may have open (ulimit -n 1024)"
_WAYS_OUT = {
    errno.EMFILE: MORE_FILES,
    errno.ENOSPC: "free some space on that disk and start again",
    errno.EDQUOT: "free some of your disk quota and start again",
    errno.EROFS: "mount that file system writable, or name another directory",
    errno.EACCES: "check who owns it (ls -ld) and run as that user, or name another directory",
    errno.EPERM: "check who owns it (ls -ld) and run as that user, or name another directory",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a file stands where a directory is wanted",
    errno.EEXIST: "check the path: a file stands where a directory is wanted",
}


def unavailable(error: OSError, path: Path) -> StateUnavailable:
    """Name what the operating system refused, and what to do about it."""
    what = error.strerror or str(error)
    way_out = _WAYS_OUT.get(error.errno or 0, "check the disk and start again")
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        way_out = f"mkdir -p {path.parent} first, or another path"
    return StateUnavailable(f"{path}: {what}.", attempt=way_out)


@contextmanager
def named_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into `StateUnavailable` about `path`."""
    try:
        yield
    except OSError as error:
        raise unavailable(error, path) from error


def is_there(path: Path) -> bool:
    """Tell whether there is anything at `path`; `StateUnavailable` where this user may not look."""
    with named_os_errors(path):
        return path.exists()


def make_private_directory(path: Path) -> None:
    """Make `path` and what is missing above it, each 0700 whatever the umask.

    A directory that is already there keeps its mode, but not if others may write to it. Raises
    `StateUnavailable`, and `StateUntrusted` as `refuse_writers` does.
    """
    with named_os_errors(path):
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for directory in reversed(missing):
            # Another process may make it at the same time; then its mode is that process's 0700.
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
                directory.chmod(0o700)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    refuse_writers(path)


def refuse_writers(directory: Path) -> None:
    """Raise `StateUntrusted` if group or others may replace files in `directory`.

    A sticky directory such as /tmp passes: there they may not.
    """
    with named_os_errors(directory):
        mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise StateUntrusted(
            f"{directory} can be written by other users (mode {mode:04o}), "
            "so what is in it may not be ours.",
            attempt=f"chmod go-w {directory}",
        )


def write_new(path: Path, data: bytes) -> bool:
    """Create `path` (0600) with all of `data`, durably; False when somebody was there first.

    Nobody ever sees a part of the data: it is written beside and then linked into place.
    """
    with named_os_errors(path):
        draft = _draft(path, (data,))
        try:
            # link, unlike rename, refuses to replace.
            os.link(draft, path)
            made = True
        except FileExistsError:
            made = False
        finally:
            draft.unlink()
        # Also by the one who came second: it must not build on a name that a power cut undoes.
        sync_directory(path.parent)
    return made


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` (0600), durably: after a crash it holds the old bytes or the new."""
    replace_in_parts(path, (data,))


def replace_in_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Do as `replace`, with data that need not be in memory at once."""
    with named_os_errors(path):
        draft = _draft(path, parts)
        try:
            draft.replace(path)
        except OSError:
            draft.unlink()
            raise
        sync_directory(path.parent)


def _draft(path: Path, parts: Iterable[bytes]) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        draft.unlink()
        raise
    return draft


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
