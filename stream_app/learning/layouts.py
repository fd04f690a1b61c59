"""Bytes that differ from bytes that were loaded before in their numbers alone: without ado.

A model for each of many keys is the same few objects over and over, with other numbers. The first
bytes of a layout go through the whole machine of `pickles.py`; what comes often is then made by a
function of its own, in a fifth of the time, and put into bytes by another, in half. Whatever is not
equal in everything but the places of numbers is not of the layout.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

# Making the functions takes as long as loading sixty times, so it has to come often.
SEEN_MIN: Final = 64
# They take forty times the bytes of their layout, two hundred at worst.
BYTES_MAX: Final = 8 * 1024
LAYOUTS_MAX: Final = 32
LENGTHS_MAX: Final = 1024


class Number(NamedTuple):
    """Where in the bytes a number stands, as `struct` has it: "d" of 8 bytes, "B", "H" or "i"."""

    position: int
    kind: str


BytesOf = Callable[[Any], bytes | None]


class Layout:
    """What bytes of one length have to be beside their numbers, and what makes a value of them.

    `bytes_of` returns the bytes of a value, and None where they are not of this layout.
    """

    __slots__ = ("_expected", "_floats", "_integers", "_make", "_mask", "bytes_of")

    def __init__(
        self,
        data: bytes,
        numbers: list[Number],
        make: Callable[[Any, Any], object],
        bytes_of: BytesOf,
    ) -> None:
        mask = bytearray(b"\xff" * len(data))
        for position, kind in numbers:
            width = struct.calcsize(f"={kind}")
            mask[position : position + width] = bytes(width)
        # Integers as long as the bytes: one comparison of everything, at the speed of memory.
        self._mask = int.from_bytes(mask, "little")
        self._expected = int.from_bytes(data, "little") & self._mask
        self._floats = _columns(">", [number for number in numbers if number.kind == "d"])
        self._integers = _columns("<", [number for number in numbers if number.kind != "d"])
        self._make = make
        self.bytes_of = bytes_of

    def fits(self, data: bytes) -> bool:
        """Tell whether bytes of this layout's length are of this layout."""
        return int.from_bytes(data, "little") & self._mask == self._expected

    def value(self, data: bytes) -> object:
        """Return the value of bytes that fit."""
        return self._make(self._floats(data), self._integers(data))


def _columns(order: str, numbers: list[Number]) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what reads these numbers off bytes, whatever stands between them."""
    text, at = order, 0
    for position, kind in sorted(numbers):
        text += f"{position - at}x{kind}"
        at = position + struct.calcsize(f"={kind}")
    return struct.Struct(text).unpack_from


class Layouts:
    """The layouts that came often, by the length of their bytes.

    `compiled` makes one of bytes that were loaded, or none where they hold what no layout has. How
    often it is asked falls behind how much was loaded, whatever comes: a length's first layout is
    made at its 64th bytes, the next at the 128th, then at the 256th.
    """

    def __init__(self, compiled: Callable[[bytes], Layout | None]) -> None:
        self._compiled = compiled
        self._by_length: dict[int, Layout] = {}
        self._seen: dict[int, int] = {}

    def find(self, data: bytes) -> Layout | None:
        """Return the layout that these bytes are of."""
        layout = self._by_length.get(len(data))
        return layout if layout is not None and layout.fits(data) else None

    def bytes_of(self, value: object, length: int) -> bytes | None:
        """Return the bytes of a value, if they are of the layout of so many bytes."""
        layout = self._by_length.get(length)
        if layout is None:
            return None
        try:
            return layout.bytes_of(value)
        except Exception:  # the pickler raises it again, if it is of the value
            return None

    def loaded(self, data: bytes) -> None:
        """Take note of bytes that are of no layout and have just been loaded the long way."""
        length = len(data)
        if length > BYTES_MAX:
            return
        if length not in self._seen and len(self._seen) >= LENGTHS_MAX:
            _drop_first(self._seen)  # models grow: the first lengths come no more
        seen = self._seen[length] = self._seen.get(length, 0) + 1
        if seen >= SEEN_MIN and seen.bit_count() == 1:
            layout = self._compiled(data)
            if layout is not None:
                self._keep(length, layout)

    def _keep(self, length: int, layout: Layout) -> None:
        if length not in self._by_length and len(self._by_length) >= LAYOUTS_MAX:
            _drop_first(self._by_length)
        self._by_length[length] = layout


def _drop_first(kept: dict[int, Any]) -> None:
    # Another thread may do the same now: looking at the keys and taking one out are one step each.
    first, *_ = tuple(kept)
    kept.pop(first, None)
