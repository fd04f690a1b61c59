"""What a person sees of the demo, read from the log as any downstream app could read it."""

from __future__ import annotations

import time
from collections import deque

import msgspec

from stream_app.core.commit import Commit
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.hosts.demo_base_rate import BaseRate
from stream_app.hosts.manifests import committed
from stream_app.outputs import AnyOutput, DriftAlert, Evaluation, Prediction

READ_MAX = 5_000
READS_PER_REFRESH = 4
KEPT_MAX = 500
RATE_OVER_S = 3.0
_PREDICTION = b'{"kind":"prediction"'
_decode = msgspec.json.Decoder(AnyOutput).decode


class VersionFigures:
    """One version's newest evaluations, oldest first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.evaluations: deque[Evaluation] = deque(maxlen=KEPT_MAX)

    def totals(self, metric: str) -> list[float]:
        """Return the metric since the beginning, at every evaluation that has it."""
        values = [evaluation.metrics.get(metric) for evaluation in self.evaluations]
        return [v.total for v in values if v is not None and v.total is not None]

    def windows(self, metric: str) -> list[float]:
        """Return the metric over every evaluation's own window."""
        values = [evaluation.metrics.get(metric) for evaluation in self.evaluations]
        return [v.window for v in values if v is not None and v.window is not None]


class Pace:
    """How fast a number grows, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, value: float) -> None:
        """Take note of the number as it is now."""
        now = time.monotonic()
        self._seen.append((now, value))
        while now - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()

    def per_second(self) -> float:
        """Return the growth; 0.0 while there is too little to tell."""
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - began) if now - began > 0.5 else 0.0


class Figures:
    """A pipeline's commit, evaluations, alerts and newest prediction, followed by `refresh`.

    `alerts` holds the newest, `alerts_fired` counts all; `end` is where the event log ends. Until
    `caught_up`, one version's figures may be of an earlier moment than another's. The
    paces are those of processed records and, in ms, of event time.
    """

    def __init__(self, log: Log, pipeline: str) -> None:
        self.pipeline = pipeline
        self.commit: Commit | None = None
        self.end = 0
        self.caught_up = False
        self.versions: dict[str, VersionFigures] = {}
        self.alerts: deque[DriftAlert] = deque(maxlen=KEPT_MAX)
        self.alerts_fired = 0
        self._new_alerts: list[DriftAlert] = []
        self.newest: Prediction | None = None
        self.base = BaseRate()
        self.base_windows: deque[float] = deque(maxlen=KEPT_MAX)
        self.records_pace = Pace()
        self.time_pace = Pace()
        self._log = log
        self._topics = Topics(pipeline)
        self._offsets: dict[str, int] = {}
        self._base_due: deque[int] = deque()

    @property
    def champion(self) -> str | None:
        """Whose predictions downstream apps read."""
        return None if self.commit is None else self.commit.seat.champion

    def refresh(self) -> bool:
        """Read what came since; False when there is more to read than one call may."""
        log, topics = self._log, self._topics
        self.end = log.bounds(topics.events, 0)[1]
        found = committed(log, self.pipeline, 0)
        if found is None:
            return True
        self.commit = found
        self.records_pace.see(self.commit.counters["records"])
        self.time_pace.see(self.commit.watermark_ms)
        for name in self.commit.versions:
            self.versions.setdefault(name, VersionFigures(name))
        shadows = [topics.shadow(name) for name in self.versions if name != self.champion]
        read = [self._follow(t) for t in (topics.evaluations, topics.drift_alerts, *shadows)]
        self.caught_up = all(read)
        self._sort_alerts()
        self._read_newest()
        return self._follow_base() and self.caught_up

    def read_all(self) -> None:
        """Read all that is published."""
        while not self.refresh():
            pass

    def _follow(self, topic: str) -> bool:
        """Take a topic's new records in, but for predictions; False when there are more."""
        for _ in range(READS_PER_REFRESH):
            offset = self._offsets.get(topic, 0)
            records = self._log.read(topic, 0, offset, records_max=READ_MAX)
            if not records:
                return True
            for record in records:
                if not record.value.startswith(_PREDICTION):
                    self._take(_decode(record.value))
            self._offsets[topic] = records[-1].offset + 1
        return False

    def _sort_alerts(self) -> None:
        """Bring what came from several topics into the order in which it fired."""
        alerts = sorted(self._new_alerts, key=lambda alert: alert.source.offset)
        self._new_alerts.clear()
        self.alerts_fired += len(alerts)
        self.alerts.extend(alerts)

    def _take(self, output: AnyOutput) -> None:
        if isinstance(output, DriftAlert):
            self._new_alerts.append(output)
        elif isinstance(output, Evaluation):
            self.versions[output.version].evaluations.append(output)
            if output.version == self.champion:
                self._base_due.append(output.source.offset + 1)

    def _follow_base(self) -> bool:
        """Fold the events up to the champion's evaluations, so that both score the same flights."""
        for _ in range(READS_PER_REFRESH):
            if not self._base_due:
                return True
            wanted = self._base_due[0] - self.base.next_offset
            if wanted > 0:
                self.base.fold(
                    self._log.read(
                        self._topics.events,
                        0,
                        self.base.next_offset,
                        records_max=min(wanted, READ_MAX),
                    )
                )
            if self.base.next_offset >= self._base_due[0]:
                self._base_due.popleft()
                self.base.close_window()
                if self.base.window_log_loss is not None:
                    self.base_windows.append(self.base.window_log_loss)
        return not self._base_due

    def _read_newest(self) -> None:
        topic = self._topics.predictions
        end = self._log.bounds(topic, 0)[1]
        records = self._log.read(topic, 0, end - 1, records_max=1) if end else []
        if records:
            output = _decode(records[0].value)
            self.newest = output if isinstance(output, Prediction) else None
