"""River's `Select`, with its features in one order in every process."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from river import compose


class SortedSelect(compose.Select):
    """Selects features in sorted order.

    River keeps them in a set, so their order, and with it the last bits of every sum over them,
    depends on `PYTHONHASHSEED`. It survives `clone()`, which ensembles call while they learn.
    """

    def __init__(self, *keys: Hashable) -> None:
        super().__init__(*keys)
        # River reads `keys` by iteration only, so a tuple does where it declares a set.
        self.keys = tuple(sorted(set(keys), key=_order))  # type: ignore[assignment]


def _order(key: Any) -> tuple[str, Any]:
    return type(key).__name__, key
