"""`topics` and `doctor` on the embedded log: what has a meaning there, really broken."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from stream_app.hosts.doctor import doctor as doctor_of
from stream_app.records import NewRecord
from stream_app.storage import file_keeper
from stream_app.storage.file_systems import file_system_of
from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.conftest import json_lines, observation
from tests.cli.terminal import Ended, Terminal, assert_error

LOG = Path(".stream-app/log.db")


def doctor(terminal: Terminal, directory: Path, *more: str) -> Ended:
    return terminal.run(directory, "doctor", "shop.py", "--json", *more)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory."""
    if file_system_of(Path("/dev/shm")) != "tmpfs":
        pytest.skip("this system has no /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_topics_says_that_they_are_made_by_themselves(empty: Path, terminal: Terminal) -> None:
    for more in ((), ("--create",)):
        shown = terminal.run(empty, "topics", "shop.py", *more)
        assert shown.code == 0, shown
        assert shown.out.count("made at the first start") == 7
        assert "makes its topics by itself" in shown.out
        assert shown.out.splitlines()[-1].startswith("Next: stream-app run shop.py --broker ")
    assert not (empty / LOG).exists()


def test_topics_lists_those_of_a_pipeline_that_has_run(prepared: Path, terminal: Terminal) -> None:
    by_file = terminal.run(prepared, "topics", "shop.py", "--json").json()
    by_name = terminal.run(prepared, "topics", "shop", "--json").json()
    assert by_file == by_name
    assert [row["topic"] for row in by_file] == [
        "shop.events",
        "shop.predictions",
        "shop.evaluations",
        "shop.drift-alerts",
        "shop.dead-letters",
        "shop.shadow.v1",
        "shop.shadow.v2",
    ]
    assert {(row["state"], row["partitions"]) for row in by_file} == {("ok", 1)}


def test_a_pipeline_that_has_run_is_well(prepared: Path, terminal: Terminal) -> None:
    ended = doctor(terminal, prepared)
    assert (ended.code, ended.out) == (0, ""), ended
    told = terminal.run(prepared, "doctor", "shop")
    assert told.out == "shop in sqlite:///.stream-app/log.db: 0 problems, 0 notes\n"


def test_there_is_nothing_wrong_with_a_log_that_is_not_there_yet(
    empty: Path, terminal: Terminal
) -> None:
    assert doctor(terminal, empty).code == 0
    assert_error(terminal.run(empty, "doctor", "shop"), 2, "name its file")


def test_a_log_that_others_may_write_is_found_until_they_may_not(
    shop: Path, terminal: Terminal
) -> None:
    (shop / LOG).chmod(0o666)
    ended = doctor(terminal, shop)
    assert ended.code == 5, ended
    [found] = ended.json()
    assert (found["check"], found["level"]) == ("permissions", "problem")
    command, mode, *files = found["attempt"].split()
    assert (command, mode, files[0]) == ("chmod", "go-w", str(LOG))
    for file in files:
        (shop / file).chmod(0o600)
    (shop / LOG).parent.chmod(0o777)
    [found] = doctor(terminal, shop).json()
    assert found["attempt"].startswith("chmod go-w ")
    (shop / LOG).parent.chmod(0o700)
    assert doctor(terminal, shop).code == 0


def test_a_log_in_memory_is_found(shop: Path, terminal: Terminal, memory: Path) -> None:
    for file in (shop / LOG).parent.glob("log.db*"):
        if file.is_file():
            shutil.copy(file, memory)
    ended = doctor(terminal, shop, "--broker", f"sqlite:///{memory}/log.db")
    assert [row["check"] for row in ended.json()] == ["file-system"]
    assert "tmpfs" in ended.out


def test_a_disk_that_fills_up_is_found(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    assert doctor_of(str(LOG), "shop", None).findings == []
    free = os.statvfs(shop).f_bavail * os.statvfs(shop).f_frsize
    monkeypatch.setattr(file_keeper, "FREE_BYTES_MIN", 2 * free)
    [found] = doctor_of(str(LOG), "shop", None).findings
    assert (found.level, found.check) == ("problem", "disk-space")


def test_the_kind_of_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    (tmp_path / "a b/c").mkdir(parents=True)
    lines = ["/dev/vda / ext4 rw 0 0", f"nas:/x {tmp_path}/a\\040b nfs4 rw 0 0"]
    mounts.write_text("\n".join(lines))
    assert file_system_of(tmp_path / "a b/c/log.db", mounts) == "nfs4"
    assert file_system_of(tmp_path / "log.db", mounts) == "ext4"
    assert file_system_of(tmp_path, tmp_path / "nowhere") is None


def test_events_that_were_put_elsewhere_are_found_and_later_noted(
    empty: Path, terminal: Terminal
) -> None:
    """Who writes to the log past `produce` may partition and key as it likes."""
    declaration = (empty / "shop.py").read_text()
    keyed = declaration.replace("task=Binary(),", 'task=Binary(), model_per="key",')
    (empty / "shop.py").write_text(keyed)
    first = json_lines(observation(0))
    terminal.run(empty, "produce", "shop.py", "--partitions", "2", stdin=first)
    lines = [json_lines(observation(i, kind="observation")).encode() for i in range(1, 9)]
    log = SqliteLog.open(empty / LOG, create=False)
    log.append(
        "shop.events", [NewRecord(b"x", line, partition=i % 2) for i, line in enumerate(lines)]
    )
    log.close()
    ended = doctor(terminal, empty)
    assert ended.code == 5, ended
    assert [row["check"] for row in ended.json()] == ["keys", "partitioner"]
    assert terminal.run(empty, "run", "shop.py", "--until-end").code == 0
    good = json_lines(*(observation(i) for i in range(1000, 2000)))
    assert terminal.run(empty, "produce", "shop.py", stdin=good).code == 0
    later = doctor(terminal, empty)
    assert later.code == 0, later
    notes = later.json()
    assert {row["check"] for row in notes} == {"misplaced", "keys_differ"}
    assert {row["level"] for row in notes} == {"note"}


def test_what_retention_took_from_the_origin_is_noted(shop: Path, terminal: Terminal) -> None:
    log = SqliteLog.open(shop / LOG, create=False)
    log.retain("shop.events", 0, from_offset=5)
    log.close()
    [note] = doctor(terminal, shop).json()
    assert (note["check"], note["where"]) == ("origin", "shop.events/0@0")


def test_a_file_has_no_acls(prepared: Path, terminal: Terminal) -> None:
    assert_error(terminal.run(prepared, "doctor", "shop", "--acls"), 2, "has no ACLs")


def test_retain_deletes_old_outputs_and_never_an_event(shop: Path, terminal: Terminal) -> None:
    before = {
        row["topic"]: row
        for row in terminal.run(shop, "status", "shop", "--json").json()[0]["topics"]
    }
    kept = terminal.run(shop, "retain", "shop", "--days", "1", "--json")
    assert kept.code == 0, kept
    assert {row["deleted"] for row in kept.json()} == {0}
    deleted = terminal.run(shop, "retain", "shop", "--days", "0", "--json").json()
    assert "shop.events" not in {row["topic"] for row in deleted}
    for row in deleted:
        assert (row["deleted"], row["kept"]) == (before[row["topic"]]["records"], 0)
    shown = terminal.run(shop, "status", "shop")
    assert shown.out.count("removed by retention") > 0
    assert shown.out.splitlines()[1].endswith(" of it free")
    # The fold needs no output: it goes on, and proves what is still there.
    assert terminal.run(shop, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(shop, "replay", "shop.py").code == 0
