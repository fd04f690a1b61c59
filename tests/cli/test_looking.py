"""Commands that look at a log that was run: nobody may be disturbed, every figure must be right."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from stream_app.hosts.manifests import pipelines
from stream_app.storage.memory_log import MemoryLog
from tests.cli.conftest import DECLARATION, EVENTS, json_lines, observation
from tests.cli.terminal import PROGRAM, Terminal, assert_error
from tests.storage.tampering import forge, sql

LOG = ".stream-app/log.db"


def test_consume_prints_outputs_as_they_are_published(prepared: Path, terminal: Terminal) -> None:
    rows = terminal.run(prepared, "consume", "shop.predictions").json()
    assert [row["observation_id"] for row in rows] == [f"o{i}" for i in range(EVENTS)]
    assert rows[0]["source"] == {"topic": "shop.events", "partition": 0, "offset": 0}


def test_consume_begins_where_it_is_told(prepared: Path, terminal: Terminal) -> None:
    def ids(*more: str) -> list[str]:
        rows = terminal.run(prepared, "consume", "shop.predictions", *more).json()
        return [row["observation_id"] for row in rows]

    assert ids("--from", "298") == ["o298", "o299"]
    assert ids("--from", "shop.predictions/0@10", "--limit", "2") == ["o10", "o11"]
    assert ids("--from", "latest") == []
    assert ids("--limit", "0") == []


def test_consume_wraps_records_with_their_metadata(prepared: Path, terminal: Terminal) -> None:
    arguments = ("consume", "shop.predictions", "--limit", "1", "--with-metadata")
    [row] = terminal.run(prepared, *arguments).json()
    assert row["position"] == "shop.predictions/0@0"
    assert row["key"] == "o0"
    assert row["headers"]["source"] == "shop.events/0@0"
    assert row["value"]["observation_id"] == "o0"


def test_consume_names_the_near_topic(prepared: Path, terminal: Terminal) -> None:
    assert_error(terminal.run(prepared, "consume", "shop.prediction"), 2, "Try: shop.predictions")
    wrong = terminal.run(prepared, "consume", "shop.predictions", "--from", "shop.events/0@1")
    assert_error(wrong, 2, "not in shop.predictions")


def test_head_takes_one_line_and_nothing_breaks(prepared: Path) -> None:
    done = subprocess.run(
        [
            "/bin/bash",
            "-c",
            f"{PROGRAM} consume shop.predictions | head -1; echo ${{PIPESTATUS[0]}}",
        ],
        cwd=prepared,
        capture_output=True,
        text=True,
        check=True,
    )
    first, code = done.stdout.splitlines()
    assert json.loads(first)["observation_id"] == "o0"
    assert (code, done.stderr) == ("0", "")


def test_status_counts_what_happened(prepared: Path, terminal: Terminal) -> None:
    [found] = terminal.run(prepared, "status", "shop", "--json").json()
    [partition] = found["partitions"]
    assert partition["next_offset"] == partition["end"] == EVENTS + 1
    assert partition["lag"] == 0
    assert partition["owner"] is None
    assert partition["champion"] == "v1"
    assert partition["versions"] == {"v1": EVENTS, "v2": EVENTS}
    assert partition["counters"]["dead_letters"] == 1
    assert partition["checkpoint"]["next_offset"] == EVENTS + 1
    assert found["log_bytes"] > 0
    sizes = {row["topic"]: row["records"] for row in found["topics"]}
    assert (sizes["shop.events"], sizes["shop.predictions"]) == (EVENTS + 1, EVENTS)


def test_status_shows_all_pipelines_and_plain_text_in_a_pipe(
    prepared: Path, terminal: Terminal
) -> None:
    shown = terminal.run(prepared, "status")
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert "champion" in shown.out
    assert "  nobody\n" in shown.out


def test_status_of_a_file_shows_the_seeds_and_of_a_wrong_name_the_right_one(
    prepared: Path, terminal: Terminal
) -> None:
    [found] = terminal.run(prepared, "status", "shop.py", "--json").json()
    assert set(found["seeds"]) == {"v1", "v2"}
    for command in ("status", "dead-letters", "checkpoints", "produce"):  # in the same words
        wrong = terminal.run(prepared, command, "shpo")
        assert_error(wrong, 2, "has no pipeline 'shpo'; it has shop", "Try: shop\n")


def test_status_does_not_say_that_there_is_no_checkpoint_where_it_cannot_read_it(
    shop: Path, terminal: Terminal
) -> None:
    for current in shop.rglob("CURRENT"):
        current.write_text("MANIFEST-999999\n")
    shown = terminal.run(shop, "status")
    assert (shown.code, "none here" in shown.out, "not readable" in shown.out) == (0, False, True)


def test_status_spells_out_what_misplaced_records_come_from(shop: Path, terminal: Terminal) -> None:
    [(value,)] = sql(shop / LOG, "SELECT value FROM ledger WHERE key = 'commit'")
    commit = json.loads(value)
    commit["counters"] |= {"misplaced": 12, "keys_differ": 3}
    changed = json.dumps(commit).encode()
    sql(shop / LOG, "UPDATE ledger SET value = ? WHERE key = 'commit'", [changed])
    notes = terminal.run(shop, "status", "shop").out
    assert "murmur2_random" in notes
    assert "3 records with another key" in notes


def test_status_counts_features_that_nobody_declared_and_guesses_which_were_meant(
    empty: Path, terminal: Terminal
) -> None:
    text = (empty / "shop.py").read_text().replace('"items": int', '"items": int | None')
    (empty / "shop.py").write_text(text)
    for first in (0, 10):  # the second run goes on from a checkpoint
        features = {"price": 1.0, "country": "DE", "itmes": 3, "weekend": "red"}
        rows = [observation(first + i) | {"features": features} for i in range(10)]
        assert terminal.run(empty, "produce", "shop.py", stdin=json_lines(*rows)).code == 0
        assert terminal.run(empty, "run", "shop.py", "--until-end").code == 0
    [found] = terminal.run(empty, "status", "shop", "--json").json()
    assert found["partitions"][0]["undeclared"] == {"itmes": 20, "weekend": 20}
    shown = terminal.run(empty, "status", "shop").out
    assert "feature itmes came with 20 events and is not declared" in shown
    assert shown.count("did you mean") == shown.count("did you mean items?") == 1


def test_dead_letters_say_where_and_why(prepared: Path, terminal: Terminal) -> None:
    shown = terminal.run(prepared, "dead-letters", "shop")
    head, row = shown.out.splitlines()
    assert head.split() == ["POSITION", "REASON", "FIELD", "DETAIL", "ORIGINAL"]
    assert f"shop.events/0@{EVENTS}" in row
    assert "features.price" in row
    [letter] = terminal.run(prepared, "dead-letters", "shop", "--json").json()
    assert letter["reason"] in row
    none = terminal.run(prepared, "dead-letters", "shop", "--reason", "wrong_tpye")
    assert (none.code, none.out) == (0, "")
    assert "no dead letters with the reason 'wrong_tpye'; there are wrong_type." in none.err


def test_checkpoints_are_opened_blob_by_blob(prepared: Path, terminal: Terminal) -> None:
    [row] = terminal.run(prepared, "checkpoints", "shop", "--verify", "--json").json()
    assert row["problem"] is None
    seen = row["checkpoint"]
    assert seen["next_offset"] == EVENTS + 1
    assert seen["versions"] == ["v1", "v2"]
    assert seen["blobs"] == 4  # a model and its reporting, for each version
    assert seen["bytes"] > 0
    assert "4 blobs opened" in terminal.run(prepared, "checkpoints", "shop", "--verify").out


def test_a_checkpoint_sealed_under_another_key_needs_a_person(
    shop: Path, terminal: Terminal
) -> None:
    key = shop / ".stream-app/state/keys/seal.key"
    key.write_bytes(bytes(32))
    assert terminal.run(shop, "checkpoints", "shop").code == 0
    ended = terminal.run(shop, "checkpoints", "shop", "--verify")
    assert_error(ended, 5, "sealed with another key")
    assert "cannot be trusted" in ended.out


def test_replay_of_what_live_published_finds_no_difference(
    prepared: Path, terminal: Terminal
) -> None:
    [report] = terminal.run(prepared, "replay", "shop.py", "--json").json()
    assert report["difference"] is None
    assert report["outputs"]["shop.predictions"] == EVENTS
    assert report["digests"] == 3 * (EVENTS // 100)
    assert "no difference" in terminal.run(prepared, "replay", "shop.py").out


def test_replay_names_the_first_output_that_was_tampered_with(
    shop: Path, terminal: Terminal
) -> None:
    [(place, value)] = [
        (place, value)
        for place, value in sql(shop / LOG, "SELECT position, value FROM records")
        if b"shop/v1/0@123/prediction" in value
    ]
    probability = json.loads(value)["probability"]
    forged = value.replace(str(probability).encode(), b"0.75")
    assert forged != value
    forge(shop / LOG, "UPDATE records SET value = ? WHERE position = ?", [forged, place])
    ended = terminal.run(shop, "replay", "shop.py", "--json")
    assert_error(ended, 3, "shop.predictions/0@123", "probability", "0.75", str(probability))
    assert ended.json()[0]["difference"]["field"] == "probability"


def test_apply_shows_a_changed_setting_and_puts_it_into_force(
    shop: Path, terminal: Terminal
) -> None:
    assert "nothing to apply" in terminal.run(shop, "apply", "shop.py").out
    (shop / "shop.py").write_text(DECLARATION.replace("evaluate_every=50", "evaluate_every=60"))
    assert_error(terminal.run(shop, "run", "shop.py", "--until-end"), 5, "apply")
    dry = terminal.run(shop, "apply", "shop.py", "--dry-run")
    assert dry.out.splitlines()[1].split() == ["reporting.evaluate_every", "50", "60"]
    [done] = terminal.run(shop, "apply", "shop.py", "--json").json()
    assert done["in_force_from"] == [f"shop.events/0@{EVENTS + 2}"]
    assert terminal.run(shop, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(shop, "replay", "shop.py").code == 0
    [found] = terminal.run(shop, "status", "shop", "--json").json()
    assert found["partitions"][0]["counters"]["controls"] == 1


def test_apply_refuses_settings_that_the_versions_in_the_log_could_not_run_with(
    shop: Path, terminal: Terminal
) -> None:
    # Such a control could not be taken back: no file would have both its settings and versions.
    (shop / "shop.py").write_text(
        DECLARATION.replace("evaluate_every=50", "evaluate_every=60").replace("l2=0.1", "l2=0.2")
    )
    assert_error(terminal.run(shop, "apply", "shop.py"), 2, "v1", "features=")
    (shop / "shop.py").write_text(DECLARATION)
    assert terminal.run(shop, "run", "shop.py", "--until-end").code == 0


def test_apply_with_the_state_of_others_needs_a_person(shop: Path, terminal: Terminal) -> None:
    (shop / "shop.py").write_text(DECLARATION.replace("evaluate_every=50", "evaluate_every=60"))
    assert_error(terminal.run(shop, "apply", "shop.py", "--state", "elsewhere"), 5, "--state")


def test_a_definition_that_changed_under_its_name_needs_a_person(
    shop: Path, terminal: Terminal
) -> None:
    (shop / "shop.py").write_text(DECLARATION.replace("l2=0.1", "l2=0.2"))
    assert_error(terminal.run(shop, "run", "shop.py", "--until-end"), 5, "v1", "under a new")


def test_a_log_that_may_not_be_written_is_a_matter_of_surroundings(
    shop: Path, terminal: Terminal
) -> None:
    locks = shop / f"{LOG}.locks"
    for file in locks.iterdir():
        file.unlink()
    locks.rmdir()
    locks.write_text("no directory")
    assert_error(terminal.run(shop, "run", "shop.py", "--until-end"), 4, "lock")


def test_sigterm_ends_a_command_that_follows_with_0_and_ctrl_c_with_130(
    prepared: Path, terminal: Terminal
) -> None:
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        following = terminal.start(prepared, "consume", "shop.predictions", "--follow")
        following.wait_for(lambda: len(following.lines()) == EVENTS)  # noqa: B023 - called here
        ended = following.stop(number)
        assert (ended.code, ended.err) == (code, "")


def test_a_topic_of_others_that_is_named_like_events_is_no_pipeline() -> None:
    log = MemoryLog()
    log.create_topics({"orders.events": 1, "shop.events": 1, "shop.predictions": 1})
    assert pipelines(log) == ["shop"]


def test_consume_of_a_pipelines_name_names_the_topic_of_its_predictions(
    shop: Path, terminal: Terminal
) -> None:
    assert_error(terminal.run(shop, "consume", "shop"), 2, "no topic shop", "shop.predictions")


def test_who_follows_a_topic_that_is_not_there_yet_hears_which_one_may_be_meant(
    shop: Path, terminal: Terminal
) -> None:
    following = terminal.start(shop, "consume", "shop.prediction", "--follow")
    following.wait_for(lambda: "\n" in following.err())
    said = following.stop().err
    assert said.startswith("Waiting for shop.prediction, which ")
    assert "(Ctrl-C ends it); did you mean shop.predictions?\n" in said


def test_a_file_of_events_in_place_of_the_pipelines_is_told_as_no_python_file(
    shop: Path, terminal: Terminal
) -> None:
    (shop / "events.jsonl").write_text("")
    for command in ("run", "status", "replay"):
        ended = terminal.run(shop, command, "events.jsonl")
        assert_error(ended, 2, "events.jsonl is no Python file", "declares the pipeline")
