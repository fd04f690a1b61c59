"""A model as bytes and back: exact, slim, and read by a machine that resolves listed names only."""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import types
from collections.abc import Mapping
from typing import Any

from stream_app.errors import DeclarationError, StateUntrusted, StreamAppError
from stream_app.learning.allowed_globals import INSTANCES, MADE, VALUES
from stream_app.learning.deep_calls import call_deeply
from stream_app.learning.layout_programs import compile_layout
from stream_app.learning.layouts import Layouts
from stream_app.learning.opcodes import check_opcodes
from stream_app.learning.rebuilders import (
    REBUILDERS,
    Rebuilder,
    array,
    blank,
    fill,
    import_listed,
    made,
    maker,
    method,
    ufunc,
)
from stream_app.learning.reductions import Reducers

_NOTHING: Mapping[str, object] = types.MappingProxyType({})
_ATTRIBUTES_KEPT_MAX = 256  # of a class; a model may name them after what is in its events
# What bytes are not blamed for; all else counts, since compiled parts of River panic with more.
_NOT_OF_BYTES = (KeyboardInterrupt, SystemExit, MemoryError)
_IMMUTABLE_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE


class ModelPickles:
    """Pickles of models that may hold what is listed, and `extra`: "module:qualname" to a thing.

    Keep one per pipeline: it remembers how to take every type apart and what every name means.
    """

    def __init__(self, extra: Mapping[str, object] = _NOTHING) -> None:
        self.extra = dict(extra)
        self.reducers = Reducers(self.extra)
        self._makers: dict[str, Any] = {}
        self._globals: dict[str, Any] = dict(REBUILDERS)
        # Of each class that instances are made of: which attributes may be set on an instance.
        self._blanks: dict[type, dict[str, bool]] = {}
        for rebuilder, resolve in ((blank, self._blank), (made, self._made), (fill, self._fill)):
            self._globals[_name(rebuilder)] = Rebuilder(rebuilder.name, resolve)
        self._layouts = Layouts(functools.partial(compile_layout, names=self))

    def dumps(self, value: object, length: int = 0) -> bytes:
        """Return the bytes of which `loads` makes a value that behaves the same for ever.

        It is quicker where the value was made of bytes of this `length` and has changed in numbers
        alone. Raises `DeclarationError` when the value holds something that is not listed.
        """
        found = self._layouts.bytes_of(value, length)
        if found is not None:
            return found
        try:
            return call_deeply(functools.partial(self._dumped, value))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise DeclarationError(
                f"A {type(value).__name__} cannot be saved exactly: {error}.",
                attempt="use named functions and classes at the top level of a module",
            ) from error

    def _dumped(self, value: object) -> bytes:
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, protocol=5)
        pickler.dispatch_table = self.reducers
        pickler.dump(value)
        return buffer.getvalue()

    def loads(self, data: bytes) -> object:
        """Return the value of bytes that `dumps` wrote; the second wall behind their signature.

        Raises `StateUntrusted` for all other bytes, having called nothing that is not listed.
        """
        layout = self._layouts.find(data)
        if layout is not None:
            try:
                return layout.value(data)
            except _NOT_OF_BYTES:
                raise
            except BaseException:  # noqa: S110 - the long way raises it again, under its name
                pass
        value = self._loaded(data)
        self._layouts.loaded(data)
        return value

    def _loaded(self, data: bytes) -> object:
        check_opcodes(data)
        unpickler = _Unpickler(data, self)
        try:
            value = unpickler.load()
        except (*_NOT_OF_BYTES, StreamAppError):
            raise
        except BaseException as error:
            raise _untrusted(f"{type(error).__name__}: {error}") from error
        finally:
            changed = unpickler.restore()
        if changed:
            raise _untrusted(f"they change {changed} for the whole process")
        return value

    def resolve(self, module: str, qualname: str) -> Any:
        """Return what a name in the bytes stands for; raises `StateUntrusted` when unlisted."""
        name = f"{module}:{qualname}"
        found = self._globals.get(name)
        if found is None:
            found = self._globals[name] = self._listed(name, VALUES)
        return found

    def _listed(self, name: str, listed: frozenset[str]) -> Any:
        if name in self.extra:
            return self.extra[name]
        if name not in listed:
            module, _, qualname = name.partition(":")
            raise _untrusted(f"they name {qualname!r} of module {module!r}, which is not listed")
        return import_listed(name)

    def maker_of(self, name: str) -> tuple[type, Any]:
        """Return a listed class, and what makes empty instances of it."""
        return self._listed(name, INSTANCES), self._blank(name)

    def _blank(self, name: str) -> Any:
        found = self._makers.get(name)
        if found is None:
            cls = self._listed(name, INSTANCES)
            if not isinstance(cls, type):
                raise _untrusted(f"they make instances of {name}, which is no class")
            found = self._makers[name] = maker(cls)
            self._blanks[cls] = {}
        return found

    def _fill(self, thing: Any, state: Any) -> None:
        """Give a blank instance its attributes one by one, in the order it first got them.

        Updating its `__dict__` instead, as pickle does by itself, would do too, but Python keeps
        such instances in a slower form: a scaler and a regression then learn a third slower.
        """
        kind = type(thing)
        known = self._blanks.get(kind)
        if known is None or type(state) is not dict:
            raise TypeError("only a blank instance is filled, and from a dict")
        for name, value in state.items():
            settable = known.get(name)
            if settable is None:
                settable = self.is_settable(kind, name)
                if len(known) < _ATTRIBUTES_KEPT_MAX:
                    known[name] = settable
            if settable:
                object.__setattr__(thing, name, value)
            else:
                thing.__dict__[name] = value  # what the class computes under this name stays

    def is_settable(self, kind: type, name: str) -> bool:
        """Tell whether an attribute is set as any other; False where its class computes it."""
        if name.startswith("__"):
            raise TypeError(f"{name} is not an attribute of a model")
        return not hasattr(getattr(kind, name, None), "__set__")

    def made_by(self, name: str) -> Any:
        """Return a listed function or class that is called with what the bytes say."""
        if name not in MADE:
            raise _untrusted(f"they call {name}, which is not listed")
        return import_listed(name)

    def _made(self, name: str) -> Any:
        return Rebuilder(name, self.made_by(name))


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, pickles: ModelPickles) -> None:
        super().__init__(io.BytesIO(data))
        self._pickles = pickles
        self._before: list[tuple[Any, Any]] = []
        self._left = len(data)

    def find_class(self, module: str, name: str) -> Any:
        found = self._pickles.resolve(module, name)
        if found is method or found is ufunc:
            return Rebuilder(found.name, functools.partial(self._watched, found))
        if found is array:
            return Rebuilder(found.name, functools.partial(self._counted, found))
        return self._watch(found)

    def _watched(self, rebuilder: Rebuilder, *args: object) -> object:
        shared = rebuilder(*args)
        # BUILD on a bound method reaches the attributes of its function.
        self._watch(getattr(shared, "__func__", shared))
        return shared

    def _counted(self, rebuilder: Rebuilder, *args: Any) -> object:
        # Every array has bytes of its own, so all of them together are no more than there are.
        self._left -= len(args[3])
        if self._left < 0:
            raise ValueError("arrays of more bytes than there are")
        return rebuilder(*args)

    def _watch(self, thing: Any) -> Any:
        """Remember how something shared looks that BUILD could set attributes of."""
        if type(thing) is type and thing.__flags__ & _IMMUTABLE_TYPE:
            return thing  # `float`, in nearly every model: nobody can
        if isinstance(thing, type):
            # Pickle keeps them on the class when it first asks; another thread may just do that.
            copyreg._slotnames(thing)  # type: ignore[attr-defined]
        if hasattr(thing, "__dict__"):
            self._before.append((thing, _attributes(thing)))
        return thing

    def restore(self) -> str:
        """Undo what the bytes did to anything shared; returns the name of one thing changed."""
        changed = ""
        for thing, before in reversed(self._before):
            if _attributes(thing) != before:
                _restore(thing, before)
                changed = repr(thing)
        return changed


# Attributes of functions and classes that are not in their `__dict__`.
_FUNCTION = ("__name__", "__qualname__", "__code__", "__defaults__", "__kwdefaults__")
_CLASS = ("__name__", "__qualname__", "__bases__")


def _outside(thing: Any) -> tuple[str, ...]:
    if isinstance(thing, type):
        return _CLASS
    return _FUNCTION if isinstance(thing, types.FunctionType) else ()


def _attributes(thing: Any) -> tuple[Any, ...]:
    return dict(vars(thing)), *(getattr(thing, name) for name in _outside(thing))


def _restore(thing: Any, before: tuple[Any, ...]) -> None:
    attributes, *outside = before
    for name, value in zip(_outside(thing), outside, strict=True):
        if getattr(thing, name) is not value:
            setattr(thing, name, value)
    for name in set(vars(thing)) - set(attributes):
        delattr(thing, name)
    for name, value in attributes.items():
        if vars(thing).get(name) is not value:
            setattr(thing, name, value)


def _name(rebuilder: Rebuilder) -> str:
    return f"{Rebuilder.__module__}:{rebuilder.name}"


def _untrusted(why: str) -> StateUntrusted:
    return StateUntrusted(
        f"A model's bytes were refused: {why}.",
        attempt="delete the state directory; it is rebuilt from the log",
    )


_RIVER_ONLY = ModelPickles()


_KEPT_MAX = 8
_kept: list[ModelPickles] = []


def pickles_for(extra: Mapping[str, object]) -> ModelPickles:
    """Return the `ModelPickles` of these extras, kept between calls for the newest few."""
    if not extra:
        return _RIVER_ONLY
    for kept in _kept:
        if kept.extra == extra:
            return kept
    fresh = ModelPickles(extra)
    _kept.insert(0, fresh)
    del _kept[_KEPT_MAX:]
    return fresh


def dumps(value: object, extra: Mapping[str, object] = _NOTHING) -> bytes:
    """Return `value` as bytes; see `ModelPickles.dumps`."""
    return pickles_for(extra).dumps(value)


def loads(data: bytes, extra: Mapping[str, object] = _NOTHING) -> object:
    """Return the value of `data`; see `ModelPickles.loads`."""
    return pickles_for(extra).loads(data)
