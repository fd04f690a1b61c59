"""Streaming online learning whose state is a fold of one log."""
