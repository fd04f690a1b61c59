"""What acceptance counts, parks and joins."""

from __future__ import annotations

import msgspec

from stream_app.events import Feature, LabelValue


class Counters(msgspec.Struct):
    """What became of the records so far. Waiting observations and labels are not counted here."""

    records: int = 0
    observations: int = 0
    dead_letters: int = 0
    controls: int = 0
    labels_joined: int = 0
    labels_early: int = 0
    labels_late: int = 0
    labels_unknown: int = 0
    labels_duplicate: int = 0
    labels_conflicting: int = 0
    timed_out: int = 0
    features_dropped: int = 0
    keys_differ: int = 0
    misplaced: int = 0


class Parked(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An accepted observation that waits for its label, with the features it was predicted on."""

    offset: int
    ts_ms: int
    key: str
    features: dict[str, bool | int | float | str]
    schema: int


# On import, see core/commit.py; whatever is made for a type makes it known.
decode_parked = msgspec.msgpack.Decoder(Parked).decode
msgspec.msgpack.Decoder(Counters)


class Joined(msgspec.Struct, frozen=True, gc=False):
    """An observation and its label: the example every version is scored on and learns from."""

    seq: int
    observation_id: str
    key: str
    features: dict[str, Feature]
    schema: int
    label: LabelValue
    delay_ms: int
