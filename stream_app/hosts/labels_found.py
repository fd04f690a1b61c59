"""What became of an observation's label, as far as the log and the live checkpoint tell."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream_app.codec.decode import Gate
from stream_app.codec.incoming import Admitted, IncomingLabel
from stream_app.core.acceptance import FAMILY
from stream_app.core.identities import TIMED_OUT, saved_outcome
from stream_app.core.position import read_position
from stream_app.core.processor import PartitionProcessor
from stream_app.errors import StreamAppError
from stream_app.events import LabelValue, Refusal
from stream_app.hosts.rebuilding import Place
from stream_app.hosts.refolding import BATCH
from stream_app.records import Record
from stream_app.storage.private_files import is_there
from stream_app.storage.rocksdb_store import RocksdbStore

LOOKED_AHEAD_MAX = 200_000


class LabelFound(msgspec.Struct, frozen=True, omit_defaults=True):
    """The label of an observation.

    `state`: `inline` (came with the observation), `early` (before it), `joined` (after it),
    `late` (after its wait), `timed_out` (none came in time), `waits`, or `unknown` (none in what
    was looked through, up to `looked_to`).
    """

    state: Literal["inline", "early", "joined", "late", "timed_out", "waits", "unknown"]
    label: LabelValue | None = None
    position: str | None = None
    ts_ms: int | None = None
    delay_ms: int | None = None
    looked_to: int | None = None


def label_of(
    place: Place, processor: PartitionProcessor, record: Record, admitted: Admitted
) -> LabelFound:
    """Return what became of the label; `processor` stands before `record`."""
    event = admitted.event
    early = processor.acceptance.early.get(event.id)
    if admitted.label is not None:
        return LabelFound("inline", admitted.label, record.position, event.ts_ms, 0)
    if early is not None and early.deadline_ms >= processor.acceptance.watermark.now_ms:
        where = f"{record.topic}/{record.partition}@{early.offset}"
        return LabelFound("early", early.label, where, early.ts_ms, early.ts_ms - event.ts_ms)
    outcome = _live_outcome(place, record.offset, processor.acceptance.ids.next_seq)
    if outcome == "waits":
        return LabelFound("waits")
    return _looked_for(place, processor, record, admitted, outcome)


def _live_outcome(place: Place, offset: int, seq: int) -> str | None:
    """Return what the live checkpoint knows of an observation; None when it does not."""
    name, log_id = place.pipeline.name, place.manifest.log_id
    path = place.state.partition(log_id, name, place.partition)
    try:
        if not is_there(path):
            return None
        store = RocksdbStore.open(path, read_only=True)
        try:
            position = read_position(store)
            if position is None or position.next_offset <= offset:
                return None
            known, outcome = saved_outcome(store, FAMILY, seq)
        finally:
            store.close()
    except StreamAppError:
        return None  # whoever looks at checkpoints is told; here the log will do
    if not known:
        return None
    # What waited there may have got its label since, if the log has gone on.
    waits = "waits" if position.next_offset >= place.commit.next_offset else None
    if outcome is None:
        return waits
    return "timed_out" if outcome == TIMED_OUT else "joined"


def _looked_for(
    place: Place,
    processor: PartitionProcessor,
    record: Record,
    admitted: Admitted,
    outcome: str | None,
) -> LabelFound:
    event, gate = admitted.event, processor.acceptance.gate
    offset, left, wanted = record.offset + 1, LOOKED_AHEAD_MAX, event.id.encode()
    end = place.commit.next_offset
    while left > 0 and offset < end:
        rows = place.log.read(place.events, place.partition, offset, records_max=min(BATCH, left))
        for row in rows:
            # Most lines lack the id; escapes in it are rare, and only a decoder reads those.
            if row.offset >= end or (wanted not in row.value and b"\\" not in row.value):
                continue
            found = _label_in(gate, row, event.id)
            if found is not None:
                state: Literal["late", "joined"] = "late" if outcome == "timed_out" else "joined"
                label, ts_ms = found
                return LabelFound(state, label, row.position, ts_ms, ts_ms - event.ts_ms)
        if not rows:
            break
        left -= len(rows)
        offset = rows[-1].offset + 1
    looked_to = min(offset, end)
    if outcome == "timed_out":
        return LabelFound("timed_out", looked_to=looked_to)
    whole = looked_to >= end
    return LabelFound("waits" if whole and outcome is None else "unknown", looked_to=looked_to)


def _label_in(gate: Gate, record: Record, observation_id: str) -> tuple[LabelValue, int] | None:
    try:
        admitted = gate.decode(record)
    except Refusal:
        return None
    event = admitted.event
    if type(event) is not IncomingLabel or event.id != observation_id:
        return None
    label: Any = admitted.label
    return label, event.ts_ms
