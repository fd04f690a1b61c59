"""Disks of their own, a few kilobytes or megabytes large, to be full soon."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes at `place`."""
    place.mkdir(mode=0o700)
    options = f"size={size},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def skip_without_disks(place: Path) -> None:
    """Skip a test where none can be had; it says so."""
    try:
        with small_disk(place, 1 << 16):
            pass
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT TESTED: full and read-only disks (mounting a small tmpfs needs root)")
