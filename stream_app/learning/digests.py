"""What a state is, as 32 bytes: equal for equal behaviour, whatever the process or its history."""

from __future__ import annotations

import functools
import math
import struct
import types
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from stream_app.learning.deep_calls import call_deeply
from stream_app.learning.pickles import pickles_for
from stream_app.learning.rebuilders import Rebuilder
from stream_app.learning.reductions import Maker, Reducers

_MODULUS = 1 << 256
_SMALL = 1 << 128
_DIGEST_BYTES = 16
_INLINE_BYTES = 64


def structural_digest(
    value: object, extra: Mapping[str, object] = types.MappingProxyType({})
) -> bytes:
    """Return 32 bytes that depend on what `value` holds, taken apart as its pickle would be.

    Numbers count by type and bits, but all NaN as one: which sign Python gives to a product of two
    depends on how often the line has run, since an interpreter that knows the types swaps them.
    In what compiled parts keep as bytes of their own (quantiles) a NaN counts with its sign.
    Mappings count in their own order: River's sums run in it, so another order is another state.
    Sets and attributes count sorted, since theirs is no state. Shared parts count as if each had
    its own copy. Functions and classes count by name, generators by their state, those of
    distributions without a seed not at all. Raises `DeclarationError` for what cannot be pickled.
    """
    reducers = pickles_for(extra).reducers
    encoded = call_deeply(lambda: _Walk(reducers).encode(value))
    return blake2b(encoded, digest_size=32).digest()


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


@functools.lru_cache(maxsize=4096)
def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:" % len(data) + data


def _bytes(value: bytes | bytearray) -> bytes:
    return b"b%d:" % len(value) + value


def _named(value: Any) -> bytes:
    return b"g" + _text(f"{value.__module__}:{value.__qualname__}")


def _small(content: bytes) -> bytes:
    """Return the content with its length, or its digest when that is shorter."""
    if len(content) < _INLINE_BYTES:
        return b"(%d:" % len(content) + content
    return b"#" + blake2b(content, digest_size=_DIGEST_BYTES).digest()


_pack_float = struct.Struct("<cd").pack
_NAN = _pack_float(b"f", math.nan)


def _float(value: float) -> bytes:
    return _NAN if math.isnan(value) else _pack_float(b"f", value)


# How values without parts count. Where it can be, a leaf is a function of C's.
_LEAVES: dict[type, Callable[[Any], bytes]] = {
    float: _float,
    int: _integer,
    bool: {True: b"T", False: b"F"}.__getitem__,
    type(None): {None: b"N"}.__getitem__,
    str: _text,
    bytes: _bytes,
    types.FunctionType: _named,
    type: _named,
    Maker: lambda value: b"m" + _text(value.name),
    Rebuilder: lambda value: b"r" + _text(value.name),
}


class _Walk:
    """One walk over one value; what is shared is walked once and counts wherever it is met."""

    def __init__(self, reducers: Reducers) -> None:
        self._reducers = reducers
        self._done: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        # The parts that a reduction makes must live on: their addresses are in `_done`.
        self._alive: list[object] = []

    def encode(self, value: Any) -> bytes:
        """Return bytes that begin with the kind and tell where they end."""
        leaf = _LEAVES.get(type(value))
        return leaf(value) if leaf is not None else self._container(value)

    def many(self, values: Iterable[Any]) -> bytes:
        """Encode values one after the other."""
        leaves, container = _LEAVES, self._container
        return b"".join(
            [
                leaves[type(value)](value) if type(value) in leaves else container(value)
                for value in values
            ]
        )

    def _container(self, value: Any) -> bytes:
        key = id(value)
        done = self._done.get(key)
        if done is not None:
            return done
        level = self._open.get(key)
        if level is not None:
            # A way back to what is being walked: it counts by how far up it leads.
            return b"^%d;" % (len(self._open) - level)
        self._open[key] = len(self._open)
        builtin = _BUILT_IN.get(type(value))
        content = builtin(self, value) if builtin is not None else self.reduced(value)
        del self._open[key]
        done = self._done[key] = _small(content)
        return done

    def reduced(self, value: Any) -> bytes:
        """Encode something as it is taken apart for its pickle."""
        if isinstance(value, type):
            return _named(value)
        parts = self._reducers[type(value)](value)
        if isinstance(parts, str):
            return b"n" + _text(parts)
        self._alive.append(parts)
        func, args, *rest = parts
        state, items, pairs = (*rest, None, None, None)[:3]
        if type(state) is dict and not args and items is None and pairs is None:
            return self._attributes(func, state)
        content = [b"o", self.encode(func), b"%d;" % len(args), self.many(args)]
        if state is not None:
            content += [b"=", self.encode(state)]
        if items is not None:
            content += [b"[", self.many(items)]
        if pairs is not None:
            content += [b"{", self.many(part for pair in pairs for part in pair)]
        return b"".join(content)

    def _attributes(self, maker: Any, state: dict[str, Any]) -> bytes:
        """Encode an instance: a digest of its class and sorted attribute names, then the values."""
        shape = maker.name, tuple(state)
        known = _shapes.get(shape)
        if known is None:
            names = tuple(sorted(state))
            header = _text(maker.name) + b"".join(map(_text, names))
            known = b"a" + blake2b(header, digest_size=_DIGEST_BYTES).digest(), names
            if len(_shapes) >= _SHAPES_MAX:
                _shapes.clear()
            _shapes[shape] = known
        return known[0] + self.many([state[name] for name in known[1]])


# What `_attributes` made of a class name and attribute names; pure, so it is kept between walks.
_SHAPES_MAX = 4096
_shapes: dict[tuple[str, tuple[str, ...]], tuple[bytes, tuple[str, ...]]] = {}


def _mapping(walk: _Walk, value: dict[Any, Any]) -> bytes:
    return b"d%d;" % len(value) + walk.many(value) + walk.many(value.values())


def _list(walk: _Walk, value: list[Any]) -> bytes:
    return b"l%d;" % len(value) + walk.many(value)


def _tuple(walk: _Walk, value: tuple[Any, ...]) -> bytes:
    return b"t%d;" % len(value) + walk.many(value)


def _set(walk: _Walk, value: set[Any]) -> bytes:
    return b"u%d;" % len(value) + b"".join(sorted(map(walk.encode, value)))


def _frozenset(walk: _Walk, value: frozenset[Any]) -> bytes:
    return b"z%d;" % len(value) + b"".join(sorted(map(walk.encode, value)))


def _numpy(walk: _Walk, value: Any) -> bytes:
    if np.isnan(value).any():
        copied = np.array(value, order="K")
        numbers = copied.ravel(order="K").view(copied.real.dtype)
        numbers[np.isnan(numbers)] = np.nan
        value = copied if isinstance(value, np.ndarray) else copied[()]
    return walk.reduced(value)


def _array(walk: _Walk, value: np.ndarray[Any, Any]) -> bytes:
    return _numpy(walk, value) if value.dtype.kind in "fc" else walk.reduced(value)


_BUILT_IN: dict[type, Callable[[_Walk, Any], bytes]] = {
    np.ndarray: _array,
    **dict.fromkeys((np.float16, np.float32, np.float64, np.longdouble), _numpy),
    **dict.fromkeys((np.complex64, np.complex128, np.clongdouble), _numpy),
    dict: _mapping,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    bytearray: lambda _, value: b"y" + _bytes(value),
}
