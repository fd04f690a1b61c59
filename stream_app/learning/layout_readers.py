"""A function that puts a model into bytes which is still what its layout's bytes made.

It looks at everything that the pickler would write: classes, attributes and keys in their order,
what is one object and what are two. Where anything is not as it was in the bytes (a feature more, a
count that takes another opcode, a float that became NumPy's) it gives up, and the pickler does it.
Where it does not, numbers are put into their places between the layout's own bytes.
"""

from __future__ import annotations

import collections
import struct
import types
from typing import Any, Final

from river import compose

from stream_app.learning.layout_parts import Constant, Group, Made, Numeral, Thing, Unfit
from stream_app.learning.layouts import BytesOf, Number
from stream_app.learning.rebuilders import counter, defaultdict, ordered
from stream_app.learning.reductions import PIPELINE_CACHES, is_whole

_DICTS: Final = {
    counter.name: collections.Counter,
    defaultdict.name: collections.defaultdict,
    ordered.name: collections.OrderedDict,
}
# Beyond what `struct` would refuse: the integers for which the pickler takes another opcode.
_OTHER: Final = {"H": "{0} > 255", "i": "{0} > 65535 or {0} < 0"}
# Floats are the other way round in a pickle than integers, and `struct` knows one way at a time.
_PACKED: Final = {"d": "{0}", "B": "{0}", "H": "U2({0})", "i": "I4({0})"}
_CODES: Final = {"d": "d", "B": "B", "H": "2s", "i": "4s"}
_SAME: Final = (type(None), bool, type, types.FunctionType, types.BuiltinFunctionType)


Named = list[tuple[str, Number]]  # numbers with their names, in the order of the bytes


def compile_reader(root: Any, data: bytes, named: Named) -> BytesOf:
    """Return the function of a value that returns its bytes, or None where it is another's."""
    reader = _Reader()
    try:
        return reader.function(root, data, named)
    except Exception:  # what it does not know is left to the pickler
        return _none


def _none(_: Any) -> bytes | None:
    return None


class _Reader:
    def __init__(self) -> None:
        self._given: dict[str, Any] = {
            "STR": {str},
            "U2": struct.Struct("<H").pack,
            "I4": struct.Struct("<i").pack,
            "Beyond": struct.error,
        }
        self._lines: list[str] = []
        self._names: dict[int, str] = {}  # of what can be there twice
        self._made = 0

    def function(self, root: Any, data: bytes, named: Named) -> BytesOf:
        self._value(root, "value")
        names = ", ".join(f"id({name})" for name in self._names.values())
        self._unless(f"len({{{names}}}) == {len(self._names)}")
        self._lines.append(f"try: return {self._packed(data, named)}")
        body = "\n ".join([*self._lines, "except Beyond: return None"])
        exec(f"def bytes_of(value):\n {body}", self._given)  # noqa: S102 - names and checks of ours
        return self._given["bytes_of"]  # type: ignore[no-any-return]

    def _packed(self, data: bytes, named: Named) -> str:
        """Return a call that writes the bytes, with numbers in their places."""
        codes, parts, at = ">", [], 0
        for name, (position, kind) in [*named, ("", Number(len(data), ""))]:
            codes += f"{position - at}s"
            parts.append(self._constant(data[at:position]))
            if kind:
                codes += _CODES[kind]
                parts.append(_PACKED[kind].format(name))
            at = position + struct.calcsize(f"={kind}")
        return f"{self._constant(struct.Struct(codes).pack)}({', '.join(parts)})"

    def _unless(self, condition: str) -> None:
        self._lines.append(f"if not ({condition}): return None")

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._given)}"
        self._given[name] = value
        return name

    def _fresh(self) -> str:
        self._made += 1
        return f"v{self._made}"

    def _value(self, part: Any, name: str) -> None:
        """Look at what stands under a name, beside the numbers in it."""
        if isinstance(part, Constant):
            self._known(part.known, name)
        elif id(part) in self._names:
            self._unless(f"{name} is {self._names[id(part)]}")
        elif isinstance(part, Group | Made):
            self._names[id(part)] = name
            self._group(part, name) if isinstance(part, Group) else self._object(part, name)
        else:
            raise Unfit

    def _known(self, known: Any, name: str) -> None:
        same = self._constant(known)
        if isinstance(known, _SAME):
            self._unless(f"{name} is {same}")
        elif type(known) is str:
            self._unless(f"{name} is {same} or (type({name}) is str and {name} == {same})")
        else:
            raise Unfit

    def _group(self, part: Group, name: str) -> None:
        if part.form == "dict":
            self._kind(dict, name)
            self._entries(part.items, name)
            return
        self._kind(list if part.form == "list" else tuple, name)
        self._unless(f"len({name}) == {len(part.items)}")
        self._items(part.items, name)

    def _kind(self, kind: type, name: str) -> None:
        self._unless(f"type({name}) is {self._constant(kind)}")

    def _object(self, part: Made, name: str) -> None:
        if part.role == Thing.INSTANCE:
            self._instance(part, name)
        elif part.role == Thing.CALLED:
            self._call(part, name)
        elif part.role in _DICTS and part.attributes is None:
            self._kind(_DICTS[part.role], name)
            if part.role == defaultdict.name:
                (factory,) = part.given.items
                self._value(factory, f"{name}.default_factory")
            self._entries(part.items, name)
        else:
            raise Unfit

    def _instance(self, part: Made, name: str) -> None:
        kind = part.kind
        if kind is None or part.attributes is None or part.items or not is_whole(kind):
            raise Unfit
        self._kind(kind, name)
        state = self._fresh()
        self._lines.append(f"{state} = {name}.__dict__")
        # Users' own code may replace the mapping, or name attributes by texts of another class.
        theirs = kind.__module__.partition(".")[0] != "river"
        if theirs:
            self._kind(dict, state)
        left_out = PIPELINE_CACHES if kind is compose.Pipeline else ()
        self._entries(part.attributes, state, left_out, sure=not theirs)

    def _call(self, part: Made, name: str) -> None:
        """Look at what a class of River's own says that it is made of."""
        if part.attributes is not None or part.items:
            raise Unfit
        made, given = self._fresh(), self._fresh()
        cls = self._constant(part.call.known)
        self._unless(f"type({name}) is {cls}")
        self._lines.append(f"{made} = {name}.__reduce_ex__(5)")
        self._unless(f"type({made}) is tuple and len({made}) == 2 and {made}[0] is {cls}")
        self._lines.append(f"{given} = {made}[1]")
        self._group(part.given, given)

    def _entries(
        self, items: list[Any], name: str, left_out: Any = (), *, sure: bool = False
    ) -> None:
        """Look at keys and values; `sure` that no key is of a subclass of str."""
        keys = [key.known for key in items[::2]]
        if not all(type(key) is str for key in keys):
            raise Unfit
        self._unless(f"[*{name}] == {self._constant(keys)}")
        if keys and not sure:
            self._unless(f"{{*map(type, {name})}} == STR")
        wanted = [
            None if key in left_out else value for key, value in zip(keys, items[1::2], strict=True)
        ]
        self._items(wanted, f"{name}.values()")

    def _items(self, parts: list[Any], values: str) -> None:
        """Take values out, and look at each; None stands for one that nobody looks at."""
        if not parts:
            return
        names = [part.text if isinstance(part, Numeral) else self._fresh() for part in parts]
        self._lines.append(f"({', '.join(names)},) = {values}")
        self._numbers([part for part in parts if isinstance(part, Numeral)])
        for part, name in zip(parts, names, strict=True):
            if part is not None and not isinstance(part, Numeral):
                self._value(part, name)

    def _numbers(self, numbers: list[Numeral]) -> None:
        floats = [number.text for number in numbers if number.number == "d"]
        whole = [number for number in numbers if number.number != "d"]
        for names, kind in ((floats, "float"), ([number.text for number in whole], "int")):
            if names:
                self._unless(" is ".join([*(f"type({name})" for name in names), kind]))
        for number in whole:
            if number.number in _OTHER:
                self._unless(_OTHER[number.number].format(number.text))
