"""What a model's bytes may call while they are loaded: a few frozen functions of ours and no class.

A class is never on the machine's stack as what makes an instance: `blank("module:qualname")` gives
a maker of empty instances instead. So no bytes can run an `__init__` with arguments of their own
choice, or change a class for the whole process.
"""

from __future__ import annotations

import array as compact
import collections
import functools
import importlib
import random
import types
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from stream_app.learning.allowed_globals import INSTANCES, METHODS

_MT_WORDS = 624
ARRAY_KINDS = "biufcSU"
RANGE_MAX = 1 << 16
EMPTY_MAX = 1 << 10


class Rebuilder:
    """A function that bytes may call, and that they can neither change nor replace."""

    __slots__ = ("call", "name")
    name: str
    call: Callable[..., object]

    def __init__(self, name: str, call: Callable[..., object]) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "call", call)

    def __call__(self, *args: object) -> object:
        """Call it, with whatever the bytes say: it looks at its arguments itself."""
        return self.call(*args)

    def __reduce__(self) -> str:
        return self.name

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self.name} is frozen")

    # Pickle's BUILD looks for this first, and then for nothing else.
    def __setstate__(self, state: object) -> NoReturn:
        raise AttributeError(f"{self.name} is frozen")


class UnseededRandom(random.Random):
    """The generator that everything without a seed shares after a load; it has no state to keep."""

    def __reduce__(self) -> tuple[Rebuilder, tuple[()]]:
        return unseeded, ()

    def __setstate__(self, state: object) -> NoReturn:
        raise AttributeError("the unseeded generator keeps no state")

    def __copy__(self) -> UnseededRandom:
        return self

    def __deepcopy__(self, memo: object) -> UnseededRandom:
        return self


UNSEEDED = UnseededRandom()


def maker(cls: type) -> Callable[..., object]:
    """Return what makes an empty instance of `cls`, as fast as C can when `__new__` is C's.

    The bound method of a built-in has no attributes that BUILD could set.
    """
    new: Any = cls.__new__
    if isinstance(new, types.BuiltinFunctionType):
        return types.MethodType(new, cls)
    return Rebuilder(cls.__qualname__, functools.partial(new, cls))


def _defaultdict(factory: Any) -> object:
    if factory is not None and not callable(factory):
        raise TypeError("a default factory must be callable")
    return collections.defaultdict(factory)


def _deque(maxlen: int | None) -> object:
    return collections.deque(maxlen=maxlen)


def _partial(func: Any, args: Any, kwargs: Any) -> object:
    if not (callable(func) and type(args) is tuple and type(kwargs) is dict):
        raise TypeError("a partial needs a callable, a tuple and a dict")
    return functools.partial(func, *args, **kwargs)


def import_listed(name: str) -> Any:
    """Import "module:qualname"; only ever to be called with names of our own lists."""
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _method(owner: object, name: str) -> object:
    """Bind a method by its exact class and name; an instance's own attributes are not looked at.

    A name as the owner stands for that class itself, for class methods and such as `str.lower`.
    Any listed part may be cloned, because which one a pipeline declares is free.
    """
    kind = type(owner)
    if isinstance(owner, str):
        if (owner, name) in METHODS:
            return getattr(import_listed(owner), name)
        raise TypeError(f"{owner}.{name} is not a listed method")
    listed = f"{kind.__module__}:{kind.__qualname__}"
    if (listed, name) in METHODS or (name == "clone" and listed in INSTANCES):
        return getattr(kind, name).__get__(owner, kind)
    raise TypeError(f"{listed}.{name} is not a listed method")


def _iterator(items: list[object], index: int) -> object:
    if type(items) is not list or type(index) is not int:
        raise TypeError("an iterator needs a list and an index")
    iterator = iter(items)
    iterator.__setstate__(index)  # type: ignore[attr-defined]
    return iterator


def _random(words: bytes, gauss_next: float | None) -> object:
    if type(words) is not bytes or not (gauss_next is None or type(gauss_next) is float):
        raise TypeError("a generator's state is bytes and a float")
    generator = random.Random.__new__(random.Random)  # no draw of a seed from the system
    generator.setstate((3, tuple(compact.array("I", words)), gauss_next))
    return generator


def _random_state(words: bytes, position: int, has_gauss: int, gauss: float) -> object:
    if len(words) != 4 * _MT_WORDS or not 0 <= position <= _MT_WORDS:
        # NumPy does not look at the position itself and would read beyond the words.
        raise ValueError("a generator's position is beyond its words")
    generator = np.random.RandomState(0)
    key = np.frombuffer(words, dtype=np.uint32)
    generator.set_state(("MT19937", key, position, has_gauss, gauss))
    return generator


def _counter() -> object:
    # Without arguments: a counter would go through a lazy one, which has no bound.
    return collections.Counter()


def _ordered() -> object:
    return collections.OrderedDict()


def _range(start: int, stop: int, step: int) -> object:
    found = range(start, stop, step)
    if found[RANGE_MAX : RANGE_MAX + 1]:
        # Twenty bytes would stand for as many items as whoever goes through them has memory for.
        raise ValueError(f"a range of more than {RANGE_MAX} numbers")
    return found


def _shape(shape: Any, items: int) -> tuple[int, ...]:
    # Rows of no columns cost no data: any number of them would do, and each is an array.
    longest = max(items, EMPTY_MAX)
    if type(shape) is not tuple or any(type(n) is not int or not 0 <= n <= longest for n in shape):
        raise ValueError(f"an array of {items} items has no such shape")
    return shape


def _array(dtype: str, shape: tuple[int, ...], order: str, data: bytes) -> object:
    kind = np.dtype(_dtype_name(dtype))
    flat = np.frombuffer(data, dtype=kind) if data else np.empty(0, dtype=kind)
    return flat.copy().reshape(_shape(shape, flat.size), order="F" if order == "F" else "C")


def _object_array(shape: tuple[int, ...], items: list[object]) -> object:
    flat = np.empty(len(items), dtype=object)
    flat[:] = items
    return flat.reshape(_shape(shape, flat.size))


def _scalar(dtype: str, data: bytes) -> object:
    return np.frombuffer(data, dtype=np.dtype(_dtype_name(dtype)), count=1)[0]


def _dtype_name(dtype: str) -> str:
    # Never an object type: its items are pointers, and these bytes would choose them.
    if type(dtype) is not str or dtype[1:2] not in ARRAY_KINDS or not dtype[2:].isdigit():
        raise TypeError(f"{dtype!r} is not a type of plain numbers or text")
    return dtype


def _ufunc(name: str) -> object:
    found = vars(np).get(name)
    if not isinstance(found, np.ufunc):
        raise TypeError(f"numpy has no ufunc {name!r}")
    return found


def _bound_by_loader(name: str) -> NoReturn:
    raise TypeError(f"{name} can only be resolved while loading")


# Pickle writes each by its name here; `blank`, `made` and `fill` are bound by every loader.
blank = Rebuilder("blank", _bound_by_loader)
made = Rebuilder("made", _bound_by_loader)
fill = Rebuilder("fill", _bound_by_loader)
defaultdict = Rebuilder("defaultdict", _defaultdict)
deque = Rebuilder("deque", _deque)
counter = Rebuilder("counter", _counter)
ordered = Rebuilder("ordered", _ordered)
partial = Rebuilder("partial", _partial)
method = Rebuilder("method", _method)
iterator = Rebuilder("iterator", _iterator)
seeded = Rebuilder("seeded", _random)
unseeded = Rebuilder("unseeded", lambda: UNSEEDED)
random_state = Rebuilder("random_state", _random_state)
array = Rebuilder("array", _array)
object_array = Rebuilder("object_array", _object_array)
scalar = Rebuilder("scalar", _scalar)
ufunc = Rebuilder("ufunc", _ufunc)
int_range = Rebuilder("int_range", _range)
complex_number = Rebuilder("complex_number", complex)

REBUILDERS: dict[str, Rebuilder] = {
    f"{__name__}:{thing.name}": thing
    for thing in list(globals().values())
    if isinstance(thing, Rebuilder)
}
