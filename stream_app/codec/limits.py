"""The bounds of the gate: how large, how deep and how far off a record may be."""

from __future__ import annotations

from typing import Annotated

import msgspec

# Numbers must fit into 64 bits, also when times and waits are added up.
_HUGE = 1 << 62
Count = Annotated[int, msgspec.Meta(ge=1, le=_HUGE)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on everything that input could make grow; at each bound it is said what happens.

    A record outside of the first group is a dead letter. `ids_max`: an accepted id is known as a
    duplicate for the next `ids_max` accepted observations, and an observation that still waits
    for its label then is timed out. `early_max`: labels that came before their observation; the
    oldest is dropped and counted as unknown. `failures_max`: calls of a model that may raise in a
    row before its version is failed.
    """

    value_bytes_max: Count = 64 * 1024
    features_max: Count = 1000
    name_chars_max: Count = 256
    string_chars_max: Count = 1024
    meta_bytes_max: Count = 1024
    magnitude_max: Annotated[float, msgspec.Meta(gt=0, le=1e18)] = 1e15
    # 1973-01-01: smaller values are seconds, not milliseconds
    ts_min_ms: Annotated[int, msgspec.Meta(ge=-_HUGE, le=_HUGE)] = 94_694_400_000
    ts_ahead_max_ms: Count = 86_400_000

    ids_max: Count = 100_000
    early_max: Count = 10_000
    failures_max: Count = 10
