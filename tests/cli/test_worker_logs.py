"""Log records of worker processes: the process that watches them writes them, as they were."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.supervision import supervise


def log_some(
    plan: Any, share: Sequence[int], until: Any, say: Any, stopped: Callable[[], bool]
) -> None:
    """Be a worker that logs: its own facts, and a library's words."""
    ours, others = logging.getLogger("stream_app.kafka"), logging.getLogger("aiokafka.conn")
    ours.info("opened", extra={"fields": {"partition": share[0], "where": {"a": 1}}})
    ours.debug("not to be heard")
    for _ in range(3):  # of which the library says one
        others.warning("no answer")
    others.info("not to be heard")
    try:
        raise OSError("gone")
    except OSError:
        others.exception("no broker at %s", "127.0.0.1:1")


def test_what_a_worker_logs_is_logged_by_its_parent_with_level_fields_and_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.INFO, logger="stream_app")
    said: list[Any] = []
    supervise(log_some, None, [(7,)], None, said.append, StopFlag())
    fact, warning, error = [row for row in caplog.records if row.name.startswith(("str", "aio"))]
    assert warning.getMessage() == "no answer"
    assert (fact.name, fact.levelname, fact.getMessage()) == ("stream_app.kafka", "INFO", "opened")
    assert fact.fields == {"partition": 7, "where": "{'a': 1}"}  # type: ignore[attr-defined]
    assert (error.levelname, error.getMessage()) == ("ERROR", "no broker at 127.0.0.1:1")
    assert error.exc_text is not None
    assert error.exc_text.splitlines()[-1] == "OSError: gone"
    assert said == []  # a record of the log is no word to the one who listens
