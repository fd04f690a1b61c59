"""Goes on with another River, Python or NumPy: refused, unless a person has accepted it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from stream_app.codec.signatures import canonical, key_name_of, verify
from stream_app.core.commit import Commit, Manifest
from stream_app.core.environment import Environment, this_environment
from stream_app.core.log import Log
from stream_app.core.position import Position
from stream_app.errors import LogUntrusted, UsageError
from stream_app.events import Control
from stream_app.hosts.controls import append_environment
from stream_app.hosts.manifests import commits, ledger_note, newest_keys, read_manifest
from stream_app.hosts.signing_keys import signer_here
from stream_app.hosts.state_directory import StateDirectory

T = TypeVar("T", Commit, Position)


def accept(
    log: Log, pipeline: str, state: StateDirectory, reason: str | None, by: str | None
) -> list[tuple[int, int]]:
    """Accept this environment for what was learned in another one, by a record in the log.

    Returns the order's (partition, offset) places. Raises `UsageError` where nothing was learned
    in another one.
    """
    manifest = read_manifest(log, pipeline)
    now = this_environment()
    if all(c is None or c.environment.carries_to(now) for c in commits(log, manifest)):
        raise UsageError(
            f"all of {pipeline} was learned in this environment, so there is nothing to accept",
            attempt="stream-app run FILE",
        )
    signer = signer_here(log, manifest, state)
    return append_environment(log, manifest, signer, now, reason, by)


def accepted_environment(log: Log, manifest: Manifest) -> Environment | None:
    """Return the environment that a person accepted last; None where nobody has."""
    control = ledger_note(
        log, manifest.pipeline, "environment", Control, "the accepted environment"
    )
    if control is None:
        return None
    try:
        environment = msgspec.convert(control.environment, Environment)
    except msgspec.ValidationError as error:
        raise _untrusted(manifest, str(error)) from None
    keys = newest_keys(log, manifest)
    public = keys.in_force.get(key_name_of(control.sig or "") or "")
    message = canonical(msgspec.to_builtins(control), manifest.pipeline, manifest.log_id)
    if public is None or not verify(bytes.fromhex(public), message, control.sig or ""):
        raise _untrusted(manifest, "it is not signed for this log")
    return environment


def _untrusted(manifest: Manifest, why: str) -> LogUntrusted:
    return LogUntrusted(
        f"the ledger's note of the accepted environment of {manifest.pipeline} cannot be "
        f"trusted: {why}.",
        attempt="restore the log from a backup: its ledger was changed",
    )


def carried(log: Log, manifest: Manifest, known: T) -> T:
    """Return a commit or a position as of this environment, if it was learned in it or accepted.

    Only state of another environment asks the log: a value that is not there is long to look for.
    """
    now = this_environment()
    if known.environment.carries_to(now):
        return known
    accepted = accepted_environment(log, manifest)
    if accepted is None or not accepted.carries_to(now):
        return known
    return msgspec.structs.replace(known, environment=now)
