"""What the opcodes of a layout's bytes stand for, while its functions are written."""

from __future__ import annotations

from typing import Any


class Unfit(Exception):
    """The bytes hold what no layout has; they are loaded the long way."""


class Thing:
    """Something that the function has under a name.

    `known` is what it is, if that is certain; `kind` the class that it is an instance of, or makes
    instances of; `role` the name of the rebuilder that it is, or comes from, or one of these.
    """

    INSTANCE = "an instance"
    CALLED = "called"

    def __init__(
        self, text: str, known: Any = None, *, kind: type | None = None, role: str = ""
    ) -> None:
        self.text = text
        self.known = known
        self.kind = kind
        self.role = role


class Constant(Thing):
    """What is the same in all bytes of the layout."""


class Numeral(Thing):
    """What may differ: a number, of a kind as in `Number`."""

    def __init__(self, text: str, number: str) -> None:
        super().__init__(text)
        self.number = number


class Made(Thing):
    """What a call made of `given`, with the attributes and items that it got afterwards."""

    def __init__(self, text: str, call: Thing, given: Group) -> None:
        super().__init__(text, kind=call.kind, role=call.role)
        self.call = call
        self.given = given
        self.attributes: list[Any] | None = None
        self.items: list[Any] = []


class Group:
    """A dict, list or tuple of the bytes: written down when something first needs it."""

    def __init__(self, form: str, items: list[Any]) -> None:
        self.form = form
        self.items = items
        self.text: str | None = None
        self.begun = False
