"""How every object of a model is taken apart: a table from its exact type, closed by the list.

The pickler and the digest read the same table, so that what is kept is what is compared.
"""

from __future__ import annotations

import array as compact
import collections
import copyreg
import functools
import random
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from river import compose
from river.proba.base import Distribution

from stream_app.errors import DeclarationError
from stream_app.learning import rebuilders
from stream_app.learning.allowed_globals import INSTANCES, MADE
from stream_app.learning.rebuilders import UNSEEDED, Rebuilder, UnseededRandom, fill

Reduction = tuple[Any, ...]
Reducer = Callable[[Any], "Reduction | str"]

# What a pipeline works out at its first call, as it is before that; nothing that it has learned.
PIPELINE_CACHES: Mapping[str, object] = types.MappingProxyType(
    {
        "_plan": None,
        "_inference_transformers": (),
        "_last_step_cached": None,
        "_last_step_params": None,
    }
)
_CONTAINERS = (dict, list, tuple, set, frozenset, str, bytes, int, float, collections.deque)


class Maker:
    """Stands for a class as what makes instances, while pickling: `blank` or `made` of its name."""

    __slots__ = ("name", "way")

    def __init__(self, way: Rebuilder, name: str) -> None:
        self.way = way
        self.name = name

    def __call__(self) -> None:
        """Never: pickle asks for something callable, and writes it without a call."""
        raise TypeError("a maker is only ever written")


class Reducers(dict[type, Reducer]):
    """A dispatch table that learns a listed type when it first meets it, and refuses others.

    A dict, because the pickler's look-ups then stay in C. `extra` maps "module:qualname" to the
    users' own classes and functions. Raises `DeclarationError` for an unlisted type.
    """

    def __init__(self, extra: Mapping[str, object]) -> None:
        super().__init__(_BUILT_IN)
        self._extra = extra

    def __missing__(self, kind: type) -> Reducer:
        if issubclass(kind, type):
            # A class as a value, whose class is `kind`: the pickler writes its name by itself.
            raise KeyError(kind)
        reducer = self._reducer(kind)
        self[kind] = reducer
        return reducer

    def _reducer(self, kind: type) -> Reducer:
        if issubclass(kind, np.generic):
            return _reduce_scalar
        name = f"{kind.__module__}:{kind.__qualname__}"
        if name in MADE:
            return _custom(kind, Maker(rebuilders.made, name))
        if name in INSTANCES or self._extra.get(name) is kind:
            maker = Maker(rebuilders.blank, name)
            if kind is compose.Pipeline:
                return _pipeline(maker)
            if is_whole(kind):
                return _plain(maker)
            distribution = issubclass(kind, Distribution)
            return _distribution(maker) if distribution else _custom(kind, maker)
        raise DeclarationError(
            f"A model holds a {name.replace(':', '.')}, which cannot be saved exactly.",
            attempt="use another model, or declare the class if it is your own",
        )


def is_whole(kind: type) -> bool:
    """Tell whether instances are kept as their whole `__dict__`, and as nothing else."""
    if issubclass(kind, Distribution):
        return False
    inherits: Any = kind
    return kind is compose.Pipeline or (
        inherits.__reduce_ex__ is object.__reduce_ex__
        and inherits.__reduce__ is object.__reduce__
        and inherits.__getstate__ is object.__getstate__
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
        and not copyreg._slotnames(kind)  # type: ignore[attr-defined]
        and not issubclass(kind, _CONTAINERS)
        and hasattr(kind, "__dict__")
        and kind.__dictoffset__ != 0
    )


def _plain(maker: Maker) -> Reducer:
    def reduce(thing: Any) -> Reduction:
        return maker, (), thing.__dict__, None, None, fill

    return reduce


def _distribution(maker: Maker) -> Reducer:
    """Drop an unseeded distribution's generator: 3.8 kB that nobody can tell from another's."""

    def reduce(thing: Any) -> Reduction:
        state = thing.__dict__
        if thing.seed is None and "_rng" in state:
            state = state.copy()
            state["_rng"] = UNSEEDED
        return maker, (), state, None, None, fill

    return reduce


def _pipeline(maker: Maker) -> Reducer:
    """Leave the caches out, which would have every step twice and depend on who called whom."""

    def reduce(thing: Any) -> Reduction:
        return maker, (), {**thing.__dict__, **PIPELINE_CACHES}, None, None, fill

    return reduce


def _custom(kind: type, maker: Maker) -> Reducer:
    """Follow a class's own way of being pickled, with the maker in the place of the class."""

    def reduce(thing: Any) -> Reduction | str:
        parts = thing.__reduce_ex__(5)
        if isinstance(parts, str):
            return parts
        func, args, *rest = parts
        if func is copyreg.__newobj__ and args[0] is kind:  # type: ignore[attr-defined]
            return maker, args[1:], *rest
        return (maker if func is kind and maker.way is rebuilders.made else func), args, *rest

    return reduce


def _reduce_maker(thing: Maker) -> Reduction:
    return thing.way, (thing.name,)


def _reduce_rebuilder(thing: Rebuilder) -> str:
    return thing.name


def _reduce_defaultdict(thing: collections.defaultdict[Any, Any]) -> Reduction:
    return rebuilders.defaultdict, (thing.default_factory,), None, None, iter(thing.items())


def _reduce_counter(thing: collections.Counter[Any]) -> Reduction:
    return rebuilders.counter, (), None, None, iter(thing.items())


def _reduce_ordered(thing: collections.OrderedDict[Any, Any]) -> Reduction:
    return rebuilders.ordered, (), None, None, iter(thing.items())


def _reduce_deque(thing: collections.deque[Any]) -> Reduction:
    return rebuilders.deque, (thing.maxlen,), None, iter(thing)


def _reduce_partial(thing: functools.partial[Any]) -> Reduction:
    return rebuilders.partial, (thing.func, thing.args, thing.keywords)


def _reduce_method(thing: types.MethodType) -> Reduction:
    owner: Any = thing.__self__
    if isinstance(owner, type):
        owner = f"{owner.__module__}:{owner.__qualname__}"
    return rebuilders.method, (owner, thing.__func__.__name__)


def _reduce_builtin(thing: types.BuiltinFunctionType) -> Reduction | str:
    owner = thing.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return thing.__qualname__
    return rebuilders.method, (owner, thing.__name__)


def _reduce_descriptor(thing: types.MethodDescriptorType) -> Reduction:
    owner = thing.__objclass__
    return rebuilders.method, (f"{owner.__module__}:{owner.__qualname__}", thing.__name__)


def _reduce_iterator(thing: Any) -> Reduction:
    parts = thing.__reduce__()
    items = parts[1][0]
    # A list iterator that has ended gives up its list.
    return rebuilders.iterator, (list(items), parts[2] if len(parts) > 2 else 0)


def _reduce_random(thing: random.Random) -> Reduction:
    _, state, gauss_next = thing.getstate()
    return rebuilders.seeded, (compact.array("I", state).tobytes(), gauss_next)


def _reduce_unseeded(_: UnseededRandom) -> Reduction:
    return rebuilders.unseeded, ()


def _reduce_random_state(thing: np.random.RandomState) -> Reduction:
    state: Any = thing.get_state(legacy=True)
    if state[0] != "MT19937":
        raise DeclarationError(
            f"A model holds a RandomState over {state[0]}, which cannot be saved exactly.",
            attempt="give the model a seed instead of a generator",
        )
    return rebuilders.random_state, (state[1].tobytes(), *state[2:])


def _reduce_array(thing: np.ndarray[Any, Any]) -> Reduction:
    if thing.dtype.kind == "O":
        return rebuilders.object_array, (thing.shape, thing.ravel().tolist())
    if thing.dtype.kind not in rebuilders.ARRAY_KINDS:
        raise DeclarationError(
            f"A model holds an array of {thing.dtype}, which cannot be saved exactly.",
            attempt="use an array of numbers or text",
        )
    by_columns = thing.flags.f_contiguous and not thing.flags.c_contiguous
    order: Literal["C", "F"] = "F" if by_columns else "C"
    return rebuilders.array, (thing.dtype.str, thing.shape, order, thing.tobytes(order))


def _reduce_scalar(thing: np.generic) -> Reduction:
    return rebuilders.scalar, (thing.dtype.str, thing.tobytes())


def _reduce_ufunc(thing: np.ufunc) -> Reduction:
    return rebuilders.ufunc, (thing.__name__,)


def _reduce_range(thing: range) -> Reduction:
    return rebuilders.int_range, (thing.start, thing.stop, thing.step)


def _reduce_complex(thing: complex) -> Reduction:
    return rebuilders.complex_number, (thing.real, thing.imag)


_BUILT_IN: dict[type, Reducer] = {
    Maker: _reduce_maker,
    Rebuilder: _reduce_rebuilder,
    collections.defaultdict: _reduce_defaultdict,
    collections.Counter: _reduce_counter,
    collections.OrderedDict: _reduce_ordered,
    collections.deque: _reduce_deque,
    functools.partial: _reduce_partial,
    types.MethodType: _reduce_method,
    types.BuiltinFunctionType: _reduce_builtin,
    types.MethodDescriptorType: _reduce_descriptor,
    type(iter([])): _reduce_iterator,
    random.Random: _reduce_random,
    UnseededRandom: _reduce_unseeded,
    np.random.RandomState: _reduce_random_state,
    np.ndarray: _reduce_array,
    np.ufunc: _reduce_ufunc,
    range: _reduce_range,
    complex: _reduce_complex,
}
