"""The declaration of intake: which topics of others are copied into the event log, and how.

No part of the settings: it decides what is written into the log and nothing about its fold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from stream_app.codec.mapping import EventMapping, Place, RecordPart
from stream_app.codec.moments import TIME_UNITS, TimeUnit
from stream_app.codec.paths import Path, parse_path
from stream_app.errors import DeclarationError
from stream_app.near_names import did_you_mean

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_KINDS = ("observation", "label")
_SCALARS = (str, int, float, bool, type(None))
DeclaredPlace = str | RecordPart
DeclaredPlaces = DeclaredPlace | tuple[DeclaredPlace, ...]


class Intake:
    r"""What a record of another topic becomes: an observation or a label, copied exactly once.

    Each field is named by its path: `a.b` is field b of a, `a.0` an element, `a\.b` a name with
    a dot. An id or key may be a tuple of paths, which are joined. `timestamp_unit` is "ms", "s",
    "us", "ns" or "iso". `where` has the values (one, or a list) that a record must have at paths.
    """

    def __init__(
        self,
        topic: str,
        *,
        kind: Literal["observation", "label"],
        id: DeclaredPlaces,  # noqa: A002 - the event's own word
        timestamp: DeclaredPlace,
        timestamp_unit: TimeUnit = "ms",
        key: DeclaredPlaces | None = None,
        features: Mapping[str, str] | None = None,
        label: str | None = None,
        meta: Mapping[str, str] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> None:
        self.topic = topic
        self.kind = kind
        self.id = id
        self.timestamp = timestamp
        self.timestamp_unit = timestamp_unit
        self.key = key
        self.features = features
        self.label = label
        self.meta = meta
        self.where = where


class Source(msgspec.Struct, frozen=True):
    """A topic that intake copies, with a mapping for each of its declarations."""

    topic: str
    mappings: tuple[EventMapping, ...]


def sources_of(
    declared: Iterable[Intake], pipeline: str, features: Mapping[str, str] | None
) -> tuple[Source, ...]:
    """Return every source topic with its mappings, in the order of the declaration.

    `features` are the pipeline's. Raises `DeclarationError`, naming the parameter by its path.
    """
    by_topic: dict[str, list[EventMapping]] = {}
    for number, intake in enumerate(declared):
        path = f"intake[{number}]"
        if not isinstance(intake, Intake):
            raise DeclarationError(
                f"{path}: expected an Intake, got {intake!r}",
                attempt='intake=[Intake("topic", kind="label", id="id", timestamp="t", ...)]',
            )
        topic = _checked_topic(f"{path}.topic", intake.topic, pipeline)
        by_topic.setdefault(topic, []).append(_mapping(path, intake, features))
    return tuple(Source(topic, tuple(mappings)) for topic, mappings in by_topic.items())


def _mapping(path: str, intake: Intake, features: Mapping[str, str] | None) -> EventMapping:
    _one_of(f"{path}.kind", intake.kind, _KINDS)
    _one_of(f"{path}.timestamp_unit", intake.timestamp_unit, TIME_UNITS)
    if intake.kind == "label" and intake.label is None:
        raise DeclarationError(
            f"{path}.label: a label's record has to say where the label is",
            attempt='label="outcome.late"',
        )
    key = () if intake.key is None else _places(f"{path}.key", intake.key)
    return EventMapping(
        kind=intake.kind,
        id=_places(f"{path}.id", intake.id),
        key=key,
        time=_time(f"{path}.timestamp", intake),
        unit=intake.timestamp_unit,
        features=_features(f"{path}.features", intake, features),
        label=None if intake.label is None else _path(f"{path}.label", intake.label),
        meta=_meta(f"{path}.meta", intake),
        where=_where(f"{path}.where", intake.where),
    )


def _checked_topic(path: str, topic: object, pipeline: str) -> str:
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise DeclarationError(
            f"{path}: {topic!r} is no topic's name",
            attempt="letters, digits, '.', '_' and '-', such as `ticketing.flights`",
        )
    if topic.startswith(f"{pipeline}."):
        raise DeclarationError(
            f"{path}: {topic} is one of the pipeline's own topics, which begin with {pipeline}.",
            attempt="the topic of somebody else, or another name for the pipeline",
        )
    return topic


def _places(path: str, declared: object) -> tuple[Place, ...]:
    places = declared if isinstance(declared, tuple) else (declared,)
    if not places or RecordPart.APPEND_TIME in places:
        raise DeclarationError(
            f"{path}: {declared!r} gives no text",
            attempt='a path such as "flight.uid", a tuple of them, or RecordPart.KEY',
        )
    return tuple(place if isinstance(place, RecordPart) else _path(path, place) for place in places)


def _time(path: str, intake: Intake) -> Place:
    if intake.timestamp is RecordPart.APPEND_TIME:
        return RecordPart.APPEND_TIME
    if isinstance(intake.timestamp, RecordPart):
        raise DeclarationError(
            f"{path}: {intake.timestamp} is no time",
            attempt='a path such as "departed_at", or RecordPart.APPEND_TIME',
        )
    return _path(path, intake.timestamp)


def _features(
    path: str, intake: Intake, declared: Mapping[str, str] | None
) -> tuple[tuple[str, Path], ...]:
    mapped = intake.features
    if intake.kind == "label":
        if mapped is not None:
            raise DeclarationError(f"{path}: a label has none", attempt='kind="observation"')
        return ()
    if mapped is None:
        if declared is None:
            raise DeclarationError(
                f"{path}: neither the intake nor the pipeline says what the features are",
                attempt='features={"dep_delay": "delays.dep"}',
            )
        return tuple((name, _field(name)) for name in sorted(declared))
    paths = _named_paths(path, mapped)
    for name, kind in (declared or {}).items():
        if name not in mapped and not kind.endswith("?"):
            others = [other for other in mapped if other not in (declared or {})]
            raise DeclarationError(
                f"{path}: the pipeline needs the feature {name!r}, and nothing says where it is"
                + did_you_mean(name, others),
                attempt=f'"{name}": "path.to.it"; or declare it {kind} | None',
            )
    return paths


def _meta(path: str, intake: Intake) -> tuple[tuple[str, Path], ...]:
    if intake.meta is None:
        return ()
    if intake.kind == "label":
        raise DeclarationError(f"{path}: a label has none", attempt='kind="observation"')
    return _named_paths(path, intake.meta)


def _named_paths(path: str, declared: object) -> tuple[tuple[str, Path], ...]:
    if not isinstance(declared, Mapping) or not all(isinstance(name, str) for name in declared):
        raise DeclarationError(
            f"{path}: expected names with paths, got {declared!r}",
            attempt='{"dep_delay": "delays.dep"}',
        )
    return tuple((name, _path(f"{path}.{name}", declared[name])) for name in sorted(declared))


def _where(path: str, declared: object) -> tuple[tuple[Path, tuple[Any, ...]], ...]:
    if declared is None:
        return ()
    attempt = '{"type": "departed"}, or {"type": ["departed", "left"]}'
    if not isinstance(declared, Mapping) or not declared:
        raise DeclarationError(
            f"{path}: expected paths with values, got {declared!r}", attempt=attempt
        )
    rows = []
    for text, wanted in declared.items():
        values = tuple(wanted) if isinstance(wanted, list | tuple | set | frozenset) else (wanted,)
        if not values or not all(type(value) in _SCALARS for value in values):
            raise DeclarationError(
                f"{path}[{text!r}]: {wanted!r} is nothing that a field can be", attempt=attempt
            )
        rows.append((_path(path, text), values))
    return tuple(rows)


def _path(path: str, text: object) -> Path:
    attempt = r'a path such as "flight.uid", "legs.0.dep", or r"a\.b" for the one name `a.b`'
    if not isinstance(text, str):
        raise DeclarationError(f"{path}: {text!r} is no path", attempt=attempt)
    try:
        return parse_path(text)
    except ValueError as error:
        raise DeclarationError(f"{path}: {error}", attempt=attempt) from None


def _field(name: str) -> Path:
    return parse_path(name.replace(".", "\\."))


def _one_of(path: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DeclarationError(
            f"{path}: {value!r} is not possible", attempt=f"one of {', '.join(allowed)}"
        )
