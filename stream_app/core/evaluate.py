"""`Pipeline.evaluate`: a River dataset through the same core that runs live."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.codec.feature_hints import refusal_hint
from stream_app.core.batch import Batch
from stream_app.core.declaration import Declaration
from stream_app.core.rehearsal import rehearsal_processor
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.events import Event, Label, Observation
from stream_app.learning.metric_checks import summed
from stream_app.near_names import no_version
from stream_app.outputs import DeadLetter, ModelFailure
from stream_app.records import Record

BATCH = 1000
_PAIRS = 'a dataset of River\'s, or [({"x": 1.0}, True), ...]: a dict of features, and its label'
_letter = msgspec.json.Decoder(DeadLetter | ModelFailure).decode


def evaluate(
    pipeline: Declaration,
    dataset: Iterable[Any],
    *,
    version: str | None = None,
    moment: Any = None,
    delay: Any = None,
) -> Any:
    """Return River's metric of one version, by default the champion; see `Pipeline.evaluate`.

    Raises `UsageError` for an event that the gate refuses, and what a failing champion raises.
    """
    name = pipeline.initial_champion if version is None else version
    versions = pipeline.definitions()
    if name not in versions:
        raise no_version(name, pipeline.name, versions)
    if any(plan.from_file for plan in pipeline.plans([name])):
        raise UsageError(
            f"{name} begins from a file that is imported into a log, and here is none",
            attempt="the same version without start=, which begins untrained",
        )
    processor = rehearsal_processor(pipeline)
    topic = Topics(pipeline.name).events
    batch: list[Record] = []
    for offset, event in enumerate(as_events(dataset, moment, delay)):
        new = encode_event(event)
        batch.append(Record(topic, 0, offset, event.ts_ms, new.key, new.value))
        if len(batch) == BATCH:
            _check(pipeline, processor.process(batch))
            batch = []
    _check(pipeline, processor.process(batch))
    fold = next(fold for fold in processor.versions if fold.name == name)
    fold.prequential.flush()
    for metric, total in fold.prequential.totals.items():
        if total is None:
            raise UsageError(
                f"{metric} has no value for an example of this dataset, or for what {name} said",
                attempt="metrics= with a metric that is defined for all of them",
            )
    return summed(list(fold.prequential.totals.values()))


def _check(pipeline: Declaration, batch: Batch) -> None:
    if batch.stop is not None:
        raise batch.stop
    dead_letters = Topics(pipeline.name).dead_letters
    for output in batch.outputs:
        if output.topic == dead_letters:
            letter = _letter(output.value)
            if isinstance(letter, DeadLetter):
                field = f"{letter.field}: " if letter.field else ""
                declared, data = pipeline.settings().acceptance.features, letter.original.data
                hint = refusal_hint(letter.reason, letter.field, data, declared)
                raise UsageError(
                    f"the dataset's record {letter.source.offset} is refused ({letter.reason}): "
                    f"{field}{letter.detail}{hint}",
                    attempt="convert the dataset to what the pipeline declares",
                )


def as_events(dataset: Iterable[Any], moment: Any, delay: Any) -> Iterator[Event]:
    """Yield a dataset's observations and labels in the order of River's `simulate_qa`.

    A label comes before the next observation at the same time; labels that still wait at the end
    come last. A moment that is a feature's name is taken out of the features.
    """
    if moment is None and isinstance(delay, timedelta):
        raise UsageError(
            "delay: a timedelta needs moments, and without `moment` they are 0, 1, 2, ...",
            attempt='moment="the feature that holds the time", or a number of events as the delay',
        )
    inline = moment is None and delay is None
    waiting: list[tuple[Any, int, Any, Label]] = []
    # As in River: only delays that differ from event to event are put in order of time.
    differ = callable(delay) or isinstance(delay, str)
    for i, example in enumerate(_examples(dataset)):
        x, y = _pair(i, example)
        features = dict(x)
        at = _moment(i, features, moment)
        label = _plain(y, "the label")
        if inline:
            yield Observation(str(i), _ms(at), _features(features), label=label)
            continue
        later = _delay(features, y, delay)
        while waiting and waiting[0][2] <= at:
            yield heapq.heappop(waiting)[3]
        if isinstance(delay, str):
            features.pop(delay, None)
        yield Observation(str(i), _ms(at), _features(features))
        due = at + later if later is not None else at
        if due < at:
            raise UsageError(
                f"delay: {later!r} puts the label of example {i} before its observation",
                attempt="delays of 0 or more",
            )
        order = due if differ else i
        heapq.heappush(waiting, (order, i, due, Label(str(i), _ms(due), label)))
    while waiting:
        yield heapq.heappop(waiting)[3]


def _examples(dataset: Any) -> Iterator[Any]:
    if isinstance(dataset, (Mapping, str, bytes)) or not isinstance(dataset, Iterable):
        raise UsageError(
            f"the dataset: {dataset!r:.64} yields no (features, label) pairs", attempt=_PAIRS
        )
    return iter(dataset)


def _pair(i: int, example: Any) -> tuple[Mapping[str, Any], Any]:
    """Return (features, label); what River's datasets put behind them is left out."""
    if isinstance(example, (tuple, list)) and len(example) > 1 and isinstance(example[0], Mapping):
        return example[0], example[1]
    raise UsageError(f"example {i} of the dataset is {example!r:.64}, no pair", attempt=_PAIRS)


def _moment(i: int, features: dict[str, Any], moment: Any) -> Any:
    if moment is None:
        return i
    if isinstance(moment, str):
        _require(moment, features, "moment")
        return features.pop(moment)
    return moment(features)


def _delay(features: dict[str, Any], y: Any, delay: Any) -> Any:
    if isinstance(delay, str):
        _require(delay, features, "delay")
        return features[delay]
    made: Callable[[Any, Any], Any] | None = delay if callable(delay) else None
    return made(features, y) if made is not None else delay


def _require(name: str, features: dict[str, Any], parameter: str) -> None:
    if name not in features:
        raise UsageError(
            f"{parameter}: the dataset has no feature {name!r}",
            attempt=f"one of {', '.join(map(str, features)) or 'none'}; or as River takes it: a "
            "function, or for `delay` a number or timedelta",
        )


def _ms(at: Any) -> int:
    """Return a moment as milliseconds; plain numbers (an index) are taken as milliseconds."""
    if isinstance(at, datetime):
        aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if isinstance(at, date):
        return _ms(datetime(at.year, at.month, at.day, tzinfo=UTC))
    return int(at)


def _features(features: dict[str, Any]) -> dict[str, Any]:
    return {str(name): _plain(value, f"feature {name!r}") for name, value in features.items()}


def _plain(value: Any, what: str) -> Any:
    """Return NumPy's scalars as Python's own; raises `UsageError` for what is no scalar."""
    item = value.item() if hasattr(value, "item") else value
    if item is None or type(item) in (bool, int, float, str):
        return item
    raise UsageError(
        f"{what} is a {type(value).__name__}; events carry numbers, booleans and strings",
        attempt="map the dataset to such features first (moment= takes a time out of them)",
    )
