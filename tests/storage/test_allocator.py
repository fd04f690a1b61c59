"""Large blocks go back to the kernel when they are freed, whatever was freed before."""

import subprocess
import sys

import pytest

from stream_app.storage.allocator import keep_large_blocks_apart

# A block of 16 MB that is freed moves the C library's own border beyond the blocks after it. Each
# of those is followed by a small one that stays, so no end of the heap becomes free.
BLOCKS = """
import ctypes, os, sys
from stream_app.storage.allocator import keep_large_blocks_apart

if sys.argv[1] == "apart":
    assert keep_large_blocks_apart()
library = ctypes.CDLL(None)
library.malloc.restype = library.calloc.restype = ctypes.c_void_p
library.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
library.malloc.argtypes, library.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


library.free(library.calloc(1, 16 << 20))
before = resident()
blocks = []
for _ in range(32):
    block = library.malloc(1 << 20)
    ctypes.memset(block, 1, 1 << 20)
    blocks.append(block)
    library.malloc(64 << 10)
for block in blocks:
    library.free(block)
print((resident() - before) >> 20)
"""


def left_mb(how: str) -> int:
    command = [sys.executable, "-c", BLOCKS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not keep_large_blocks_apart(), reason="another C library")
def test_freed_write_buffers_leave_no_holes() -> None:
    assert left_mb("apart") < 8  # in MB, of 32
    assert left_mb("as it is") > 24  # or there is nothing to mend any more
