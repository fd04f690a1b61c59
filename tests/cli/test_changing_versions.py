"""Versions that come in, take the seat and go, and everything that people do wrong meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_app.core.commit import decode_commit, encode_commit
from stream_app.errors import SeatRefused
from stream_app.events import Control
from stream_app.hosts.controls import append_promote, signed, to_every_partition
from stream_app.hosts.manifests import committed, read_manifest
from stream_app.hosts.promoting import cut_overs
from stream_app.hosts.signing_keys import signer_here
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.conftest import EVENTS, json_lines, observation
from tests.cli.terminal import Ended, Terminal, assert_error

LOG = ".stream-app/log.db"
V3 = '        "v3": Version(linear_model.PAClassifier(), features=["price"]),\n'
V2 = '        "v2": Version(linear_model.Perceptron(), features=["price"]),\n'

SICK = """
from river import base, linear_model

from stream_app import Binary, Limits, Pipeline, Version


class Sour(base.Classifier):
    def predict_proba_one(self, x, **_):
        if x["items"] == 4 or x["price"] > 80:
            raise ValueError("sour")
        return {True: 0.5, False: 0.5}

    def learn_one(self, x, y):
        if x["price"] > 10:
            raise ValueError("sour")


pipeline = Pipeline(
    "shop",
    task=Binary(),
    features={"price": float, "items": int, "country": str},
    versions={
        "v1": Version(Sour()),
        "v2": Version(linear_model.Perceptron(), features=["price"]),
    },
    initial_champion="v1",
    limits=Limits(failures_max=5),
    digest_every=10,
)
"""


class Shop:
    """The shop's directory, and what an operator types there."""

    def __init__(self, terminal: Terminal, directory: Path) -> None:
        self.directory = directory
        self.terminal = terminal
        self._next = 2000

    def type(self, line: str, stdin: str = "") -> Ended:
        """Run one command to its end."""
        return self.terminal.run(self.directory, *line.split(), stdin=stdin)

    def done(self, *lines: str) -> str:
        """Run commands that must end well; returns what the last one printed."""
        ended = Ended(0, "", "")
        for line in lines:
            ended = self.type(line)
            assert ended.code == 0, (line, ended)
        return ended.out

    def declare(self, old: str, new: str) -> None:
        """Edit the pipeline's file."""
        file = self.directory / "shop.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def add_v3(self) -> None:
        """Declare another version."""
        self.declare(V2, V2 + V3)

    def produce(self, count: int = 20) -> None:
        """Send some labelled events."""
        rows = [observation(self._next + i, label=i % 3 == 0) for i in range(count)]
        self._next += count
        sent = self.type("produce shop.py", json_lines(*rows))
        assert sent.code == 0, sent

    def log(self) -> closing[SqliteLog]:
        """Open the log."""
        return closing(SqliteLog.open(self.directory / LOG, create=False))

    def rows(self, topic: str) -> list[tuple[bytes | None, bytes, Any]]:
        """Return a topic's records, as bytes."""
        with self.log() as log:
            found = log.read(topic, 0, 0, records_max=100_000)
        return [(row.key, row.value, row.headers) for row in found]

    def champions(self) -> list[str]:
        """Return who made each prediction that readers see."""
        return [str(json.loads(value)["version"]) for _, value, _ in self.rows("shop.predictions")]

    def status(self) -> dict[str, Any]:
        """Return what `status` knows."""
        [found] = self.type("status shop --json").json()
        assert isinstance(found, dict)
        return found


@pytest.fixture
def our(terminal: Terminal, shop: Path) -> Shop:
    """A shop that has run v1 and v2 over 301 records."""
    return Shop(terminal, shop)


@pytest.fixture
def from_the_start(terminal: Terminal, prepared: Path, tmp_path: Path) -> Shop:
    """The same events in a log whose first start has v3 too."""
    other = Shop(terminal, tmp_path / "other")
    other.directory.mkdir()
    shutil.copy(prepared / "shop.py", other.directory)
    other.add_v3()
    rows = [observation(i, label=i * 37 % 101 > 50) for i in range(EVENTS)]
    broken = observation(999) | {"features": {"price": "cheap"}}
    sent = other.type("produce shop.py --send-bad", json_lines(*rows, broken))
    assert sent.code == 0, sent
    other.done("run shop.py --until-end")
    return other


# Names and definitions


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("backfill shop.py v33", ["the file of shop has no version 'v33'", "did you mean v3?"]),
        (
            "promote shop v22 --reason x",
            ["shop/0 has no version 'v22', only v1, v2;", "did you mean v2?"],
        ),
        (
            "replay shop.py --version v22",
            ["shop/0 has no version 'v22', only v1, v2;", "did you mean v2?"],
        ),
        ("compare shop v1 v22", ["shop has no version 'v22', only v1, v2;", "did you mean v2?"]),
        ("explain shop.py 0@9 --version v22", ["shop/0 has no version 'v22', only v1, v2;"]),
        ("run shop.py --drop v22", ["shop has no version 'v22', only v1, v2, v3;"]),
        ("dead-letters shop --version v22", ["has no version 'v22', only v1, v2;"]),
        ("backfill shop.py v2", ["runs v2 already", "stream-app status shop"]),
        (
            "promote shop v3 --reason x",
            ["shop/0 has no version 'v3'", "stream-app backfill shop.py v3"],
        ),
        (
            "replay shop.py --version v3",
            ["shop/0 has no version 'v3'", "stream-app backfill shop.py v3"],
        ),
    ],
)
def test_a_version_that_cannot_be_meant_is_refused_with_what_can_be(
    our: Shop, command: str, words: Sequence[str]
) -> None:
    our.add_v3()
    before = our.rows("shop.events")
    assert_error(our.type(command), 2, *words)
    assert our.rows("shop.events") == before


def test_a_backfill_before_the_first_run_asks_for_that_run(terminal: Terminal, empty: Path) -> None:
    new = Shop(terminal, empty)
    new.produce()
    for command in ("backfill shop.py v2", "backfill shop.py v2 --dry-run"):
        assert_error(new.type(command), 2, "no history", "stream-app run shop.py")


def test_a_definition_that_changes_under_a_hosted_name_runs_nothing(our: Shop) -> None:
    our.declare('Perceptron(), features=["price"]', 'Perceptron(), features=["items"]')
    words = ["version v2 of shop is declared as", "new version name"]
    for command in ("run shop.py --until-end", "replay shop.py", "backfill shop.py v2 --out f"):
        assert_error(our.type(command), 5, *words)


def test_status_of_a_file_tells_each_version_of_which_the_log_says_something_else(
    our: Shop,
) -> None:
    assert "version v" not in our.done("status shop.py")
    our.add_v3()
    our.declare("linear_model.Perceptron()", "linear_model.Perceptron(l2=0.5)")
    our.declare('"v1": Version', '"v4": Version')
    our.declare('initial_champion="v1"', 'initial_champion="v4"')
    notes = [line for line in our.done("status shop.py").splitlines() if "Note: version" in line]
    assert [line.split()[2] for line in notes] == ["v1", "v2", "v3", "v4"]
    assert "does not declare it" in notes[0]
    assert re.search(
        r"v2 is declared as [0-9a-f]{12}, and the log has it as [0-9a-f]{12}", notes[1]
    )
    assert "stream-app backfill shop.py v3" in notes[2]
    [found] = our.type("status shop.py --json").json()
    assert sum(note.startswith("version ") for note in found["notes"]) == 4


def test_a_definition_that_changes_under_a_built_name_is_neither_built_on_nor_joined(
    our: Shop,
) -> None:
    our.add_v3()
    our.done("backfill shop.py v3")
    built = our.rows("shop.shadow.v3")
    our.declare("PAClassifier()", "PAClassifier(C=0.5)")
    for how in ("", " --dry-run", " --out other.jsonl"):
        assert_error(our.type(f"backfill shop.py v3{how}"), 5, "version v3", "new version name")
    ran = our.type("run shop.py --until-end")
    assert ran.code == 0, ran  # live does not stop over it
    assert "version v3 is declared and not run: its backfill has built another" in ran.err
    assert our.rows("shop.shadow.v3") == built


def test_a_definition_that_changes_under_a_name_that_left_does_not_come_back(our: Shop) -> None:
    our.produce()
    our.done("run shop.py --until-end --drop v2")
    our.declare('Perceptron(), features=["price"]', 'Perceptron(), features=["items"]')
    words = ["until it left", "new version name"]
    assert_error(our.type("backfill shop.py v2"), 5, *words)


# Backfills


def test_a_version_built_from_history_says_what_it_would_have_said_from_the_start(
    our: Shop, from_the_start: Shop
) -> None:
    our.add_v3()
    our.done("backfill shop.py v3")

    def plain(shop: Shop) -> list[Any]:
        """Without when it was appended, which no two logs share: digests name that, and a chain."""
        rows = []
        for key, value, headers in shop.rows("shop.shadow.v3"):
            said = json.loads(value)
            if said["kind"] == "state_digest":
                rows.append(said | {"chain": "", "ts_ms": 0})
            else:
                rows.append((key, value, headers))
        return rows

    built = plain(our)
    assert built == plain(from_the_start)
    in_bytes = our.rows("shop.shadow.v3")
    our.done("backfill shop.py v3", "backfill shop.py v3")
    assert our.rows("shop.shadow.v3") == in_bytes  # twice changes nothing
    for shop in (our, from_the_start):
        shop.produce()
        shop.done("run shop.py --until-end")
    assert plain(our) == plain(from_the_start)
    assert our.rows("shop.predictions") == from_the_start.rows("shop.predictions")
    assert "no difference" in our.done("replay shop.py")


def test_a_backfill_up_to_a_place_says_how_far_behind_live_that_is(our: Shop) -> None:
    """It measured from the place to itself: 0 records behind live."""
    our.add_v3()
    said = our.done("backfill shop.py v3 --to 100")
    assert "built up to shop.events/0@100" in said
    assert "201 records behind live" in said
    again = our.done("backfill shop.py v3 --to 50")
    assert "Nothing to do: v3 of shop is built up to shop.events/0@100 already" in again
    refused = our.type("backfill shop.py v3 --follow --to 200")
    assert_error(refused, 2, "--follow goes on behind live until it is stopped", "--to 200")
    our.done("backfill shop.py v3", "run shop.py --until-end")
    assert "no difference" in our.done("replay shop.py")


@pytest.mark.parametrize("begin", ["latest", "305", "301"])
def test_outputs_of_a_backfill_may_begin_where_live_has_come_to(our: Shop, begin: str) -> None:
    our.add_v3()
    our.produce()  # not processed yet
    said = our.done(f"backfill shop.py v3 --from {begin}")
    assert "its outputs begin at shop.events/0@301" in said
    our.done("run shop.py --until-end")
    rows = [json.loads(value) for _, value, _ in our.rows("shop.shadow.v3")]
    first = min(row["source"]["offset"] for row in rows if row["kind"] == "prediction")
    assert (first, len(our.champions())) == (301, EVENTS + 20)
    assert "no difference" in our.done("replay shop.py")


def test_two_backfills_of_one_version_at_once_are_one_and_a_named_error(our: Shop) -> None:
    our.add_v3()
    first = our.terminal.start(our.directory, "backfill", "shop.py", "v3", "--follow")
    with our.log() as log:
        first.wait_for(lambda: log.owner("shop.ledger.v3", 0) is not None or _built(our))
    assert_error(our.type("backfill shop.py v3"), 4, str(first.pid))
    ended = first.stop(signal.SIGINT)
    assert ended.code == 0, ended
    our.done("backfill shop.py v3", "run shop.py --until-end")
    assert "no difference" in our.done("replay shop.py")


def _built(our: Shop) -> bool:
    return bool(our.status()["partitions"][0]["backfills"])


def test_a_version_that_was_dropped_comes_back_by_a_backfill_and_lacks_nothing(our: Shop) -> None:
    our.produce()
    our.done("run shop.py --until-end --drop v2")
    assert_error(our.type("promote shop v2 --reason x"), 2, "shop/0 has no version 'v2'")
    our.produce()
    ran = our.type("run shop.py --until-end")
    assert "version v2 is declared and not run: it left at offset 301" in ran.err
    our.done("backfill shop.py v2", "run shop.py --until-end", "promote shop v2 --reason back")
    our.produce()
    our.done("run shop.py --until-end")
    assert our.champions() == ["v1"] * (EVENTS + 40) + ["v2"] * 20
    replayed = our.done("replay shop.py")
    assert "no difference" in replayed
    assert "not compared" not in replayed
    said = [json.loads(value) for _, value, _ in our.rows("shop.shadow.v2")]
    offsets = [row["source"]["offset"] for row in said if row["kind"] == "prediction"]
    assert len(offsets) == len(set(offsets)) == EVENTS + 40


# The seat


def test_before_the_first_record_nobody_can_be_promoted(terminal: Terminal, empty: Path) -> None:
    """Any name was taken, and a version that waits for its file became champion."""
    new = Shop(terminal, empty)
    new.done("run shop.py --until-end")
    for version in ("v2", "nobody"):
        refused = new.type(f"promote shop {version} --reason x")
        assert_error(refused, 2, "shop has processed nothing yet", "stream-app run ")
    assert new.rows("shop.events") == []


def test_an_order_wants_a_reason_that_says_something(our: Shop) -> None:
    before = our.rows("shop.events")
    empty = our.terminal.run(our.directory, "promote", "shop", "v2", "--reason", " ")
    assert_error(empty, 2, "--reason is empty")
    assert our.rows("shop.events") == before


def test_an_order_that_takes_one_back_counts_although_nobody_has_read_either(our: Shop) -> None:
    """Found by reading: v1 was champion still, and nothing was said to be changed."""
    our.done("promote shop v2 --reason hasty")
    said = our.done("promote shop v1 --reason sorry")
    assert "not reached yet" in said
    assert "Nobody is at work there" in said
    our.produce()
    our.done("run shop.py --until-end")
    assert our.champions() == ["v1"] * (EVENTS + 20)
    assert "already" in our.done("promote shop v1 --reason again")
    assert "no difference" in our.done("replay shop.py")


def test_a_worker_obeys_an_order_within_a_moment_and_the_old_champion_learns_on(our: Shop) -> None:
    worker = our.terminal.start(our.directory, "run", "shop.py", "--workers", "1")
    with our.log() as log:
        worker.wait_for(lambda: log.owner("shop.ledger", 0) is not None)
    table = our.done("promote shop v2 --reason better")
    assert re.search(r"0 +v2 +shop\.events/0@302 +champion", table)
    busy = our.type("promote shop v1 --reason back --from-committed")
    assert_error(busy, 4, str(worker.pid))
    our.produce()
    worker.wait_for(lambda: len(our.champions()) == EVENTS + 20)
    assert worker.stop().code == 0
    assert our.champions()[-21:] == ["v1"] + ["v2"] * 20
    assert our.status()["partitions"][0]["versions"]["v1"] == EVENTS + 20


@pytest.mark.parametrize("forged", ["unsigned", "another key", "another log"])
def test_an_order_that_nobody_here_has_signed_is_a_dead_letter_and_moves_nothing(
    our: Shop, forged: str, tmp_path: Path
) -> None:
    with our.log() as log:
        manifest = read_manifest(log, "shop")
        order = Control("promote-forged", 1_700_000_400_000, "promote", version="v2")
        thief = forged == "another key"
        home = tmp_path / "thief" if thief else our.directory / ".stream-app/state"
        its = msgspec.structs.replace(manifest, log_id="0" * 32) if not thief else manifest
        if forged != "unsigned":
            order = signed(order, its, StateDirectory(home).signing_key())
        log.append("shop.events", to_every_partition(order, manifest))
    our.produce()
    our.done("run shop.py --until-end")
    assert our.champions() == ["v1"] * (EVENTS + 20)
    reason = "unsigned" if forged == "unsigned" else "bad_signature"
    letters = [json.loads(value)["reason"] for _, value, _ in our.rows("shop.dead-letters")]
    assert letters[-1] == reason
    with our.log() as log:
        commit = committed(log, "shop", 0)
        assert commit is not None
        assert commit.seats == []
    assert "no difference" in our.done("replay shop.py")


def test_an_order_for_a_version_that_was_dropped_in_between_is_refused_and_told(our: Shop) -> None:
    our.done("promote shop v2 --reason better")
    our.produce()
    our.done("run shop.py --until-end --drop v2")
    assert our.champions() == ["v1"] * (EVENTS + 20)
    [change] = our.status()["partitions"][0]["seats"]
    assert change["refused"] == "this partition does not run it"
    with our.log() as log, pytest.raises(SeatRefused, match="did not make v2") as caught:
        cut_overs(log, read_manifest(log, "shop"), "v2", [(0, change["since"] - 1)], wait_s=0)
    assert caught.value.exit_code == 5
    shown = our.done("status shop")
    assert "not given in 1 of 1" in shown
    assert "Note: " in shown
    assert "no difference" in our.done("replay shop.py")


def test_a_worker_of_a_release_that_knows_no_orders_is_named(our: Shop) -> None:
    """Its commit passed the order, and says nothing of it."""
    our.done("promote shop v2 --reason better")
    with our.log() as log:
        found = log.ledger_get("shop.ledger", 0, "commit")
        assert found is not None
        before = decode_commit(found, "shop")
        at = before.next_offset
        passed = msgspec.structs.replace(before, next_offset=at + 1)
        claim = log.claim("shop.ledger", 0)
        claim.publish([], encode_commit(passed), expected=at, next_offset=at + 1)
        claim.release()
        with pytest.raises(SeatRefused, match="does not know it") as caught:
            cut_overs(log, read_manifest(log, "shop"), "v2", [(0, at)], wait_s=0)
    assert caught.value.exit_code == 5
    assert "start one of this release" in caught.value.attempt


def test_an_order_whose_key_was_revoked_a_moment_before_says_so_and_the_next_one_counts(
    our: Shop,
) -> None:
    state = StateDirectory(our.directory / ".stream-app/state")
    with our.log() as log:
        manifest = read_manifest(log, "shop")
        signer = signer_here(log, manifest, state)  # as `promote` does, just before the other one
        our.done("keys shop --rotate")
        places = append_promote(log, manifest, signer, "v2", "better", None)
        our.done("run shop.py --until-end")
        with pytest.raises(SeatRefused, match="'k1' was revoked by a control") as caught:
            cut_overs(log, manifest, "v2", places, wait_s=0)
    assert "promote again" in caught.value.attempt
    our.done("promote shop v2 --reason better", "run shop.py --until-end")
    assert our.status()["partitions"][0]["champion"] == "v2"


def test_a_champion_that_fails_on_every_record_is_relieved_at_the_committed_position(
    our: Shop, terminal: Terminal, tmp_path: Path
) -> None:
    sick = Shop(terminal, tmp_path / "sick")
    sick.directory.mkdir()
    (sick.directory / "shop.py").write_text(SICK)
    sick.produce(30)
    words = ["the champion, failed at shop.events/0@", "--from-committed"]
    for _ in range(2):  # a restart meets the record again
        assert_error(sick.type("run shop.py --until-end"), 5, *words)
    stuck = sick.status()["partitions"][0]["next_offset"]
    table = sick.done("promote shop v2 --reason sick --from-committed")
    assert re.search(rf"0 +v2 +shop\.events/0@{stuck} +champion", table)
    sick.done("run shop.py --until-end")
    assert sick.champions() == ["v1"] * stuck + ["v2"] * (30 - stuck)
    assert "no difference" in sick.done("replay shop.py")
    assert_error(sick.type("promote shop v1 --reason back"), 2, "has failed there")


def test_a_partition_that_has_not_begun_is_told_when_a_stuck_champion_is_relieved(
    terminal: Terminal, tmp_path: Path
) -> None:
    sick = Shop(terminal, tmp_path / "sick")
    sick.directory.mkdir()
    text = SICK.replace("digest_every", 'model_per="partition",\n    digest_every')
    (sick.directory / "shop.py").write_text(text)
    rows = [observation(i, label=i % 3 == 0) | {"key": "one"} for i in range(30)]
    sent = sick.type("produce shop.py --partitions 2", json_lines(*rows))
    assert sent.code == 0, sent
    order = "promote shop v2 --reason sick"
    assert_error(sick.type(f"{order} --from-committed"), 2, "processed nothing", "stream-app run ")
    assert sick.type("run shop.py --until-end").code == 5
    table = sick.done(f"{order} --from-committed")
    states = {line.split()[1]: line.split()[3] for line in table.splitlines()[1:3]}
    assert states == {"v2": "champion", "v1": "not"}
    assert "1 of 2 partitions has processed nothing yet and will begin with v1" in table
    again = sick.done(f"{order} --from-committed")
    assert "not begun" in again
    assert "1 of 2 partitions has not read it yet" not in again
    sick.done(order, "run shop.py --until-end")
    assert [row["champion"] for row in sick.status()["partitions"]] == ["v2", "v2"]


def test_a_log_whose_outputs_of_a_cut_over_are_gone_still_replays(our: Shop) -> None:
    our.done("promote shop v2 --reason better")
    our.produce()
    our.done("run shop.py --until-end", "retain shop --days 0")
    assert our.rows("shop.predictions") == []
    assert "no difference" in our.done("replay shop.py")
    our.produce()
    our.done("run shop.py --until-end")
    assert our.champions() == ["v2"] * 20
    assert "no difference" in our.done("replay shop.py")
