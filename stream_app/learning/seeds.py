"""Fills the seeds that a model's declaration leaves open, each from its own parameter path.

A path is what one would type after the model's name: `["ARFClassifier"].seed` (a pipeline's step),
`models[1].seed`, or `seed` for the model's own. It does not contain the version's name, so the
same model gets the same seeds under every name.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from stream_app.learning.construction import Json, build
from stream_app.learning.description import describe_in_full, users_own
from stream_app.learning.nodes import objects_in

_NAMES = ("seed", "random_state")


def fill_seeds(model: Any, seed: int) -> tuple[Any, dict[str, int]]:
    """Return a fresh object like `model` with every unset seed filled, and what was filled.

    Seeds that are set stay; `model` is left alone. Raises `DeclarationError` as `describe` does.
    """
    tree, seeds = seeded(describe_in_full(model), seed)
    return build(tree, users_own(model)), seeds


def seeded(tree: Json, seed: int) -> tuple[Json, dict[str, int]]:
    """Return a full tree with its unset seeds filled, and each filled seed by its path."""
    filled = copy.deepcopy(tree)
    seeds: dict[str, int] = {}
    for path, node in objects_in(filled):
        params = node.get("params", {})
        for name, value in params.items():
            if value is None and is_seed(name):
                place = f"{path}.{name}".lstrip(".")
                params[name] = seeds[place] = derive(seed, place)
    return filled, seeds


def is_seed(name: str) -> bool:
    """Tell whether a parameter of this name is a seed: `seed`, `random_state`, `tree_seed`, ..."""
    return name in _NAMES or name.startswith("seed_") or name.endswith(("_seed", "_random_state"))


def derive(seed: int, path: str) -> int:
    """Return the first four bytes of SHA-256 over `seed/path`, big-endian."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:4], "big")
