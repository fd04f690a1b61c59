"""The gate of a promotion: what it may say, and that logs from before it are as they were."""

from __future__ import annotations

from typing import Any

import pytest
from river import linear_model, metrics

from stream_app import Binary, Pipeline, PromoteWhen, Version
from stream_app.core.settings import read_settings
from stream_app.errors import DeclarationError


def _declared(**more: Any) -> Pipeline:
    model = linear_model.LogisticRegression()
    return Pipeline("shop", task=Binary(), versions={"v1": Version(model)}, **more)


def test_a_gate_is_a_setting_in_the_log() -> None:
    gate = PromoteWhen("LogLoss", margin=0.01, labels_min=50)
    settings = _declared(metrics=metrics.LogLoss(), promote_when=gate).settings()
    assert read_settings(settings.plain()) == settings
    assert settings.plain()["reporting"]["promote_when"] == {
        "metric": "LogLoss",
        "margin": 0.01,
        "labels_min": 50,
    }


def test_without_a_gate_the_log_has_no_word_of_one() -> None:
    assert "promote_when" not in _declared().settings().plain()["reporting"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PromoteWhen(""), "promote_when.metric"),
        (lambda: PromoteWhen("ROCAUC", margin=-1), "promote_when.margin"),
        (lambda: PromoteWhen("ROCAUC", margin=True), "promote_when.margin"),
        (lambda: PromoteWhen("ROCAUC", labels_min=0), "promote_when.labels_min"),
        (lambda: _declared(promote_when="ROCAUC"), "promote_when: 'ROCAUC' is no gate"),
        (
            lambda: _declared(metrics=metrics.LogLoss(), promote_when=PromoteWhen("MAE")),
            "has no metric 'MAE'",
        ),
    ],
)
def test_a_gate_that_cannot_be_is_refused_by_its_path(make: Any, words: str) -> None:
    with pytest.raises(DeclarationError) as error:
        make()
    assert words in str(error.value.problem)
