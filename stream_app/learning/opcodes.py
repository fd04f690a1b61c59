"""The grammar of our own pickles: all other bytes are refused before anything runs them.

The machine of `pickle` knows opcodes that our bytes never use and that are dangerous on their own:
a memo index of 2**32 - 1 makes it allocate gigabytes, extension codes reach past the list of
globals, and an opcode across the end of a frame is read differently than it is written.
"""

from __future__ import annotations

import re

from stream_app.errors import StateUntrusted

_HEADER = b"\x80\x05"
_STOP = 0x2E
_FRAME = 0x95

# Opcodes without an argument: MARK, values, containers, MEMOIZE, STACK_GLOBAL, REDUCE, BUILD, POPs.
_BARE = b"(N\x88\x89]ae)\x85\x86\x87t}su\x8f\x90\x91\x94\x93Rb01"
# Opcodes with an argument of fixed width: BININT1, BINGET, BININT2, BININT, LONG_BINGET, BINFLOAT.
_FIXED = b"[Kh].|M..|[Jj]....|G.{8}"
# Opcodes whose argument is one length byte and as many bytes: short text, short bytes, LONG1.
_SHORT = b"[\x8cC\x8a](?:%s)" % b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in range(256))
# The common cases come first and take the bare opcodes behind them along: half the time.
_RUN = re.compile(
    b"(?s:h.[%(bare)s]*+|[%(bare)s]++|G.{8}[%(bare)s]*+|(?:%(short)s)[%(bare)s]*+|%(fixed)s)*+"
    % {b"bare": re.escape(_BARE), b"short": _SHORT, b"fixed": _FIXED}
)

# Opcodes with a longer length: the width of that length in bytes.
_LONG = {ord("X"): 4, 0x8D: 8, ord("B"): 4, 0x8E: 8, 0x96: 8, 0x8B: 4}


def check_opcodes(data: bytes) -> None:
    """Refuse bytes that `dumps` cannot have written, looking at opcodes and lengths only.

    Raises `StateUntrusted`. Takes about a tenth of the time that loading takes.
    """
    if data[:2] != _HEADER:
        raise _refused("does not start as our pickles do", 0)
    position, end = 2, len(data)
    while position < end:
        if data[position] == _FRAME:
            position, frame_end = _frame(data, position)
            position = _run(data, position, frame_end)
            if position < frame_end and data[position] == _FRAME:
                raise _refused("opens a frame within a frame", position)
        else:
            position = _run(data, position, end)
        if position < end and data[position] == _STOP:
            if position + 1 != end:
                raise _refused("goes on after its end", position)
            return
    raise _refused("has no end", position)


def _frame(data: bytes, position: int) -> tuple[int, int]:
    start = position + 9
    frame_end = start + int.from_bytes(data[position + 1 : start], "little")
    if frame_end > len(data):
        raise _refused("is cut short", position)
    return start, frame_end


def _run(data: bytes, position: int, end: int) -> int:
    """Return the position after the known opcodes up to `end`, a STOP or a frame."""
    match = _RUN.match
    while True:
        found = match(data, position, end)
        position = found.end() if found else position
        if position >= end or data[position] == _STOP:
            return position
        width = _LONG.get(data[position])
        if width is None:
            if data[position] == _FRAME:
                return position
            raise _refused(f"has a foreign or cut opcode {data[position]:#04x}", position)
        start = position + 1 + width
        position = start + int.from_bytes(data[position + 1 : start], "little")
        if position > end:
            raise _refused("is cut short", start)


def _refused(what: str, position: int) -> StateUntrusted:
    return StateUntrusted(
        f"A model's bytes were refused: byte {position} {what}.",
        attempt="delete the state directory; it is rebuilt from the log",
    )
