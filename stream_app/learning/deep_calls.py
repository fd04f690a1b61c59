"""Calls that may recurse as deep as a model does: a degenerate tree is a chain of thousands.

A regression tree keeps the values of a feature that only grows, such as a time, as a chain with
one link per value. Python's usual limit would end the process after some hundred of them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Taken from the address space, and from memory only as far as it is used.
_STACK_BYTES = 512 << 20
# The pickler takes less than 1 kB of stack for each, so the limit is met before the stack ends.
_DEPTH_MAX = 400_000

_one_at_a_time = threading.Lock()


def call_deeply(func: Callable[[], T]) -> T:
    """Return `func()`, called again on a deep stack when it meets Python's usual limit.

    So `func` must be pure. Raises RecursionError beyond 400,000 levels, and all that `func` does.
    """
    try:
        return func()
    except RecursionError:
        return _on_a_deep_stack(func)


def _on_a_deep_stack(func: Callable[[], T]) -> T:
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(func())
        except BaseException as error:
            raised.append(error)

    # Both settings belong to the whole process, so nobody else may change them meanwhile.
    with _one_at_a_time:
        limit, stack_bytes = sys.getrecursionlimit(), threading.stack_size(_STACK_BYTES)
        try:
            sys.setrecursionlimit(_DEPTH_MAX)
            thread = threading.Thread(target=run, name="deep-call")
            thread.start()
            thread.join()
        finally:
            threading.stack_size(stack_bytes)
            sys.setrecursionlimit(limit)
    if raised:
        raise raised[0]
    return returned[0]
