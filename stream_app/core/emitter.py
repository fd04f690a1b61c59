"""Makes outputs: identities from causes, topics from the seat, headers for other people's tools."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream_app.codec.encode import encode_output
from stream_app.codec.incoming import NO_META
from stream_app.codec.intake_headers import copied_from
from stream_app.codec.original import original
from stream_app.core.accepted import Counters
from stream_app.core.said import Failure, Fired, Said
from stream_app.core.topics import Topics
from stream_app.core.version import VersionFold
from stream_app.events import Refusal
from stream_app.outputs import (
    DeadLetter,
    DriftAlert,
    Evaluation,
    LabelCounts,
    MetricValue,
    ModelFailure,
    Prediction,
    Quantiles,
    Source,
    StateDigest,
)
from stream_app.records import Output, Record

_UNSET: Final = msgspec.UNSET


class Emitter:
    """Outputs of one partition, collected in `outputs` until the processor takes them.

    `evaluations` keeps each version's newest one, for people to look at: metrics are not asked
    again, since asking changes some of them.
    The bytes of an output do not depend on who is champion; only its topic does.
    """

    def __init__(self, pipeline: str, partition: int, champion: str) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._topics = Topics(pipeline)
        self.champion = champion
        self.outputs: list[Output] = []
        self.evaluations: dict[str, Evaluation] = {}
        self._place = f"{self._topics.events}/{partition}@".encode()
        self._versions: dict[str, tuple[str, tuple[str, bytes], str]] = {}

    def seat(self, champion: str) -> None:
        """Send what each version says from now on where this champion's predictions go."""
        self.champion = champion
        self._versions.clear()

    def prediction(
        self, version: VersionFold, record: Record, event: Any, key: str, said: Said
    ) -> None:
        """Put out what a version said of an observation."""
        name, offset, ts_ms, observation_id = version.name, record.offset, event.ts_ms, event.id
        prefix, version_header, topic = self._versions.get(name) or self._of_version(name)
        probability = said.probability
        by_class = type(probability) is dict
        value = encode_output(
            Prediction(
                f"{prefix}{offset}/prediction",
                self._pipeline,
                name,
                Source(record.topic, self._partition, offset),
                ts_ms,
                key,
                observation_id,
                said.learned,
                said.prediction,  # type: ignore[arg-type]
                _UNSET if by_class or probability is None else probability,  # type: ignore[arg-type]
                probability if by_class else _UNSET,  # type: ignore[arg-type]
                _UNSET if said.null_reason is None else said.null_reason,  # type: ignore[arg-type]
                _UNSET if event.meta is NO_META else event.meta,
            )
        )
        headers = (
            ("observation-id", observation_id.encode()),
            version_header,
            ("source", b"%b%d" % (self._place, offset)),
            ("ts-ms", b"%d" % ts_ms),
        )
        self.outputs.append(Output(topic, key.encode(), value, headers))

    def _of_version(self, name: str) -> tuple[str, tuple[str, bytes], str]:
        """Return what all predictions of a version share: id's prefix, header, topic."""
        prefix = f"{self._pipeline}/{name}/{self._partition}@"
        topic = self._route(name, self._topics.predictions)
        shared = self._versions[name] = (prefix, ("version", name.encode()), topic)
        return shared

    def dead_letter(self, record: Record, refusal: Refusal) -> None:
        """Put out a refused record."""
        key = None if record.key is None else record.key.decode("utf-8", "replace")
        place = copied_from(record) if record.headers else None
        letter = DeadLetter(
            self._id(record, "dead_letter"),
            self._pipeline,
            self._source(record),
            record.timestamp_ms,
            refusal.reason,
            refusal.field,
            refusal.detail,
            key,
            original(record.value),
            _UNSET if place is None else place,
        )
        value = encode_output(letter)
        self._put(self._topics.dead_letters, record.key, value, record, record.timestamp_ms)

    def failure(
        self, version: VersionFold, record: Record, event: Any, observation_id: str, failed: Failure
    ) -> None:
        """Put out a call of a model that raised."""
        name = version.name
        output = ModelFailure(
            self._id(record, f"model_failure/{failed.call}", name),
            self._pipeline,
            name,
            self._source(record),
            event.ts_ms,
            failed.call,  # type: ignore[arg-type]
            observation_id,
            failed.detail,
        )
        topic = self._route(name, self._topics.dead_letters)
        value = encode_output(output)
        self._put(topic, name.encode(), value, record, event.ts_ms, observation_id, name)

    def drift_alert(self, record: Record, event: Any, fired: Fired, version: str | None) -> None:
        """Put out a monitor's firing: of a version, or of acceptance when that is None."""
        monitor, firing, action = fired
        alert = DriftAlert(
            self._id(record, f"drift_alert/{monitor.name}", version),
            self._pipeline,
            self._source(record),
            event.ts_ms,
            monitor.name,
            monitor.detector_name,
            firing.direction,
            firing.before,
            firing.after,
            action,  # type: ignore[arg-type]
            _UNSET if version is None else version,
        )
        topic = self._topics.drift_alerts
        if version is not None:
            topic = self._route(version, topic)
        key = None if version is None else version.encode()
        self._put(topic, key, encode_output(alert), record, event.ts_ms, None, version)

    def evaluation(
        self, version: VersionFold, record: Record, event: Any, labels: LabelCounts
    ) -> None:
        """Put out a version's prequential metrics and start its next window."""
        report = version.prequential
        values = {name: MetricValue(*pair) for name, pair in report.values().items()}
        delays = report.delay_quantiles()
        ended = labels.joined + labels.timed_out
        name = version.name
        output = Evaluation(
            self._id(record, "evaluation", name),
            self._pipeline,
            name,
            self._source(record),
            event.ts_ms,
            report.scored + report.unscored,
            report.scored,
            report.unscored,
            report.window_examples,
            values,
            labels,
            labels.joined / ended if ended else None,
            None if delays is None else Quantiles(*delays),
        )
        self.evaluations[name] = output
        report.start_window()
        topic = self._route(name, self._topics.evaluations)
        value = encode_output(output)
        self._put(topic, name.encode(), value, record, event.ts_ms, None, name)

    def state_digest(
        self, record: Record, ts_ms: int, chain: bytes, digest: bytes, version: str | None
    ) -> None:
        """Put out a state digest: of a version, or of acceptance when that is None."""
        output = StateDigest(
            self._id(record, "state_digest", version),
            self._pipeline,
            self._source(record),
            ts_ms,
            record.offset + 1,
            chain.hex(),
            digest.hex(),
            _UNSET if version is None else version,
        )
        topic = self._topics.evaluations
        if version is not None:
            topic = self._route(version, topic)
        key = None if version is None else version.encode()
        self._put(topic, key, encode_output(output), record, ts_ms, None, version)

    def _route(self, version: str, topic: str) -> str:
        return topic if version == self.champion else self._topics.shadow(version)

    def _source(self, record: Record) -> Source:
        return Source(record.topic, self._partition, record.offset)

    def _id(self, record: Record, kind: str, version: str | None = None) -> str:
        place = f"{self._partition}@{record.offset}/{kind}"
        if version is None:
            return f"{self._pipeline}/{place}"
        return f"{self._pipeline}/{version}/{place}"

    def _put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        record: Record,
        ts_ms: int,
        observation_id: str | None = None,
        version: str | None = None,
    ) -> None:
        source = f"{record.topic}/{self._partition}@{record.offset}".encode()
        headers = [("source", source), ("ts-ms", b"%d" % ts_ms)]
        if version is not None:
            headers.insert(0, ("version", version.encode()))
        if observation_id is not None:
            headers.insert(0, ("observation-id", observation_id.encode()))
        self.outputs.append(Output(topic, key, value, tuple(headers)))


def label_counts(counters: Counters, waiting: int, early_waiting: int) -> LabelCounts:
    """Return what became of the labels so far, as evaluations show it."""
    return LabelCounts(
        joined=counters.labels_joined,
        waiting=waiting,
        timed_out=counters.timed_out,
        late=counters.labels_late,
        unknown=counters.labels_unknown,
        early=counters.labels_early,
        early_waiting=early_waiting,
        duplicate=counters.labels_duplicate,
        conflicting=counters.labels_conflicting,
    )
