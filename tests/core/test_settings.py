"""Settings change by a signed control: from its position on, the same on every replay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from river import drift, linear_model, metrics, naive_bayes

from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.rehearsal import any_time
from stream_app.core.settings import Settings, differences, read_settings
from stream_app.core.topics import Topics
from stream_app.errors import SettingsDiffer
from stream_app.events import Control, Label, Observation
from stream_app.hosts.controls import signed
from stream_app.hosts.registration import register
from stream_app.hosts.replay import replay
from stream_app.learning.tasks import Binary, Multiclass
from stream_app.storage.memory_log import MemoryLog
from stream_app.testing import Driver
from tests.core.history import PRIVATE_KEY, Entry, History, values


def declare(**changes: Any) -> Pipeline:
    declared: dict[str, Any] = {
        "task": Binary(),
        "labels": Labels(wait=timedelta(milliseconds=100)),
        "metrics": metrics.Accuracy(),
        "versions": {
            "v1": Version(linear_model.LogisticRegression(), features=["a", "b"]),
            "v2": Version(naive_bayes.GaussianNB(), features=["a"]),
        },
        "initial_champion": "v1",
        "evaluate_every": 3,
        "digest_every": 5,
    }
    return Pipeline("p", **{**declared, **changes})


def labelled(first: int, last: int, **more: Any) -> list[Observation]:
    return [
        Observation(f"o{i}", i, {"a": float(i % 7), **more}, label=i % 3 == 0)
        for i in range(first, last)
    ]


CHANGED: dict[str, Any] = {
    "metrics": metrics.Accuracy() + metrics.LogLoss(),
    "labels": Labels(wait=timedelta(milliseconds=500)),
    "limits": Limits(features_max=3, ids_max=50, early_max=2),
    "features": {"a": float, "b": float | None},
    "drift": [DriftMonitor("error", drift.ADWIN()), DriftMonitor("feature:a", drift.PageHinkley())],
    "evaluate_every": 2,
    "digest_every": 4,
}


def changed_history() -> History:
    history = History(declare())
    history.add(*labelled(0, 10), Observation("waits", 10, {"a": 1.0}))
    history.add_settings(declare(**CHANGED).settings(), 10)
    history.add(*labelled(11, 20), Observation("waits too", 20, {"a": 1.0}))
    history.add(Observation("too many", 21, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}))
    history.add(Observation("lacks a", 22, {"b": 1.0}))
    history.add(*(Control(f"t{ms}", ms, "time") for ms in (111, 521)), append_ms=1000)
    return history


def test_settings_are_in_force_from_the_record_after_their_control() -> None:
    outcome = changed_history().fold()
    figures = [o for o in values(outcome, "evaluations") if o["kind"] == "evaluation"]
    assert [o["source"]["offset"] for o in figures] == [2, 5, 8, 13, 15, 17, 19]
    assert [list(o["metrics"]) for o in figures] == [["Accuracy"]] * 3 + [
        ["Accuracy", "LogLoss"]
    ] * 4
    # Reporting starts empty there: nine examples before it are not in the totals.
    assert [o["learned"] for o in figures] == [3, 6, 9, 2, 4, 6, 8]
    refused = [(o["reason"], o["field"]) for o in values(outcome, "dead-letters")]
    assert refused == [("too_many_features", "features"), ("missing_feature", "features.a")]
    digests = [o for o in values(outcome, "evaluations") if o["kind"] == "state_digest"]
    assert sorted({o["source"]["offset"] for o in digests}) == [4, 9, 11, 15, 19, 23]


def test_who_waits_keeps_the_wait_it_was_given() -> None:
    history = changed_history()
    counters = {}
    for count in (len(history.entries) - 2, len(history.entries) - 1, len(history.entries)):
        shorter = History(history.pipeline)
        shorter.entries = history.entries[:count]
        counters[count] = shorter.fold().counters.timed_out
    assert list(counters.values()) == [0, 1, 2]


@pytest.mark.parametrize(
    "steps",
    [
        [5, "save", 4, "crash"],
        [11, "save", 1, "crash"],
        [12, "save", "crash", 3, "crash"],
        [15, "save", 4, "crash", 1, "save"],
    ],
)
def test_a_change_of_settings_is_the_same_across_restarts(steps: list[Any]) -> None:
    history = changed_history()
    assert history.fold(steps) == history.fold()


def test_who_waits_is_learned_with_the_features_that_its_version_selects() -> None:
    # Declared less from here on: "all that is declared" is then what v2 selects, and was more.
    before, after = {"a": float, "b": float}, {"a": float}
    history = History(declare(features=before))
    history.add(Observation("x", 1, {"a": 1.0, "b": 2.0}))
    history.add_settings(declare(features=after).settings(), 2)
    history.add(Label("x", 3, True))
    calm = History(declare(features=before))
    calm.add(Observation("x", 1, {"a": 1.0, "b": 2.0}), Label("x", 3, True))
    assert history.fold().versions == calm.fold().versions


def test_replay_finds_no_difference_across_a_change_of_settings() -> None:
    history = changed_history()
    with Driver(history.pipeline) as driver:
        manifest = register(driver.log, history.pipeline, dict)
        settings = any_time(declare(**CHANGED).settings())
        driver.send(*labelled(0, 10))
        control = signed(
            Control("s", 10, "settings", settings=settings.plain()), manifest, PRIVATE_KEY
        )
        driver.send_bytes(encode_event(control).value)
        driver.send(*labelled(11, 40))
        assert driver.counters.controls == 1
        report = replay(driver.log, history.pipeline, manifest, 0)
        assert report.difference is None
        assert report.digests > 0


def control_record(history: History, control: Control, **forged: Any) -> Entry:
    """Return the record of a control that was signed first and then changed."""
    proper = signed(control, history.manifest, PRIVATE_KEY)
    return Entry(encode_event(msgspec.structs.replace(proper, **forged)).value, None, 1000)


def elsewhere(log_id: str, name: str) -> History:
    other = History(declare())
    other.manifest = register(MemoryLog(log_id=log_id), Pipeline(name, **same_as_declared()), dict)
    return other


def same_as_declared() -> dict[str, Any]:
    return {"task": Binary(), "metrics": {}, "versions": {"v1": Version(naive_bayes.GaussianNB())}}


def test_only_who_holds_the_key_may_change_settings_and_only_of_this_log() -> None:
    history = History(declare())
    control = Control("c", 5, "settings", settings=any_time(declare(**CHANGED).settings()).plain())
    other_key = msgspec.structs.replace(signed(control, history.manifest, bytes(32)), by="mallory")
    history.entries = [
        control_record(history, control, by="mallory"),
        control_record(history, control, ts_ms=6),
        control_record(history, control, id="d"),
        control_record(history, control, action="time"),
        control_record(elsewhere("another log", "p"), control),
        control_record(elsewhere("history", "another"), control),
        Entry(encode_event(other_key).value, None, 1000),
    ]
    outcome = history.fold()
    assert {o["reason"] for o in values(outcome, "dead-letters")} == {"bad_signature"}
    assert (outcome.counters.controls, outcome.counters.dead_letters) == (0, 7)
    history.entries.append(control_record(history, control))
    assert history.fold().counters.controls == 1


def spoiled(path: str, value: object) -> dict[str, Any]:
    settings = any_time(declare().settings()).plain()
    *way, last = path.split(".")
    inner: Any = settings
    for name in way:
        inner = inner[name]
    inner[last] = value
    return settings


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (None, "Expected `object`"),
        ({}, "missing required field"),
        (spoiled("acceptance.wait_ms", 0), "acceptance.wait_ms"),
        (spoiled("acceptance.limits.ids_max", 0), "ids_max"),
        (spoiled("acceptance.limits.idsmax", 9), "idsmax"),
        (spoiled("acceptance.features", {"a": "number"}), "Invalid enum value"),
        (spoiled("acceptance.task", Multiclass().fields()), "cannot change in a pipeline"),
        (spoiled("acceptance.model_per", "key"), "cannot change in a pipeline"),
        (spoiled("reporting.evaluate_every", -1), "evaluate_every"),
        (spoiled("reporting.metrics", {"m": {"object": "os:system", "params": {}}}), "os:system"),
        (spoiled("reporting.metrics", {"m": 3}), "metrics.m: 3 is no metric"),
        (
            spoiled("reporting.monitors", [{"name": "m", "watches": "error", "detector": 3}]),
            "drift.m: 3 is no drift detector",
        ),
        (spoiled("reporting.monitors", [{"name": "m", "watches": "error"}]), "detector"),
    ],
)
def test_settings_that_cannot_be_are_a_dead_letter_and_nothing_of_them_is_in_force(
    settings: Any, what: str
) -> None:
    history = History(declare())
    history.add(*labelled(0, 4), Control("c", 5, "settings", settings=settings))
    history.add(*labelled(5, 9))
    calm = History(declare())
    calm.add(*labelled(0, 4), *labelled(5, 9))
    outcome = history.fold([5, "save", "crash"])
    [letter] = values(outcome, "dead-letters")
    assert letter["reason"] == "bad_settings"
    assert what in letter["detail"]
    assert outcome.counters.controls == 0
    assert outcome.versions == calm.fold().versions
    figures = [o["metrics"] for o in values(outcome, "evaluations") if o["kind"] == "evaluation"]
    assert len(figures) == 2


@pytest.mark.parametrize("name", ["mine:Metric", "river.metrics.accuracy:Accuracy"])
def test_settings_that_need_code_of_another_file_end_the_process_instead(name: str) -> None:
    # `apply` may say what a running process has never imported. As a dead letter it would not be
    # one for a replay that knows the code.
    tree = {"object": name, "params": {}, "source": "00" * 32}
    history = History(declare())
    settings = spoiled("reporting.metrics", {"m": tree})
    history.add(*labelled(0, 4), Control("c", 5, "settings", settings=settings))
    with pytest.raises(SettingsDiffer, match="code") as caught:
        history.fold()
    assert "the file that was applied" in caught.value.attempt


def test_an_unknown_action_is_a_dead_letter() -> None:
    history = History(declare())
    history.add(Control("c", 5, "retire", version="v2"))
    [letter] = values(history.fold(), "dead-letters")
    assert (letter["reason"], letter["field"]) == ("unknown_action", "action")
    assert "'retire'" in letter["detail"]


def test_settings_travel_as_json_and_come_back_equal() -> None:
    settings = declare(**CHANGED).settings()
    again = read_settings(msgspec.json.decode(msgspec.json.encode(settings.plain())))
    assert again == settings


def test_differences_name_every_setting_by_its_path() -> None:
    old, new = declare().settings(), declare(evaluate_every=7, limits=Limits(ids_max=5)).settings()
    assert differences(old, new) == [
        ("acceptance.limits.ids_max", "100000", "5"),
        ("reporting.evaluate_every", "3", "7"),
    ]
    assert differences(old, old) == []
    assert isinstance(old, Settings)
    assert Topics("p").shadow("v2") == "p.shadow.v2"
