"""The names of a pipeline's topics and ledgers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Tell whether a pipeline or a version may be called so: topics are, too."""
    return _NAME.fullmatch(text) is not None


class Topics(msgspec.Struct, frozen=True):
    """Where a pipeline's records go."""

    pipeline: str

    @property
    def events(self) -> str:
        """What goes in."""
        return f"{self.pipeline}.events"

    @property
    def predictions(self) -> str:
        """What downstream apps consume."""
        return f"{self.pipeline}.predictions"

    @property
    def evaluations(self) -> str:
        """Prequential metrics of the champion, and state digests."""
        return f"{self.pipeline}.evaluations"

    @property
    def drift_alerts(self) -> str:
        """Firings of the champion's error monitors and of feature monitors."""
        return f"{self.pipeline}.drift-alerts"

    @property
    def dead_letters(self) -> str:
        """Refused records, and failed calls of the champion."""
        return f"{self.pipeline}.dead-letters"

    @property
    def ledger(self) -> str:
        """Manifest and committed positions of the live lineage."""
        return f"{self.pipeline}.ledger"

    @property
    def checkpoints(self) -> str:
        """Saved state, where a partition can move to another machine."""
        return f"{self.pipeline}.checkpoints"

    @property
    def intake(self) -> str:
        """How far intake has copied each partition of its sources."""
        return f"{self.pipeline}.intake"

    @property
    def blobs(self) -> str:
        """Files that versions begin from, in pieces; kept for ever, in one partition."""
        return f"{self.pipeline}.blobs"

    def ledger_of(self, version: str) -> str:
        """Return where the committed positions of a version's backfill are."""
        return f"{self.ledger}.{version}"

    def checkpoints_of(self, version: str) -> str:
        """Return where the saved state of a version's backfill is."""
        return f"{self.checkpoints}.{version}"

    @property
    def internal(self) -> list[str]:
        """What a log that has no tables of its own keeps in topics."""
        return [self.ledger, self.checkpoints]

    def shadow(self, version: str) -> str:
        """All that a version which is not champion puts out."""
        return f"{self.pipeline}.shadow.{version}"

    def outputs(self, present: Iterable[str]) -> list[str]:
        """Return those of `present` that this pipeline's processors write to, of any version."""
        fixed = {self.predictions, self.evaluations, self.drift_alerts, self.dead_letters}
        return [name for name in present if name in fixed or name.startswith(self.shadow(""))]

    def all(self, versions: Iterable[str]) -> list[str]:
        """Return every topic of a pipeline with these versions."""
        fixed = [self.events, self.predictions, self.evaluations, self.drift_alerts]
        return [*fixed, self.dead_letters, *(self.shadow(version) for version in versions)]


def outputs_of(ledger: str, present: Iterable[str]) -> list[str]:
    """Return those of `present` that the lineage with this ledger writes to."""
    pipeline, _, version = ledger.partition(".ledger")
    if not version:
        return Topics(pipeline).outputs(present)
    shadow = Topics(pipeline).shadow(version.removeprefix("."))
    return [name for name in present if name == shadow]
