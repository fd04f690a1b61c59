"""Test a pipeline in pytest, without disk or log: `Driver` is one more host of the same core."""

from __future__ import annotations

from stream_app.events import Label, Observation
from stream_app.hosts.driver import Driver

__all__ = ["Driver", "Label", "Observation"]
