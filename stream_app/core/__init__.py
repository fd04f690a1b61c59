"""Decides and never does: the declaration, acceptance, versions and their processor."""
