"""What a state is, as 32 bytes: equal for equal behaviour, whatever the process or its history."""

from __future__ import annotations

import functools
import struct
import types
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

from stream_app.learning.pickles import pickles_for
from stream_app.learning.reductions import Maker, Reduction

_MODULUS = 1 << 256
_SMALL = 1 << 128
_pack_float = struct.Struct("<d").pack
_digest = functools.partial(blake2b, digest_size=16)


def structural_digest(
    value: object, extra: Mapping[str, object] = types.MappingProxyType({})
) -> bytes:
    """Return 32 bytes that depend on what `value` holds, taken apart as its pickle would be.

    Numbers count by type and bits. Mappings count in their own order: River's sums run in it, so
    another order is another state. Sets and attributes count sorted, since theirs is no state.
    Shared parts count as if each had its own copy. Functions and classes count by name, generators
    by their state, those of distributions without a seed not at all. Raises `DeclarationError` for
    what cannot be pickled.
    """
    walk = _Walk(pickles_for(extra).reducers)
    return blake2b(walk.encode(value), digest_size=32).digest()


class DigestSum:
    """A sum of digests modulo 2**256: of any order, and an entry can be taken out again."""

    __slots__ = ("_total",)

    def __init__(self, total: int = 0) -> None:
        self._total = total % _MODULUS

    @property
    def total(self) -> int:
        """The sum as a number, from which an equal one can be made."""
        return self._total

    def add(self, entry_digest: bytes) -> None:
        """Count an entry in."""
        self._total = (self._total + int.from_bytes(entry_digest, "big")) % _MODULUS

    def remove(self, entry_digest: bytes) -> None:
        """Count out an entry that was counted in."""
        self._total = (self._total - int.from_bytes(entry_digest, "big")) % _MODULUS

    def hexdigest(self) -> str:
        """Return the sum as 64 hexadecimal digits."""
        return f"{self._total:064x}"


def _integer(value: int) -> bytes:
    if -_SMALL < value < _SMALL:
        return b"i%d;" % value
    # Decimal digits of a long one take quadratic time, and Python refuses beyond 4,300 of them.
    return b"j" + _bytes(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:" % len(data) + data


def _bytes(value: bytes | bytearray) -> bytes:
    return b"b%d:" % len(value) + value


def _named(value: Any) -> bytes:
    return b"g" + _text(f"{value.__module__}:{value.__qualname__}")


_LEAVES: dict[type, Callable[[Any], bytes]] = {
    float: lambda value: b"f" + _pack_float(value),
    int: _integer,
    bool: lambda value: b"T" if value else b"F",
    type(None): lambda _: b"N",
    str: _text,
    bytes: _bytes,
    types.FunctionType: _named,
    type: _named,
    Maker: lambda value: b"m" + _text(value.name),
}


class _Walk:
    """One walk over one value. Every container becomes a digest, so shared parts are walked once."""

    def __init__(self, reducers: dict[type, Any]) -> None:
        self._reducers = reducers
        self._done: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        # The parts that a reduction makes must live on: their addresses are in `_done`.
        self._alive: list[object] = []
        self._shapes: dict[tuple[Maker, tuple[str, ...]], tuple[bytes, tuple[str, ...]]] = {}

    def encode(self, value: Any) -> bytes:
        kind = type(value)
        leaf = _LEAVES.get(kind)
        if leaf is not None:
            return leaf(value)
        if isinstance(value, type):
            return _named(value)
        key = id(value)
        done = self._done.get(key)
        if done is not None:
            return done
        level = self._open.get(key)
        if level is not None:
            # A way back to what is being walked: it counts by how far up it leads.
            return b"^%d;" % (len(self._open) - level)
        self._open[key] = len(self._open)
        builtin = _BUILT_IN.get(kind)
        content = builtin(self, value) if builtin else self._reduced(value)
        del self._open[key]
        done = self._done[key] = b"#" + _digest(content).digest()
        return done

    def _reduced(self, value: Any) -> bytes:
        parts: Reduction | str = self._reducers[type(value)](value)
        if isinstance(parts, str):
            return b"r" + _text(parts)
        self._alive.append(parts)
        func, args, *rest = parts
        state, items, pairs = (*rest, None, None, None)[:3]
        if type(func) is Maker and type(state) is dict and not (args or items or pairs):
            return self._attributes(func, state)
        content = [b"o", self.encode(func), b"%d;" % len(args), *map(self.encode, args)]
        if state is not None:
            content += [b"=", self.encode(state)]
        if items is not None:
            content += [b"[", *map(self.encode, items)]
        if pairs is not None:
            content += [b"{", self._pairs(pairs)]
        return b"".join(content)

    def _attributes(self, maker: Maker, state: dict[str, Any]) -> bytes:
        """Encode an instance by the names of its attributes, sorted, and then their values."""
        names = tuple(state)
        shape = self._shapes.get((maker, names))
        if shape is None:
            ordered = tuple(sorted(names))
            header = [b"a", _text(maker.name), b"%d;" % len(ordered), *map(_text, ordered)]
            shape = self._shapes[maker, names] = (b"".join(header), ordered)
        encode = self.encode
        return shape[0] + b"".join([encode(state[name]) for name in shape[1]])

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> bytes:
        encode = self.encode
        return b"".join([encode(part) for pair in pairs for part in pair])


def _mapping(walk: _Walk, value: dict[Any, Any]) -> bytes:
    return b"d%d;" % len(value) + walk._pairs(value.items())


def _sequence(tag: bytes) -> Callable[[_Walk, Any], bytes]:
    def encode(walk: _Walk, value: list[Any] | tuple[Any, ...]) -> bytes:
        return tag + b"%d;" % len(value) + b"".join(map(walk.encode, value))

    return encode


def _unordered(tag: bytes) -> Callable[[_Walk, Any], bytes]:
    def encode(walk: _Walk, value: set[Any] | frozenset[Any]) -> bytes:
        return tag + b"%d;" % len(value) + b"".join(sorted(map(walk.encode, value)))

    return encode


_BUILT_IN: dict[type, Callable[[_Walk, Any], bytes]] = {
    dict: _mapping,
    list: _sequence(b"l"),
    tuple: _sequence(b"t"),
    set: _unordered(b"u"),
    frozenset: _unordered(b"z"),
    bytearray: lambda _, value: b"y" + _bytes(value),
}
