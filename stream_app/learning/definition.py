"""What a version's model *is*: its tree, its digest and the fresh prototype that both stand for."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from stream_app.errors import DeclarationError
from stream_app.learning.construction import Json, OtherCode, build
from stream_app.learning.description import (
    canonical_json,
    describe,
    describe_in_full,
    shortest,
    users_own,
)
from stream_app.learning.nodes import objects_in
from stream_app.learning.refusals import (
    refuse_no_object,
    refuse_trained,
    refuse_unpicklable,
    refuse_unsuitable,
    switched_off,
)
from stream_app.learning.seeds import fill_seeds, seeded

__all__ = [
    "Json",
    "OtherCode",
    "Prepared",
    "build",
    "definition_digest",
    "describe",
    "fill_seeds",
    "prepare",
    "users_own",
]


class Prepared(msgspec.Struct, frozen=True):
    """A model as it will learn: fresh, seeded, and free of what a restore would change.

    `tree` describes `prototype` and `digest` is the tree's. `seeds` are those that were filled,
    `switched_off` the parameters that were overruled, both by their path within the model.
    `known` is the users' own code that the model consists of, by name.
    """

    prototype: Any
    tree: Json
    digest: str
    seeds: dict[str, int]
    switched_off: list[str]
    known: dict[str, object]

    @property
    def changes_features(self) -> bool:
        """Whether the model may change the mapping of features that a call gives it.

        Users' code may do anything; of River's classes one does.
        """
        renames = any(
            node["object"] == "river.compose:Renamer" for _, node in objects_in(self.tree)
        )
        return renames or bool(self.known)


def prepare(model: Any, *, seed: int, path: str = "model") -> Prepared:
    """Return the prototype that a declared model stands for, the same in every process.

    `model` is left alone. Raises `DeclarationError`, with the parameter's path below `path`, for
    a model that is trained, cannot be described, saved or seeded, or could not be replayed.
    """
    given = describe_in_full(model, path=path)
    refuse_no_object(given, path)
    known = users_own(model, path=path)
    refuse_unsuitable(given, path)
    refuse_trained(model, given, known, path)
    filled, seeds = seeded(given, seed)
    full, touched = switched_off(filled)
    tree = shortest(full, known, path)
    prototype = build(tree, known, path=path)
    _assert_kept(full, prototype, path)
    refuse_unpicklable(prototype, path)
    return Prepared(prototype, tree, definition_digest(tree), seeds, touched, known)


def definition_digest(tree: Json) -> str:
    """Return the hex SHA-256 of a tree's canonical JSON."""
    return hashlib.sha256(canonical_json(tree).encode()).hexdigest()


def _assert_kept(full: Json, prototype: Any, path: str) -> None:
    """Refuse a constructor that changes what it is given: its tree would not be its own."""
    if describe_in_full(prototype, path=path) != full:
        raise DeclarationError(
            f"{path}: an object made from its own parameters has other parameters.",
            attempt="let every __init__ keep its parameters as they are given.",
        )
