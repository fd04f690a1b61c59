"""The orders by which a version begins from a file: appends one, and tells what became of them.

A version begins once, at the first order that a partition obeys. One that was refused (its key was
revoked just then, its time was of a clock that stood ahead) is refused for ever, in every fold
alike, so another may take its place. Each is noted in the ledger by compare-and-set: whoever gives
one knows of every one before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import key_name_of
from stream_app.core.commit import Commit, Manifest
from stream_app.core.importing import FileOrder
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.errors import DefinitionDiffers, LogUntrusted, UsageError
from stream_app.events import Control
from stream_app.hosts.controls import Places, Signer, append_again, append_with_note, new_control
from stream_app.hosts.manifests import commits, decode_note
from stream_app.records import format_position

BATCH = 1000
# A broker shows the end of a transaction a moment after it has acknowledged it.
SHOWN_WITHIN_S = 5.0


class ImportNote(msgspec.Struct, frozen=True):
    """The ledger's note of a version's newest `import` control.

    `ends` is where each partition ended before it was appended, so that it is found again.
    """

    control: Control
    ends: list[int]


class ImportOrders(NamedTuple):
    """What a log says of the orders that a version begins from a file.

    `raw` is the note of the newest one, None where there was none. `begun` has the offset of the
    order that a partition has obeyed, `unread` that of the newest one where it has come to none,
    `refused` that of the newest one where it has read all of them and obeyed none.
    """

    version: str
    note: ImportNote | None
    raw: bytes | None
    begun: dict[int, int]
    unread: dict[int, int]
    refused: dict[int, int]

    @property
    def file(self) -> dict[str, Any] | None:
        """The file that the version begins from.

        None where nothing was ordered, or where every partition has refused all that was.
        """
        if self.note is None or not (self.begun or self.unread):
            return None
        return self.note.control.file

    @property
    def places(self) -> dict[int, int]:
        """The offset of the order that acts in each partition which has not refused all of them."""
        return self.unread | self.begun

    def wants_another(self, signer: Callable[[], Signer]) -> bool:
        """Tell whether an order is wanted: the first, or one for what is, or may be, refused."""
        if self.note is None or self.refused:
            return True
        return bool(self.unread) and key_name_of(self.note.control.sig or "") != signer().name


def import_orders(
    log: Log, manifest: Manifest, version: str, found: Sequence[Commit | None] | None = None
) -> ImportOrders:
    """Return what a log says of a version's orders; `found` are its partitions' commits, if known.

    Raises `LogUntrusted` for a note that cannot be read, or whose order is gone.
    """
    raw, note = _note(log, manifest, version)
    begun: dict[int, int] = {}
    unread: dict[int, int] = {}
    refused: dict[int, int] = {}
    for partition, commit in enumerate(commits(log, manifest) if found is None else found):
        obeyed = _obeyed(commit, version)
        if obeyed is not None:
            begun[partition] = obeyed
        elif note is not None:
            at = _place(log, manifest, version, partition, note)
            read = commit is not None and commit.next_offset > at
            (refused if read else unread)[partition] = at
    return ImportOrders(version, note, raw, begun, unread, refused)


def noted(log: Log, manifest: Manifest, version: str) -> ImportNote | None:
    """Return the note of a version's newest order; None where nothing was ordered."""
    return _note(log, manifest, version)[1]


def _note(log: Log, manifest: Manifest, version: str) -> tuple[bytes | None, ImportNote | None]:
    """Return a note, and its bytes, by which it is set anew."""
    raw = log.ledger_get(Topics(manifest.pipeline).ledger, 0, import_note_key(version))
    what = f"the file from which {version} begins"
    return raw, None if raw is None else decode_note(raw, manifest.pipeline, ImportNote, what)


def import_note_key(version: str) -> str:
    """Return the ledger key of a version's `ImportNote`."""
    return f"import-{version}"


def _obeyed(commit: Commit | None, version: str) -> int | None:
    if commit is None or commit.imports is UNSET:
        return None
    return commit.imports.get(version)


def _place(log: Log, manifest: Manifest, version: str, partition: int, note: ImportNote) -> int:
    """Return the offset of a noted order; once retention has taken it, a lower bound."""
    topic, value = Topics(manifest.pipeline).events, encode_event(note.control).value
    offset, deadline = note.ends[partition], time.monotonic() + SHOWN_WITHIN_S
    while time.monotonic() < deadline:
        records = log.read(topic, partition, offset, records_max=BATCH)
        for record in records:
            if record.value == value:
                return record.offset
        offset = records[-1].offset + 1 if records else offset
        if not records and not log.wait(topic, partition, offset, SHOWN_WITHIN_S):
            break
    if log.bounds(topic, partition)[0] > note.ends[partition]:
        return note.ends[partition]
    raise LogUntrusted(
        f"the order from which {version} of {manifest.pipeline} begins is not in "
        f"{topic}/{partition}, and its ledger says that it was.",
        attempt="restore the log from a backup",
    )


def append_import(
    log: Log,
    manifest: Manifest,
    signer: Callable[[], Signer],
    orders: ImportOrders,
    file: FileOrder,
    reason: str | None,
    by: str | None,
    ts_ms: int | None,
) -> Places:
    """Append the order that a version begins from a file, and note it in the ledger, as one step.

    `signer` returns a key that is in force whenever it is asked, `orders` are those before. Returns
    its places. Raises `LogBusy` when somebody else has ordered the same version to begin meanwhile.
    """
    used = signer()
    plain: dict[str, object] = msgspec.to_builtins(file)
    unsigned = new_control("import", by, version=orders.version, file=plain, reason=reason)
    if ts_ms is not None:
        unsigned = msgspec.structs.replace(unsigned, ts_ms=ts_ms)
    events, before = Topics(manifest.pipeline).events, orders.raw

    def append(control: Control) -> Places:
        nonlocal before
        ends = [log.bounds(events, partition)[1] for partition in range(manifest.partitions)]
        note = msgspec.json.encode(ImportNote(control, ends))
        key = import_note_key(orders.version)
        done = append_with_note(log, manifest, control, key, note, expected=before)
        before = note
        return done

    control = used.signed(unsigned, manifest)
    done = append(control)
    return append_again(manifest, signer, control, append) or done


def require_imported_as(pipeline: Pipeline, orders: ImportOrders) -> None:
    """Raise `DefinitionDiffers` where what was imported are the models of another definition."""
    theirs = (orders.file or {}).get("definition")
    version, declared = orders.version, pipeline.definitions()[orders.version]
    if theirs not in (None, declared):
        raise DefinitionDiffers(
            f"version {version} of {pipeline.name} is declared as {declared[:12]}, but the "
            f"file that it begins from was imported for {str(theirs)[:12]}.",
            attempt=f"declare {version} as it was, and this one under a name of its own",
        )


def require_imported_as_declared(log: Log, pipeline: Pipeline, manifest: Manifest) -> None:
    """Raise as `require_imported_as` does, for a pipeline in which nothing was processed yet.

    Its first commit lists every definition, and with another one the version would fail at the
    order.
    """
    nothing = [None] * manifest.partitions
    for name, version in pipeline.versions.items():
        if version.start == "file":
            require_imported_as(pipeline, import_orders(log, manifest, name, nothing))


def require_imported(pipeline: str, orders: ImportOrders) -> None:
    """Raise `UsageError` unless every partition has, or is still to read, an order to begin."""
    version, topic = orders.version, Topics(pipeline).events
    attempt = f"stream-app import FILE {version} MODEL"
    if orders.refused:
        where = ", ".join(format_position(topic, *place) for place in orders.refused.items())
        raise UsageError(
            f"{version} of {pipeline} has no file to begin from: its order at {where} was refused",
            attempt=f"{attempt}, which orders it again; stream-app dead-letters {pipeline} says "
            "why it was refused",
        )
    if not orders.places:
        raise UsageError(
            f"{version} of {pipeline} begins from a file, and none was imported",
            attempt=f"{attempt}, with a file of stream-app export or of stream_app.pack_model",
        )
