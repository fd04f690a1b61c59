"""The embedded log meets other processes, kill -9, damaged files and a full disk."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import apsw
import pytest

from stream_app.errors import LogBusy, LogUnavailable, LogUntrusted, StreamAppError, UsageError
from stream_app.records import NewRecord, Output
from stream_app.storage import sqlite_schema as schema
from stream_app.storage.sqlite_errors import require_safe_sqlite
from stream_app.storage.sqlite_log import SqliteLog
from stream_app.storage.sqlite_schema import WAL_BYTES_KEPT_MAX
from tests import disks
from tests.disks import skip_without_disks
from tests.storage.children import run_child
from tests.storage.tampering import sql

MEGABYTE = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with topic `t`, which nobody has open."""
    with closing(SqliteLog.open(tmp_path / "log.db", create=True)) as log:
        log.create_topics({"t": 1})
    return tmp_path / "log.db"


def opened(path: Path) -> closing[SqliteLog]:
    return closing(SqliteLog.open(path, create=False))


def append(log: SqliteLog, *texts: bytes) -> None:
    log.append("t", [NewRecord(None, text) for text in texts])


def values(log: SqliteLog) -> list[bytes]:
    read: list[bytes] = []
    while records := log.read("t", 0, len(read), records_max=1000):
        read += [record.value for record in records]
    return read


# -- opening


def test_a_log_outlives_its_process_with_its_identity(path: Path) -> None:
    with opened(path) as log:
        append(log, b"a")
        assert log.ledger_put("l", 0, "manifest", b"m", expected=None)
        log.claim("l", 0).publish([], b"c", expected=None, next_offset=7)
        identity = log.log_id
    with opened(path) as log:
        assert log.log_id == identity
        assert values(log) == [b"a"]
        assert log.ledger_get("l", 0, "manifest") == b"m"
        claim = log.claim("l", 0)
        assert (claim.epoch, claim.committed()) == (2, b"c")


def test_creating_what_exists_opens_it(path: Path) -> None:
    with closing(SqliteLog.open(path, create=True)) as log:
        assert log.topics() == {"t": 1}


def test_the_url_is_the_path_as_it_was_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with closing(SqliteLog.open("log.db", create=False)) as log:
        assert log.url == "sqlite:///log.db"
        monkeypatch.chdir("/")
        append(log, b"still the same file")


def test_nothing_but_the_log_is_left_behind_by_its_creation(tmp_path: Path) -> None:
    SqliteLog.open(tmp_path / "log.db", create=True).close()
    assert [file.name for file in tmp_path.iterdir()] == ["log.db"]


def test_a_log_is_for_its_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    with run_child("create", tmp_path / "log.db") as child:
        assert child.line() == "created"
        modes = {
            file.relative_to(tmp_path).as_posix(): stat.S_IMODE(file.stat().st_mode)
            for file in tmp_path.rglob("*")
        }
    assert modes == {
        "log.db": 0o600,
        "log.db-wal": 0o600,
        "log.db-shm": 0o600,
        "log.db.locks": 0o700,
        "log.db.locks/l@0.lock": 0o600,
    }


def test_a_missing_log_is_not_made_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"no event log at .*stream-app run FILE"):
        SqliteLog.open(tmp_path / "log.db", create=False)
    with pytest.raises(LogUnavailable, match="no event log"):
        SqliteLog.open(tmp_path / "log.db", create=True, read_only=True)
    assert not list(tmp_path.iterdir())


def test_a_missing_directory_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=f"mkdir -p {tmp_path}/no"):
        SqliteLog.open(tmp_path / "no" / "log.db", create=True)


def test_a_directory_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="is a directory"):
        SqliteLog.open(tmp_path, create=True)


@pytest.mark.parametrize("content", [b"", b"hello world, this is a text\n" * 99, b"\x00" * 8192])
def test_a_file_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.db").write_bytes(content)
    with pytest.raises(LogUntrusted, match="not an event log"):
        SqliteLog.open(tmp_path / "log.db", create=True)
    assert (tmp_path / "log.db").read_bytes() == content


def test_a_database_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db")) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "log.db").read_bytes()
    with pytest.raises(LogUntrusted, match="not an event log"):
        SqliteLog.open(tmp_path / "log.db", create=True)
    assert (tmp_path / "log.db").read_bytes() == before


def test_a_log_of_a_newer_release_is_refused(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute("PRAGMA user_version = 3")
    with pytest.raises(LogUntrusted, match="newer stream-app"):
        SqliteLog.open(path, create=False)


def test_a_damaged_header_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:16] = b"SQLite format 4\x00"
    path.write_bytes(content)
    with pytest.raises(LogUntrusted):
        SqliteLog.open(path, create=False)


def test_a_flipped_bit_in_a_record_is_noticed_by_whoever_reads_it(path: Path) -> None:
    with opened(path) as log:
        append(log, *(b"%d" % i * 300 for i in range(100)))
    content = bytearray(path.read_bytes())
    content[content.index(b"77" * 300) + 100] ^= 1
    path.write_bytes(content)
    with opened(path) as log:
        with pytest.raises(LogUntrusted, match=r"record at t/0@77 is not as it was written"):
            values(log)
        assert log.read("t", 0, 0, records_max=77)[-1].value == b"76" * 300


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET value = x'62'",
        "UPDATE records SET key = x'62'",
        "UPDATE records SET key = NULL",
        "UPDATE records SET key = x''",
        "UPDATE records SET timestamp_ms = timestamp_ms + 1",
        "UPDATE records SET timestamp_ms = timestamp_ms + (1 << 40)",
        "UPDATE records SET timestamp_ms = timestamp_ms - (1 << 47)",
        "UPDATE records SET headers = CAST(headers || x'00' AS BLOB)",
        "UPDATE records SET headers = NULL",
        "UPDATE records SET headers = x'00'",
        "UPDATE records SET headers = (SELECT headers FROM records ORDER BY position DESC)",
    ],
)
def test_a_change_of_any_part_of_a_record_is_noticed(path: Path, change: str) -> None:
    with opened(path) as log:
        log.append("t", [NewRecord(b"k", b"a", (("h", b"v"),)), NewRecord(b"k", b"a")])
        assert [record.headers for record in log.read("t", 0, 0, records_max=9)] == [
            (("h", b"v"),),
            (),
        ]
    sql(path, f"{change} WHERE position & 0xff = 0")
    with opened(path) as log, pytest.raises(LogUntrusted, match="contradicts itself"):
        values(log)


@pytest.mark.parametrize(
    "change", ["next_offset = 4", "next_offset = 6", "next_offset = 0", "start_offset = 2"]
)
def test_a_partition_that_ends_elsewhere_than_its_records_is_noticed_at_once(
    path: Path, change: str
) -> None:
    with opened(path) as log:
        append(log, *[b"x"] * 5)
        log.retain("t", 0, from_offset=1)
    sql(path, f"UPDATE partitions SET {change}")
    with pytest.raises(LogUntrusted, match="do not end where it ends"):
        SqliteLog.open(path, create=False)


_BACKS_UP = """
import sqlite3, sys
log = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
with sqlite3.connect(sys.argv[2]) as copy:
    log.backup(copy)
"""


def test_sqlites_own_backup_beside_a_writer_is_a_log(path: Path, tmp_path: Path) -> None:
    stop, copy = threading.Event(), tmp_path / "copy.db"
    with opened(path) as log:

        def write() -> None:
            while not stop.is_set():
                append(log, *(os.urandom(3000) for _ in range(20)))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            time.sleep(0.3)
            least = log.bounds("t", 0)[1]
            # A process of its own, as SQLite's shell is: two SQLites in one drop their locks.
            subprocess.run([sys.executable, "-c", _BACKS_UP, path, copy], check=True)
        finally:
            stop.set()
            writer.join()
    with opened(copy) as copied:
        assert least <= len(values(copied)) == copied.bounds("t", 0)[1]


def test_a_log_of_before_the_checksums_is_read_and_written_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 1)
    older = tmp_path / "older.db"
    SqliteLog.open(older, create=True).close()
    monkeypatch.undo()
    with opened(older) as log:
        log.create_topics({"t": 1})
        log.append("t", [NewRecord(None, b"a"), NewRecord(b"", b"b", (("h", b"v"),))])
    assert sql(older, "SELECT headers FROM records WHERE key IS NULL") == [(None,)]
    with opened(older) as log:
        found = log.read("t", 0, 0, records_max=9)
        assert [(r.key, r.value, r.headers) for r in found] == [
            (None, b"a", ()),
            (b"", b"b", (("h", b"v"),)),
        ]


def test_a_truncated_file_is_refused(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(LogUntrusted, match="damaged"):
        SqliteLog.open(path, create=False)


def test_a_missing_table_is_refused(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute("DROP TABLE log")
    with pytest.raises(LogUntrusted, match="contradicts itself"):
        SqliteLog.open(path, create=False)


@pytest.mark.parametrize("lost", [0, 5, 9])
def test_records_that_vanished_are_noticed_by_the_reader(path: Path, lost: int) -> None:
    with opened(path) as log:
        append(log, *[b"x"] * 10)
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute("DELETE FROM records WHERE position & 0xff = ?", (lost,))
    with pytest.raises(LogUntrusted, match=r"missing|do not end"), opened(path) as log:
        values(log)


def _damage(path: Path, statement: str, *bindings: object) -> None:
    """Change a row as flipped bits do: SQLite checks types on the way in only."""
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_schema SET sql = replace(sql, ' STRICT', '')")
        raw.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')")
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute(statement, bindings)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("value", None),
        ("value", 7),
        ("value", "text"),
        ("key", 7),
        ("timestamp_ms", None),
        ("headers", 7),
        ("headers", b"\x91\x92\xa1\xe9\xc4\x00"),
    ],
)
def test_a_record_of_other_types_than_were_written_is_damage(
    path: Path, column: str, value: object
) -> None:
    with opened(path) as log:
        append(log, b"a")
    _damage(path, f"UPDATE records SET {column} = ?", value)
    with opened(path) as log, pytest.raises(LogUntrusted, match="contradicts itself"):
        values(log)


@pytest.mark.parametrize("column", ["start_offset", "next_offset"])
def test_a_partition_without_bounds_is_damage(path: Path, column: str) -> None:
    _damage(path, f"UPDATE partitions SET {column} = NULL")
    with pytest.raises(LogUntrusted, match="contradicts itself"), opened(path) as log:
        values(log)


def test_a_ledger_value_that_is_no_bytes_is_damage(path: Path) -> None:
    with opened(path) as log:
        log.ledger_put("l", 0, "settings", b"s", expected=None)
    _damage(path, "UPDATE ledger SET value = NULL")
    with opened(path) as log, pytest.raises(LogUntrusted, match="contradicts itself"):
        log.ledger_get("l", 0, "settings")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE partitions SET topic = CAST(x'74ec' AS TEXT)",
        "UPDATE partitions SET partition = 3",
        "UPDATE log SET log_id = CAST(x'e1ff' AS TEXT)",
        "UPDATE log SET log_id = NULL",
    ],
)
def test_a_name_or_number_that_nobody_has_written_is_damage(path: Path, statement: str) -> None:
    """Found by damaged files: apsw raises Python's own error for text that is not UTF-8."""
    _damage(path, statement)
    with pytest.raises(LogUntrusted, match="contradicts itself"), opened(path) as log:
        log.topics()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
def test_without_the_right_to_write_the_error_says_so(path: Path) -> None:
    # A place of our own: nobody may not even enter pytest's directories.
    place = Path("/tmp") / f"stream-app-test-{os.getpid()}"
    shutil.copytree(path.parent, place)
    try:
        place.chmod(0o755)
        (place / "log.db").chmod(0o644)
        with run_child("as_nobody", place / "log.db") as child:
            assert child.line().startswith("LogUnavailable")
        with run_child("as_nobody", place / "new.db") as child:
            assert child.line().startswith("LogUnavailable")
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.0"])
def test_a_sqlite_that_corrupts_logs_is_refused(version: str) -> None:
    with pytest.raises(LogUnavailable, match="pip install --upgrade"):
        require_safe_sqlite(version)


def test_a_safe_sqlite_is_accepted() -> None:
    require_safe_sqlite("3.51.3")
    require_safe_sqlite("3.100.0")


def test_a_reader_reads_beside_the_writer_and_cannot_write(path: Path) -> None:
    with opened(path) as log, closing(SqliteLog.open(path, create=False, read_only=True)) as reader:
        append(log, b"a")
        assert reader.wait("t", 0, 0, timeout_s=5)
        assert values(reader) == [b"a"]
        with pytest.raises(UsageError, match="reading only"):
            append(reader, b"b")
        with pytest.raises(UsageError, match="reading only"):
            reader.claim("l", 0)


def test_bytes_are_bytes(path: Path) -> None:
    with opened(path) as log:
        with pytest.raises(UsageError, match="not bytes"):
            log.append("t", [NewRecord(None, b"good"), NewRecord(None, "text")])  # type: ignore[arg-type]
        assert log.bounds("t", 0) == (0, 0)


def test_no_value_at_all_is_a_mistake_of_the_caller_and_no_damage(path: Path) -> None:
    with opened(path) as log:
        with pytest.raises(UsageError, match="lacks what every record has"):
            log.append("t", [NewRecord(b"k", None)])  # type: ignore[arg-type]
        append(log, b"a")
        assert values(log) == [b"a"]


# -- the file under a running process


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_removed_file_is_noticed_before_anything_is_written(path: Path, suffix: str) -> None:
    with opened(path) as log:
        claim = log.claim("l", 0)
        append(log, b"a")
        path.with_name(path.name + suffix).unlink()
        with pytest.raises(LogUntrusted, match="removed or replaced"):
            append(log, b"b")
        with pytest.raises(LogUntrusted, match="removed or replaced"):
            claim.publish([], b"c", expected=None, next_offset=1)
        with pytest.raises(LogUntrusted, match="removed or replaced"):
            log.wait("t", 0, 1, timeout_s=0.01)


def test_no_new_log_is_made_beside_what_is_left_of_a_removed_one(path: Path) -> None:
    with opened(path) as log:
        append(log, b"a")
        left = path.with_name("log.db-wal").read_bytes()
    path.unlink()
    path.with_name("log.db-wal").write_bytes(left)
    with pytest.raises(LogUntrusted, match="was removed"):
        SqliteLog.open(path, create=True)
    assert path.with_name("log.db-wal").read_bytes() == left
    path.with_name("log.db-wal").write_bytes(b"")
    SqliteLog.open(path, create=True).close()


def test_a_replaced_file_is_noticed_before_anything_is_written(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    with opened(path) as log:
        path.with_name("copy.db").replace(path)
        with pytest.raises(LogUntrusted, match="removed or replaced"):
            append(log, b"b")


def test_a_forked_child_may_not_use_its_parents_log(path: Path) -> None:
    def child() -> None:
        try:
            append(log, b"from the child")
        except UsageError as error:
            log.close()
            os._exit(7 if "forked" in str(error) else 8)
        os._exit(9)

    with opened(path) as log:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 7
        append(log, b"from the parent")
        assert values(log) == [b"from the parent"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    skip_without_disks(tmp_path / "disk")
    with disks.small_disk(tmp_path / "disk", 2 << 20) as disk:
        yield disk


def append_until_refused(log: SqliteLog, acknowledged: list[bytes]) -> None:
    while True:
        text = len(acknowledged).to_bytes(100_000, "big")
        append(log, text)
        acknowledged.append(text)


def test_a_full_disk_is_named_and_loses_nothing_acknowledged(small_disk: Path) -> None:
    with closing(SqliteLog.open(small_disk / "log.db", create=True)) as log:
        log.create_topics({"t": 1})
        acknowledged: list[bytes] = []
        with pytest.raises(LogUnavailable, match="is full"):
            append_until_refused(log, acknowledged)
        assert values(log) == acknowledged != []
    with opened(small_disk / "log.db") as log:
        assert values(log) == acknowledged


def test_a_disk_too_full_for_the_files_beside_the_log_is_named_full(small_disk: Path) -> None:
    """Found by starts that ran short: SQLite speaks of an I/O error, as of a bad disk."""
    SqliteLog.open(small_disk / "log.db", create=True).close()
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    with pytest.raises(LogUnavailable, match="is full"):
        SqliteLog.open(small_disk / "log.db", create=False)
    filler.unlink()
    SqliteLog.open(small_disk / "log.db", create=False).close()


def test_a_process_that_may_open_no_more_files_is_told_so(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    # The limit is a number that no file may have, and files take the lowest: those that are free.
    free = [number for number in range(max(used) + 4) if number not in used]
    for more in (0, 1, 2):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[more], before[1]))
        try:
            with pytest.raises(LogUnavailable, match="ulimit -n"):
                SqliteLog.open(path, create=False)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


# -- many processes


def test_processes_append_at_once_while_a_reader_tails(path: Path) -> None:
    writers, each = 4, 60
    tailed: list[bytes] = []
    with opened(path) as log, ExitStack() as stack:
        names = [str(number) for number in range(writers)]
        children = [
            stack.enter_context(run_child("append", path, name, str(each))) for name in names
        ]
        while len(tailed) < writers * each and log.wait("t", 0, len(tailed), timeout_s=10):
            records = log.read("t", 0, len(tailed), records_max=7)
            assert [r.offset for r in records] == list(
                range(len(tailed), len(tailed) + len(records))
            )
            tailed += [record.value for record in records]
        for name, child in zip(names, children, strict=True):
            for line in child.rest():
                _, offset, number = line.split()
                assert tailed[int(offset)] == f"{name}:{number}".encode()
        assert log.bounds("t", 0) == (0, writers * each)
    for name in names:
        own = [text for text in tailed if text.startswith(f"{name}:".encode())]
        assert own == [f"{name}:{number}".encode() for number in range(each)]


def test_an_append_of_another_process_is_seen_soon(path: Path) -> None:
    with opened(path) as log, run_child("append", path, "w", "0") as child:
        child.line()
        start = log.bounds("t", 0)[1]
        assert log.wait("t", 0, start + 20, timeout_s=10)


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    acknowledged: list[tuple[int, bytes]] = []
    for round_number in range(4):
        with run_child("append", path, str(round_number), "0") as child:
            lines = [child.line() for _ in range(10 + 7 * round_number)]
            child.kill()
            lines += child.rest()
        for line in lines:
            fields = line.split()
            if len(fields) == 3:
                acknowledged.append((int(fields[1]), f"{round_number}:{fields[2]}".encode()))
    with opened(path) as log:
        kept = values(log)
    assert len(acknowledged) > 60
    assert all(kept[offset] == value for offset, value in acknowledged[:-1])
    # At most the one append in flight per round was kept without having been acknowledged.
    assert len(acknowledged) <= len(kept) <= len(acknowledged) + 4


def test_kill_9_leaves_outputs_and_commit_in_agreement(path: Path) -> None:
    for _ in range(4):
        with run_child("publish", path) as child:
            for _ in range(7):
                last = int(child.line())
            child.kill()
        with opened(path) as log:
            committed = log.ledger_get("l", 0, "commit")
            assert committed is not None
            assert int(committed) >= last
            assert values(log) == [str(number).encode() for number in range(int(committed))]


def publish_and_die_before(path: Path, statement: int) -> None:
    """Publish one batch and its commit, but die before the given SQL statement of it."""
    log = SqliteLog.open(path, create=False)
    claim = log.claim("l", 0)
    done = int(claim.committed() or b"0")
    seen = 0

    def die(*_: object) -> bool:
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    assert log._file.writer is not None
    log._file.writer.exec_trace = die
    outputs = [Output("t", None, str(number).encode()) for number in range(done, done + 60)]
    commit = str(done + 60).encode()
    claim.publish(outputs, commit, expected=done or None, next_offset=done + 60)
    os._exit(0)


def test_dying_before_any_statement_of_a_publish_leaves_all_of_it_or_nothing(path: Path) -> None:
    for statement in range(1, 50):
        process = multiprocessing.get_context("fork").Process(
            target=publish_and_die_before, args=(path, statement)
        )
        process.start()
        process.join()
        with opened(path) as log:
            committed = int(log.ledger_get("l", 0, "commit") or b"0")
            assert values(log) == [str(number).encode() for number in range(committed)]
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert committed == 0
    assert committed == 60
    assert statement > 15  # it did die before each of its statements


def test_the_owner_of_a_claim_is_named_and_its_death_releases_it_at_once(path: Path) -> None:
    with opened(path) as log, run_child("claim", path) as owner:
        assert owner.line() == "1"
        with pytest.raises(LogBusy, match=rf"owned by process {owner.pid} \(.*`kill {owner.pid}`"):
            log.claim("l", 0)
        owner.kill()
        assert log.claim("l", 0).epoch == 2


def test_a_frozen_owner_is_named_as_stopped_and_keeps_its_claim(path: Path) -> None:
    with opened(path) as log, run_child("claim", path) as owner:
        assert owner.line() == "1"
        owner.signal(signal.SIGSTOP)
        wait_until_stopped(owner.pid)
        with pytest.raises(LogBusy, match=rf"process {owner.pid} .*stopped.*-CONT {owner.pid}"):
            log.claim("l", 0)


def test_a_second_claim_within_a_process_is_busy_and_the_first_stays_valid(path: Path) -> None:
    with opened(path) as log, opened(path) as other:
        claim = log.claim("l", 0)
        for again in (log, other):
            with pytest.raises(LogBusy, match=f"this same process, process {os.getpid()}"):
                again.claim("l", 0)
        with run_child("claim", path) as child:
            assert child.line() == ""  # refused: the attempts above did not drop our lock
        claim.publish([], b"c", expected=None, next_offset=1)


def test_closing_a_log_releases_its_claims(path: Path) -> None:
    with opened(path) as log:
        log.claim("l", 0)
    with opened(path) as log:
        assert log.claim("l", 0).epoch == 2


def test_a_writer_frozen_in_its_transaction_is_named_and_readers_go_on(path: Path) -> None:
    impatient = SqliteLog.open(path, create=False, busy_timeout_ms=100)
    with closing(impatient) as log, run_child("freeze", path) as writer:
        append(log, b"a")
        assert writer.line() == "writing"
        writer.signal(signal.SIGSTOP)
        wait_until_stopped(writer.pid)
        with pytest.raises(LogBusy, match=rf"locked by process {writer.pid} .*stopped"):
            append(log, b"b")
        assert values(log) == [b"a"]
        writer.kill()
        append(log, b"c")
        assert values(log) == [b"a", b"c"]


def test_a_reader_frozen_in_its_view_holds_nobody_up_and_its_end_lets_the_wal_shrink(
    path: Path,
) -> None:
    """Until then the -wal keeps all that was written since: what bounds it is the reader's end."""
    wal = path.with_name(path.name + "-wal")
    with opened(path) as log, run_child("look", path) as reader:
        append(log, b"a")
        assert reader.line() == "looking"
        reader.signal(signal.SIGSTOP)
        wait_until_stopped(reader.pid)
        for _ in range(100):
            append(log, bytes(MEGABYTE))
        assert len(values(log)) == 101
        grown = wal.stat().st_size
        assert grown > 90 * MEGABYTE
        reader.kill()
        for _ in range(20):
            append(log, bytes(MEGABYTE))
        assert wal.stat().st_size <= WAL_BYTES_KEPT_MAX + MEGABYTE
        assert len(values(log)) == 121


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.005)
    raise AssertionError(f"process {pid} did not stop")


def test_an_append_wakes_waiters_of_its_process_without_polling(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_app.storage.sqlite_log._PAUSE_MIN_S", 30.0)
    monkeypatch.setattr("stream_app.storage.sqlite_log._PAUSE_MAX_S", 30.0)
    with opened(path) as log:
        appending = threading.Timer(0.2, append, (log, b"a"))
        appending.start()
        before = time.monotonic()
        assert log.wait("t", 0, 0, timeout_s=20)
        assert time.monotonic() - before < 5
        appending.join()


# -- bounds


def test_the_wal_stays_bounded_while_a_reader_tails(path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    largest = 0
    with opened(path) as log, opened(path) as reader:
        next_offset = 0
        for _ in range(60):
            append(log, *[bytes(10_000)] * 100)
            next_offset += len(reader.read("t", 0, next_offset, records_max=60))
            largest = max(largest, wal.stat().st_size)
    assert path.stat().st_size > 55 * MEGABYTE
    assert largest < 12 * MEGABYTE


def test_retention_in_many_steps_lets_others_append_between_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_app.storage.sqlite_log.RETAIN_RECORDS_PER_STEP", 10)
    with opened(path) as log, opened(path) as other:
        append(log, *[b"x"] * 500)
        deleting = threading.Thread(target=log.retain, args=("t", 0), kwargs={"from_offset": 450})
        deleting.start()
        append(other, *[b"y"] * 5)
        deleting.join()
        assert log.bounds("t", 0) == (450, 505)
    with opened(path) as log:
        assert log.append("t", [NewRecord(None, b"z")]) == [(0, 505)]


def test_an_emptied_partition_goes_on_counting_after_a_restart(path: Path) -> None:
    with opened(path) as log:
        append(log, b"a", b"b")
        log.retain("t", 0, from_offset=2)
    with opened(path) as log:
        assert log.bounds("t", 0) == (2, 2)
        assert log.append("t", [NewRecord(None, b"c")]) == [(0, 2)]


def test_an_idle_wait_costs_almost_no_cpu(path: Path) -> None:
    with opened(path) as log:
        log.wait("t", 0, 0, timeout_s=0.5)
        before = time.process_time()
        assert not log.wait("t", 0, 0, timeout_s=1.5)
        # Measured about 0.6 % of a core; spinning would be 100 %, a 1 ms poll about 10 %.
        assert time.process_time() - before < 0.03 * 1.5


def test_every_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StreamAppError) as caught:
        SqliteLog.open(tmp_path / "log.db", create=False)
    assert "Try: " in str(caught.value)
