"""`stream-app keys`: shows who may sign controls, and changes it by a record."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream_app.core.log import Log
from stream_app.errors import LogBusy
from stream_app.hosts import signing_keys
from stream_app.hosts.controls import Signer, append_keys, append_settings
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import newest_keys, read_manifest, settings_in_force
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.state_directory import StateDirectory
from tests.cli.conftest import DECLARATION
from tests.cli.terminal import Terminal, assert_error

NEW = DECLARATION.replace("evaluate_every=50", "evaluate_every=60")


def states(rows: list[Any]) -> dict[str, str]:
    return {row["name"]: row["state"] for row in rows}


def test_a_rotated_key_signs_what_is_applied_and_replay_finds_no_difference(
    shop: Path, terminal: Terminal
) -> None:
    [first] = terminal.run(shop, "keys", "shop", "--json").json()
    assert (first["name"], first["state"], first["reached"]) == ("k1", "in force", [0])
    rows = terminal.run(shop, "keys", "shop", "--rotate", "--json").json()
    assert states(rows) == {"k1": "revoked", "k2": "in force"}
    assert [row["reached"] for row in rows] == [[], []]
    file = shop / rows[1]["file"]
    assert file.name == "control-shop-k2.key"
    assert file.stat().st_mode & 0o777 == 0o600
    (shop / "shop.py").write_text(NEW)
    assert terminal.run(shop, "apply", "shop.py").code == 0
    assert terminal.run(shop, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(shop, "replay", "shop.py").code == 0
    [found] = terminal.run(shop, "status", "shop", "--json").json()
    assert found["partitions"][0]["counters"]["controls"] == 2
    rows = terminal.run(shop, "keys", "shop", "--json").json()
    assert [row["reached"] for row in rows] == [[0], [0]]
    shown = terminal.run(shop, "keys", "shop.py").out.splitlines()
    assert shown[1].split()[:2] == ["k1", "revoked"]


def test_revoking_the_last_key_or_an_unknown_one_is_refused_and_writes_nothing(
    shop: Path, terminal: Terminal
) -> None:
    assert_error(terminal.run(shop, "keys", "shop", "--revoke", "k1"), 2, "the last key")
    assert_error(terminal.run(shop, "keys", "shop", "--revoke", "k7"), 2, "k7", "no such key")
    assert_error(terminal.run(shop, "keys", "shop", "--rotate", "--revoke", "k1"), 2, "--rotate")
    rows = terminal.run(shop, "keys", "shop", "--json").json()
    assert states(rows) == {"k1": "in force"}


def test_keys_with_the_state_of_others_needs_a_person_and_makes_no_key_there(
    shop: Path, terminal: Terminal
) -> None:
    ended = terminal.run(shop, "keys", "shop", "--rotate", "--state", "elsewhere")
    assert_error(ended, 5, "--state", "k1")
    assert not (shop / "elsewhere").exists()


@pytest.fixture
def log(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(shop)
    with closing(open_broker("sqlite:///.stream-app/log.db")) as opened:
        yield opened


def test_who_dies_between_file_and_record_takes_the_same_file_the_next_time(log: Log) -> None:
    state = StateDirectory(Path(".stream-app/state"))
    made = state.next_signing_key("shop", "k2")  # and here it died
    assert signing_keys.rotate(log, "shop", state, None) == "k2"
    manifest = read_manifest(log, "shop")
    assert signing_keys.signer_here(log, manifest, state) == Signer("k2", made)
    assert signing_keys.rotate(log, "shop", state, None) == "k3"


def test_two_who_rotate_at_once_do_not_both_succeed(log: Log) -> None:
    state = StateDirectory(Path(".stream-app/state"))
    manifest = read_manifest(log, "shop")
    keys, signer = newest_keys(log, manifest), signing_keys.signer_here(log, manifest, state)
    signing_keys.rotate(log, "shop", state, None)
    with pytest.raises(LogBusy, match="somebody else"):
        append_keys(log, manifest, signer, keys, {"k2": "00" * 32}, None)


def test_settings_signed_just_before_their_key_was_revoked_come_into_force_all_the_same(
    log: Log, terminal: Terminal
) -> None:
    state = StateDirectory(Path(".stream-app/state"))
    for name in ("shop.py", "shop_anew.py"):  # a module's name is its own within this process
        Path(name).write_text(NEW)
    new, manifest = load_pipeline("shop_anew.py").settings(), read_manifest(log, "shop")
    asked: list[str] = []

    def signer() -> Signer:
        found = signing_keys.signer_here(log, manifest, state)
        if not asked:
            signing_keys.rotate(log, "shop", state, None)
        asked.append(found.name)
        return found

    old = settings_in_force(log, manifest)
    append_settings(log, manifest, signer, old, new, None)
    assert asked == ["k1", "k2", "k2"]
    assert terminal.run(Path.cwd(), "run", "shop.py", "--until-end").code == 0
    [found] = terminal.run(Path.cwd(), "status", "shop", "--json").json()
    assert (found["settings_pending"], found["partitions"][0]["counters"]["controls"]) == (False, 2)
    assert terminal.run(Path.cwd(), "replay", "shop.py").code == 0
