"""A gate asks its own metric, on enough labels, and stands in nobody's way back."""

from __future__ import annotations

import random

import msgspec
import pytest
from river import dummy, linear_model, metrics, preprocessing

from stream_app import Binary, Pipeline, PromoteWhen, Version
from stream_app.core.commit import Manifest, decode_commit, encode_commit
from stream_app.core.topics import Topics
from stream_app.errors import GateClosed
from stream_app.events import Observation
from stream_app.hosts.promotion_gate import gate_of, require_better
from stream_app.storage.memory_log import MemoryLog
from tests.core.history import History
from tests.hosts.folded import folded, with_seat_changed

EVENTS = 400


def _shop(gate: PromoteWhen) -> tuple[MemoryLog, Manifest]:
    """v1 knows no better than the base rate; v2 learns what decides."""
    history, chance = (
        History(
            Pipeline(
                "shop",
                task=Binary(),
                features={"x": float},
                metrics=metrics.ROCAUC() + metrics.LogLoss(),
                versions={
                    "v1": Version(dummy.PriorClassifier()),
                    "v2": Version(
                        preprocessing.StandardScaler() | linear_model.LogisticRegression()
                    ),
                },
                initial_champion="v1",
                promote_when=gate,
            )
        ),
        random.Random(5),
    )
    for i in range(EVENTS):
        x = chance.gauss(0, 1)
        label = x + chance.gauss(0, 0.3) > 0
        history.add(Observation(f"o{i}", 1_700_000_000_000 + i * 60_000, {"x": x}, label=label))
    return folded(history)


def test_the_line_of_a_gate_that_opens_is_about_its_own_metric() -> None:
    """It was about the first of the metrics, whatever the gate's was."""
    log, manifest = _shop(PromoteWhen("LogLoss", margin=0.01, labels_min=EVENTS // 2))
    gate = gate_of(log, manifest, "v2")
    assert gate is not None
    said = require_better(log, None, manifest, gate, "v2")
    assert said.startswith("v2 is better by 0.")
    assert " LogLoss (95 % interval" in said
    assert said.endswith("; the gate wants at least 0.01")
    assert "ROCAUC" not in said


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (PromoteWhen("LogLoss", margin=5.0, labels_min=50), "the difference in LogLoss is"),
        (PromoteWhen("LogLoss", labels_min=EVENTS + 1), "the gate of shop wants 401"),
    ],
)
def test_a_gate_stays_closed_for_too_little_of_what_it_asks(gate: PromoteWhen, words: str) -> None:
    log, manifest = _shop(gate)
    wanted = gate_of(log, manifest, "v2")
    assert wanted is not None
    with pytest.raises(GateClosed, match=words) as closed:
        require_better(log, None, manifest, wanted, "v2")
    assert "stream-app compare shop v1 v2" in closed.value.attempt


def test_who_was_champion_everywhere_is_asked_for_nothing() -> None:
    log, manifest = _shop(PromoteWhen("LogLoss", margin=5.0))
    assert gate_of(log, manifest, "v1") is None


def test_a_seat_at_the_committed_position_is_no_way_back_past_the_gate() -> None:
    log, manifest = _shop(PromoteWhen("LogLoss", margin=5.0))
    ordered = with_seat_changed(log, manifest, 300, "v2")
    assert gate_of(ordered, manifest, "v2") is None
    ledger = Topics("shop").ledger
    commit = decode_commit(ordered.ledger_get(ledger, 0, "commit") or b"", "shop/0")
    signed = [msgspec.structs.replace(change, sig="k.s") for change in commit.seats]
    forced = encode_commit(msgspec.structs.replace(commit, seats=signed))
    at = commit.next_offset
    ordered.claim(ledger, 0).publish([], forced, expected=at, next_offset=at)
    assert gate_of(ordered, manifest, "v2") is not None
