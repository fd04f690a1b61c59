"""`stream-app backfill --out`: a version's outputs into a file, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stream_app.cli.pipeline_argument import declared
from stream_app.cli.progress_bar import progress_bar
from stream_app.cli.stdout import emit_text
from stream_app.counted import counted
from stream_app.errors import SurroundingsError, UsageError

if TYPE_CHECKING:
    from stream_app.hosts.backfills import BackfillPlan
    from stream_app.hosts.stop_flag import StopFlag
    from stream_app.learning.tasks import Task
    from stream_app.records import Output

PARQUET = ".parquet"
INTERRUPTED = 130


def require_no_more(*, follow: bool, dry_run: bool, out: Path) -> None:
    """Raise `UsageError` for options that contradict a file, and for one that is there."""
    if out.exists():
        raise _there_already(out)
    if follow or dry_run:
        other = "--follow" if follow else "--dry-run"
        raise UsageError(
            f"--out folds into a file once, and {other} does something else",
            attempt=f"--out {out} without {other}",
        )


def _there_already(out: Path) -> UsageError:
    return UsageError(f"{out} is there already", attempt="another name, or remove it first")


def write_outputs(plan: BackfillPlan, out: Path, flag: StopFlag) -> int:
    """Fold, and put the file in its place once it is whole; returns the exit code."""
    draft = out.with_name(f"{out.name}.part")
    try:
        with _owned(draft, out) as file:
            written = _written(plan, out, file, flag)
            if flag():
                emit_text(f"Interrupted: {out} was not written.")
                return INTERRUPTED
            if out.exists():
                raise _there_already(out)
            draft.rename(out)
    except OSError as error:
        raise SurroundingsError(
            f"{out} cannot be written: {error.strerror or error}.",
            attempt=f"mkdir -p {out.parent}"
            if error.errno == errno.ENOENT
            else "--out where there is room and this user may write",
        ) from error
    emit_text(
        f"{counted(written, 'output')} of {plan.version} written to {out}, as {_form(out)}; log "
        "and state are as they were."
    )
    return 0


@contextmanager
def _owned(draft: Path, out: Path) -> Iterator[IO[bytes]]:
    """Lend an empty draft that nobody else writes; deletes it unless it was renamed.

    One that a killed process has left is taken over. Its owner is whoever has locked it.
    """
    with draft.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(out) from None
        if not _is_at(file, draft):  # its owner has just put it in its place
            raise _busy(out)
        file.truncate(0)
        try:
            yield file
        finally:
            if _is_at(file, draft):
                draft.unlink()


def _is_at(file: IO[bytes], place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False


def _busy(out: Path) -> SurroundingsError:
    return SurroundingsError(
        f"another process is writing {out}.", attempt="wait for that one, or --out another name"
    )


def _written(plan: BackfillPlan, out: Path, file: IO[bytes], flag: StopFlag) -> int:
    from stream_app.hosts.bounds import parse_bounds, ranges_of
    from stream_app.hosts.declared_versions import require_declared
    from stream_app.hosts.known_definitions import require_known_as
    from stream_app.hosts.log_url import open_broker
    from stream_app.hosts.manifests import read_manifest
    from stream_app.hosts.offline import fold_outputs
    from stream_app.hosts.registration import require_settings

    pipeline = declared(plan.spec)
    require_declared(pipeline, plan.version)
    log = open_broker(plan.broker, read_only=True)
    try:
        manifest = read_manifest(log, pipeline.name)
        require_settings(log, manifest, pipeline)
        require_known_as(log, pipeline, manifest, plan.version)
        bounds = parse_bounds(plan.begin, plan.end, time.time_ns() // 1_000_000)
        ranges = ranges_of(log, manifest, bounds, known=pipeline.known)
        total = sum(end for _, end in ranges.values())
        with (
            _rows(file, out, pipeline.task) as write,
            progress_bar(f"folding {plan.version}", total) as advance,
        ):
            place = (log, pipeline, manifest, plan.version, ranges)
            written = fold_outputs(*place, write, progress=advance, stopped=flag)
        file.flush()
        os.fsync(file.fileno())
        return written
    finally:
        log.close()


def _form(out: Path) -> str:
    return "Parquet" if out.suffix.lower() == PARQUET else "JSON lines"


@contextmanager
def _rows(file: IO[bytes], out: Path, task: Task) -> Iterator[Callable[[Output], None]]:
    """Yield what writes an output in the form that the name's end asks for."""
    if _form(out) == "Parquet":
        from stream_app.hosts.parquet_file import parquet_rows

        with parquet_rows(file, task, str(out)) as write:
            yield write
        return

    def write_line(output: Output) -> None:
        file.write(output.value + b"\n")

    yield write_line
