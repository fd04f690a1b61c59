"""Keeps the memory of RocksDB's write buffers from lying about in the C library's heap."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Final

BLOCK_BYTES: Final = 256 << 10
"""From this size on a block is given back to the kernel as soon as it is free."""
_TOP_BYTES: Final = 4 << 20  # kept at the end of the heap, which would move all the time
_SAID: Final = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


@cache
def keep_large_blocks_apart() -> bool:
    """Give large blocks mappings of their own, once for the process; False if nothing was done.

    That is so with another C library, and where the environment has its own say. The GNU C
    library does so too, but moves the border up to whatever was freed, at most 32 MB. From then
    on a write buffer of RocksDB's, which lives for minutes, lies between small blocks
    that live for ever, and each one that is freed leaves a hole.
    """
    if not sys.platform.startswith("linux") or not _SAID.isdisjoint(os.environ):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return False
    library.mallopt(_M_TRIM_THRESHOLD, _TOP_BYTES)
    return bool(library.mallopt(_M_MMAP_THRESHOLD, BLOCK_BYTES))
