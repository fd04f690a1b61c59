"""What the rest of the core needs of a pipeline's declaration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from stream_app.core.settings import Settings
from stream_app.core.version_plan import VersionPlan


class Declaration(Protocol):
    """A declared pipeline, as those see it who run its fold; leaves out how it was declared."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        ...

    @property
    def initial_champion(self) -> str:
        """The version that is champion at the origin."""
        ...

    @property
    def known(self) -> Mapping[str, object]:
        """The user's own classes and functions by qualified name."""
        ...

    def settings(self) -> Settings:
        """Return everything beside the versions that can change state or an output."""
        ...

    def plans(self, names: Iterable[str] | None = None) -> list[VersionPlan]:
        """Return the versions made ready for the fold, all or those with these names."""
        ...

    def definitions(self) -> dict[str, str]:
        """Return every version's definition digest."""
        ...
