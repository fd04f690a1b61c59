"""Where to listen: `[HOST:]PORT`, on this machine only unless a host says otherwise."""

from __future__ import annotations

import re

import msgspec

from stream_app.errors import UsageError

LOOPBACK = "127.0.0.1"
PORT_MAX = 65_535
_FORM = re.compile(r"(?:(?P<host>[^\s:\[\]]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]{1,5})")


class Address(msgspec.Struct, frozen=True):
    """A host, without brackets, and a port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address that `text` names; raises `UsageError`."""
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"]) > PORT_MAX:
        raise UsageError(
            f"{text!r} is no address to listen on.",
            attempt=f"PORT or HOST:PORT, such as 9464, 0.0.0.0:9464 or [::1]:9464; 0 to {PORT_MAX}",
        )
    return Address((found["host"] or LOOPBACK).strip("[]"), int(found["port"]))
