"""A state directory on a machine that was given the key that all machines share."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream_app.errors import StateUntrusted
from stream_app.hosts.state_directory import SHARED_SEAL_KEY, StateDirectory
from stream_app.hosts.worker_name import worker_name


@pytest.fixture(autouse=True)
def shared_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    key = tmp_path / "seal.key"
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    monkeypatch.setenv(SHARED_SEAL_KEY, str(key))
    return key


def test_the_second_machine_begins_with_a_state_directory_that_is_not_there_yet(
    tmp_path: Path,
) -> None:
    # Nothing made the directory: the first machine has written the manifest, which makes no keys
    # here, and the seal key came from elsewhere. The worker ended with exit code 4.
    state = StateDirectory(tmp_path / "disk" / "state")
    state.seal()
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700
    with worker_name(state.root) as name:
        assert name.endswith("-0")


def test_a_directory_that_others_may_write_to_is_refused_with_a_shared_key_too(
    tmp_path: Path,
) -> None:
    root = tmp_path / "state"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(StateUntrusted, match="written by other users"):
        StateDirectory(root).seal()
