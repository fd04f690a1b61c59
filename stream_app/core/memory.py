"""How much a partition keeps in memory before it is written: bounds that never change an output."""

from __future__ import annotations

import msgspec


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what grows in memory.

    `live_max`: a version's models that are kept ready; beyond it the least recently used one is
    put into bytes. `rest_bytes_max`: bytes of saved models that are kept for when they are called
    again; as many as may be ready are kept in any case. `changes_max`: entries that wait for a
    checkpoint; at the bound the batch ends and a checkpoint is due.
    """

    live_max: int = 4096
    rest_bytes_max: int = 32 << 20
    changes_max: int = 100_000
