"""Counts in sentences: 1 record, 2 records, 20,744 records, 2 processes."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write how many there are of something, with thousands set apart."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
