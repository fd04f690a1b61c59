"""`run --http` as an operator and an orchestrator meet it: a real process, asked while it works."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.http_get import get
from tests.cli.processes import workers_of
from tests.cli.terminal import Running, Terminal, assert_error

# One partition of a model that takes its time: 1 ms for every prediction.
SLOW = """
import time

from river import linear_model

from stream_app import Binary, Pipeline, Version


class Slow(linear_model.LogisticRegression):
    def predict_proba_one(self, x):
        time.sleep(0.001)
        return super().predict_proba_one(x)


pipeline = Pipeline(
    "slow", task=Binary(), features={"price": float}, versions={"v1": Version(Slow())}
)
"""
BATCH_S = 2.5  # of 1,000 such records, on a busy machine
SAVE_AND_END_S = 2.0


def _url(running: Running) -> str:
    """Return where it listens, as it says itself."""
    running.wait_for(lambda: "http_listening" in running.err())
    found = re.search(r'"url": "http://([^"]+)"', running.err())
    assert found is not None
    return found[1]


def _metrics(address: str) -> dict[tuple[str, str, str], float]:
    """Return values by name, partition and version."""
    status, page = get(address, "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(page):
        for name, labels, value, *_ in family.samples:
            found[name, labels.get("partition", ""), labels.get("version", "")] = value
    return found


def _status(directory: Path, terminal: Terminal, pipeline: str = "shop") -> Any:
    [found] = terminal.run(directory, "status", pipeline, "--json").json()
    return found


def _slow(directory: Path, terminal: Terminal, events: int) -> None:
    (directory / "slow.py").write_text(SLOW)
    rows = [observation(i, label=i % 2 == 0) | {"features": {"price": 1.0}} for i in range(events)]
    assert terminal.run(directory, "produce", "slow.py", stdin=json_lines(*rows)).code == 0


def test_it_answers_while_it_processes_and_ends_with_the_figures_of_status(
    empty: Path, terminal: Terminal
) -> None:
    declared = DECLARATION.replace('"shop",', '"shop", model_per="partition",')
    (empty / "shop.py").write_text(declared)
    running = terminal.start(
        empty, "run", "shop.py", "--partitions", "3", "--workers", "2", "--http", "0"
    )
    address = _url(running)
    running.wait_for(lambda: get(address, "/readyz")[0] == 200)
    rows = [observation(i, label=i % 3 == 0) for i in range(400)]
    waiting = [observation(i) for i in range(400, 450)]
    unknown = {"kind": "label", "id": "nobody", "ts_ms": observation(449)["ts_ms"], "label": True}
    broken = observation(999) | {"features": {"price": "cheap"}}
    text = json_lines(*rows, *waiting, unknown, broken)
    producing = terminal.start(
        empty, "produce", "shop.py", "--send-bad", "--rate", "400", stdin=text
    )
    codes = set()
    while _total(_metrics(address), "stream_app_records_total") < 452:
        codes |= {get(address, path)[0] for path in ("/livez", "/readyz")}
    assert codes == {200}
    assert producing.end().code == 0
    running.wait_for(lambda: _total(_metrics(address), "stream_app_checkpoint_age_seconds") == 0)
    last = _metrics(address)
    assert running.stop().code == 0
    with pytest.raises(OSError, match="refused"):
        get(address, "/livez")
    status = _status(empty, terminal)
    assert sum(row["counters"]["dead_letters"] for row in status["partitions"]) == 1
    for row in status["partitions"]:
        assert _of_partition(last, row) == _as_status_says(row)
    outputs = sum(t["records"] for t in status["topics"] if t["topic"] != "shop.events")
    assert _total(last, "stream_app_outputs_total") == outputs


def _total(metrics: dict[tuple[str, str, str], float], name: str) -> float:
    return sum(value for (found, _, _), value in metrics.items() if found == name)


FIGURES = {
    "next_offset": "stream_app_next_offset",
    "end": "stream_app_end_offset",
    "lag": "stream_app_lag_records",
    "waiting": "stream_app_labels_waiting",
    "early_waiting": "stream_app_labels_early_waiting",
}
COUNTERS = {
    "records": "stream_app_records_total",
    "observations": "stream_app_observations_total",
    "dead_letters": "stream_app_dead_letters_total",
    "labels_joined": "stream_app_labels_joined_total",
    "timed_out": "stream_app_labels_timed_out_total",
    "labels_late": "stream_app_labels_late_total",
    "labels_unknown": "stream_app_labels_unknown_total",
    "labels_early": "stream_app_labels_early_total",
}


def _of_partition(metrics: dict[tuple[str, str, str], float], row: Any) -> dict[str, float]:
    partition = str(row["partition"])
    found = {key: metrics[name, partition, ""] for key, name in (FIGURES | COUNTERS).items()}
    for version in row["versions"]:
        found[version] = metrics["stream_app_learned_total", partition, version]
    found["checkpoint"] = metrics["stream_app_checkpoint_next_offset", partition, ""]
    return found


def _as_status_says(row: Any) -> dict[str, float]:
    found: dict[str, float] = {key: row[key] for key in FIGURES}
    found |= {key: row["counters"][key] for key in COUNTERS}
    found |= row["versions"]
    return found | {"checkpoint": row["checkpoint"]["next_offset"]}


def test_it_is_ready_only_after_it_has_learned_again(tmp_path: Path, terminal: Terminal) -> None:
    _slow(tmp_path, terminal, 1000)
    assert terminal.run(tmp_path, "run", "slow.py", "--until-end").code == 0
    shutil.rmtree(next((tmp_path / ".stream-app/state").glob("*/slow")))
    running = terminal.start(tmp_path, "run", "slow.py", "--http", "127.0.0.1:0")
    address = _url(running)
    seen: list[str] = []

    def ready() -> bool:
        assert get(address, "/livez")[0] == 200
        code, body = get(address, "/readyz")
        rows = json.loads(body)["partitions"]
        seen.extend(f"{row['state']}: {row.get('missing')}" for row in rows)
        return code == 200

    running.wait_for(ready)
    assert "learning again: 1000 records up to 1000 are to be learned again" in seen
    assert seen[-1] == "live: None"
    metrics = _metrics(address)
    assert metrics["stream_app_relearned_records_total", "0", ""] == 1000
    assert metrics["stream_app_restores_total", "0", ""] == 1
    assert metrics["stream_app_records_total", "0", ""] == 1000  # none of them twice
    assert metrics["stream_app_outputs_total", "0", ""] == 0
    assert running.stop().code == 0


def test_sigterm_under_load_ends_it_within_a_batch_and_a_checkpoint(
    tmp_path: Path, terminal: Terminal
) -> None:
    """The backlog is worth six batches, so an end by its own would come too late."""
    _slow(tmp_path, terminal, 6000)
    running = terminal.start(tmp_path, "run", "slow.py", "--http", "0")
    address = _url(running)
    running.wait_for(lambda: _total(_metrics(address), "stream_app_records_total") >= 1000)
    # Between two reports nobody outside knows better than a batch where it is.
    known = _metrics(address)["stream_app_next_offset", "0", ""]
    began = time.monotonic()
    ended = running.stop()
    took = time.monotonic() - began
    assert ended.code == 0, ended
    assert took < BATCH_S + SAVE_AND_END_S
    [row] = _status(tmp_path, terminal, "slow")["partitions"]
    assert row["lag"] > 0
    assert known <= row["next_offset"] <= known + 2 * 1000
    assert row["checkpoint"]["next_offset"] == row["next_offset"]  # nothing to learn again


def test_an_address_in_use_ends_it_before_anything_is_processed(
    empty: Path, terminal: Terminal
) -> None:
    sent = json_lines(*(observation(i) for i in range(5)))
    terminal.run(empty, "produce", "shop.py", stdin=sent)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = terminal.run(empty, "run", "shop.py", STREAM_APP_HTTP=f"127.0.0.1:{port}")
    assert_error(ended, 4, f"127.0.0.1:{port}", "in use", "port 0")
    assert [row["next_offset"] for row in _status(empty, terminal)["partitions"]] == [0]


def test_what_is_no_address_is_a_mistake_of_the_command(empty: Path, terminal: Terminal) -> None:
    assert_error(terminal.run(empty, "run", "shop.py", "--http", "everywhere"), 2, "everywhere")


def test_nobody_listens_unless_asked_to(shop: Path, terminal: Terminal) -> None:
    ended = terminal.run(shop, "run", "shop.py", "--until-end")
    assert ended.code == 0
    assert "run_ended" in ended.err
    assert "http_listening" not in ended.err


def test_sigterm_to_all_processes_while_workers_start_ends_in_good_order(
    empty: Path, terminal: Terminal
) -> None:
    """As systemd stops a service. A worker that still imports has no handler of its own yet."""
    declared = DECLARATION.replace('"shop",', '"shop", model_per="partition",')
    (empty / "shop.py").write_text(declared)
    running = terminal.start(empty, "run", "shop.py", "--partitions", "2", "--workers", "2")
    running.wait_for(lambda: len(workers_of(running.pid)) == 2)
    for worker in workers_of(running.pid):
        os.kill(worker, signal.SIGTERM)
    ended = running.stop()
    assert ended.code == 0, ended
