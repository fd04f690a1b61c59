"""What `run` does: a pipeline's start, and its partitions in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stream_app.core.commit import Commit
from stream_app.core.lineage import versions_to_host
from stream_app.core.log import Log
from stream_app.core.recovery import require_fit
from stream_app.core.topics import Topics
from stream_app.hosts.embedded import (
    Notice,
    Owned,
    Word,
    left_out_notice,
    notices,
    open_hosts,
    run_hosts,
)
from stream_app.hosts.environments import carried
from stream_app.hosts.import_orders import require_imported_as_declared
from stream_app.hosts.log_url import is_kafka, open_broker
from stream_app.hosts.manifests import committed
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register, require_settings
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.supervision import supervise
from stream_app.hosts.warm_forks import FOLDING, warm_up
from stream_app.hosts.worker_plan import WorkerPlan, opened

Say = Callable[[Word], None]


class RunPlan(WorkerPlan, frozen=True):
    """What `run` was asked for; `versions` None means all, and those in `drop` end for good."""

    versions: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    partitions: int | None = None


def run(plan: RunPlan, say: Say, stopped: StopFlag) -> None:
    """Run a pipeline until it is stopped or, with `until_end`, until the log's present end.

    Raises what the first failing partition raised, after every worker has ended. The first signal
    lets workers end in good order; the second kills those that still run, which loses nothing.
    """
    if is_kafka(plan.broker):
        warm_up(*FOLDING, "stream_app.hosts.member")
    elif plan.workers > 1:
        warm_up(*FOLDING)
    pipeline = load_pipeline(plan.spec)
    state = StateDirectory(Path(plan.state))
    log = open_broker(plan.broker, create=True)
    try:
        commits = _commits(log, pipeline.name)
        hosted = versions_to_host(pipeline, commits, plan.versions, plan.drop)
        plan = msgspec.structs.replace(plan, versions=hosted)
        manifest = register(log, pipeline, state.public_keys, partitions=plan.partitions)
        require_settings(log, manifest, pipeline)
        if not commits:
            require_imported_as_declared(log, pipeline, manifest)
        for commit in commits:
            require_fit(pipeline, carried(log, manifest, commit), hosted)
        state.seal()
        events = Topics(pipeline.name).events
        until = {p: log.bounds(events, p)[1] for p in range(manifest.partitions)}
    finally:
        log.close()
    say(Owned(pipeline.name, tuple(range(manifest.partitions))))
    for note in pipeline.notes():
        say(Notice(None, note))
    workers = min(plan.workers, manifest.partitions)
    shares = [tuple(range(i, manifest.partitions, workers)) for i in range(workers)]
    ends = until if plan.until_end else None
    if is_kafka(plan.broker):
        # A process of its own even for one: what ends it is not repaired but started again.
        supervise(_work, plan, shares, ends, say, stopped, restarts=True)
    elif workers == 1:
        _work(plan, shares[0], ends, say, stopped)
    else:
        supervise(_work, plan, shares, ends, say, stopped)


def _commits(log: Log, name: str) -> list[Commit]:
    """Return what a pipeline's partitions have committed so far, if it was ever begun."""
    partitions = log.topics().get(Topics(name).events, 0)
    found = [committed(log, name, partition) for partition in range(partitions)]
    return [commit for commit in found if commit is not None]


def _work(
    plan: RunPlan,
    partitions: Sequence[int],
    until: dict[int, int] | None,
    say: Say,
    stopped: Callable[[], bool],
) -> None:
    """Run some partitions in this process; on Kafka those that its consumer group gives it."""
    with opened(plan) as (log, pipeline, manifest, state):
        if is_kafka(plan.broker):
            # Imported only here: whoever stays on this machine needs no client of Kafka's.
            from stream_app.hosts.member import work_as_member

            work_as_member(log, pipeline, manifest, state, plan.versions, until, say, stopped)
            return
        hosts = open_hosts(
            log,
            pipeline,
            manifest,
            state,
            partitions,
            versions=plan.versions,
            left_out=lambda partition, waits: say(left_out_notice(partition, waits)),
        )
        try:
            for host in hosts:
                for notice in notices(host):
                    say(notice)
            run_hosts(log, pipeline, hosts, stopped=stopped, until=until, report=say)
        finally:
            for host in hosts:
                host.close()
