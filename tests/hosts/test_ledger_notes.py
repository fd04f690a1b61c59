"""What the ledger notes for people and commands, once it cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.errors import LogUntrusted
from stream_app.hosts.controls import newest_order
from stream_app.hosts.environments import accepted_environment
from stream_app.hosts.import_orders import import_orders
from stream_app.hosts.manifests import newest_keys
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.memory_log import MemoryLog
from tests.recovery.pipelines import contest

Read = Callable[[Log, Manifest], object]

NOTES: dict[str, Read] = {
    "keys": newest_keys,
    "promotion": lambda log, manifest: newest_order(log, manifest.pipeline),
    "environment": accepted_environment,
    "import-v3": lambda log, manifest: import_orders(log, manifest, "v3"),
}


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"id": "\xff"}'], ids=["cut", "other", "bits"])
@pytest.mark.parametrize("key", NOTES)
def test_a_note_that_cannot_be_read_is_a_named_error(
    tmp_path: Path, key: str, damaged: bytes
) -> None:
    log, pipeline = MemoryLog(), contest()
    manifest = register(log, pipeline, StateDirectory(tmp_path).public_keys)
    log.ledger_put("contest.ledger", 0, key, damaged, expected=None)
    problem = r"the ledger's note of .* of contest cannot be read"
    with pytest.raises(LogUntrusted, match=problem):
        NOTES[key](log, manifest)
