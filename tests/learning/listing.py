"""Writes `stream_app/learning/allowed_globals.py` from River's catalogue.

Run `python -m tests.learning.listing` after an upgrade of River and read the difference.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import pickle
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stream_app.learning import allowed_globals, order_free
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.rebuilders import REBUILDERS, import_listed, maker

from .catalogue import catalogue, classes, step_for

# Made by their constructors, because their state is its arguments; none calls what it is given.
MADE = {
    "datetime:datetime",
    "datetime:timedelta",
    "river._river_rust.vectordict:VectorDict",
    "river.time_series.holt_winters:AdditiveLevel",
    "river.time_series.holt_winters:AdditiveSeason",
    "river.time_series.holt_winters:MultiplicativeLevel",
    "river.time_series.holt_winters:MultiplicativeSeason",
    "river.time_series.holt_winters:Trend",
    "stream_app.learning.order_free:SortedSet",
}
OTHER_INSTANCES = {
    "statistics:NormalDist",
}
# Values that a person may give as a parameter and that the catalogue's examples do not use.
OTHER_VALUES = {
    "stream_app.learning.order_free:sorted_minkowski_distance",
    "builtins:bool",
    "builtins:float",
    "builtins:int",
    "builtins:str",
    "numbers:Number",
    "river.tree.splitter.nominal_splitter_reg:NominalSplitterReg._update_estimator_multivariate",
    "river._river_rust.vectordict:euclidean_distance_dict",
    "river._river_rust.vectordict:euclidean_distance_tuple",
    "river.utils.math:minkowski_distance",
}
# The first makes arrays by calling NumPy with arguments of its own; better refused than listed.
REFUSED = {"numpy:array", "numpy:ones"}


def instances() -> set[str]:
    """Every class of River whose empty instances are harmless: no hook runs when they are made."""
    found = set(OTHER_INSTANCES)
    for thing in vars(order_free).values():
        if inspect.isclass(thing) and thing.__module__ == order_free.__name__:
            found.add(f"{thing.__module__}:{thing.__qualname__}")
    for name, cls in classes().items():
        hooked = any(hook in vars(cls) for hook in ("__del__", "__setattr__", "__new__"))
        hooked = hooked and not name.startswith("river._river_rust")
        is_error = issubclass(cls, BaseException)
        is_protocol = getattr(cls, "_is_protocol", False)
        if not (inspect.isabstract(cls) or hooked or is_error or is_protocol):
            found.add(name)
    return found - MADE


class _Recorder(pickle.Unpickler):
    """Loads our own trusted bytes without a list and writes down what they name."""

    values: set[str]
    methods: set[tuple[str, str]]

    def find_class(self, module: str, name: str) -> Any:
        if name == "method" and f"{module}:{name}" in REBUILDERS:
            return self._method
        if name in ("blank", "made") and f"{module}:{name}" in REBUILDERS:
            return lambda path: (
                maker(import_listed(path)) if name == "blank" else import_listed(path)
            )
        if name == "fill" and f"{module}:{name}" in REBUILDERS:
            return lambda thing, state: thing.__dict__.update(state)
        if f"{module}:{name}" in REBUILDERS:
            return REBUILDERS[f"{module}:{name}"]
        self.values.add(f"{module}:{name}")
        return import_listed(f"{module}:{name}")

    def _method(self, owner: Any, name: str) -> Any:
        if isinstance(owner, str) and ":" in owner:
            self.methods.add((owner, name))
            return getattr(import_listed(owner), name)
        if name != "clone":
            self.methods.add((f"{type(owner).__module__}:{type(owner).__qualname__}", name))
        return getattr(owner, name)


def used(examples: int = 40) -> tuple[set[str], set[tuple[str, str]]]:
    """The values and methods that trained pickles of the catalogue name."""
    values, methods = set(OTHER_VALUES), {("random:Random", "gauss")}
    pickles = ModelPickles()
    for _, model in catalogue():
        random.seed(1)
        for dumped in _dumps_while_learning(pickles, model, examples):
            recorder = _Recorder(io.BytesIO(dumped))
            recorder.values, recorder.methods = values, methods
            recorder.load()
    return values - REFUSED, methods


def _dumps_while_learning(pickles: ModelPickles, model: Any, examples: int) -> Iterable[bytes]:
    yield pickles.dumps(model)
    step = step_for(lambda: copy.deepcopy(model))
    for n in range(examples if step else 0):
        with contextlib.suppress(Exception):  # some models fail; their state counts all the same
            step(model, n)  # type: ignore[misc]
    yield pickles.dumps(model)


def render() -> str:
    """The text of the module, as it must be checked in."""
    values, methods = used()
    parts = [
        '"""Every name that a model may use in its bytes, written by tests/learning/listing.py."""',
        "",
        "# Classes of which empty instances are made; the class itself is out of reach.",
        _names("INSTANCES", instances()),
        "# Classes called with arguments, which are their whole state.",
        _names("MADE", MADE),
        "# Functions and classes that models hold as values, such as a default factory.",
        _names("VALUES", values),
        "# Methods that models hold bound to one of their parts: (class, method).",
        "METHODS: frozenset[tuple[str, str]] = frozenset(",
        "    {",
        *[f'        ("{owner}", "{name}"),' for owner, name in sorted(methods)],
        "    }",
        ")",
    ]
    return "\n".join(parts) + "\n"


def _names(title: str, names: set[str]) -> str:
    lines = [f'        "{name}",' for name in sorted(names)]
    return "\n".join([f"{title}: frozenset[str] = frozenset(", "    {", *lines, "    }", ")"])


if __name__ == "__main__":
    Path(allowed_globals.__file__).write_text(render(), encoding="utf-8")
