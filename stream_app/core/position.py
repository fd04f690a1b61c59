"""A checkpoint's own position: which log, which fold, how far; saved as one with the state."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_app.core.authority import Keys
from stream_app.core.environment import Environment
from stream_app.core.seats import Order
from stream_app.core.store import StateReader
from stream_app.errors import StateUntrusted

POSITION = "position"


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a state stands; `controls` are the ids that have acted, each once and for ever.

    `keys` are those in force there, None for the manifest's: as long as no control changed them.
    `orders` are the promote controls among them, which the history of the seat has to tell;
    `imports` has the offset of the first `import` control among them for each version.
    """

    log_id: str
    pipeline: str
    partition: int
    semantics: int
    environment: Environment
    next_offset: int
    chain: tuple[bytes, bytes, int]
    versions: dict[str, str]
    settings: dict[str, Any]
    settings_since: int
    controls: list[str]
    keys: Keys | None = None
    orders: list[Order] = []
    imports: dict[str, int] = {}

    def encode(self) -> bytes:
        """Return the position's bytes."""
        return msgspec.msgpack.encode(self)


_decode = msgspec.msgpack.Decoder(Position).decode


def read_position(reader: StateReader) -> Position | None:
    """Return the position of a saved state, None for an empty one; raises `StateUntrusted`."""
    value = reader.get(POSITION, b"position")
    if value is None:
        return None
    try:
        return _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateUntrusted(
            f"the state's position cannot be read: {error}.",
            attempt="delete the state directory; the state is built again from the log",
        ) from None
