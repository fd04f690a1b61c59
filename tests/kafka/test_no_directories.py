"""A worker in a container may have no right to write where it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stream_app.kafka.connection import connection
from stream_app.kafka.membership import Membership


def test_membership_makes_no_directories_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust makes one for tables, which nobody has here, in the working directory."""
    monkeypatch.chdir(tmp_path)

    async def first_start() -> None:
        member = Membership(
            connection("kafka://localhost"), "shop.live", ["shop.events"], "w", print
        )
        await member._app.on_first_start()

    asyncio.run(first_start())
    assert list(tmp_path.iterdir()) == []
