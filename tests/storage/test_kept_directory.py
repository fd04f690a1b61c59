"""Kept checkpoints on disk: private, whole, linked, and copied while their owner goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stream_app.core.store import Image
from stream_app.errors import StateUnavailable, StateUntrusted
from stream_app.storage.kept_directory import KeptDirectory, copy_state
from stream_app.storage.rocksdb_store import RocksdbStore

KEYS = 200


def _image(number: int) -> Image:
    """Return an image whose two families say the same number everywhere."""
    value = b"%09d" % number * 1000
    rows: dict[bytes, bytes | None] = {b"%04d" % key: value for key in range(KEYS)}
    return Image(number, {"one": rows, "other": dict(rows)})


def _number(path: Path) -> int:
    """Return the number that a state says, which must be the same everywhere."""
    store = RocksdbStore.open(path, read_only=True)
    try:
        found = {
            value[:9]
            for family in ("one", "other")
            for _, value in store.scan(family, b"", None, KEYS)
        }
        assert found == {b"%09d" % (store.saved_offset() or 0)}
        return int(found.pop())
    finally:
        store.close()


@pytest.fixture
def kept(tmp_path: Path) -> KeptDirectory:
    return KeptDirectory(tmp_path / "0.kept")


def test_a_kept_state_stays_as_it_was_and_shares_files_with_the_live_one(
    tmp_path: Path, kept: KeptDirectory
) -> None:
    store = RocksdbStore.open(tmp_path / "0")
    store.save(_image(1))
    with kept.changing():
        entry = kept.put(1, "", store.keep)
    tables = {file.name for file in (entry.path / "rocksdb").glob("*.sst")}
    assert tables
    for name in tables:
        assert (entry.path / "rocksdb" / name).samefile(tmp_path / "0" / "rocksdb" / name)
    store.save(_image(2))
    store.close()
    assert (_number(entry.path), _number(tmp_path / "0")) == (1, 2)
    assert kept.entries() == [entry]


def test_nobody_else_may_read_what_is_kept(tmp_path: Path, kept: KeptDirectory) -> None:
    store = RocksdbStore.open(tmp_path / "0")
    store.save(_image(1))
    with kept.changing():
        entry = kept.put(1, "named", store.keep)
        with kept.draft() as draft:
            copy_state(entry.path, draft / "copy")
            paths = [kept.path, *kept.path.rglob("*")]
            modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths}
    store.close()
    assert modes - {(False, 0o644)} == {(True, 0o700), (False, 0o600)}
    loose = [p for p in entry.path.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert [path.name for path in loose if not path.name.startswith("LOG")] == []


def test_a_copy_that_is_made_while_the_owner_saves_is_one_save_whole(tmp_path: Path) -> None:
    store = RocksdbStore.open(tmp_path / "0")
    store.save(_image(1))
    stop = threading.Event()
    saved = [1]

    def save() -> None:
        while not stop.is_set():
            store.save(_image(saved[0] + 1))
            saved[0] += 1

    owner = threading.Thread(target=save)
    owner.start()
    try:
        for number in range(25):
            before = saved[0]
            copy_state(tmp_path / "0", tmp_path / f"copy{number}")
            assert before <= _number(tmp_path / f"copy{number}") <= saved[0] + 1
    finally:
        stop.set()
        owner.join()
    store.close()


def test_makers_exclude_each_other_and_a_crash_s_leftovers_are_cleared(
    kept: KeptDirectory,
) -> None:
    other = KeptDirectory(kept.path)
    with kept.changing(), pytest.raises(StateUnavailable), other.changing(wait=False):
        pass
    (kept.path / ".half").mkdir()
    (kept.path / "something else").mkdir()
    assert kept.entries() == []
    with kept.changing():
        assert not (kept.path / ".half").exists()


def test_a_directory_that_others_may_write_to_is_not_trusted(kept: KeptDirectory) -> None:
    with kept.changing():
        pass
    kept.path.chmod(0o777)
    with pytest.raises(StateUntrusted):
        kept.entries()


def test_nothing_is_kept_where_live_work_may_need_the_room(kept: KeptDirectory) -> None:
    with kept.changing():
        kept.require_room(0)
        with pytest.raises(StateUnavailable, match="MB are free on that disk"):
            kept.require_room(1 << 60)
