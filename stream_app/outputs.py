"""What comes out: predictions, evaluations, digests, alerts, dead letters, model failures.

An output's identity is made of its cause, so it is the same on every replay.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Source(msgspec.Struct, frozen=True, gc=False):
    """The record that caused an output."""

    topic: str
    partition: int
    offset: int


class Prediction(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="prediction"):
    """One per accepted observation and version.

    `learned` counts the examples that the model had learned. `probability` is the positive
    class's; `probabilities` has the classes seen so far, sorted. Without a prediction
    `prediction` is null and `null_reason` says why.
    """

    id: str
    pipeline: str
    version: str
    source: Source
    ts_ms: int
    key: str
    observation_id: str
    learned: int
    prediction: bool | int | float | str | None
    probability: float | msgspec.UnsetType = msgspec.UNSET
    probabilities: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    null_reason: Literal["untrained", "model_raised", "failed"] | msgspec.UnsetType = msgspec.UNSET
    meta: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class MetricValue(msgspec.Struct, frozen=True):
    """A metric since the beginning and since the previous evaluation; null: nothing to score."""

    total: float | None
    window: float | None


class LabelCounts(msgspec.Struct, frozen=True):
    """What became of the labels, and of the observations that wait for one, so far."""

    joined: int
    waiting: int
    timed_out: int
    late: int
    unknown: int
    early: int
    early_waiting: int
    duplicate: int
    conflicting: int


class Quantiles(msgspec.Struct, frozen=True):
    """Quantiles over the window."""

    p50: int
    p95: int


class Evaluation(msgspec.Struct, frozen=True, tag_field="kind", tag="evaluation"):
    """Prequential metrics of a version at an interval: every example tested before learned.

    `window` counts the examples since the previous evaluation; `join_rate` is the share of the
    observations whose wait has ended that got their label.
    """

    id: str
    pipeline: str
    version: str
    source: Source
    ts_ms: int
    learned: int
    scored: int
    unscored: int
    window: int
    metrics: dict[str, MetricValue]
    labels: LabelCounts
    join_rate: float | None
    label_delay_ms: Quantiles | None


class StateDigest(msgspec.Struct, frozen=True, tag_field="kind", tag="state_digest"):
    """The state's identity at a position, so that any two runs can be compared there.

    Without a `version` it is acceptance's. `chain` is the digest over all records before
    `next_offset`.
    """

    id: str
    pipeline: str
    source: Source
    ts_ms: int
    next_offset: int
    chain: str
    digest: str
    version: str | msgspec.UnsetType = msgspec.UNSET


class DriftAlert(msgspec.Struct, frozen=True, tag_field="kind", tag="drift_alert"):
    """A detector fired. `before` and `after` are means of the watched value."""

    id: str
    pipeline: str
    source: Source
    ts_ms: int
    monitor: str
    detector: str
    direction: Literal["rise", "fall"]
    before: float | None
    after: float | None
    action: Literal["alert", "reset"]
    version: str | msgspec.UnsetType = msgspec.UNSET


class Original(msgspec.Struct, frozen=True):
    """A refused record's value, capped: as text when it is UTF-8, else in base64."""

    encoding: Literal["utf-8", "base64"]
    data: str
    bytes: int
    truncated: bool


class DeadLetter(msgspec.Struct, frozen=True, tag_field="kind", tag="dead_letter"):
    """A refused record: why, which field, and what it was.

    `copied_from` is the place in a source (`topic/partition@offset`) that intake copied it from.
    """

    id: str
    pipeline: str
    source: Source
    ts_ms: int
    reason: str
    field: str | None
    detail: str
    key: str | None
    original: Original
    copied_from: str | msgspec.UnsetType = msgspec.UNSET


class ModelFailure(msgspec.Struct, frozen=True, tag_field="kind", tag="model_failure"):
    """One call of a version's model raised and was undone."""

    id: str
    pipeline: str
    version: str
    source: Source
    ts_ms: int
    call: Literal["predict", "learn"]
    observation_id: str
    detail: str


AnyOutput = Prediction | Evaluation | StateDigest | DriftAlert | DeadLetter | ModelFailure
