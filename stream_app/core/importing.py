"""A version that begins from a file: what an `import` control says, and what the fold makes of it.

The control has the file's SHA-256, and the file itself lies in the log, so the fold stays complete.
"""

from __future__ import annotations

import io
from typing import Annotated, Any, Protocol

import msgspec

from stream_app.core.model_file import Entry, ModelHeader, decode_entries, decode_head
from stream_app.core.version_plan import VersionPlan
from stream_app.errors import UsageError

# All of a file is in memory when a version begins from it.
FILE_BYTES_MAX = 256 << 20


class FileOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file by its SHA-256 (hex) and its size in bytes; its pieces are not before `offset`.

    `definition` is that of the version whose models they were found to be.
    """

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=1, le=FILE_BYTES_MAX)]
    offset: Annotated[int, msgspec.Meta(ge=0)]
    definition: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None


class Blobs(Protocol):
    """The files that versions begin from.

    Leaves out writing: a file is there before the control that names it.
    """

    def read(self, order: FileOrder) -> bytes:
        """Return a file, whose SHA-256 was compared; raises `LogUntrusted` where it is gone."""
        ...


class NoBlobs:
    """The files of a fold that has no log."""

    def read(self, order: FileOrder) -> bytes:
        """Raise: who gives a fold a control that imports gives it the files, too."""
        raise LookupError(order.sha256)


def opened(data: bytes, where: str) -> tuple[ModelHeader, list[Entry]]:
    """Return what a whole file has; raises `StateUntrusted` and `UsageError` as its readers do."""
    file = io.BytesIO(data)
    header = decode_head(file.readline, where)
    return header, list(decode_entries(file.read, header, where))


def misfit(header: ModelHeader, plan: VersionPlan, definition: str | None = None) -> str:
    """Say why a file's models cannot be a version's; empty where its header has nothing against it.

    Whether the models themselves are those that the version declares is for who appends the order,
    which says for which `definition` that was found.
    """
    rows: list[tuple[str, Any, Any]] = [
        ("definition", (definition or plan.definition)[:12], plan.definition[:12]),
        ("task", header.task, plan.task.fields()),
        ("number of models", _per(header.keyed), _per(plan.keyed)),
    ]
    if header.features is not None and plan.features is not None:
        rows.append(("features", ", ".join(header.features), ", ".join(plan.features)))
    for what, theirs, ours in rows:
        if theirs != ours:
            return f"its {what} is {theirs}, and that of {plan.name} is {ours}"
    return "" if header.failed is None else f"the version had failed there: {header.failed}"


def not_begun(version: str) -> str:
    """Return what a person has to know of a version that waits for its file."""
    return (
        f"version {version} predicts nothing until it comes to the record that imports its file; "
        f"if there is none yet, or it was refused: stream-app import FILE {version} MODEL"
    )


def no_model_yet(version: str, where: str) -> UsageError:
    """Return the error for who wants a model that is still to come in a file."""
    return UsageError(
        f"{version} waits for its file at {where}: it has no model there, and predicts nothing",
        attempt=f"a position behind the record that imports its file (stream-app import FILE "
        f"{version} MODEL says where that is), or another version",
    )


def _per(keyed: bool) -> str:
    return "one for each key" if keyed else "one"
