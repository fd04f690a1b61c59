"""What the declaration says of a version."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stream_app.learning.monitors import Monitor
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.tasks import Task


class VersionPlan(msgspec.Struct, frozen=True):
    """What the declaration says of one version, made ready for the fold.

    `features` are the names it takes out of all accepted ones, None for whatever there is;
    `monitors` reset the models and are part of the definition; `pickles` knows the user's own
    classes. `copies` says that the model may change the features it is given, `from_file` that it
    begins with the models of a file, which an `import` control names, and not untrained.
    """

    name: str
    definition: str
    task: Task
    prototype: bytes
    features: tuple[str, ...] | None
    copies: bool
    monitors: Callable[[], list[Monitor]]
    pickles: ModelPickles
    keyed: bool
    from_file: bool = False
