"""River without SciPy until a model needs it: SciPy is more than half of what River's import takes.

Few models call SciPy. River's modules hold some of its modules (`special.softmax`), and a few of
its functions, which they take out while they are imported. Those are stand-ins here, made before
River is imported and taken away behind it, so that whoever else asks for SciPy gets SciPy. A name
that is not known here loads SciPy at once, as River does by itself; and so does a module, which
another thread may just be importing.

So the import happens at a model's first call, and what may go wrong there (no file handles left, a
file that is gone) must not pass for the model's own failure, which would be an event of the log;
nor may a user's class catch it and go on as another model: see `nothing_amiss`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from stream_app.errors import SurroundingsError

# What River's modules hold, and what they take out of it by name.
_HELD: dict[str, frozenset[str]] = {
    "scipy": frozenset(),
    "scipy.integrate": frozenset(),
    "scipy.io": frozenset(),
    "scipy.io.arff": frozenset(),
    "scipy.io.arff._arffread": frozenset({"read_header"}),
    "scipy.ndimage": frozenset(),
    "scipy.sparse": frozenset(),
    "scipy.special": frozenset({"ndtri"}),
    "scipy.stats": frozenset({"f", "multivariate_normal"}),
}

# What NumPy has as well, by the same operations in the same order. Every ROCAUC asks for it, also
# while it is declared: it would bring SciPy into nearly every process.
_IN_NUMPY = frozenset({("scipy.integrate", "trapezoid")})

_failed = threading.local()  # by the calls of models that each thread makes
_NO_PATH: list[str] = []  # the import system looks for modules below a stand-in's


class _LaterModule(ModuleType):
    """A module whose real one is imported when something of it is asked for."""

    def __init__(self, name: str, known: dict[str, _LaterModule]) -> None:
        super().__init__(name)
        self.__path__ = _NO_PATH
        self._known = known

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system asks, and means this object
        later = self._known.get(f"{self.__name__}.{name}")
        if later is not None:
            return later
        if name in _HELD[self.__name__]:
            return _LaterObject(self.__name__, name)
        _take_away(self._known)  # a no-op but for names that are not known here
        found = self.__dict__[name] = _found(self.__name__, name)
        return found


class _LaterObject:
    """An object of a module, found when it is called or asked for something."""

    def __init__(self, module: str, name: str) -> None:
        self._place = (module, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # copying and pickling ask
        return getattr(_found(*self._place), name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return _found(*self._place)(*args, **named)


class _WithoutStandIn:
    """Finds and loads a module of SciPy that has no stand-in: the real one, and its parents."""

    def __init__(self, known: dict[str, _LaterModule]) -> None:
        self._known = known

    def find_spec(self, name: str, path: object = None, _: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if path is _NO_PATH else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        _take_away(self._known)
        module = import_module(spec.name)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state  # type: ignore[union-attr]


def _found(module: str, name: str) -> Any:
    """Return what is called so in the real module; raises `SurroundingsError`."""
    place = "numpy" if (module, name) in _IN_NUMPY else module
    try:
        return getattr(import_module(place), name)
    # Another NumPy below it is a ValueError, and so on; `exit()` would pass for the model's own.
    except (Exception, SystemExit) as error:
        _failed.last = SurroundingsError(
            f"{module}.{name}, which a model calls, could not be imported ({error}).",
            attempt="repair what is said there, then start again",
        )
        raise _failed.last from error


@contextmanager
def nothing_amiss() -> Iterator[None]:
    """Raise at the end what could not be imported meanwhile, if a model has caught it."""
    _failed.last = None
    yield
    if _failed.last is not None:
        raise _failed.last


def _take_away(known: dict[str, _LaterModule]) -> None:
    for name, later in known.items():
        if sys.modules.get(name) is later:
            sys.modules.pop(name, None)  # another thread may have been quicker


@contextmanager
def scipy_later() -> Iterator[None]:
    """Import what is imported in here without SciPy, unless SciPy is there already."""
    if "scipy" in sys.modules:
        yield
        return
    known: dict[str, _LaterModule] = {}
    known.update({name: _LaterModule(name, known) for name in _HELD})
    finder = _WithoutStandIn(known)
    sys.modules.update(known)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        _take_away(known)
        sys.meta_path.remove(finder)
