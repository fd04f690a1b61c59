"""The bounded form of `scripts/kafka-chaos`: real workers, a real broker, real signals."""

from __future__ import annotations

import pytest

from tests.kafka.chaos import main


def test_outputs_are_those_of_one_undisturbed_fold_whatever_befell_workers_and_broker(
    kafka_is_here: None, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(["--events", "4000", "--minutes", "0.5", "--workers", "3", "--seed", "5"])
    said = capfd.readouterr().out
    assert code == 0, said
    assert "0 differences" in said
