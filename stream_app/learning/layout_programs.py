"""A function that makes what one layout's bytes stand for: their opcodes, followed once.

What the bytes name was resolved by the loader's lists, and every text and name in them is handed to
the function as a value: none of it becomes code but attributes' names, and those are identifiers.
Objects that the bytes have once are one object, and objects that they have twice are two, so that
what is made is dumped as the very same bytes again.
"""

from __future__ import annotations

import collections
import keyword
import pickletools
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

from stream_app.learning.layout_parts import Constant, Group, Made, Numeral, Thing, Unfit
from stream_app.learning.layout_readers import compile_reader
from stream_app.learning.layouts import Layout, Number
from stream_app.learning.rebuilders import Rebuilder, blank, counter, defaultdict, deque, fill, made

_NUMBERS: Final = {"BINFLOAT": "d", "BININT1": "B", "BININT2": "H", "BININT": "i"}
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SKIPPED: Final = frozenset({"PROTO", "FRAME", "STOP"})
_MARK: Final = object()
# Whose items are set by a dict's own method, whatever else they do.
_DICTS: Final = {counter.name: Counter, defaultdict.name: collections.defaultdict}
_REBUILDERS: Final = Rebuilder.__module__


class Names(Protocol):
    """The loader whose lists decide what names stand for."""

    def resolve(self, module: str, qualname: str) -> Any:
        """Return what a name in the bytes stands for."""
        ...

    def maker_of(self, name: str) -> tuple[type, Callable[..., object]]:
        """Return a listed class, and what makes empty instances of it."""
        ...

    def made_by(self, name: str) -> Callable[..., object]:
        """Return a listed function or class that is called with what the bytes say."""
        ...

    def is_settable(self, kind: type, name: str) -> bool:
        """Tell whether an attribute is set as any other; False where its class computes it."""
        ...


def compile_layout(data: bytes, names: Names) -> Layout | None:
    """Return the layout of bytes that were loaded before, or None if they can have none."""
    program = _Program(names)
    try:
        make = program.function(data)
    except Exception:  # whatever is odd or deep about them, the long way has just loaded them
        return None
    bytes_of = compile_reader(program.root, data, program.named)
    return Layout(data, [number for _, number in program.named], make, bytes_of)


class _Program:
    def __init__(self, names: Names) -> None:
        self.named: list[tuple[str, Number]] = []
        self._names = names
        self._given: dict[str, Any] = {"set_": object.__setattr__, "update_": dict.update}
        self.root: Any = None
        self._columns: tuple[list[str], list[str]] = ([], [])  # names of floats and of integers
        self._lines: list[str] = []
        self._stack: list[Any] = []
        self._memo: list[Any] = []
        self._made = 0

    def function(self, data: bytes) -> Callable[[Any, Any], object]:
        """Return the function of (floats, integers) in the order in which the bytes have them."""
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name not in _SKIPPED:
                self._follow(opcode.name, argument, position or 0)
        if len(self._stack) != 1:
            raise Unfit
        self.root = self._stack[0]
        self._lines.append(f"return {self._text(self.root)}")
        unpacked = [
            f"({', '.join(column)},) = {whole}"
            for column, whole in zip(self._columns, ("floats", "integers"), strict=True)
            if column
        ]
        body = "\n ".join([*unpacked, *self._lines])
        exec(f"def make(floats, integers):\n {body}", self._given)  # noqa: S102 - see the module
        return self._given["make"]  # type: ignore[no-any-return]

    def _follow(self, opcode: str, argument: Any, position: int) -> None:
        if opcode in _NUMBERS:
            self._number(_NUMBERS[opcode], position + 1)
        elif opcode in _CONSTANTS:
            self._stack.append(self._constant(_CONSTANTS[opcode]))
        elif opcode in ("SHORT_BINUNICODE", "BINUNICODE"):
            self._stack.append(self._constant(argument))
        elif opcode in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        else:
            step = getattr(self, f"_{opcode.lower()}", None)
            if step is None:
                raise Unfit
            step()

    def _number(self, kind: str, position: int) -> None:
        column = self._columns[kind != "d"]
        column.append(f"{'f' if kind == 'd' else 'i'}{len(column)}")
        self.named.append((column[-1], Number(position, kind)))
        self._stack.append(Numeral(column[-1], kind))

    def _constant(self, value: Any) -> Constant:
        name = f"c{len(self._given)}"
        self._given[name] = value
        return Constant(name, value)

    def _assigned(self, expression: str) -> str:
        self._made += 1
        self._lines.append(f"v{self._made} = {expression}")
        return f"v{self._made}"

    def _text(self, thing: Any) -> str:
        """Return the name of something, which is written down by now."""
        if isinstance(thing, Thing):
            return thing.text
        if thing.text is None:
            if thing.begun:
                raise Unfit  # it holds itself
            thing.begun = True
            texts = [self._text(item) for item in thing.items]
            thing.text = self._assigned(_written(thing.form, texts))
        return str(thing.text)

    def _memoize(self) -> None:
        self._memo.append(self._stack[-1])

    def _mark(self) -> None:
        self._stack.append(_MARK)

    def _pop(self) -> None:
        self._stack.pop()

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _group(self, form: str, items: list[Any]) -> None:
        self._stack.append(Group(form, items))

    def _empty_dict(self) -> None:
        self._group("dict", [])

    def _empty_list(self) -> None:
        self._group("list", [])

    def _empty_tuple(self) -> None:
        self._group("tuple", [])

    def _tuple(self) -> None:
        self._group("tuple", self._since_mark())

    def _tuple1(self) -> None:
        self._newest(1)

    def _tuple2(self) -> None:
        self._newest(2)

    def _tuple3(self) -> None:
        self._newest(3)

    def _newest(self, count: int) -> None:
        items = self._stack[-count:]
        del self._stack[-count:]
        self._group("tuple", items)

    def _setitem(self) -> None:
        items = self._stack[-2:]
        del self._stack[-2:]
        self._set(items)

    def _setitems(self) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Group):
            self._extend(target, "dict", items)
            return
        target.items += items
        if target.role in _DICTS:
            written = _written("dict", [self._text(item) for item in items])
            self._lines.append(f"update_({target.text}, {written})")
        else:
            for key, value in zip(items[::2], items[1::2], strict=True):
                self._lines.append(f"{target.text}[{self._text(key)}] = {self._text(value)}")

    def _append(self) -> None:
        item = self._stack.pop()
        self._extend(self._stack[-1], "list", [item])

    def _appends(self) -> None:
        items = self._since_mark()
        self._extend(self._stack[-1], "list", items)

    def _extend(self, target: Any, form: str, items: list[Any]) -> None:
        if isinstance(target, Made) and target.role == deque.name:
            target.items += items
            written = _written("list", [self._text(item) for item in items])
            self._lines.append(f"{target.text}.extend({written})")
            return
        if not isinstance(target, Group) or target.form != form or target.begun:
            raise Unfit
        target.items.extend(items)

    def _stack_global(self) -> None:
        module, qualname = (text.known for text in self._stack[-2:])
        del self._stack[-2:]
        thing = self._constant(self._names.resolve(module, qualname))
        if module == _REBUILDERS:
            thing.role = qualname
        self._stack.append(thing)

    def _reduce(self) -> None:
        call, given = self._stack[-2:]
        del self._stack[-2:]
        if call.role == fill.name:
            self._fill(*given.items)
        elif call.role == blank.name:
            kind, maker = self._names.maker_of(given.items[0].known)
            text = self._constant(maker).text
            self._stack.append(Thing(text, maker, kind=kind, role=Thing.INSTANCE))
        elif call.role == made.name:
            known = self._names.made_by(given.items[0].known)
            self._stack.append(Thing(self._constant(known).text, known, role=Thing.CALLED))
        else:
            texts = ", ".join(self._text(item) for item in given.items)
            text = self._assigned(f"{self._callable(call)}({texts})")
            self._stack.append(Made(text, call, given))

    def _callable(self, call: Any) -> str:
        if not callable(call.known):
            raise Unfit
        if isinstance(call.known, Rebuilder):
            return self._constant(call.known.call).text
        return str(call.text)

    def _fill(self, thing: Any, state: Any) -> None:
        """Give an instance its attributes, each as `ModelPickles` would."""
        kind = getattr(thing, "kind", None)
        if kind is None or state.form != "dict" or state.begun:
            raise Unfit
        state.begun = True  # nothing else may want it
        thing.attributes = state.items
        plain = kind.__setattr__ is object.__setattr__
        for key, value in zip(state.items[::2], state.items[1::2], strict=True):
            name, text = key.known, self._text(value)
            if type(name) is not str or not self._names.is_settable(kind, name):
                raise Unfit
            if plain and name.isidentifier() and name.isascii() and not keyword.iskeyword(name):
                self._lines.append(f"{thing.text}.{name} = {text}")
            else:
                self._lines.append(f"set_({thing.text}, {key.text}, {text})")
        self._stack.append(self._constant(None))


def _written(form: str, texts: list[str]) -> str:
    if form == "dict":
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
    inner = "".join(f"{text}, " for text in texts)
    return f"[{inner}]" if form == "list" else f"({inner})"
