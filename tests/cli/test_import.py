"""`import`, and what every command says of a version that still waits for its file."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from pathlib import Path

import pytest

from stream_app.hosts.importing import import_file
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.signing_keys import signer_here
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.terminal import Terminal, assert_error


def _declaration(l2: float) -> str:
    """Declare a version that begins from a file beside the others; v1's file fits it with 0.1."""
    tuned = f"""        "tuned": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(l2={l2}),
            features=["items", "price"],
            start="file",
        ),
"""
    return DECLARATION.replace("    },\n    initial", tuned + "    },\n    initial")


EVENTS = 60
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def waiting(terminal: Terminal, tmp_path: Path) -> Path:
    """A directory whose pipeline has run, with a version that waits for its file; v1 is in one."""
    (tmp_path / "shop.py").write_text(_declaration(0.1))
    _produced(terminal, tmp_path, 0)
    assert terminal.run(tmp_path, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(tmp_path, "export", "shop.py", "v1", "v1.stream-model").code == 0
    return tmp_path


def _produced(terminal: Terminal, directory: Path, first: int) -> None:
    rows = [observation(i, label=i % 3 == 0) for i in range(first, first + EVENTS)]
    assert terminal.run(directory, "produce", "shop.py", stdin=json_lines(*rows)).code == 0


def test_an_order_that_was_refused_is_given_anew_in_one_sentence(
    waiting: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(waiting)
    ahead_ms = time.time_ns() // 1_000_000 + 3 * DAY_MS
    state, path = StateDirectory(Path(".stream-app/state")), Path("v1.stream-model")
    with closing(open_broker("sqlite:///.stream-app/log.db")) as log:
        # A name of its own: this process keeps modules, and other tests load a shop of theirs.
        file = waiting / "shop_ahead.py"
        file.write_text((waiting / "shop.py").read_text())
        declared, manifest = load_pipeline(str(file)), read_manifest(log, "shop")
        place = (log, declared, manifest, state, lambda: signer_here(log, manifest, state))
        import_file(*place, "tuned", path, ts_ms=ahead_ms)
    terminal.run(waiting, "run", "shop.py", "--until-end")
    command = ("import", "shop.py", "tuned", path.name)
    [dead] = terminal.run(waiting, "dead-letters", "shop", "--json").json()
    assert dead["reason"] == "time_too_far_ahead"
    status = terminal.run(waiting, "status", "shop").out
    assert "or it was refused: stream-app import " in status
    said = terminal.run(waiting, *command).out
    assert f"begins from {path} at shop.events/0@{EVENTS + 2} (one model" in said
    assert f"An earlier order, shop.events/0@{EVENTS}, was refused and began nothing" in said
    [again] = terminal.run(waiting, *command, "--json").json()
    assert (again["changed"], again["refused_before"]) == (False, [])
    assert "the start reads the order" in terminal.run(waiting, *command).out
    terminal.run(waiting, "run", "shop.py", "--until-end")
    [status] = terminal.run(waiting, "status", "shop", "--json").json()
    assert status["partitions"][0]["versions"]["tuned"] == EVENTS
    assert "Next: stream-app status shop, which" in terminal.run(waiting, *command).out


def test_what_a_first_start_would_fail_at_the_order_is_refused_before_anything_is_spent(
    waiting: Path, terminal: Terminal, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "shop.py").write_text(_declaration(0.1))
    _produced(terminal, fresh, 0)
    signed = terminal.run(waiting, "inspect", "v1.stream-model", "--json").json()[0]["public_key"]
    command = ("import", "shop.py", "tuned", str(waiting / "v1.stream-model"))
    done = terminal.run(fresh, *command, "--public-key", signed)
    assert done.code == 0, done
    (fresh / "shop.py").write_text(_declaration(0.2))
    ended = terminal.run(fresh, "run", "shop.py", "--until-end")
    assert_error(ended, 5, "version tuned of shop is declared as", "was imported for")
    [status] = terminal.run(fresh, "status", "shop", "--json").json()
    assert status["partitions"][0]["next_offset"] == 0
    (fresh / "shop.py").write_text(_declaration(0.1))
    assert terminal.run(fresh, "run", "shop.py", "--until-end").code == 0
    [status] = terminal.run(fresh, "status", "shop", "--json").json()
    assert status["partitions"][0]["versions"]["tuned"] == EVENTS
    assert status["partitions"][0]["failed"] == {}


@pytest.mark.parametrize("how", [(), ("--from-committed",)])
def test_a_version_that_waits_for_its_file_cannot_become_champion(
    waiting: Path, terminal: Terminal, how: tuple[str, ...]
) -> None:
    promote = ("promote", "shop", "tuned", "--reason", "hope", *how)
    assert_error(terminal.run(waiting, *promote), 2, "waits for its file", "shop.py tuned MODEL")
    terminal.run(waiting, "import", "shop.py", "tuned", "v1.stream-model")
    assert_error(terminal.run(waiting, *promote), 2, "waits for its file")
    terminal.run(waiting, "run", "shop.py", "--until-end")
    assert terminal.run(waiting, *promote).code == 0


def test_a_version_that_waits_for_its_file_is_compared_from_its_file_on(
    waiting: Path, terminal: Terminal
) -> None:
    compare = ("compare", "shop.py", "v1", "tuned")
    words = ("of 60 a prediction was null; tuned waits", "import shop.py tuned MODEL")
    assert_error(terminal.run(waiting, *compare), 2, *words)
    terminal.run(waiting, "import", "shop.py", "tuned", "v1.stream-model")
    _produced(terminal, waiting, EVENTS)
    terminal.run(waiting, "run", "shop.py", "--until-end")
    compared = terminal.run(waiting, *compare)
    assert compared.code == 0, compared
    assert re.search(rf"\b{EVENTS} labelled", compared.out), compared


def test_a_prediction_of_a_version_that_waited_for_its_file_is_explained_as_none(
    waiting: Path, terminal: Terminal
) -> None:
    terminal.run(waiting, "import", "shop.py", "tuned", "v1.stream-model")
    _produced(terminal, waiting, EVENTS)
    terminal.run(waiting, "run", "shop.py", "--until-end")
    said = terminal.run(waiting, "explain", "shop.py", "o5", "--version", "tuned").out
    assert "tuned says: nothing (untrained)" in said
    assert "Note: version tuned predicts nothing until it comes to the record that imports" in said
    assert "WEIGHT" not in said
    said = terminal.run(waiting, "explain", "shop.py", f"o{EVENTS}", "--version", "tuned").out
    assert f"learned from {EVENTS} examples by then" in said
    assert "equal, to the bit" in said
    assert "imports its file" not in said


def test_a_version_that_waits_for_its_file_has_no_model_to_export(
    waiting: Path, terminal: Terminal
) -> None:
    export = ("export", "shop.py", "tuned", "tuned.stream-model")
    words = (f"tuned waits for its file at shop.events/0@{EVENTS}", "Try: a position behind")
    assert_error(terminal.run(waiting, *export), 2, *words)
    terminal.run(waiting, "import", "shop.py", "tuned", "v1.stream-model")
    terminal.run(waiting, "run", "shop.py", "--until-end")
    assert_error(terminal.run(waiting, *export, "--at", f"0@{EVENTS}"), 2, *words)
    assert not (waiting / "tuned.stream-model").exists()
    assert terminal.run(waiting, *export, "--at", f"0@{EVENTS + 1}").code == 0
    assert terminal.run(waiting, *export).code == 0


def test_the_topic_of_files_is_among_those_of_a_pipeline_that_imports(
    terminal: Terminal, waiting: Path
) -> None:
    assert "shop.blobs" in terminal.run(waiting, "topics", "shop.py").out
    rows = terminal.run(waiting, "topics", "shop.py", "--json").out.splitlines()
    assert {json.loads(row)["state"] for row in rows} == {"ok"}  # the first start has made all


def test_a_version_that_is_imported_and_not_built_is_to_be_built_and_once_it_runs_to_be_waited_for(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Status said to import it again; compare said to build it, which was refused."""
    (tmp_path / "shop.py").write_text(DECLARATION)
    _produced(terminal, tmp_path, 0)
    terminal.run(tmp_path, "run", "shop.py", "--until-end")
    terminal.run(tmp_path, "export", "shop.py", "v1", "v1.stream-model")
    (tmp_path / "shop.py").write_text(_declaration(0.1))
    said = terminal.run(tmp_path, "status", "shop.py").out
    assert "import shop.py tuned MODEL, then stream-app backfill shop.py tuned" in said
    assert terminal.run(tmp_path, "import", "shop.py", "tuned", "v1.stream-model").code == 0
    said = " ".join(terminal.run(tmp_path, "status", "shop.py").out.split())
    assert "declared and imported and was never run or built: stream-app backfill" in said
    assert terminal.run(tmp_path, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(tmp_path, "backfill", "shop.py", "tuned").code == 0
    assert terminal.run(tmp_path, "run", "shop.py", "--until-end").code == 0
    compared = terminal.run(tmp_path, "compare", "shop.py", "v1", "tuned")
    assert_error(compared, 2, "tuned has no predictions in this range", "has processed more events")


def test_retention_leaves_the_files_that_versions_begin_from_and_a_lost_one_is_put_back(
    waiting: Path, terminal: Terminal
) -> None:
    """It took them for outputs, and nothing could be folded again."""
    command = ("import", "shop.py", "tuned", "v1.stream-model")
    terminal.run(waiting, *command)
    terminal.run(waiting, "run", "shop.py", "--until-end")
    kept = terminal.run(waiting, "retain", "shop", "--days", "0")
    assert "shop.predictions" in kept.out
    assert "shop.blobs" not in kept.out
    assert terminal.run(waiting, "replay", "shop.py").code == 0
    with closing(SqliteLog.open(waiting / ".stream-app/log.db", create=False)) as log:
        log.retain("shop.blobs", 0, from_offset=log.bounds("shop.blobs", 0)[1])
    assert_error(terminal.run(waiting, "replay", "shop.py"), 5, "stream-app import ")
    looked = terminal.run(waiting, "doctor", "shop.py")
    assert "1 problem" in looked.out, looked
    assert "the log had lost the file, and has it again" in terminal.run(waiting, *command).out
    assert "nothing was changed" in terminal.run(waiting, *command).out
    assert terminal.run(waiting, "replay", "shop.py").code == 0
    assert "0 problems" in terminal.run(waiting, "doctor", "shop.py").out
