"""What goes wrong with the machine, not with the model: no part of any definition."""

from __future__ import annotations

armed: list[type[BaseException]] = []
