"""Composition roots: short loops that carry out what the core decides."""
