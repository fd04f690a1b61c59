"""What 50 kept checkpoints cost on disk, over which a tenth of the keys changed."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

from rocksdict import Options, Rdict

from stream_app.core.store import Image
from stream_app.storage.kept_directory import KeptDirectory
from stream_app.storage.rocksdb_store import RocksdbStore

KEPT = 50
BYTES_PER_KEY = 2000  # a scaler and a linear model
TARGET = 0.5


def main(megabytes: int) -> bool:
    """Print the row; tells whether the kept ones take at most half as much as the state."""
    keys = megabytes * 1_000_000 // BYTES_PER_KEY
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder) / "0"
        store = RocksdbStore.open(live)
        for start in range(0, keys, 5000):
            _save(store, start, range(start, min(keys, start + 5000)))
        store.close()
        _settle(live / "rocksdb")
        store = RocksdbStore.open(live)
        before = _used(Path(folder))
        kept = KeptDirectory(Path(folder) / "0.kept")
        chosen = random.Random(1)
        spent_s = 0.0
        for number in range(KEPT):
            _save(store, keys + number, [chosen.randrange(keys) for _ in range(keys // 10 // KEPT)])
            began = time.perf_counter()
            with kept.changing():
                kept.put(keys + number, "", store.keep)
            spent_s += time.perf_counter() - began
        store.close()
        now, after = _used(live), _used(Path(folder))
    share = (after - now) / before
    print(
        f"  a state of {before / 1e6:.0f} MB; {KEPT} kept: {(after - now) / 1e6:.0f} MB more than "
        f"live alone ({share:.2f} of it), {(after - before) / 1e6:.0f} MB more than before "
        f"({(after - before) / before:.2f}); {1000 * spent_s / KEPT:.0f} ms each; target {TARGET}"
    )
    return (after - before) / before <= TARGET


def _save(store: RocksdbStore, next_offset: int, keys: range | list[int]) -> None:
    rows: dict[bytes, bytes | None] = {b"%09d" % key: os.urandom(BYTES_PER_KEY) for key in keys}
    store.save(Image(next_offset, {"version.v1": rows}))


def _settle(directory: Path) -> None:
    """Let compactions come to an end: what a first load leaves to them is no matter of keeping."""
    names = Rdict.list_cf(str(directory), Options(raw_mode=True))
    options = {name: Options(raw_mode=True) for name in names}
    db = Rdict(str(directory), Options(raw_mode=True), column_families=options)
    for name in names:
        column = db.get_column_family(name)
        column.compact_range(None, None)
        column.close()
    db.close()


def _used(folder: Path) -> int:
    """Return what the files below a folder take, each counted once however often it is linked."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({file.st_ino: file.st_size for file in found}.values())
