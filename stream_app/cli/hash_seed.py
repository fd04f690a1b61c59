"""Fixes the order of hashes, on which the bits of some models depend."""

from __future__ import annotations

import os
import sys

SEED = "0"


def fix_hash_seed() -> None:
    """Start this program again under PYTHONHASHSEED=0, unless it runs under it already.

    Does not return when it starts again. Goes by the environment alone: an interpreter that was
    told to ignore that (`python -I`) must not start itself for ever.
    """
    if os.environ.get("PYTHONHASHSEED") == SEED:
        return
    environment = {**os.environ, "PYTHONHASHSEED": SEED}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
