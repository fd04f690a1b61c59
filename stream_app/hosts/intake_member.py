"""An intake worker on Kafka: the source partitions that its group gives it, each in a lane."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.source_position import place_name
from stream_app.errors import UsageError
from stream_app.hosts.group_share import IDLE_WAIT_S, GroupShare
from stream_app.hosts.pace import Pace
from stream_app.hosts.source_copying import Word, open_source, source_counts, source_progress
from stream_app.hosts.source_host import SourceHost
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.worker_name import worker_name
from stream_app.kafka.group import intake_group_of
from stream_app.kafka.log import KafkaLog


class IntakeMember:
    """One worker process; `say` may be called from any of its threads."""

    def __init__(
        self,
        log: KafkaLog,
        pipeline: Pipeline,
        manifest: Manifest,
        *,
        name: str,
        until: Mapping[str, int] | None,
        say: Callable[[Word], None],
    ) -> None:
        self._until = until
        pace = Pace()
        self._open_source = partial(open_source, log, pipeline, manifest, pace=pace)
        self._share: GroupShare[str, SourceHost] = GroupShare(
            log,
            manifest,
            group=intake_group_of(log.connection, pipeline.name),
            topics=list(source_counts(log, pipeline)),
            name=name,
            named=place_name,
            open_host=self._open,
            serve=self._serve,
            positions=self._positions,
            say=say,
            expect=pace.expect,
        )

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped`, or until the ends of `until`; raises what ended a partition."""
        self._share.run(stopped)

    def _positions(self, hosts: Collection[SourceHost]) -> dict[tuple[str, int], int]:
        return {(host.topic, host.partition): host.position.next_offset for host in hosts}

    def _open(self, place: str) -> SourceHost:
        host = self._open_source(place)
        self._report(host)
        return host

    def _serve(self, host: SourceHost) -> bool:
        # A partition that came after the start has no end of then.
        until = None if self._until is None else self._until.get(host.place, 0)
        records = host.step(until=until)
        ended = until is not None and host.idle
        if ended or self._share.report_due(host.place):
            self._report(host)
        if not records and not ended:
            host.wait(IDLE_WAIT_S)
        return not ended

    def _report(self, host: SourceHost) -> None:
        self._share.report(host.place, source_progress(host))


def intake_as_member(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    until: Mapping[str, int] | None,
    say: Callable[[Word], None],
    stopped: Callable[[], bool],
) -> None:
    """Be a member of the pipeline's intake group, under a name of this machine and directory."""
    assert isinstance(log, KafkaLog)  # noqa: S101 - a kafka:// URL opens no other
    _require_foreign(log, pipeline)
    with worker_name(state.root, "intake") as name:
        member = IntakeMember(log, pipeline, manifest, name=name, until=until, say=say)
        member.run(stopped)


def _require_foreign(log: KafkaLog, pipeline: Pipeline) -> None:
    """Raise `UsageError` for a source that is the pipeline's own: it would be copied for ever."""
    own = f"{log.connection.prefix}{pipeline.name}."
    for source in pipeline.sources:
        if source.topic.startswith(own):
            raise UsageError(
                f"{source.topic} is one of the topics of {pipeline.name} itself, below {own}",
                attempt="the topic of somebody else in the declaration",
            )
