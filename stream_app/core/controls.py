"""What every fold makes of a control, whatever it runs and whoever predicts in it."""

from __future__ import annotations

import msgspec

from stream_app.codec.incoming import IncomingControl
from stream_app.core.environment import Environment
from stream_app.core.settings import Settings, fixed_changes
from stream_app.core.topics import is_name
from stream_app.events import Refusal


def require_form(event: IncomingControl) -> None:
    """Raise `Refusal` for a control that no fold obeys, which its bytes alone decide.

    What may not change of settings and keys is for whoever has them in force.
    """
    if event.action == "promote":
        if event.version is None or not is_name(event.version):
            raise Refusal("bad_promote", "version", "a promote control names a version")
    elif event.action == "environment":
        try:
            msgspec.convert(event.environment, Environment)
        except msgspec.ValidationError as error:
            raise Refusal("bad_environment", "environment", str(error)[:300]) from None
    elif event.action not in ("settings", "time", "key"):
        raise Refusal("unknown_action", "action", f"there is no action {event.action[:64]!r}")


def require_fixed(old: Settings, new: Settings) -> None:
    """Raise `Refusal` for settings that would make another pipeline of it."""
    for path, _, _ in fixed_changes(old, new):
        raise Refusal("bad_settings", f"settings.{path}", "cannot change in a pipeline")
