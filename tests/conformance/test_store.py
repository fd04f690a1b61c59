"""What every state store promises, held against each of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.store import Image, StateStore
from stream_app.errors import StateUnavailable
from stream_app.storage.memory_store import MemoryStore
from stream_app.storage.rocksdb_store import RocksdbStore


class PositionedStore(StateStore, Protocol):
    """What hosts use of a store beyond what the core does."""

    @property
    def rolled_back(self) -> bool: ...
    def saved_offset(self) -> int | None: ...
    def save_count(self) -> int: ...


def _reopen(store: PositionedStore) -> PositionedStore:
    if isinstance(store, MemoryStore):
        return store.reopened()
    assert isinstance(store, RocksdbStore)
    store.close()
    return RocksdbStore.open(store.path, create=False)


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PositionedStore]:
    made: PositionedStore = (
        MemoryStore() if request.param == "memory" else RocksdbStore.open(tmp_path / "state")
    )
    yield made
    made.close()


def test_a_new_store_is_empty(store: PositionedStore) -> None:
    assert store.families() == set()
    assert store.get("models", b"k") is None
    assert store.scan("models", b"", None, 10) == []
    assert (store.saved_offset(), store.save_count(), store.rolled_back) == (None, 0, False)


def test_what_was_saved_is_read_back(store: PositionedStore) -> None:
    store.save(Image(7, {"models": {b"k": b"v", b"empty": b"", b"": b"empty key"}}))
    assert store.get("models", b"k") == b"v"
    assert store.get("models", b"empty") == b""
    assert store.get("models", b"") == b"empty key"
    assert store.get("models", b"other") is None
    assert (store.saved_offset(), store.save_count()) == (7, 1)


def test_an_image_changes_only_what_it_names(store: PositionedStore) -> None:
    store.save(Image(1, {"a": {b"1": b"old", b"2": b"old", b"3": b"old"}, "b": {b"1": b"b"}}))
    store.save(Image(2, {"a": {b"1": b"new", b"2": None, b"never": None}}))
    assert store.scan("a", b"", None, 10) == [(b"1", b"new"), (b"3", b"old")]
    assert store.get("b", b"1") == b"b"
    assert (store.saved_offset(), store.save_count()) == (2, 2)


def test_an_image_without_writes_still_moves_the_position(store: PositionedStore) -> None:
    store.save(Image(9, {}))
    assert (store.saved_offset(), store.save_count(), store.families()) == (9, 1, set())


def test_families_keep_equal_keys_apart(store: PositionedStore) -> None:
    store.save(Image(1, {"a": {b"k": b"of a"}, "b": {b"k": b"of b"}}))
    assert (store.get("a", b"k"), store.get("b", b"k")) == (b"of a", b"of b")


@pytest.mark.parametrize("name", ["default", "", "acceptance", "a/b", "ü x", "family:a"])
def test_any_name_may_name_a_family(store: PositionedStore, name: str) -> None:
    store.save(Image(1, {name: {b"next_offset": b"mine"}}))
    again = _reopen(store)
    assert again.families() == {name}
    assert again.get(name, b"next_offset") == b"mine"
    assert again.saved_offset() == 1
    again.close()


def test_a_family_exists_from_the_image_that_names_it_until_it_is_dropped(
    store: PositionedStore,
) -> None:
    store.save(Image(1, {"a": {b"k": b"v"}, "b": {}}))
    assert store.families() == {"a", "b"}
    store.save(Image(2, {"a": {b"k": None}}))
    store.drop("b")
    assert store.families() == {"a"}


def test_a_dropped_family_is_gone_and_comes_back_empty(store: PositionedStore) -> None:
    store.save(Image(1, {"a": {b"k": b"v"}, "b": {b"k": b"v"}}))
    store.drop("a")
    store.drop("never there")
    assert store.get("a", b"k") is None
    assert store.scan("a", b"", None, 10) == []
    assert store.get("b", b"k") == b"v"
    store.save(Image(2, {"a": {b"new": b"v"}}))
    again = _reopen(store)
    assert again.scan("a", b"", None, 10) == [(b"new", b"v")]
    again.close()


SCANNED = [b"", b"\x00", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff"]


@pytest.mark.parametrize(
    ("start", "stop", "limit", "found"),
    [
        (b"", None, 100, SCANNED),
        (b"", None, 3, SCANNED[:3]),
        (b"a", b"b", 100, [b"a", b"a\x00", b"ab"]),
        (b"a\x00", b"ab", 100, [b"a\x00"]),
        (b"aa", b"\xff", 100, [b"ab", b"b"]),
        (b"\xff", None, 100, [b"\xff", b"\xff\xff"]),
        (b"\xff\xff\xff", None, 100, []),
        (b"", b"", 100, []),
        (b"b", b"a", 100, []),
        (b"a", b"a", 100, []),
        (b"", None, 0, []),
        (b"", None, -1, []),
    ],
)
def test_a_scan_gives_its_range_in_byte_order(
    store: PositionedStore, start: bytes, stop: bytes | None, limit: int, found: list[bytes]
) -> None:
    store.save(Image(1, {"a": {key: b"v" + key for key in reversed(SCANNED)}}))
    assert store.scan("a", start, stop, limit) == [(key, b"v" + key) for key in found]


def test_an_image_that_changes_after_its_save_changes_nothing(store: PositionedStore) -> None:
    writes: dict[str, dict[bytes, bytes | None]] = {"a": {b"k": b"v"}}
    store.save(Image(1, writes))
    writes["a"][b"k"] = b"changed"
    assert store.get("a", b"k") == b"v"


def test_everything_saved_is_there_after_a_restart(store: PositionedStore) -> None:
    store.save(Image(1, {"a": {b"k": b"1"}}))
    store.save(Image(5, {"a": {b"k": b"2"}, "b": {b"k": b"3"}}))
    again = _reopen(store)
    assert (again.get("a", b"k"), again.get("b", b"k")) == (b"2", b"3")
    assert (again.saved_offset(), again.save_count(), again.rolled_back) == (5, 2, False)
    assert again.families() == {"a", "b"}
    again.close()


USES: list[Callable[[PositionedStore], object]] = [
    lambda store: store.get("a", b"k"),
    lambda store: store.get("never there", b"k"),
    lambda store: store.scan("a", b"", None, 1),
    lambda store: store.save(Image(2, {})),
    lambda store: store.families(),
    lambda store: store.drop("a"),
    lambda store: store.saved_offset(),
    lambda store: store.save_count(),
]


def test_a_closed_store_refuses_every_use(store: PositionedStore) -> None:
    store.save(Image(1, {"a": {b"k": b"v"}}))
    store.close()
    store.close()
    for use in USES:
        with pytest.raises(StateUnavailable, match="closed"):
            use(store)


_names = st.sampled_from(["a", "b", "default"])
_keys = st.binary(max_size=2)
_writes = st.dictionaries(
    _names, st.dictionaries(_keys, st.none() | st.binary(max_size=4), max_size=5), max_size=3
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("save"), _writes),
        st.tuples(st.just("drop"), _names),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("scan"), st.tuples(_names, _keys, st.none() | _keys)),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(steps=_steps)
def test_the_double_and_the_real_one_cannot_be_told_apart(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        stores: list[PositionedStore] = [
            MemoryStore(),
            RocksdbStore.open(Path(directory) / "state"),
        ]
        try:
            for number, (step, argument) in enumerate(steps):
                stores = [_taken(each, number, step, argument) for each in stores]
                expected, seen = (_everything(each) for each in stores)
                assert seen == expected
                if step == "scan":
                    family, start, stop = argument
                    one, other = (each.scan(family, start, stop, 3) for each in stores)
                    assert one == other
        finally:
            for each in stores:
                each.close()


def _taken(store: PositionedStore, number: int, step: str, argument: Any) -> PositionedStore:
    if step == "save":
        store.save(Image(number, argument))
    elif step == "drop":
        store.drop(argument)
    elif step == "reopen":
        return _reopen(store)
    return store


def _everything(store: PositionedStore) -> object:
    families = {name: store.scan(name, b"", None, 1000) for name in store.families()}
    return families, store.saved_offset(), store.save_count(), store.rolled_back
