"""What every fold makes of a control, whatever it runs and whoever predicts in it."""

from __future__ import annotations

import msgspec

from stream_app.codec.incoming import IncomingControl
from stream_app.core.environment import Environment
from stream_app.core.importing import FileOrder
from stream_app.core.settings import Settings, fixed_changes
from stream_app.core.topics import is_name
from stream_app.events import Refusal


def require_form(event: IncomingControl) -> None:
    """Raise `Refusal` for a control that no fold obeys, which its bytes alone decide.

    What may not change of settings and keys is for whoever has them in force.
    """
    if event.action == "promote":
        _require_version(event, "bad_promote")
    elif event.action == "import":
        _require_version(event, "bad_import")
        file_ordered(event)
    elif event.action == "environment":
        try:
            msgspec.convert(event.environment, Environment)
        except msgspec.ValidationError as error:
            raise Refusal("bad_environment", "environment", str(error)[:300]) from None
    elif event.action not in ("settings", "time", "key"):
        raise Refusal("unknown_action", "action", f"there is no action {event.action[:64]!r}")


def _require_version(event: IncomingControl, reason: str) -> None:
    if event.version is None or not is_name(event.version):
        raise Refusal(reason, "version", f"the action {event.action} names a version")


def file_ordered(event: IncomingControl) -> FileOrder:
    """Return which file a version is to begin from; raises `Refusal`."""
    try:
        return msgspec.convert(event.file, FileOrder)
    except msgspec.ValidationError as error:
        raise Refusal("bad_import", "file", str(error)[:300]) from None


def require_fixed(old: Settings, new: Settings) -> None:
    """Raise `Refusal` for settings that would make another pipeline of it."""
    for path, _, _ in fixed_changes(old, new):
        raise Refusal("bad_settings", f"settings.{path}", "cannot change in a pipeline")
