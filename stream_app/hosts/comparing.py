"""Compare two versions on the same labelled events, from the log alone; writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream_app.core.commit import Commit, Manifest
from stream_app.core.importing import not_begun
from stream_app.core.joins import Joins, joins_from
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.settings import Settings
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, UsageError
from stream_app.hosts.bounds import Bounds, Progress, Range, ranges_of
from stream_app.hosts.comparison import Comparison, PartitionRange, SliceFigures, verdict
from stream_app.hosts.manifests import commits, committed, settings_in_force
from stream_app.hosts.pairing import Pairing
from stream_app.hosts.scored_pairs import ScoredPairs
from stream_app.hosts.slicing import slicing_by
from stream_app.hosts.version_rows import VersionRows
from stream_app.learning import tasks
from stream_app.learning.definition import OtherCode, build
from stream_app.learning.metric_checks import require_metric
from stream_app.near_names import near_name, no_version
from stream_app.records import format_position

BATCH = 5000
SPANS = 20


def compare(
    log: Log,
    pipeline: Pipeline | None,
    manifest: Manifest,
    a: str,
    b: str,
    bounds: Bounds | None = None,
    *,
    by: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Score versions `a` and `b` on the labelled events in `bounds` that both predicted.

    Without a `pipeline` the metrics are those in force in the log. `progress` hears what is
    being done, the records done, and the records in all. Raises `UsageError` where there
    is nothing to compare, and `LogUntrusted` when the log's labels do not join as they did live.
    """
    topics = Topics(manifest.pipeline)
    settings = settings_in_force(log, manifest) if pipeline is None else pipeline.settings()
    known = {} if pipeline is None else pipeline.known
    _require_versions(log, pipeline, manifest, a, b)
    ranges = ranges_of(log, manifest, bounds or Bounds(), known=known, progress=progress)
    slicing = None
    if by is not None:
        features = settings.acceptance.features or {}
        slicing = slicing_by(by, log, topics.events, ranges, features)
    pairs = ScoredPairs(
        tasks.load(settings.acceptance.task),
        _metrics(settings, known, manifest.pipeline),
        slicing,
        topics.events,
        len(ranges),
    )
    run = _Run(log, manifest, (a, b), known, pairs)
    run.require_rows(ranges)
    run.all(ranges, progress)
    return run.comparison(ranges)


def _require_versions(
    log: Log, pipeline: Pipeline | None, manifest: Manifest, a: str, b: str
) -> None:
    if a == b:
        raise UsageError(f"{a} and {a} are one version", attempt="two versions by their names")
    known = known_versions(log, pipeline, manifest)
    for name in (a, b):
        if name not in known:
            attempt = f"declare {name} in its file, then stream-app backfill FILE {name}"
            attempt = near_name(name, known) or f"one of those; or {attempt}"
            raise no_version(name, manifest.pipeline, known, attempt=attempt)


def known_versions(log: Log, pipeline: Pipeline | None, manifest: Manifest) -> set[str]:
    """Return the names of versions that a declaration, a commit or a topic knows."""
    start = Topics(manifest.pipeline).shadow("")
    known = {topic.removeprefix(start) for topic in log.topics() if topic.startswith(start)}
    known |= {manifest.initial_champion} | set(() if pipeline is None else pipeline.versions)
    for commit in commits(log, manifest):
        if commit is not None:
            known |= {*commit.versions, *commit.left, commit.seat.champion}
    return known


def _metrics(settings: Settings, known: Mapping[str, object], name: str) -> dict[str, Any]:
    """Return the metrics that settings describe, by name; where there are none, the task's own."""
    if not settings.reporting.metrics:
        return tasks.load(settings.acceptance.task).default_metrics()
    found = {}
    for metric, tree in settings.reporting.metrics.items():
        path = f"metrics.{metric}"
        try:
            found[metric] = require_metric(path, build(tree, known, path=path))
        except OtherCode as error:
            raise UsageError(
                f"{path} of {name} is code of your own: {error.problem}",
                attempt="the pipeline's file instead of its name",
            ) from None
    return found


class _Run:
    """One comparison under way."""

    def __init__(
        self,
        log: Log,
        manifest: Manifest,
        versions: tuple[str, str],
        known: Mapping[str, object],
        pairs: ScoredPairs,
    ) -> None:
        self._log = log
        self._manifest = manifest
        self._topics = Topics(manifest.pipeline)
        self._versions = versions
        self._known = known
        self._pairs = pairs
        self._notes: dict[str, None] = {}

    def require_rows(self, ranges: Mapping[int, Range]) -> None:
        """Raise `UsageError` for a version that has no prediction from the range's begin on."""
        name = self._manifest.pipeline
        for version in self._versions:
            if not any(self._rows(p, version, chosen).found for p, chosen in ranges.items()):
                found = [committed(self._log, name, partition) for partition in ranges]
                runs = any(commit is not None and version in commit.versions for commit in found)
                attempt = f"stream-app backfill FILE {version}, which makes them from history"
                if runs:
                    attempt = (
                        f"again when stream-app run has processed more events: {version} runs, "
                        f"and stream-app status {name} shows since when"
                    )
                raise UsageError(
                    f"{version} has no predictions in this range of {name}: there is nothing to "
                    "compare",
                    attempt=attempt,
                )

    def _rows(self, partition: int, version: str, chosen: Range) -> VersionRows:
        commit = committed(self._log, self._manifest.pipeline, partition)
        return VersionRows(self._log, self._manifest, partition, version, chosen.begin, commit)

    def all(self, ranges: Mapping[int, Range], progress: Progress | None) -> None:
        """Go through every partition's events."""
        commits = {p: committed(self._log, self._manifest.pipeline, p) for p in ranges}
        parts = [
            (p, chosen, self._start(p), commit)
            for p, chosen in ranges.items()
            if (commit := commits[p]) is not None
        ]
        total = sum(commit.next_offset - start for _, _, start, commit in parts)
        done = 0
        for partition, chosen, start, commit in parts:
            before = done

            def told(records: int, before: int = before) -> None:
                if progress is not None:
                    progress(f"comparing {' and '.join(self._versions)}", before + records, total)

            self._partition(partition, chosen, start, commit, told)
            done += commit.next_offset - start

    def _start(self, partition: int) -> int:
        """Return where the fold can begin: the origin, or where retention has cut."""
        kept = self._log.bounds(self._topics.events, partition)[0]
        origin = self._manifest.origins[partition]
        if kept > origin:
            place = format_position(self._topics.events, partition, kept)
            self._note(
                f"events before {place} are gone by retention: labels are joined from there on, "
                "under the newest settings"
            )
        return max(kept, origin)

    def _partition(
        self, partition: int, chosen: Range, start: int, commit: Commit, told: Callable[[int], None]
    ) -> None:
        for version in self._versions:
            if version in (commit.waiting_for_file or []):
                self._note(f"partition {partition}: {not_begun(version)}")
        joins = joins_from(self._manifest, partition, start, commit, self._known)
        a, b = (self._rows(partition, version, chosen) for version in self._versions)
        for removed in sorted({*a.removed, *b.removed}):
            self._note(f"the oldest outputs of {removed} are gone by retention")
        pairing = Pairing(joins, a, b, chosen, self._pairs.begin_partition(partition))
        offset, end = start, commit.next_offset
        while offset < end and not pairing.done(offset):
            records = self._log.read(self._topics.events, partition, offset, records_max=BATCH)
            records = [record for record in records if record.offset < end]
            if not records:
                break
            for record in records:
                pairing.process(record)
            offset = records[-1].offset + 1
            told(offset - start)
        whole = offset >= end and start == self._manifest.origins[partition]
        pairing.end()
        if whole:
            self._require_as_live(joins, commit, partition)

    def _require_as_live(self, joins: Joins, commit: Commit, partition: int) -> None:
        found = joins.difference(commit)
        if found is not None:
            what, here, live = found
            raise LogUntrusted(
                f"the events of {self._manifest.pipeline}/{partition} up to {commit.next_offset} "
                f"give {what} {here}, and the committed position says {live}: this is not the log "
                "that was learned from.",
                attempt="stream-app replay FILE, which names the first difference",
            )

    def _waiting(self, ranges: Mapping[int, Range]) -> list[str]:
        """Return the versions that predict nothing yet, for they wait for their file."""
        found = [committed(self._log, self._manifest.pipeline, p) for p in ranges]
        waiting = {v for commit in found if commit for v in commit.waiting_for_file or []}
        return [version for version in self._versions if version in waiting]

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def comparison(self, ranges: Mapping[int, Range]) -> Comparison:
        """Return what came of it; raises `UsageError` when no event could be compared."""
        a, b = self._versions
        pairs, counted = self._pairs, self._pairs.counted
        if not counted.compared:
            raise _nothing(a, b, self._manifest.pipeline, pairs, self._waiting(ranges))
        figures = pairs.scores.figures()
        return Comparison(
            pipeline=self._manifest.pipeline,
            broker=self._log.url,
            a=a,
            b=b,
            verdict=verdict(figures[0], a, b, counted.compared),
            partitions=[PartitionRange(p, *chosen) for p, chosen in ranges.items()],
            counted=counted,
            metrics=figures,
            spans=pairs.scores.spans(SPANS),
            by=None if pairs.slicing is None else pairs.slicing.by,
            slices=_slices(pairs),
            loss=pairs.read_back.loss_name,
            disagreements=pairs.disagreements(),
            notes=list(self._notes),
        )


def _slices(pairs: ScoredPairs) -> list[SliceFigures]:
    if pairs.slicing is None:
        return []
    rows = []
    for value, number in pairs.slicing.parts():
        examples, metrics = pairs.scores.slice_figures([number])
        if examples:
            rows.append(SliceFigures(value, examples, metrics))
    return rows if pairs.slicing.ordered else sorted(rows, key=lambda row: -row.examples)


def _nothing(a: str, b: str, name: str, pairs: ScoredPairs, waiting: Sequence[str]) -> UsageError:
    counted = pairs.counted
    return UsageError(
        f"no event in this range of {name} has a label and a prediction of both {a} and {b}: "
        f"{counted.only_a:,} were predicted by {a} alone, {counted.only_b:,} by {b} alone, "
        f"{counted.unlabelled:,} by both and have no label yet, and of "
        f"{counted.unscored_a + counted.unscored_b:,} a prediction was null"
        + "".join(f"; {version} waits for its file" for version in waiting),
        attempt=" and ".join(f"stream-app import FILE {version} MODEL" for version in waiting)
        + ", if that was not done: what comes behind its record can be compared"
        if waiting
        else "a wider range; or stream-app backfill FILE VERSION for what one of them lacks",
    )
