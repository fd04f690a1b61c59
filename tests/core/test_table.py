"""A table serves what changed from memory until the store has it, however little it keeps."""

from __future__ import annotations

import random

import msgspec

from stream_app.core.store import Image
from stream_app.core.table import Table
from stream_app.storage.memory_store import MemoryStore

FAMILY = "f"


def table(store: MemoryStore) -> Table[int | None]:
    decode = msgspec.msgpack.Decoder(int | None).decode
    return Table(store, FAMILY, b"t", msgspec.msgpack.encode, decode, cached_max=2)


def test_a_table_gives_back_each_value_once_whenever_it_was_saved() -> None:
    chance = random.Random(5)
    for _ in range(30):
        store = MemoryStore()
        rows, model = table(store), dict[int, int | None]()
        pending: Image | None = None
        for step in range(200):
            do = chance.random()
            if do < 0.45:
                value = chance.choice([None, step])
                rows.add(step, value)
                model[step] = value
            elif do < 0.8:
                key = chance.randrange(step + 1)
                assert rows.pop(key) == model.pop(key, None)
            elif pending is not None:
                # Taken some steps ago, saved only now: its values must have been there meanwhile.
                store.save(pending)
                rows.saved()
                pending = None
            else:
                writes: dict[bytes, bytes | None] = {}
                rows.collect(writes)
                assert rows.changes() == 0
                pending = Image(step, {FAMILY: writes})
        if pending is not None:
            store.save(pending)
            rows.saved()
        writes = {}
        rows.collect(writes)
        store.save(Image(200, {FAMILY: writes}))
        again = table(store.reopened())
        assert {key: again.pop(key) for key in model} == model
        assert len(store.reopened().scan(FAMILY, b"", None, 1000)) == len(model)
