"""Explains one prediction: makes it again from the log, and shows what the model knew."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from stream_app.codec.incoming import Admitted
from stream_app.core.commit import Manifest
from stream_app.core.environment import Environment, this_environment
from stream_app.core.importing import not_begun
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.processor import PartitionProcessor
from stream_app.core.topics import Topics
from stream_app.core.version import VersionFold
from stream_app.errors import LogUntrusted, UsageError
from stream_app.hosts.checkpoint_history import require_of_this_log
from stream_app.hosts.labels_found import LabelFound, label_of
from stream_app.hosts.log_url import DEFAULT_BROKER, DEFAULT_STATE, open_broker
from stream_app.hosts.manifests import committed, read_manifest
from stream_app.hosts.prediction_search import find, published_at
from stream_app.hosts.rebuilding import Place, Rebuilt, rebuilt, with_version
from stream_app.hosts.replay import likely_cause
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning.model_looks import Look, look
from stream_app.outputs import DeadLetter, ModelFailure, Prediction
from stream_app.records import Output, Record, format_position

_decode_prediction = msgspec.json.Decoder(Prediction).decode
_decode_letter = msgspec.json.Decoder(DeadLetter | ModelFailure).decode
Progress = Callable[[str, int, int], None]
Same = Literal["equal", "differs", "gone by retention", "never published"]


class MonitorThen(msgspec.Struct, frozen=True):
    """A drift monitor as it stood: values since it fired last, and their means."""

    name: str
    watches: str
    detector: str
    values: int
    mean_before: float | None
    mean_newest: float | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction, made again.

    `same` compares with what was `published` to `topic`, key, value and headers. `raw` are the
    event's features, `seen` those that the version takes of what was accepted. `began` is where
    the fold began: at `checkpoint`, or at the first record when that is None.
    """

    kind: Literal["prediction"] = "prediction"
    position: str
    observation_id: str
    key: str
    ts_ms: int
    version: str
    topic: str
    same: Same
    cause_of_difference: str | None
    published: Prediction | None
    recomputed: Prediction
    raw: dict[str, Any]
    seen: dict[str, Any]
    look: Look | None
    failure: str | None
    label: LabelFound
    monitors: list[MonitorThen]
    definition: str
    environment_committed: Environment
    environment_now: Environment
    settings_since: int
    checkpoint: str | None
    began: int
    folded: int
    notes: list[str]


class RefusedRecord(msgspec.Struct, frozen=True):
    """A position whose record was refused: there is no prediction, and this is why."""

    position: str
    letter: DeadLetter
    kind: Literal["dead_letter"] = "dead_letter"


def explain(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    which: str,
    *,
    version: str | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Explanation | RefusedRecord:
    """Explain the prediction at a position or of an observation; writes nothing to the log.

    Raises `UsageError` for what names no prediction, `LogUntrusted` when the log no longer
    reaches back far enough, and `StateUntrusted` for a checkpoint of another history than the
    log's, where that makes another prediction.
    """
    partition, offset, named = find(
        log, manifest, which, lambda done, total: progress("searching", done, total)
    )
    live = committed(log, pipeline.name, partition)
    where = format_position(Topics(pipeline.name).events, partition, offset)
    if live is None or offset >= live.next_offset:
        at = manifest.origins[partition] if live is None else live.next_offset
        raise UsageError(
            f"{where} is not processed yet: the committed position is {at}",
            attempt=f"a position before {at}, or stream-app run FILE to go on",
        )
    place = Place(log, pipeline, manifest, partition, live, state, "", "")
    record = _record(place, offset, where)
    refused = _refusal(place, record)
    if refused is not None:
        return refused
    _require_observation(record, version)
    place = _with_version(place, offset, version or named)
    with rebuilt(
        place, offset, lambda done, total: progress("learning again", done, total)
    ) as found:
        explanation = _explained(place, record, found)
    if explanation.same == "differs" and found.checkpoint is not None:
        require_of_this_log(log, manifest, partition, found.checkpoint)
    return explanation


def explained(
    pipeline: Pipeline,
    which: str,
    *,
    version: str | None = None,
    broker: str = DEFAULT_BROKER,
    state: str = DEFAULT_STATE,
) -> Explanation | RefusedRecord:
    """Explain a prediction of a log, for tests and notebooks: as `stream-app explain` does."""
    log = open_broker(broker, read_only=True)
    try:
        manifest = read_manifest(log, pipeline.name)
        directory = StateDirectory(Path(state))
        return explain(log, pipeline, manifest, directory, which, version=version)
    finally:
        log.close()


def _record(place: Place, offset: int, where: str) -> Record:
    begins, _ = place.log.bounds(place.events, place.partition)
    if offset < begins:
        raise LogUntrusted(
            f"{where} is gone: retention has deleted the records before {begins}.",
            attempt=f"a position from {begins} on, or a backup of the older part of the log",
        )
    found = next(iter(place.log.read(place.events, place.partition, offset, records_max=1)), None)
    if found is None or found.offset != offset:
        raise UsageError(
            f"{where} has no record: on Kafka the end of a transaction takes an offset as well",
            attempt="the next position" if found is None else found.position,
        )
    return found


def _refusal(place: Place, record: Record) -> RefusedRecord | None:
    topic = Topics(place.pipeline.name).dead_letters
    for letter in published_at(place.log, topic, place.partition, record.offset) or ():
        decoded = _decode_letter(letter.value)
        if isinstance(decoded, DeadLetter):
            return RefusedRecord(record.position, decoded)
    return None


class _Raw(msgspec.Struct):
    features: dict[str, Any]


class _Kind(msgspec.Struct):
    kind: str
    id: str
    action: str | None = None


def _require_observation(record: Record, version: str | None) -> None:
    """Refuse what no prediction is made of, in words that say what it is."""
    try:
        event = msgspec.json.decode(record.value, type=_Kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # whatever it is, the fold will tell
    if event.kind == "label":
        raise UsageError(
            f"{record.position} is a label, of the observation {event.id!r}",
            attempt=f"stream-app explain FILE {shlex.quote(event.id)}"
            + (f" --version {version}" if version else ""),
        )
    if event.kind == "control":
        raise UsageError(
            f"{record.position} is a control, {event.id} ({event.action}): nothing is predicted",
            attempt="the position of an observation",
        )


def _with_version(place: Place, offset: int, wanted: str | None) -> Place:
    """Return the place with the version to explain: by default the one that downstream read."""
    live, name = place.commit, place.pipeline.name
    if wanted is None:
        published = published_at(place.log, Topics(name).predictions, place.partition, offset)
        champion = live.seat.champion
        wanted = _decode_prediction(published[0].value).version if published else champion
    return with_version(place, wanted, offset + 1)


def _explained(place: Place, record: Record, found: Rebuilt) -> Explanation:
    processor, chosen = found.processor, place.version
    [fold] = processor.versions
    acceptance = processor.acceptance
    admitted = acceptance.gate.decode(record)
    # All of this before the record is processed: that may change the model.
    seen = fold.select(admitted.features)
    looked = _looked(place, fold, admitted, seen)
    label = label_of(place, processor, record, admitted)
    monitors = _monitors(processor, fold)
    notes = [*found.notes, *([not_begun(chosen)] if fold.waits_for_file else [])]
    settings_since = processor.position().settings_since
    batch = processor.process([record])
    recomputed, failure = _own(batch.outputs, record, chosen)
    topic, published = _published(place, record.offset, chosen)
    same = _compared(recomputed, published)
    prediction = _decode_prediction(recomputed.value)
    return Explanation(
        position=record.position,
        observation_id=admitted.event.id,
        key=admitted.key,
        ts_ms=admitted.event.ts_ms,
        version=chosen,
        topic=topic,
        same=same,
        cause_of_difference=likely_cause(place.commit) if same == "differs" else None,
        published=_decode_prediction(published[0].value) if published else None,
        recomputed=prediction,
        raw=msgspec.json.decode(record.value, type=_Raw).features,
        seen=dict(seen),
        look=looked,
        failure=failure,
        label=label,
        monitors=monitors,
        definition=fold.plan.definition,
        environment_committed=place.commit.environment,
        environment_now=this_environment(),
        settings_since=settings_since,
        checkpoint=None if found.checkpoint is None else str(found.checkpoint),
        began=found.began,
        folded=found.folded,
        notes=notes,
    )


def _looked(
    place: Place, fold: VersionFold, admitted: Admitted, seen: dict[str, Any]
) -> Look | None:
    if fold.failed is not None or fold.waits_for_file:
        return None
    model = fold.models.peek(admitted.key if fold.plan.keyed else "")
    copy = fold.plan.pickles.loads(model.last_image())
    return look(copy, seen, place.pipeline.task)


def _monitors(processor: PartitionProcessor, fold: VersionFold) -> list[MonitorThen]:
    rows = []
    for monitor in [*fold.all_monitors, *processor.feature_monitors]:
        older_sum, older, newest = monitor.state()[3:6]
        rows.append(
            MonitorThen(
                monitor.name,
                monitor.watches,
                monitor.detector_name,
                older + len(newest),
                older_sum / older if older else None,
                math.fsum(newest) / len(newest) if newest else None,
            )
        )
    return rows


def _own(outputs: Sequence[Output], record: Record, version: str) -> tuple[Output, str | None]:
    """Return a version's prediction among what a record caused, and what its call raised."""
    prediction, failure = None, None
    for output in outputs:
        decoded: Any = msgspec.json.decode(output.value)
        if decoded.get("version") != version:
            continue
        if decoded["kind"] == "prediction":
            prediction = output
        elif decoded["kind"] == "model_failure" and decoded["call"] == "predict":
            failure = decoded["detail"]
    if prediction is None:
        raise UsageError(
            f"{record.position} causes no prediction of {version}",
            attempt="the position of an observation",
        )
    return prediction, failure


def _published(place: Place, offset: int, version: str) -> tuple[str, list[Record] | None]:
    """Return where a version's prediction was published, and it; None: retention deleted it."""
    topics = Topics(place.pipeline.name)
    gone = False
    for topic in (topics.predictions, topics.shadow(version)):
        rows = published_at(place.log, topic, place.partition, offset)
        gone |= rows is None
        own = [row for row in rows or () if _is_prediction_of(row, version)]
        if own:
            return topic, own
    champion = place.commit.seat.champion == version
    return topics.predictions if champion else topics.shadow(version), None if gone else []


def _is_prediction_of(record: Record, version: str) -> bool:
    decoded: Any = msgspec.json.decode(record.value)
    return bool(decoded.get("kind") == "prediction" and decoded.get("version") == version)


def _compared(recomputed: Output, published: list[Record] | None) -> Same:
    if published is None:
        return "gone by retention"
    if not published:
        return "never published"
    row = published[0]
    one = (row.key, row.value, row.headers)
    return "equal" if one == (recomputed.key, recomputed.value, recomputed.headers) else "differs"
