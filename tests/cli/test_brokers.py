"""What is given as `--broker`, and what people mean by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.errors import UsageError
from stream_app.hosts.log_url import log_path


@pytest.mark.parametrize(
    "url", ["localhost:9092", "10.0.0.1:9092", "kafka:localhost:9092", "kafka:/localhost:9092"]
)
def test_a_host_with_a_port_is_no_file_to_make(url: str) -> None:
    with pytest.raises(UsageError, match="looks like host and port") as raised:
        log_path(url)
    host = url.removeprefix("kafka:").removeprefix("/")
    assert f"kafka://{host}, or" in raised.value.attempt


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/log.db", "a/log.db"),
        ("sqlite:////a/log.db", "/a/log.db"),
        ("log.db", "log.db"),
        ("./localhost:9092", "localhost:9092"),
    ],
)
def test_everything_else_without_a_scheme_is_a_file(url: str, path: str) -> None:
    assert log_path(url) == Path(path)
