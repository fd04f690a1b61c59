"""How long an explanation by position takes, anywhere in a long log with the default `Keep`."""

from __future__ import annotations

import os
import random
import tempfile
from itertools import islice
from pathlib import Path

from peers.work import endless

from on_versions.shop import Shop, told

TARGET_S = 5.0
POSITIONS = 8


def made(folder: Path, count: int) -> Shop:
    """Return a log of `count` examples, processed; a folder's own is gone on with."""
    folder.mkdir(parents=True, exist_ok=True)
    shop = Shop(folder)
    filled = folder / f"filled-{count}"
    if not filled.exists():
        shop.fill(islice(endless(), count))
        filled.touch()
    shop.call("run", "bench.py", "--until-end")
    return shop


def explaining(count: int, folder: Path | None = None) -> bool:
    """Time explanations at random positions; `folder` keeps the log for another time."""
    with tempfile.TemporaryDirectory() as name:
        shop = made(folder or Path(name), count)
        rng = random.Random(11)
        offsets = [rng.randrange(count) for _ in range(POSITIONS)]
        seen = [_explained(shop, offset) for offset in offsets]
    for offset, (wall_s, cpu_s) in zip(offsets, seen, strict=True):
        print(f"  @{offset}: {wall_s:.1f} s, of CPU {cpu_s:.1f} s")
    what = f"explain by position, slowest of {POSITIONS} in {count:,} records"
    return told(what, max(wall_s for wall_s, _ in seen), TARGET_S, "s", most=True)


def _explained(shop: Shop, offset: int) -> tuple[float, float]:
    """Explain one; returns the seconds by the wall and of CPU."""
    before = os.times()
    wall_s = shop.call("explain", "bench.py", f"0@{offset}")
    after = os.times()
    return wall_s, sum(after[2:4]) - sum(before[2:4])
