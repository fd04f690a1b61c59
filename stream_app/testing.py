"""Test a pipeline in pytest, without disk or log: `Driver` is one more host of the same core.

`explained` makes a prediction of a log again, where a test would have to hold too many records.
"""

from __future__ import annotations

from stream_app.events import Label, Observation
from stream_app.hosts.driver import Driver
from stream_app.hosts.explaining import explained
from stream_app.outputs import DeadLetter, Prediction

__all__ = ["DeadLetter", "Driver", "Label", "Observation", "Prediction", "explained"]
