"""Our own worker process as `stream-app run` has it: a member of its group, exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import foundation

from peers.contract import Clock, arguments
from stream_app.core.batch import Batch
from stream_app.core.processor import PartitionProcessor
from stream_app.hosts.embedded import Progress, Word
from stream_app.hosts.member import work_as_member
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.records import Record


def main() -> None:
    asked = arguments()
    declared = foundation.pipeline()
    prefix = asked.events_topic.removesuffix(f"{declared.name}.events")
    log = KafkaLog(Connection((asked.broker,), prefix=prefix))
    state = StateDirectory(Path(asked.state))
    manifest = register(log, declared, state.public_keys)
    clock = Clock()
    process = PartitionProcessor.process

    def first_begins(self: PartitionProcessor, records: Sequence[Record]) -> Batch:
        clock.begin()
        return process(self, records)

    def say(word: Word) -> None:
        commit = word.commit if isinstance(word, Progress) else None
        if commit is not None and commit.next_offset >= asked.events:
            clock.end()

    PartitionProcessor.process = first_begins  # type: ignore[method-assign]
    until = {0: asked.events}
    work_as_member(log, declared, manifest, state, None, until, say, lambda: False)


if __name__ == "__main__":
    main()
