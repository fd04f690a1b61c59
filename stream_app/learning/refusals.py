"""What a model may not be, found at declaration: trained, bounded by size, inexact, unsavable."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from stream_app.errors import DeclarationError
from stream_app.learning.construction import Json, build
from stream_app.learning.facts import facts_of
from stream_app.learning.nodes import objects_in

# Pickling and copying recurse through a tree; at the default recursion limit of 1000 they were
# seen to fail between 150 and 200 levels.
TREE_DEPTH_MAX: Final = 100

# River estimates a tree's memory with sys.getsizeof whenever its weight is a multiple of the
# period, which differs after a restore. Nothing is a multiple of NaN, not even zero.
NEVER: Final = "nan"

_ORDER = "the order of hashes decides its results, and that differs between processes"
_DENSITY = "use cluster.DenStream() or cluster.DBSTREAM(), whose results depend on the data alone."

# Seen by running River's catalogue under several hash seeds and across restores.
REFUSED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "river.cluster:KMeans": (_ORDER, _DENSITY),
        "river.cluster:CluStream": (_ORDER, _DENSITY),
        "river.cluster:STREAMKMeans": (_ORDER, _DENSITY),
        "river.feature_extraction:RandomTreesEmbedding": (
            "it remembers its leaves by their place in memory, which a restore changes",
            "use feature_extraction.RBFSampler() instead.",
        ),
        "river.neighbors:SWINN": (
            "it keeps a part of its graph outside of itself, where no checkpoint finds it and "
            "every other SWINN of the process changes it",
            "write engine=neighbors.LazySearch(window_size=...).",
        ),
    }
)


def refuse_no_object(tree: Json, path: str) -> None:
    """Raise `DeclarationError` unless a tree describes an object."""
    if isinstance(tree, dict) and "object" in tree:
        return
    named = tree.get("name") if isinstance(tree, dict) else None
    what = f"{named} is a class or a function" if named else f"{tree!r} is no object"
    raise DeclarationError(
        f"{path}: {what}, and an object of River is wanted.",
        attempt="construct one, as in linear_model.LogisticRegression() or drift.ADWIN().",
    )


def refuse_unsuitable(tree: Json, path: str) -> None:
    """Raise `DeclarationError` for what is empty, or no replay could reproduce exactly."""
    for place, node in objects_in(tree, path):
        if node["object"] == "river.compose:Pipeline" and not node["steps"]:
            raise DeclarationError(
                f"{place}: is a pipeline of no steps, which says nothing.",
                attempt="preprocessing.StandardScaler() | linear_model.LogisticRegression()",
            )
        if (refusal := REFUSED.get(node["object"])) is not None:
            reason, instead = refusal
            name = node["object"].partition(":")[2]
            raise DeclarationError(f"{place}: {name} is refused: {reason}.", attempt=instead)
        if _is_hoeffding(node):
            _refuse_size(node, place)
            _refuse_depth(node, place)


def _is_hoeffding(node: Mapping[str, Any]) -> bool:
    return "memory_estimate_period" in node.get("params", {})


def _refuse_size(node: Mapping[str, Any], place: str) -> None:
    kind = build({"name": node["object"]}, path=place)
    default = inspect.signature(kind).parameters["max_size"].default
    if node["params"]["max_size"] != default:
        raise DeclarationError(
            f"{place}.max_size: a bound on a tree's memory is measured with this process's object "
            "sizes, so a restored tree would grow differently.",
            attempt=f"leave max_size out and bound the tree with max_depth (at most "
            f"{TREE_DEPTH_MAX}) instead.",
        )


def _refuse_depth(node: Mapping[str, Any], place: str) -> None:
    depth = node["params"].get("max_depth")
    if depth is not None and depth > TREE_DEPTH_MAX:
        raise DeclarationError(
            f"{place}.max_depth: a tree of {depth} levels is too deep to be saved.",
            attempt=f"write max_depth={TREE_DEPTH_MAX} or less.",
        )


def switched_off(tree: Json) -> tuple[Json, list[str]]:
    """Return a full tree without what a restore would change, and the paths that were touched.

    Trees estimate no memory (so their default size bound never binds) and, where they had no
    bound, stop at `TREE_DEPTH_MAX` levels.
    """
    changed = copy.deepcopy(tree)
    touched: list[str] = []
    for path, node in objects_in(changed):
        if not _is_hoeffding(node):
            continue
        params = node["params"]
        params["memory_estimate_period"] = {"float": NEVER}
        touched.append(f"{path}.memory_estimate_period".lstrip("."))
        if "max_depth" in params and params["max_depth"] is None:
            params["max_depth"] = TREE_DEPTH_MAX
            touched.append(f"{path}.max_depth".lstrip("."))
    return changed, touched


def refuse_trained(value: object, tree: Json, known: Mapping[str, object], path: str) -> None:
    """Raise `DeclarationError` when `value` differs from a fresh object of its full tree.

    What differs between two fresh objects too (a random number drawn at construction) says
    nothing about learning and is left out of the comparison.
    """
    once, again, given = (
        facts_of(item)
        for item in (
            build(tree, known, path=path, substitutes={}),
            build(tree, known, path=path, substitutes={}),
            value,
        )
    )
    random = {_drawn_with(place) for place in once if once[place] != again.get(place)}
    differing = {
        place for place in once.keys() | given.keys() if once.get(place) != given.get(place)
    }
    if telling := sorted(place for place in differing if _drawn_with(place) not in random):
        raise DeclarationError(
            f"{path}: has already seen data ({path}{telling[0]} is not that of a fresh object), "
            "and a version starts from an untrained model.",
            attempt="construct it afresh in the pipeline's file: a version learns what it knows "
            "from the log.",
        )


def _drawn_with(place: str) -> str:
    """Return the collection of a place in one: its items were drawn together, or none was."""
    return place.rpartition("[")[0] if place.endswith("]") else place


def refuse_unpicklable(value: object, path: str) -> None:
    """Raise `DeclarationError` when `value` cannot be saved: it holds a file, a lock, a thread."""
    try:
        pickle.loads(pickle.dumps(value, protocol=5))  # noqa: S301 - bytes made one call earlier
    except Exception as error:
        raise DeclarationError(
            f"{path}: cannot be saved and loaded again: {type(error).__name__}: {error}.",
            attempt="open files, connections and threads outside of the model.",
        ) from error
