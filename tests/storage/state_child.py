"""A process of its own that saves images until somebody kills it, or tries to open a state."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import IO

from stream_app.core.store import Image
from stream_app.errors import StreamAppError
from stream_app.storage.rocksdb_store import RocksdbStore

ROOT = Path(__file__).parents[2]
FAMILIES = ("acceptance", "v1", "v2")


def numbered_image(number: int, value_bytes: int = 100) -> Image:
    """Every family says the same number, and each image writes one of 50 other keys as well."""
    text = b"%d" % number
    value = text.ljust(value_bytes, b".")
    return Image(
        number,
        {name: {b"number": text, b"k%d" % (number % 50): value} for name in FAMILIES},
    )


def saving(path: Path) -> subprocess.Popen[str]:
    """Start a process that saves image after image and says each number once it is saved."""
    return subprocess.Popen(_command("save", path), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def lines_of(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def told_on_opening(path: Path, uid: int | None = None) -> str:
    """Return what another process, of that user, is told when it opens the state."""
    command = _command("open", path, str(os.geteuid() if uid is None else uid))
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def _command(work: str, path: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.storage.state_child", work, str(path), *arguments]


def _save(path: Path) -> None:
    store = RocksdbStore.open(path)
    for number in count((store.saved_offset() or 0) + 1):
        store.save(numbered_image(number, value_bytes=20_000))
        print(number, flush=True)


def _open(path: Path, uid: int) -> None:
    os.setuid(uid)
    try:
        RocksdbStore.open(path).close()
    except StreamAppError as error:
        print(type(error).__name__, error)
    else:
        print("opened")


if __name__ == "__main__":
    if sys.argv[1] == "save":
        _save(Path(sys.argv[2]))
    else:
        _open(Path(sys.argv[2]), int(sys.argv[3]))
