"""Which River a machine has: what was learned under another one is refused, or accepted by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from stream_app.core import environment
from stream_app.core.commit import Manifest
from stream_app.core.environment import Environment, this_environment
from stream_app.events import Control
from stream_app.hosts.controls import signed

FIRST = "0.1"


@contextmanager
def a_machine() -> Iterator[None]:
    """Let `install` decide which River there is; it begins with `FIRST`."""
    versions = {"river": FIRST, "numpy": "2"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "version", versions.__getitem__)
        patch.setattr(sys.modules[__name__], "_versions", versions)
        this_environment.cache_clear()
        try:
            yield
        finally:
            this_environment.cache_clear()


_versions: dict[str, str] = {}


def install(river: str) -> None:
    """Have another River from here on."""
    _versions["river"] = river
    this_environment.cache_clear()


def environment_with(river: str) -> Environment:
    """Return what this machine is with that River."""
    return msgspec.structs.replace(this_environment(), river=river)


def accepting(river: str, manifest: Manifest, private_key: bytes, signer: str) -> Control:
    """Return a person's word that a River is good for what was learned under another one."""
    plain: dict[str, str] = msgspec.to_builtins(environment_with(river))
    return signed(
        Control(f"environment-{river}", 5, "environment", environment=plain),
        manifest,
        private_key,
        signer,
    )
