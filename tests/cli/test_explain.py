"""`explain`, tests that it prints, and what is done to kept checkpoints, from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import DECLARATION, EVENTS, json_lines, observation
from tests.cli.terminal import Ended, Terminal, assert_error
from tests.storage.tampering import forge, sql

LOG = ".stream-app/log.db"
MODEL = "tree.HoeffdingTreeClassifier(grace_period=20)"
KEEPING = (
    DECLARATION.replace(
        "linear_model, metrics, preprocessing", "linear_model, metrics, preprocessing, tree"
    )
    .replace("Labels, Pipeline, Version", "Keep, Labels, Pipeline, Version")
    .replace("linear_model.Perceptron()", MODEL)
    .replace(
        "    evaluate_every=50,",
        "    evaluate_every=50,\n    checkpoints=Keep(records=100, at_most=5),",
    )
)
LABELLED = 150


@pytest.fixture(scope="module")
def kept(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that ran over its log in three goes; look only."""
    directory = tmp_path_factory.mktemp("kept")
    (directory / "shop.py").write_text(KEEPING)
    rows: list[object] = []
    for i in range(EVENTS):
        rows.append(observation(i))
        if i < LABELLED:
            label = {"kind": "label", "id": f"o{i}", "ts_ms": observation(i)["ts_ms"]}
            rows.append(label | {"label": i * 37 % 101 > 50})
    rows.append(observation(999) | {"features": {"price": "cheap"}})
    third = len(rows) // 3
    for start in range(0, len(rows), third + 1):
        text = json_lines(*rows[start : start + third + 1])
        sent = terminal.run(directory, "produce", "shop.py", "--send-bad", stdin=text)
        assert sent.code == 0, sent
        assert terminal.run(directory, "run", "shop.py", "--until-end").code == 0
    return directory


@pytest.fixture
def own(kept: Path, tmp_path: Path) -> Path:
    """A copy to change at will."""
    return Path(shutil.copytree(kept, tmp_path / "shop"))


def _tested(directory: Path, printed: Ended, name: str = "test_printed.py") -> str:
    """Run what was printed as a test, as a person would."""
    assert printed.code == 0, printed
    (directory / name).write_text(printed.out)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return printed.out


def test_explain_shows_what_a_person_wants_to_know(kept: Path, terminal: Terminal) -> None:
    shown = terminal.run(kept, "explain", "shop.py", "o140")
    assert shown.code == 0, shown
    for words in (
        "shop.events/0@280  observation o140",
        "equal, to the bit, to what is in shop.predictions",
        "learned from 140 examples",
        "StandardScaler",
        "(intercept)",
        "= log-odds",
        "label: false, 0 s after it, at shop.events/0@281",
        "folded",
    ):
        assert words in shown.out


def test_position_id_and_the_ids_of_outputs_name_the_same(kept: Path, terminal: Terminal) -> None:
    names = (
        "o140",
        "0@280",
        "shop.events/0@280",
        "shop/v1/0@280/prediction",
        "shop.predictions/0@140",
    )
    found = [terminal.run(kept, "explain", "shop.py", name, "--json").json() for name in names]
    assert all(one == found[0] for one in found)
    assert found[0][0]["same"] == "equal"


def test_a_tree_shows_its_path_and_what_it_would_say_without_a_feature(
    kept: Path, terminal: Terminal
) -> None:
    [found] = terminal.run(kept, "explain", "shop.py", "o290", "--version", "v2", "--json").json()
    assert found["topic"] == "shop.shadow.v2"
    assert found["same"] == "equal"
    [path] = found["look"]["trees"]
    assert all("price" in split["taken"] for split in path["splits"])
    assert sum(path["leaf"].values()) > 0
    assert [row["feature"] for row in found["look"]["without"]] == ["price"]
    assert "tree: " in terminal.run(kept, "explain", "shop.py", "o290", "--version", "v2").out


def test_what_became_of_the_label_is_told(kept: Path, terminal: Terminal) -> None:
    [joined] = terminal.run(kept, "explain", "shop.py", "o10", "--json").json()
    assert joined["label"]["state"] == "joined"
    [waits] = terminal.run(kept, "explain", "shop.py", "o200", "--json").json()
    assert waits["label"] == {"state": "waits"}


def test_what_is_no_prediction_is_told_by_what_it_is(kept: Path, terminal: Terminal) -> None:
    def refused(*arguments: str) -> Ended:
        return terminal.run(kept, "explain", "shop.py", *arguments)

    end = EVENTS + LABELLED + 1
    assert_error(
        refused("0@281"),
        2,
        "is a label, of the observation 'o140'",
        "stream-app explain shop.py o140",
    )
    assert_error(refused(f"0@{end}"), 2, "not processed yet", f"before {end}")
    assert_error(refused("0@99999999"), 2, "not processed yet")
    assert_error(refused("1@0"), 2, "no partition 1")
    assert_error(refused("oo140"), 2, "no prediction for an observation 'oo140'", "did you mean")
    for mistyped in ("0@x", "0@-1", "0@1,234", "shop.events/0@"):
        assert_error(
            refused(mistyped), 2, f"'{mistyped}' is no position", "Try: shop.events/0@1234"
        )
    assert_error(refused("shp.events/0@280"), 2, "is no topic of shop", "Try: shop.events/0@280")
    assert_error(refused("o1", "--version", "v22"), 2, "no version 'v22'", "did you mean v2")
    assert_error(refused("shop.predictionz/0@1"), 2, "is no topic", "Try: shop.predictions/0@1")
    letter = refused(f"0@{end - 1}")
    assert letter.code == 0
    assert "wrong_type in features.price" in letter.out
    assert refused(f"0@{end - 1}", "--json").json()[0]["letter"]["reason"] == "wrong_type"


def test_a_control_is_told_by_its_action(own: Path, terminal: Terminal) -> None:
    (own / "shop.py").write_text(KEEPING.replace("evaluate_every=50", "evaluate_every=60"))
    assert terminal.run(own, "apply", "shop.py").code == 0
    assert terminal.run(own, "run", "shop.py", "--until-end").code == 0
    position = f"0@{EVENTS + LABELLED + 1}"
    assert_error(terminal.run(own, "explain", "shop.py", position), 2, "is a control", "(settings)")


def test_a_changed_prediction_is_a_difference(own: Path, terminal: Terminal) -> None:
    [(value,)] = sql(
        own / LOG, "SELECT value FROM records WHERE instr(value, ?)", ["shop/v1/0@280/p"]
    )
    changed = json.loads(value) | {"learned": 7}
    forge(
        own / LOG,
        "UPDATE records SET value = ? WHERE value = ?",
        [json.dumps(changed).encode(), value],
    )
    shown = terminal.run(own, "explain", "shop.py", "0@280")
    assert_error(shown, 3, "is not what the log gives again", "stream-app replay")
    assert "learned from 140 examples" in shown.out


def test_outputs_that_retention_has_deleted_are_made_again_all_the_same(
    own: Path, terminal: Terminal
) -> None:
    assert terminal.run(own, "retain", "shop", "--days", "0").code == 0
    [found] = terminal.run(own, "explain", "shop.py", "0@280", "--json").json()
    assert (found["same"], found["recomputed"]["learned"]) == ("gone by retention", 140)
    gone = terminal.run(own, "explain", "shop.py", "o140")
    assert_error(gone, 2, "no prediction for an observation", "its position")


def test_another_environment_is_told_and_the_prediction_shown(
    own: Path, terminal: Terminal
) -> None:
    [(value,)] = sql(own / LOG, "SELECT value FROM ledger WHERE key = 'commit'")
    commit = json.loads(value)
    commit["environment"]["river"] = "0.1.0"
    changed = json.dumps(commit).encode()
    sql(own / LOG, "UPDATE ledger SET value = ? WHERE key = 'commit'", [changed])
    shown = terminal.run(own, "explain", "shop.py", "o140")
    assert shown.code == 0, shown
    assert "bits may differ: river 0.1.0 then" in shown.out


def test_a_model_that_learned_little_gives_a_test_that_holds_all_its_records(
    own: Path, terminal: Terminal
) -> None:
    text = _tested(own, terminal.run(own, "explain", "shop.py", "o3", "--as-test"))
    assert text.count("send_bytes(") == 7
    assert "log.db" not in text


def test_a_model_that_learned_much_gives_a_test_that_names_its_log(
    own: Path, terminal: Terminal
) -> None:
    text = _tested(own, terminal.run(own, "explain", "shop.py", "o140", "--as-test"))
    assert "learned from 140 examples does not fit" in text


def test_dead_letters_give_a_test_that_refuses_them_again(own: Path, terminal: Terminal) -> None:
    again = json_lines(observation(3))
    sent = terminal.run(own, "produce", "shop.py", "--send-bad", stdin=again)
    assert sent.code == 0, sent
    assert terminal.run(own, "run", "shop.py", "--until-end").code == 0
    text = _tested(own, terminal.run(own, "dead-letters", "shop.py", "--as-test"))
    assert text.count("def test_refuses_") == 2
    assert "'duplicate'" in text
    by_name = terminal.run(own, "dead-letters", "shop", "--as-test")
    assert_error(by_name, 2, "needs the file", "shop.py --as-test")


def test_checkpoints_are_listed_kept_by_name_forgotten_and_pruned(
    own: Path, terminal: Terminal
) -> None:
    rows = terminal.run(own, "checkpoints", "shop", "--json", "--verify").json()
    assert [row["checkpoint"]["kept"] for row in rows] == [False, True, True, True]
    assert all(row["checkpoint"]["blobs"] for row in rows)
    end = rows[0]["checkpoint"]["next_offset"]
    [named] = terminal.run(own, "checkpoints", "shop", "--keep", "mine", "--json").json()
    assert (named["name"], named["next_offset"]) == ("mine", end)
    again = terminal.run(own, "checkpoints", "shop", "--keep", "mine")
    assert_error(again, 2, "has a checkpoint 'mine' already")
    assert_error(terminal.run(own, "checkpoints", "shop", "--keep", "123"), 2, "is no name")
    (own / "shop.py").write_text(KEEPING.replace("at_most=5", "at_most=1"))
    dry = terminal.run(own, "checkpoints", "shop.py", "--prune", "--dry-run", "--json").json()
    assert len(dry) == 2
    assert terminal.run(own, "checkpoints", "shop.py", "--prune", "--json").json() == [
        row | {"change": "dropped"} for row in dry
    ]
    left = terminal.run(own, "checkpoints", "shop", "--json").json()
    assert [row["checkpoint"]["name"] for row in left] == [None, None, "mine"]
    assert terminal.run(own, "checkpoints", "shop", "--forget", "mine").code == 0
    gone = terminal.run(own, "checkpoints", "shop", "--restore", "mine")
    assert_error(gone, 2, "has kept no checkpoint 'mine'")
    by_name = terminal.run(own, "checkpoints", "shop", "--prune")
    assert_error(by_name, 2, "declared in the pipeline's file")


def test_a_restored_checkpoint_changes_no_output(own: Path, terminal: Terminal) -> None:
    rows = terminal.run(own, "checkpoints", "shop", "--json").json()
    oldest = str(rows[1]["checkpoint"]["next_offset"])
    before = terminal.run(own, "consume", "shop.predictions").out
    assert terminal.run(own, "checkpoints", "shop", "--restore", oldest).code == 0
    [live, *_] = terminal.run(own, "checkpoints", "shop", "--json").json()
    assert live["checkpoint"]["next_offset"] == int(oldest)
    assert terminal.run(own, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(own, "consume", "shop.predictions").out == before
    assert terminal.run(own, "replay", "shop.py").code == 0
