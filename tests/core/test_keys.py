"""Keys in force are a part of the fold: `key` controls change them, and old records keep theirs."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import public_key
from stream_app.core.authority import IN_FORCE_MAX, Keys
from stream_app.core.commit import decode_commit
from stream_app.core.position import Position
from stream_app.core.rehearsal import SEAL, any_time
from stream_app.core.topics import Topics
from stream_app.errors import StateUntrusted
from stream_app.events import Control, Refusal
from stream_app.hosts.controls import Signer, append_keys, signed, to_every_partition
from stream_app.hosts.driver import _TEST_KEY, Driver
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.hosts.replay import replay
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from tests.core.history import PRIVATE_KEY, Entry, History, Outcome, values
from tests.core.test_settings import declare, labelled

NAMES = ["k1", "k2", "k3", "k4"]


def private(name: str) -> bytes:
    """Return the private key of a name; `k1` is the manifest's."""
    return PRIVATE_KEY if name == "k1" else hashlib.sha256(name.encode()).digest()


def public(name: str) -> str:
    return public_key(private(name)).hex()


def by(history: History, signer: str, control: Control) -> Entry:
    """Return the record of a control that a key has signed."""
    event = signed(control, history.manifest, private(signer), signer)
    return Entry(encode_event(event).value, None, 1_000_000)


def keys(number: int, **changes: str | None) -> Control:
    named = {name: None if key is None else public(key) for name, key in changes.items()}
    return Control(f"key-{number}", 5, "key", public_keys=named)


def time(number: int) -> Control:
    return Control(f"time-{number}", 5 + number, "time")


def reasons(outcome: Any) -> list[str]:
    return [row["reason"] for row in values(outcome, "dead-letters")]


def of(*rows: tuple[str, Control]) -> History:
    history = History(declare())
    history.entries = [by(history, signer, control) for signer, control in rows]
    return history


def test_a_key_signs_from_the_record_after_its_control_on_and_not_before() -> None:
    history = of(("k2", time(1)), ("k1", keys(1, k2="k2")), ("k2", time(2)), ("k1", time(3)))
    outcome = history.fold()
    assert reasons(outcome) == ["unknown_key"]
    assert outcome.counters.controls == 3


def test_a_revoked_key_signs_nothing_more_and_what_it_signed_before_stands() -> None:
    history = of(("k1", time(1)), ("k1", keys(1, k2="k2", k1=None)), ("k1", time(2)))
    history.entries.append(by(history, "k2", time(3)))
    outcome = history.fold()
    assert reasons(outcome) == ["revoked_key"]
    assert outcome.counters.controls == 3


def test_a_copied_old_control_does_nothing_whoever_signed_it() -> None:
    rotated = [("k1", time(1)), ("k1", keys(1, k2="k2", k1=None)), ("k2", keys(2, k3="k3"))]
    history = of(*rotated, *rotated, ("k3", time(4)))
    outcome = history.fold()
    assert (reasons(outcome), outcome.counters.controls) == ([], 4)


def test_a_forged_copy_of_an_old_control_is_a_dead_letter_still() -> None:
    history = of(("k1", time(1)), ("k1", keys(1, k2="k2", k1=None)))
    forged = signed(time(1), history.manifest, private("k3"), "k1")
    history.entries.append(Entry(encode_event(forged).value, None, 1_000_000))
    assert reasons(history.fold()) == ["bad_signature"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (None, "names the keys to add"),
        ({}, "names the keys to add"),
        ({"k1": None}, "the last key"),
        ({"k9": None}, "no such key is in force"),
        ({"k1": "00" * 32}, "for ever"),
        ({"K2": "00" * 32}, "lower-case letters"),
        ({"k2\n": "00" * 32}, "lower-case letters"),
        ({"k" * 33: "00" * 32}, "1 to 32"),
        ({"k2": "00" * 31}, "64 lower-case hexadecimal"),
        ({"k2": "AA" * 32}, "64 lower-case hexadecimal"),
        ({"k2": 7}, "64 lower-case hexadecimal"),
        ({"k2": ["00" * 32]}, "64 lower-case hexadecimal"),
        ({"k2": "00" * 32, "k3": "00" * 32}, "one key under two names"),
        ({f"n{i}": f"{i:064x}" for i in range(IN_FORCE_MAX)}, "at most"),
    ],
)
def test_a_change_that_cannot_be_is_a_dead_letter_and_changes_nothing(
    changes: Any, what: str
) -> None:
    history = of(("k1", Control("c", 5, "key", public_keys=changes)), ("k1", time(1)))
    calm = of(("k1", time(1)))
    outcome = history.fold([1, "save", "crash"])
    [letter] = values(outcome, "dead-letters")
    assert letter["reason"] == "bad_keys"
    assert what in letter["detail"]
    assert outcome.counters.controls == calm.fold().counters.controls == 1


def test_a_revoked_name_or_key_never_comes_back() -> None:
    history = of(
        ("k1", keys(1, k2="k2", k1=None)),
        ("k2", keys(2, k1="k1")),
        ("k2", keys(3, k5="k1")),
        ("k2", keys(4, k1="k3")),
    )
    outcome = history.fold()
    assert reasons(outcome) == ["bad_keys"] * 3


def test_states_and_commits_without_key_controls_have_no_word_of_keys() -> None:
    assert "keys" not in msgspec.msgpack.decode(_position(of(("k1", time(1)))).encode())
    with Driver(declare()) as driver:
        driver.send(*labelled(0, 4))
        commit = driver.log.ledger_get(Topics("p").ledger, 0, "commit")
    assert commit is not None
    assert b'"keys"' not in commit


def _position(history: History) -> Position:
    row = history.fold([100, "save"]).rows["position"][b"position"]
    return msgspec.msgpack.decode(row, type=Position)


def test_keys_are_in_the_checkpoint_and_in_every_state_digest_after_their_control() -> None:
    history = History(declare(digest_every=1))
    history.entries = [by(history, "k1", time(1))]
    before = history.fold([100, "save"])
    assert _digest(before) == before.acceptance.hex()
    history.entries.append(by(history, "k1", keys(1, k2="k2", k1=None)))
    after = history.fold()
    assert _digest(after) != after.acceptance.hex()
    assert _position(history).keys == Keys({"k2": public("k2")}, {"k1": public("k1")})


def _digest(outcome: Outcome) -> str:
    """Return the newest published digest of what no version has."""
    rows = [row for row in values(outcome, "evaluations") if row["kind"] == "state_digest"]
    digest: str = [row["digest"] for row in rows if "version" not in row][-1]
    return digest


def test_replay_judges_old_records_by_the_keys_of_then() -> None:
    with Driver(declare()) as driver:
        driver.send(*labelled(0, 20))
        manifest = driver._manifest

        def send(control: Control, key: bytes, name: str) -> None:
            driver.send_bytes(encode_event(signed(control, manifest, key, name)).value)

        send(Control("t1", 30, "time"), _TEST_KEY, "k1")
        send(keys(1, k2="k2", k1=None), _TEST_KEY, "k1")
        driver.crash()
        send(Control("t2", 31, "time"), _TEST_KEY, "k1")
        send(Control("t3", 32, "time"), private("k2"), "k2")
        driver.send(*labelled(40, 60))
        assert driver.counters.controls == 3
        found = driver.log.ledger_get(Topics("p").ledger, 0, "commit")
        assert found is not None
        assert decode_commit(found, "p").keys == Keys(
            {"k2": public("k2")}, {"k1": manifest.public_keys["k1"]}
        )
        report = replay(driver.log, driver.pipeline, manifest, 0)
        assert report.difference is None
        assert report.digests > 0


def test_a_checkpoint_with_other_keys_than_the_commit_needs_a_person() -> None:
    with Driver(declare()) as driver:
        driver.send(*labelled(0, 9))
        driver.checkpoint()
        store: MemoryStore = driver._store
        rows = store._families["position"]
        position = msgspec.msgpack.decode(rows[b"position"], type=Position)
        planted = Keys({"k1": public("k4")}, {})
        rows[b"position"] = msgspec.structs.replace(position, keys=planted).encode()
        with pytest.raises(StateUntrusted, match="other keys"):
            driver.crash()


changes: Any = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.none(), st.sampled_from(NAMES)), min_size=1, max_size=3
)
orders: Any = st.one_of(
    st.tuples(st.just("key"), st.integers(0, 5), changes),
    st.tuples(st.just("time"), st.integers(0, 5), st.just({})),
)


class SimpleKeys:
    """Who may sign, as simply as it can be said."""

    def __init__(self) -> None:
        self.status = {"k1": True}
        self.key_of = {"k1": "k1"}
        self.acted: set[str] = set()

    def take(self, signer: str, action: str, number: int, named: dict[str, str | None]) -> str:
        known = f"{action}-{number}" in self.acted
        if signer not in self.status:
            return "unknown_key"
        # A name may stand for the key of another: then this signature is not that key's.
        if self.key_of[signer] != signer:
            return "bad_signature"
        if known:
            return "nothing"
        if not self.status[signer]:
            return "revoked_key"
        if action == "key" and not self.change(named):
            return "bad_keys"
        self.acted.add(f"{action}-{number}")
        return "acts"

    def change(self, named: dict[str, str | None]) -> bool:
        status, key_of = dict(self.status), dict(self.key_of)
        for name, key in named.items():
            if key is None:
                if not status.get(name):
                    return False
                status[name] = False
            else:
                if name in self.status or key in self.key_of.values():
                    return False
                status[name], key_of[name] = True, key
        if not any(status.values()) or len(set(key_of.values())) < len(key_of):
            return False
        self.status, self.key_of = status, key_of
        return True


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES[:3]), orders), max_size=25),
    st.lists(st.one_of(st.integers(1, 6), st.sampled_from(["save", "crash"])), max_size=8),
)
def test_keys_change_as_simply_said_whatever_is_sent_and_wherever_it_crashes(
    rows: list[Any], steps: list[Any]
) -> None:
    simple = SimpleKeys()
    history, expected = History(declare()), []
    for signer, (action, number, named) in rows:
        control = keys(number, **named) if action == "key" else time(number)
        history.entries.append(by(history, signer, control))
        expected.append(simple.take(signer, action, number, named))
    outcome = history.fold(steps)
    assert reasons(outcome) == [said for said in expected if said not in ("acts", "nothing")]
    assert outcome.counters.controls == expected.count("acts")
    assert outcome == history.fold()


def test_keys_are_refused_by_name_without_a_log_too() -> None:
    with pytest.raises(Refusal) as caught:
        Keys({"k1": "00" * 32}, {}).changed({"k1": None})
    assert (caught.value.reason, caught.value.field) == ("bad_keys", "public_keys")


def test_each_partition_changes_keys_at_its_own_record() -> None:
    log, pipeline = MemoryLog(log_id="two"), declare(model_per="partition")
    first = {"k1": public("k1")}
    manifest = register(
        log, pipeline, lambda: first, partitions=2, settings=any_time(pipeline.settings())
    )
    events = Topics(pipeline.name).events
    # One partition has records before the change, the other has none.
    for offset, event in enumerate(labelled(0, 3)):
        log.append_at(events, 1, offset, 1000, b"k", encode_event(event).value)
    signer, old = Signer("k1", private("k1")), Keys(first, {})
    places = append_keys(log, manifest, signer, old, {"k2": public("k2"), "k1": None}, None)
    later = Signer("k2", private("k2")).signed(time(1), manifest)
    log.append(events, to_every_partition(later, manifest))
    assert sorted(places) == [(0, 0), (1, 3)]
    for partition in (0, 1):
        store: Any = MemoryStore
        host = PartitionHost(
            log,
            pipeline,
            manifest,
            partition,
            open_store=store,
            seal=SEAL,
        )
        while host.step():
            pass
        assert host.processor.authority.keys.in_force == {"k2": public("k2")}
        assert host.processor.acceptance.counters.controls == 2
        host.close()
