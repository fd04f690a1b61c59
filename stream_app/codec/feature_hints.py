"""What a person is told beside a dead letter's own words: which name a feature was meant to have.

None of it is part of an output: a record's dead letter has the same bytes in every release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from stream_app.near_names import near_name


def meant_feature(
    name: str, present: Iterable[str], declared: Mapping[str, object] | None
) -> str | None:
    """Return the declared feature that an undeclared `name` stands for, if an event lacks one."""
    return near_name(name, [known for known in declared or () if known not in present])


def refusal_hint(
    reason: str, field: str | None, value: bytes | str, declared: Mapping[str, object] | None
) -> str:
    """Return what to put behind a refusal: the undeclared name under which a feature came."""
    if reason != "missing_feature" or field is None:
        return ""
    try:
        features = msgspec.json.decode(value)["features"]
        undeclared = [name for name in features if name not in (declared or {})]
    except (msgspec.MsgspecError, UnicodeError, TypeError, KeyError, RecursionError):
        return ""  # a dead letter may carry less than the whole of its original
    near = near_name(field.removeprefix("features."), undeclared)
    return "" if near is None else f"; {near} is not declared: did you mean {field}?"
