"""What the RocksDB store promises beyond the conformance suite: crashes, damage, locks, rights."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_app.core.store import Image
from stream_app.errors import StateUnavailable, StateUntrusted
from stream_app.storage.rocksdb_store import RocksdbStore
from tests import disks
from tests.disks import skip_without_disks
from tests.storage.state_child import (
    FAMILIES,
    lines_of,
    numbered_image,
    saving,
    told_on_opening,
)

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts or changes user")


def _agreed(store: RocksdbStore) -> int:
    """Return the number that all families and the position agree on; 0 when all are empty."""
    offset = store.saved_offset() or 0
    expected = b"%d" % offset if offset else None
    assert {store.get(name, b"number") for name in FAMILIES} == {expected}
    for name in FAMILIES:
        for key, value in store.scan(name, b"k", b"l", 100):
            number = int(value.rstrip(b"."))
            assert number <= offset
            assert number > offset - 50, "a family lacks an image that another has"
            assert key == b"k%d" % (number % 50)
    assert store.save_count() == offset
    return offset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


# Crashes


def test_a_kill_amid_saves_leaves_one_whole_image_and_none_that_was_acknowledged_is_lost(
    path: Path,
) -> None:
    for round_number in range(5):
        with saving(path) as process:
            lines = [lines_of(process).readline()]
            time.sleep(0.0061 * round_number)
            process.kill()
            lines += lines_of(process).readlines()
        acknowledged = int([line for line in lines if line.endswith("\n")][-1])
        store = RocksdbStore.open(path, create=False)
        assert acknowledged <= _agreed(store) <= acknowledged + 1
        assert not store.rolled_back
        store.close()


def _copied_while_open(path: Path, copy: Path, saves: int = 20) -> tuple[Path, int]:
    """Copy a state whose images are in the write-ahead log only, as a crash would leave it."""
    store = RocksdbStore.open(path)
    for number in range(1, saves + 1):
        store.save(numbered_image(number))
    # Opening LOCK here would give up the store's lock on it.
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("LOCK"))
    store.close()
    [log] = [each for each in (copy / "rocksdb").glob("*.log") if each.stat().st_size]
    return log, saves


def _noticed(path: Path, saves: int) -> str:
    """Open damaged state and say how the damage showed; fails when it did not."""
    try:
        store = RocksdbStore.open(path)
    except StateUntrusted:
        return "error"
    try:
        whole = _agreed(store)
        assert store.rolled_back == (whole < saves)
        return "rolled back" if store.rolled_back else "nothing lost"
    finally:
        store.close()


def test_a_truncated_write_ahead_log_is_rolled_back_to_a_whole_image_and_says_so(
    path: Path, tmp_path: Path
) -> None:
    log, saves = _copied_while_open(path, tmp_path / "crashed")
    content = log.read_bytes()
    for length in range(0, len(content), len(content) // 13):
        damaged = tmp_path / "damaged"
        shutil.copytree(tmp_path / "crashed", damaged)
        (damaged / "rocksdb" / log.name).write_bytes(content[:length])
        assert _noticed(damaged, saves) in {"rolled back", "error"}
        shutil.rmtree(damaged)


def test_a_flipped_bit_in_the_write_ahead_log_is_never_silent(path: Path, tmp_path: Path) -> None:
    log, saves = _copied_while_open(path, tmp_path / "crashed")
    content = log.read_bytes()
    for place in range(0, len(content), len(content) // 13):
        damaged = tmp_path / "damaged"
        shutil.copytree(tmp_path / "crashed", damaged)
        changed = bytearray(content)
        changed[place] ^= 0x10
        (damaged / "rocksdb" / log.name).write_bytes(changed)
        assert _noticed(damaged, saves) in {"rolled back", "error"}
        shutil.rmtree(damaged)


def test_damage_that_would_keep_rocksdb_reading_for_ever_is_refused(
    path: Path, tmp_path: Path
) -> None:
    log, _ = _copied_while_open(path, tmp_path / "crashed")
    [manifest] = (tmp_path / "crashed" / "rocksdb").glob("MANIFEST-*")
    for file in (log, manifest):
        before = file.read_bytes()
        changed = bytearray(before)
        changed[6] = 5  # the type of the first record: now one of a recycled log
        file.write_bytes(changed)
        # In another process, since a failure here would never end.
        told = told_on_opening(tmp_path / "crashed")
        assert told.startswith("StateUntrusted")
        assert f"{file.name} has no valid record at byte 0" in told
        file.write_bytes(before)
    assert told_on_opening(tmp_path / "crashed") == "opened"


def test_a_manifest_that_lost_its_end_never_mixes_families_of_two_images(
    path: Path, tmp_path: Path
) -> None:
    _saved_and_closed(path)
    store = RocksdbStore.open(path)
    store.save(numbered_image(4))
    store.close()  # which flushes the families one after the other
    [manifest] = (path / "rocksdb").glob("MANIFEST-*")
    seen = set()
    for length in range(manifest.stat().st_size // 2, manifest.stat().st_size, 17):
        damaged = tmp_path / "damaged"
        shutil.copytree(path, damaged)
        os.truncate(damaged / "rocksdb" / manifest.name, length)
        seen.add(_noticed(damaged, saves=4))
        shutil.rmtree(damaged)
    assert {"error", "rolled back"} <= seen


def test_an_undamaged_copy_is_not_called_rolled_back(path: Path, tmp_path: Path) -> None:
    _, saves = _copied_while_open(path, tmp_path / "crashed")
    assert _noticed(tmp_path / "crashed", saves) == "nothing lost"


def test_a_roll_back_is_forgotten_once_the_state_is_saved_again(path: Path, tmp_path: Path) -> None:
    log, _ = _copied_while_open(path, tmp_path / "crashed")
    os.truncate(log, log.stat().st_size // 2)
    store = RocksdbStore.open(tmp_path / "crashed")
    assert store.rolled_back
    store.close()
    store = RocksdbStore.open(tmp_path / "crashed")
    assert store.rolled_back, "nothing was saved since, so it still is"
    store.save(numbered_image(_agreed(store) + 1))
    store.close()
    store = RocksdbStore.open(tmp_path / "crashed")
    assert not store.rolled_back
    store.close()


@pytest.mark.parametrize("content", [None, b"", b"many\n", b"-3\n"])
def test_a_lost_or_unreadable_count_is_taken_for_a_roll_back(
    path: Path, content: bytes | None
) -> None:
    _saved_and_closed(path)
    if content is None:
        (path / "saves").unlink()
    else:
        (path / "saves").write_bytes(content)
    store = RocksdbStore.open(path)
    assert store.rolled_back
    store.close()


def test_a_crash_between_a_save_and_its_count_is_no_roll_back(path: Path) -> None:
    _saved_and_closed(path)
    (path / "saves").write_bytes(b"2\n")
    store = RocksdbStore.open(path)
    assert (store.save_count(), store.rolled_back) == (3, False)
    store.close()


def test_a_drop_or_a_first_save_that_a_crash_cut_short_is_finished_by_the_next_open(
    path: Path,
) -> None:
    from rocksdict import Options, Rdict  # noqa: PLC0415

    store = RocksdbStore.open(path)
    store.save(Image(1, {"a": {b"k": b"v"}, "b": {b"k": b"v"}}))
    store.drop("b")
    store.close()
    # As between the two steps of either: a column family that the list does not know.
    names = Rdict.list_cf(str(path / "rocksdb"), Options(raw_mode=True))
    families = {name: Options(raw_mode=True) for name in names}
    db = Rdict(str(path / "rocksdb"), Options(raw_mode=True), column_families=families)
    column = db.create_column_family("family:b", Options(raw_mode=True))
    column[b"kk"] = b"of before"
    column.close()
    db.close()
    del column, db
    store = RocksdbStore.open(path)
    assert store.families() == {"a"}
    store.save(Image(2, {"b": {b"new": b"v"}}))
    assert store.scan("b", b"", None, 10) == [(b"new", b"v")]
    store.close()


# Damage


def _saved_and_closed(path: Path) -> None:
    store = RocksdbStore.open(path)
    for number in (1, 2, 3):
        store.save(numbered_image(number, value_bytes=5_000))
    store.close()


def _largest(path: Path, pattern: str) -> Path:
    return max((path / "rocksdb").glob(pattern), key=lambda each: each.stat().st_size)


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "table flipped": lambda path: _flip(_largest(path, "*.sst"), 30),
    "table cut": lambda path: os.truncate(_largest(path, "*.sst"), 100),
    "table empty": lambda path: os.truncate(_largest(path, "*.sst"), 0),
    "table gone": lambda path: _largest(path, "*.sst").unlink(),
    "manifest flipped": lambda path: _flip(_largest(path, "MANIFEST-*"), 100),
    "manifest empty": lambda path: os.truncate(_largest(path, "MANIFEST-*"), 0),
    "manifest gone": lambda path: _largest(path, "MANIFEST-*").unlink(),
    "pointer empty": lambda path: (path / "rocksdb" / "CURRENT").write_bytes(b""),
    "pointer astray": lambda path: (path / "rocksdb" / "CURRENT").write_bytes(b"MANIFEST-9\n"),
    "pointer gone": lambda path: (path / "rocksdb" / "CURRENT").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_untrusted_and_the_way_out_works(path: Path, damage: str) -> None:
    _saved_and_closed(path)
    DAMAGES[damage](path)
    with pytest.raises(StateUntrusted, match="damaged") as caught:
        _read(path, lambda store, family: store.scan(family, b"", None, 1000))
    assert caught.value.attempt.startswith(f"rm -r {path} ")
    shutil.rmtree(path)
    store = RocksdbStore.open(path)
    assert (_agreed(store), store.rolled_back) == (0, False)
    store.close()


def test_damage_is_seen_by_get_too_and_is_not_taken_for_an_absent_key(path: Path) -> None:
    _saved_and_closed(path)
    for table in (path / "rocksdb").glob("*.sst"):
        _flip(table, 10)  # the first data block; what an open reads is at the end
    with pytest.raises(StateUntrusted, match="damaged"):
        _read(path, lambda store, family: store.get(family, b"k1"))


def _read(path: Path, reading: Callable[[RocksdbStore, str], object]) -> None:
    store = RocksdbStore.open(path)
    try:
        for name in FAMILIES:
            reading(store, name)
    finally:
        store.close()


@pytest.mark.parametrize("raw", [True, False])
def test_a_directory_of_another_program_is_refused(path: Path, raw: bool) -> None:
    from rocksdict import Options, Rdict  # noqa: PLC0415

    path.mkdir()
    other = Rdict(str(path / "rocksdb"), Options(raw_mode=raw))
    column = other.create_column_family("theirs", Options(raw_mode=raw))
    column.close()
    del column
    other.close()
    del other
    with pytest.raises(StateUntrusted, match="another program"):
        RocksdbStore.open(path)


def test_a_layout_of_a_later_release_is_refused(path: Path) -> None:
    from rocksdict import Options, Rdict  # noqa: PLC0415

    (path / "rocksdb").mkdir(parents=True)
    later = Rdict(str(path / "rocksdb"), Options(raw_mode=True))
    later[b"layout"] = b"2"
    later.close()
    del later
    with pytest.raises(StateUntrusted, match="layout"):
        RocksdbStore.open(path)


# Locks and readers


def test_a_state_that_another_process_holds_names_that_process(path: Path) -> None:
    store = RocksdbStore.open(path)
    store.save(numbered_image(1))
    told = told_on_opening(path)
    assert told.startswith("StateUnavailable")
    assert f"held by process {os.getpid()}" in told
    store.close()
    assert told_on_opening(path) == "opened"


def test_opening_twice_in_one_process_is_refused_and_the_first_keeps_its_lock(path: Path) -> None:
    store = RocksdbStore.open(path)
    with pytest.raises(StateUnavailable, match="current process"):
        RocksdbStore.open(path)
    store.save(numbered_image(1))
    assert told_on_opening(path).startswith("StateUnavailable")
    store.close()


def test_nothing_that_was_used_keeps_the_lock_after_close(path: Path) -> None:
    store = RocksdbStore.open(path)
    store.save(numbered_image(1))
    store.get("v1", b"number")
    store.scan("v1", b"", None, 1)
    store.drop("v1")
    store.save(numbered_image(2))
    store.close()
    again = RocksdbStore.open(path)
    again.close()
    assert store.path == again.path


def test_a_kept_traceback_does_not_keep_the_lock(path: Path) -> None:
    _saved_and_closed(path)
    table = _largest(path, "*.sst")
    before = table.read_bytes()
    _flip(table, 10)
    kept = None
    store = RocksdbStore.open(path)
    try:
        for name in FAMILIES:
            store.scan(name, b"", None, 1000)
    except StateUntrusted as error:
        kept = error
    assert kept is not None
    store.close()
    table.write_bytes(before)
    again = RocksdbStore.open(path)
    assert _agreed(again) == 3
    again.close()


def test_a_failed_open_does_not_keep_the_lock(path: Path) -> None:
    _saved_and_closed(path)
    (path / "rocksdb").chmod(0o777)
    with pytest.raises(StateUntrusted):
        RocksdbStore.open(path)
    (path / "rocksdb").chmod(0o700)
    RocksdbStore.open(path).close()


def test_a_reader_sees_whole_images_while_another_process_saves(path: Path) -> None:
    with saving(path) as process:
        try:
            first = int(lines_of(process).readline())
            seen = []
            for _ in range(8):
                reader = RocksdbStore.open(path, read_only=True)
                seen.append(_agreed(reader))
                assert not reader.rolled_back
                reader.close()
        finally:
            process.kill()
    assert first <= seen[0] < seen[-1]
    assert seen == sorted(seen)


def test_a_reader_changes_nothing(path: Path) -> None:
    _saved_and_closed(path)
    before = _listed(path)
    reader = RocksdbStore.open(path, read_only=True)
    assert _agreed(reader) == 3
    with pytest.raises(StateUnavailable, match="read only"):
        reader.save(numbered_image(4))
    with pytest.raises(StateUnavailable, match="read only"):
        reader.drop("v1")
    reader.close()
    assert _listed(path) == before


def _listed(path: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def test_reads_and_saves_may_run_in_two_threads(path: Path) -> None:
    store = RocksdbStore.open(path)
    store.save(numbered_image(1))
    failures: list[BaseException] = []

    def save() -> None:
        try:
            for number in range(2, 20):
                store.save(
                    Image(number, {**numbered_image(number).writes, f"new{number}": {b"k": b"v"}})
                )
        except BaseException as error:
            failures.append(error)

    saver = threading.Thread(target=save)
    saver.start()
    while saver.is_alive():
        number = int(store.get("v1", b"number") or b"0")
        assert 1 <= number <= 19
        assert len(store.scan("v2", b"", None, 100)) >= 2
        store.families()
    saver.join()
    assert failures == []
    assert _agreed(store) == 19
    store.close()


# Rights and surroundings


@pytest.fixture
def permissive_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("permissive_umask")
def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "yet"
    store = RocksdbStore.open(path)
    for number in (1, 2, 3):
        store.save(numbered_image(number))
        assert _modes(tmp_path / "not") == {("directory", 0o700), ("file", 0o600)}
    store.close()
    RocksdbStore.open(path).close()
    assert _modes(tmp_path / "not") == {("directory", 0o700), ("file", 0o600)}


def _modes(root: Path) -> set[tuple[str, int]]:
    return {
        ("directory" if each.is_dir() else "file", stat.S_IMODE(each.stat().st_mode))
        for each in (root, *root.rglob("*"))
    }


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_directory_that_others_may_write_to_is_refused(
    path: Path, mode: int, inner: bool, read_only: bool
) -> None:
    _saved_and_closed(path)
    open_to_all = path / "rocksdb" if inner else path
    open_to_all.chmod(mode)
    with pytest.raises(StateUntrusted, match="written by other users") as caught:
        RocksdbStore.open(path, read_only=read_only)
    assert caught.value.attempt == f"chmod go-w {open_to_all}"
    subprocess.run(caught.value.attempt.split(), check=True)
    RocksdbStore.open(path, read_only=read_only).close()


@pytest.mark.parametrize("how", [{"create": False}, {"read_only": True}])
def test_a_missing_state_is_not_made_when_it_was_not_asked_for(
    path: Path, how: dict[str, bool]
) -> None:
    with pytest.raises(StateUnavailable, match="no state"):
        RocksdbStore.open(path, **how)
    assert not path.exists()


def test_a_file_in_the_directorys_place_is_named(path: Path) -> None:
    path.write_text("not a directory")
    with pytest.raises(StateUnavailable, match="Not a directory"):
        RocksdbStore.open(path)


@AS_ROOT
def test_a_directory_of_another_user_is_named(path: Path) -> None:
    _saved_and_closed(path)
    told = told_on_opening(path, uid=65534)
    assert told.startswith("StateUnavailable")
    assert "Permission denied" in told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    skip_without_disks(tmp_path / "disk")
    with disks.small_disk(tmp_path / "disk", 24 << 20) as disk:
        yield disk


def test_a_full_disk_is_named_and_no_later_save_leaves_a_hole(small_disk: Path) -> None:
    store = RocksdbStore.open(small_disk / "state")
    store.save(numbered_image(1))
    (small_disk / "filler").write_bytes(bytes(18 << 20))
    refused = None
    number = 1
    while refused is None and number < 1000:
        number += 1
        try:
            store.save(Image(number, {name: _noise(number) for name in FAMILIES}))
        except StateUnavailable as error:
            refused = error
    assert refused is not None
    assert "No space left" in refused.problem
    assert "free some space" in refused.attempt
    (small_disk / "filler").unlink()
    with pytest.raises(StateUnavailable, match="has not finished"):
        store.save(numbered_image(number + 1))
    store.close()
    again = RocksdbStore.open(small_disk / "state")
    assert again.saved_offset() == again.save_count()
    assert number - 1 <= (again.saved_offset() or 0) <= number
    assert {again.get(name, b"number") for name in FAMILIES} == {b"%d" % again.save_count()}
    assert not again.rolled_back
    again.close()


def _noise(number: int) -> dict[bytes, bytes | None]:
    return {b"number": b"%d" % number, b"noise%d" % number: os.urandom(100_000)}


@pytest.mark.parametrize("read_only", [False, True])
def test_a_read_only_disk_is_named(small_disk: Path, read_only: bool) -> None:
    _saved_and_closed(small_disk / "state")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StateUnavailable, match="Read-only file system") as caught:
        RocksdbStore.open(small_disk / "state", read_only=read_only)
    assert "writable" in caught.value.attempt


def test_a_process_that_may_open_no_more_files_is_told_so(tmp_path: Path) -> None:
    RocksdbStore.open(tmp_path / "state").close()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for more in (1, 4):  # before RocksDB, and within it
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, before[1]))
        try:
            with pytest.raises(StateUnavailable) as caught:
                RocksdbStore.open(tmp_path / "state")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert "ulimit -n" in caught.value.attempt
