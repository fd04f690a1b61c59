"""The command line, a thin skin: parse, call one function, print."""

from __future__ import annotations

from stream_app.cli.program import main

__all__ = ["main"]
