"""Where one partition of a lineage begins: the live one, or a backfill's of one version."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from stream_app.core.commit import Commit, Manifest
from stream_app.core.joining import built_before, hosted_already
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import Position
from stream_app.core.recovery import Recovery, recover, recover_backfill
from stream_app.core.topics import Topics
from stream_app.errors import Fenced, LogUntrusted, PositionMissing
from stream_app.hosts.manifests import committed
from stream_app.hosts.published import has_records, published_topic


class LineageStart(NamedTuple):
    """A lineage's partition before anything of it is open; `backfill` is the version it builds.

    A backfill that begins puts out what events from `since` on cause, or from where live stands.
    """

    log: Log
    pipeline: Pipeline
    manifest: Manifest
    partition: int
    backfill: str | None
    since: int

    @property
    def ledger(self) -> str:
        """Where its committed position is."""
        topics = Topics(self.pipeline.name)
        return topics.ledger if self.backfill is None else topics.ledger_of(self.backfill)

    @property
    def where(self) -> str:
        """How a person names the partition."""
        return f"{self.pipeline.name}/{self.partition} in {self.log.url}"

    def published_by_live(self) -> int:
        """Return up to where the live lineage has put out what a backfill is to build.

        Asked once the backfill's claim is ours: a join holds that until the version is live.
        """
        return 0 if self.backfill is None else self._built_before(self._live(), self.backfill)

    def live_position(self, published: int) -> int | None:
        """Return where the live lineage has committed; `published` is what it had put out before.

        Raises `VersionHosted` once it has put out more of what the backfill builds.
        """
        assert self.backfill is not None  # noqa: S101 - asked of backfills alone
        live = self._live()
        if self._built_before(live, self.backfill) != published:
            raise hosted_already(self.pipeline.name, self.backfill)
        return None if live is None else live.next_offset

    def _live(self) -> Commit | None:
        return committed(self.log, self.pipeline.name, self.partition)

    def _built_before(self, live: Commit | None, version: str) -> int:
        return built_before(live, version, self.manifest, self.pipeline)

    def recovery(
        self,
        commit: Commit | None,
        saved: Position | None,
        log_start: int,
        published: int,
        versions: Collection[str] | None,
    ) -> Recovery:
        """Return where to go on; raises as `recover` and `recover_backfill` do."""
        place = (self.manifest, self.partition, self.pipeline)
        if self.backfill is None:
            return recover(*place, commit, saved, log_start, versions)
        return recover_backfill(
            *place, self.backfill, commit, saved, log_start, published, self._since()
        )

    def _since(self) -> int:
        """Return where a backfill that begins is to begin with outputs.

        Where live stands at the latest, for it puts all of them out from wherever it takes it in.
        """
        live = self._live()
        return self.since if live is None else min(self.since, live.next_offset)

    def require_position(
        self, commit: Commit | None, *, saved: bool, published: int, end: int
    ) -> None:
        """Refuse to begin at the origin where something was published or saved before."""
        if commit is not None:
            if commit.next_offset > end:
                raise LogUntrusted(
                    f"the committed position of {self.where} is {commit.next_offset}, but its log "
                    f"ends at {end}: records are missing.",
                    attempt="restore the log from a backup",
                )
            return
        topic = None if published else self._published_topic()
        if saved or topic is not None:
            self._require_ours()
            raise self._position_missing(topic, saved=saved)

    def _position_missing(self, published: str | None, *, saved: bool) -> PositionMissing:
        what = "a checkpoint" if saved else "outputs"
        attempt = "restore the log from a backup, or give the pipeline a new name"
        if published is None:  # a log from before the first start looks like this
            attempt = (
                "restore the log from a newer backup; if this is the newest one, delete the "
                "state directory, and all that the log has is processed from its beginning"
            )
        return PositionMissing(
            f"{self.where} has {what} but no committed position; it is never taken as zero.",
            attempt=attempt,
        )

    def _require_ours(self) -> None:
        """Raise `Fenced` where somebody has taken over and committed since we read nothing."""
        if self.log.ledger_get(self.ledger, self.partition, "commit") is not None:
            raise Fenced(
                f"{self.ledger}/{self.partition} was taken over before it was open here.",
                attempt="nothing: the newer owner goes on",
            )

    def _published_topic(self) -> str | None:
        name = self.pipeline.name
        if self.backfill is None:
            return published_topic(self.log, name, self.pipeline.definitions(), self.partition)
        shadow = Topics(name).shadow(self.backfill)
        return shadow if has_records(self.log, shadow, self.partition) else None
