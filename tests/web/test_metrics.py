"""What is exported, what the docs list, and what dashboard and alerts rely on: one set of names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stream_app.core.commit import Commit, VersionCommit
from stream_app.core.environment import this_environment
from stream_app.core.seats import Seat
from stream_app.hosts.embedded import Progress
from stream_app.hosts.source_copying import SourceProgress
from stream_app.hosts.work import Work
from stream_app.outputs import Evaluation, LabelCounts, MetricValue, Source
from stream_app.web.address import Address
from stream_app.web.board import Board
from stream_app.web.figures import SourceReport
from stream_app.web.intake_metrics import intake_registry_of
from stream_app.web.server import WebServer
from tests.web.reports import ask, ask_json

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"stream_app_[a-z_]+")
LABELS = {"pipeline", "partition", "version"}
MORE_LABELS = {
    "stream_app_build_info": {"python", "river"},
    "stream_app_prequential": {"metric"},
    "stream_app_prequential_window": {"metric"},
}


def _commit() -> Commit:
    return Commit(
        next_offset=10,
        chain="00",
        semantics=1,
        environment=this_environment(),
        seat=Seat("v1", 0),
        versions={name: VersionCommit("d", 0, 0) for name in ("v1", "v2")},
        left={},
        settings={},
        settings_since=0,
        watermark_ms=1_700_000_000_500,
        waiting=3,
        early_waiting=1,
        counters={"records": 10, "dead_letters": 2, "timed_out": 4},
        learned={"v1": 5, "v2": 4},
        failed={"v2": "it raised"},
    )


def _evaluation() -> Evaluation:
    return Evaluation(
        id="shop/v1/0@9/evaluation",
        pipeline="shop",
        version="v1",
        source=Source("shop.events", 0, 9),
        ts_ms=0,
        learned=5,
        scored=5,
        unscored=0,
        window=5,
        metrics={"LogLoss": MetricValue(0.5, None)},
        labels=LabelCounts(5, 3, 4, 0, 0, 0, 1, 0, 0),
        join_rate=None,
        label_delay_ms=None,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What /metrics says of two partitions of which everything is known."""
    board: Board[Progress] = Board()
    board.own("shop", [0, 1])
    state = tmp_path_factory.mktemp("state")
    (state / "saves").write_text("x" * 100)
    for partition in (0, 1):
        work = Work(state)
        work.opened(7, behind=True, rebuilt=False)
        work.learned(0.0, records_again=3)
        work.committed(0.0, 20)
        board.take(
            Progress(
                partition=partition,
                next_offset=10,
                end=25,
                committed=10,
                relearning=False,
                records=3,
                commit=_commit(),
                work=work.figures(),
                evaluations={"v1": _evaluation()},
            )
        )
    with WebServer(Address("127.0.0.1", 0), board) as server:
        return ask(server, "/metrics")[1]


def _samples(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_figures_are_those_of_the_report(page: str) -> None:
    samples = _samples(page)
    of_first = {name: rows[0][1] for name, rows in samples.items()}
    assert of_first["stream_app_records_total"] == 10
    assert of_first["stream_app_dead_letters_total"] == 2
    assert of_first["stream_app_labels_timed_out_total"] == 4
    assert of_first["stream_app_labels_waiting"] == 3
    assert of_first["stream_app_lag_records"] == 15
    assert of_first["stream_app_outputs_total"] == 20
    assert of_first["stream_app_restores_total"] == 1
    assert of_first["stream_app_relearned_records_total"] == 3
    assert of_first["stream_app_learn_seconds_count"] == 1
    assert of_first["stream_app_checkpoint_seconds_count"] == 0
    assert of_first["stream_app_checkpoint_bytes"] == 100
    assert of_first["stream_app_checkpoint_next_offset"] == 7
    assert of_first["stream_app_event_time_seconds"] == 1_700_000_000.5
    assert of_first["stream_app_prequential"] == 0.5
    assert "stream_app_prequential_window" not in samples  # nothing to score is no number
    failed = samples["stream_app_version_failed"]
    assert [(row["version"], value) for row, value in failed[:2]] == [("v1", 0), ("v2", 1)]


def test_every_series_is_ours_and_bounded_by_partitions_and_versions(page: str) -> None:
    for name, rows in _samples(page).items():
        assert NAME.fullmatch(name), name
        allowed = LABELS | MORE_LABELS.get(name, set()) | ({"le"} if "_bucket" in name else set())
        for labels, _ in rows:
            assert set(labels) <= allowed, (name, labels)


def _exported(page: str) -> set[str]:
    """Return every name that a query may use; families are announced before they have samples."""
    names = set(_samples(page))
    return names | {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}


def test_the_operations_guide_lists_every_metric_and_no_other(page: str) -> None:
    table = (ROOT / "docs/operations.md").read_text()
    told = set(re.findall(r"^\| `(stream_app_[a-z_]+)`", table, re.MULTILINE))
    of_intake = {name for name in told if name.startswith("stream_app_intake_")}
    assert told - of_intake == types(page)
    board: Board[SourceReport] = Board()
    board.own("shop", ["others/10", "others/9"])
    board.take(SourceProgress("others/9", 7, 9, 7, False, 7, copied=5, refused=1, skipped=1))
    with WebServer(Address("127.0.0.1", 0), board, intake_registry_of(board)) as server:
        _, intake_page = ask(server, "/metrics")
        _, ready = ask_json(server, "/readyz")
    shared = {f"stream_app_{name}" for name in ("build_info", "ready", "step_age_seconds")}
    assert of_intake | shared == types(intake_page)
    assert 'stream_app_intake_lag_records{partition="others/9",pipeline="shop"} 2.0' in intake_page
    assert [row["partition"] for row in ready["partitions"]] == ["others/9", "others/10"]


def types(page: str) -> set[str]:
    """Return the names of all families on a page."""
    return {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}


def _dashboard_queries() -> list[str]:
    found: list[str] = []
    dashboard = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        found += [target["expr"] for target in panel.get("targets", [])]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found.append(variable["definition"])
    return found


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus-alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_dashboard_and_alerts_use_only_what_is_exported(page: str) -> None:
    queries = _dashboard_queries() + [rule["expr"] for rule in _alerts()]
    used = {name for query in queries for name in NAME.findall(query)}
    assert len(used) > 20
    assert used <= _exported(page), used - _exported(page)


def test_every_alert_says_how_grave_it_is_and_what_to_do(page: str) -> None:
    for rule in _alerts():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        told = " ".join(rule["annotations"].values())
        assert set(NAME.findall(told)) <= _exported(page)


def test_the_dashboard_gives_every_panel_an_id_and_a_place_of_its_own() -> None:
    panels = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not own & cells, panel["title"]
        cells |= own
