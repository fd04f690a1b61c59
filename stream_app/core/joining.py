"""How a version that a backfill has built comes into the live lineage: what has to be equal there.

A backfill never goes beyond the live committed position, so a join has only to bring it there.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from stream_app.core.batch import Start
from stream_app.core.commit import Commit, Manifest, VersionCommit
from stream_app.core.declaration import Declaration
from stream_app.core.position import Position
from stream_app.core.processor import PartitionProcessor
from stream_app.core.store import Image, StateStore, pages
from stream_app.errors import DefinitionDiffers, StateUntrusted, VersionHosted

KEYS_PER_SAVE = 10_000


def built_before(
    live: Commit | None, version: str, manifest: Manifest, pipeline: Declaration
) -> int:
    """Return the offset up to which the live lineage has put out a version that left it, or 0.

    Raises `VersionHosted` when it is part of the live lineage, and `DefinitionDiffers` when
    what left under its name was another model.
    """
    if live is None:
        return 0
    if version in live.versions:
        raise hosted_already(manifest.pipeline, version)
    before = live.left_definitions.get(version)
    declared = pipeline.definitions()[version]
    if before not in (None, declared):
        raise DefinitionDiffers(
            f"version {version} of {manifest.pipeline} is declared as {declared[:12]}, but ran as "
            f"{before[:12]} until it left: a version's definition never changes.",
            attempt="give the changed model a new version name",
        )
    return live.left.get(version, 0)


def hosted_already(pipeline: str, version: str) -> VersionHosted:
    """Return the error for a backfill of what the live lineage runs, or ran in the meantime."""
    return VersionHosted(
        f"{pipeline} runs {version} already: it is part of the live lineage.",
        attempt=f"stream-app status {pipeline} to see how it does",
    )


def require_same_fold(live: PartitionProcessor, built: PartitionProcessor, version: str) -> None:
    """Raise `StateUntrusted` unless both stand at one position and accepted the same there."""
    for what, ours, theirs in (
        ("position", live.next_offset, built.next_offset),
        ("chain digest", live.chain, built.chain),
        ("state of acceptance", live.accepted_digest(), built.accepted_digest()),
    ):
        if ours != theirs:
            raise StateUntrusted(
                f"version {version} cannot join: the {what} of its backfill is not the live one, "
                "so they have not folded the same records in the same way.",
                attempt="delete the state directory of the backfill, then stream-app backfill FILE "
                f"{version} again: what it has published stays",
            )


def take_family(to: StateStore, source: StateStore, family: str, next_offset: int) -> None:
    """Copy a family in place of what is there under its name; nothing lists it yet."""
    if family in to.families():
        to.drop(family)
    for rows in pages(source, family, KEYS_PER_SAVE):
        to.save(Image(next_offset, {family: dict(rows)}))


def with_version(position: Position, version: str, definition: str) -> Position:
    """Return a position that also has a version."""
    return msgspec.structs.replace(position, versions={**position.versions, version: definition})


def listing(
    commit: Commit, start: Start, version: str, listed: VersionCommit, built: PartitionProcessor
) -> Commit:
    """Return the live commit record that also lists a version, from its position on."""
    left = {name: offset for name, offset in start.left.items() if name != version}
    [fold] = built.versions
    # What the last commit says of versions that have left since, and of this one before it left, is
    # no more so.
    others = start.versions.keys() - {version}
    learned = {name: count for name, count in commit.learned.items() if name in others}
    failed = {name: why for name, why in commit.failed.items() if name in others}
    waiting = others.intersection(commit.waiting_for_file or [])
    if fold.failed is not None:
        failed[version] = fold.failed
    if fold.waits_for_file:
        waiting.add(version)
    return msgspec.structs.replace(
        commit,
        versions={**start.versions, version: listed},
        left=left,
        # The start's, which also knows what leaves with this very commit.
        left_definitions={
            name: start.left_definitions[name] for name in left if name in start.left_definitions
        },
        learned={**learned, version: fold.learned},
        failed=failed,
        waiting_for_file=sorted(waiting) or UNSET,
    )
