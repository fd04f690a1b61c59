"""The program itself: quick help, usage errors, settings, exit codes without any log."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.cli.commands import COMMANDS, GROUPS, stream_app
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.terminal import PROGRAM, Terminal, assert_error, clean_environment, real

ROOT = Path(__file__).parents[2]
HEAVY = ("river", "numpy", "apsw", "rocksdict", "rich", "msgspec", "cryptography")


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from stream_app.cli.program import exit_code; exit_code(['--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.endswith("[]\n")
    assert all(re.search(rf"^  {name} ", done.stdout, re.M) for name in COMMANDS)


def test_help_shows_commands_in_groups_each_on_one_line_of_80_columns() -> None:
    shown = CliRunner().invoke(stream_app, ["--help"], env={"COLUMNS": "80"}).output
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    for title, group in GROUPS.items():
        at = lines.index(f"{title}:")
        rows = lines[at + 1 : at + 1 + len(group)]
        assert [row.split()[0] for row in rows] == list(group)
        assert [row[16:] for row in rows] == [listed.help for listed in group.values()]


def test_help_takes_less_than_a_third_of_a_second_of_processor_time(tmp_path: Path) -> None:
    def spent_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert real(tmp_path, "--help").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(spent_s() for _ in range(3)) < 0.3


def test_every_command_has_help_of_its_own(tmp_path: Path) -> None:
    for name in ("consume", "dead-letters", "schemas"):
        shown = real(tmp_path, name, "--help")
        assert shown.code == 0
        assert shown.out.startswith(f"Usage: stream-app {name}")


def test_the_readme_says_which_commands_need_the_file_of_a_pipeline(
    terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").touch()
    more = {
        "backfill": ["v1"],
        "compare": ["v1", "v2"],
        "explain": ["0@0"],
        "export": ["v1", "FILE"],
        "import": ["v1", "FILE"],
        "promote": ["v1", "--reason", "x"],
        "retain": ["--days", "3"],
    }
    need = set()
    for name in COMMANDS.keys() - {"demo", "flights", "consume", "schemas", "inspect"}:
        if "a file is wanted" in terminal.run(tmp_path, name, "shop", *more.get(name, [])).err:
            need.add(name)
    [said] = re.findall(r"needs the file: ([^.]*)\.", (ROOT / "README.md").read_text())
    assert set(re.findall(r"`(\w+)`", said)) == need


def test_a_mistyped_command_is_a_usage_error_that_names_the_near_one(tmp_path: Path) -> None:
    assert_error(real(tmp_path, "consum"), 2, "did you mean consume?", "Try: stream-app --help")


def test_a_wrong_option_is_a_usage_error_in_our_own_form(tmp_path: Path) -> None:
    assert_error(real(tmp_path, "consume", "x", "--folow"), 2, "Try: stream-app consume --help")
    assert_error(real(tmp_path, "consume"), 2, "missing argument")


def test_a_log_that_is_not_there_is_a_matter_of_surroundings(tmp_path: Path) -> None:
    assert_error(real(tmp_path, "consume", "shop.predictions"), 4, ".stream-app/log.db")


def test_a_place_where_no_log_can_be_made_is_a_matter_of_surroundings(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(DECLARATION)
    (tmp_path / "file").write_text("")
    assert_error(real(tmp_path, "produce", "shop.py", "--broker", "file/log.db"), 4, "--broker")


def test_settings_come_from_the_flag_then_the_environment_then_the_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.stream-app]\nbroker = "project.db"\n')
    assert "project.db" in real(tmp_path, "consume", "x").err
    assert (
        "environment.db" in real(tmp_path, "consume", "x", STREAM_APP_BROKER="environment.db").err
    )
    flag = real(tmp_path, "consume", "x", "--broker", "flag.db", STREAM_APP_BROKER="environment.db")
    assert "flag.db" in flag.err


def test_a_setting_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.stream-app]\nbrokr = "project.db"\n')
    assert_error(real(tmp_path, "consume", "x"), 2, "'brokr'", "broker, state")


def test_a_broker_of_another_kind_is_a_usage_error(tmp_path: Path) -> None:
    assert_error(real(tmp_path, "consume", "x", "--broker", "amqp://host"), 2, "amqp")


def test_the_schemas_come_as_one_document_or_one_by_one(tmp_path: Path) -> None:
    every = json.loads(real(tmp_path, "schemas").out)
    one = json.loads(real(tmp_path, "schemas", "prediction").out)
    assert every["prediction"] == one
    assert_error(real(tmp_path, "schemas", "guess"), 2, "observation, label")


def test_schemas_are_written_to_a_directory(tmp_path: Path) -> None:
    assert real(tmp_path, "schemas", "--write", "here").code == 0
    assert len(list((tmp_path / "here").glob("*.json"))) == 9


def test_a_reader_that_has_seen_enough_ends_the_program_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [PROGRAM, "schemas"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_under_standard_output_is_a_matter_of_surroundings(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [PROGRAM, "schemas"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert b"standard output" in done.stderr


@pytest.mark.parametrize("kind", ["KeyError", "GeneratorExit"])
def test_an_unexpected_error_is_one_line_and_its_traceback_is_there_to_ask_for(
    kind: str, tmp_path: Path
) -> None:
    # As if one of our own modules were broken.
    (tmp_path / "sitecustomize.py").write_text(
        "import stream_app.codec.json_schema as s\n"
        f"def broken(): raise {kind}('seven')\n"
        "s.json_schemas = broken\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    assert_error(real(tmp_path, "schemas", **environment), 1, kind, "--log-level debug")
    shown = real(tmp_path, "schemas", "--log-level", "debug", **environment)
    assert shown.code == 1
    assert "Traceback" in shown.err


def test_the_public_names_are_looked_up_when_they_are_used() -> None:
    code = (
        "import sys, stream_app; assert 'river' not in sys.modules;"
        "from stream_app import Label, Observation, open_log; assert 'river' not in sys.modules;"
        "assert set(stream_app.__all__) <= set(dir(stream_app)); stream_app.Pipelin"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    assert "has no attribute 'Pipelin'" in done.stderr


def test_a_model_that_gets_no_memory_ends_in_a_named_error_and_loses_nothing(
    terminal: Terminal, empty: Path
) -> None:
    """MemoryError is the machine's, not the model's: it is no failed call, and no unknown error."""
    greedy = (
        "import os\n\n\nclass Greedy(linear_model.Perceptron):\n"
        "    def learn_one(self, x, y):\n"
        '        if "GREEDY" in os.environ:\n            raise MemoryError\n'
        "        super().learn_one(x, y)\n\n\npipeline = "
    )
    text = DECLARATION.replace("pipeline = ", greedy, 1)
    text = text.replace("Version(linear_model.Perceptron()", "Version(Greedy()")
    (empty / "shop.py").write_text(text)
    rows = json_lines(*[observation(i, label=i % 2 == 0) for i in range(20)])
    assert terminal.run(empty, "produce", "shop.py", stdin=rows).code == 0
    ended = terminal.run(empty, "run", "shop.py", "--until-end", GREEDY="1")
    assert_error(ended, 4, "ran out of memory", "nothing is lost")
    assert terminal.run(empty, "run", "shop.py", "--until-end").code == 0
    assert terminal.run(empty, "replay", "shop.py").code == 0
