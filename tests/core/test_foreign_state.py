"""Saved models are taken only from the place, the version and the key that they were saved for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from river import linear_model, naive_bayes

from stream_app import Binary, Pipeline, Version
from stream_app.codec.blobs import OVERHEAD_BYTES, BlobSeal
from stream_app.core.rehearsal import SEAL
from stream_app.errors import StateUntrusted
from stream_app.testing import Driver, Observation

Rows = dict[str, dict[bytes, bytes]]
OTHER = BlobSeal(bytes(range(32)))


def declared(name: str = "p") -> Pipeline:
    models = {"v1": linear_model.LogisticRegression(), "v2": naive_bayes.GaussianNB()}
    return Pipeline(
        name,
        task=Binary(),
        metrics={},
        model_per="key",
        versions={version: Version(model) for version, model in models.items()},
        initial_champion="v1",
    )


def learned(driver: Driver, begin: int = 0) -> Rows:
    """Let two keys learn something, and return what is saved then."""
    for i in range(begin, begin + 10):
        for key in ("a", "b"):
            x: dict[str, Any] = {"n": float(i * 7 % 5 + (key == "a"))}
            driver.send(Observation(f"{key}{i}", ts_ms=i, key=key, features=x, label=i % 2 == 0))
    driver.checkpoint()
    rows: Rows = driver._store._families
    return rows


def family(rows: Rows, version: str) -> dict[bytes, bytes]:
    [found] = [values for name, values in rows.items() if name.endswith(version)]
    return found


def model_of(rows: dict[bytes, bytes], key: str) -> bytes:
    """Return the name under which a key's model is saved."""
    [name] = [row for row in rows if row.endswith(key.encode()) and row[:1] == b"m"]
    return name


def _swap_keys(rows: Rows) -> None:
    own = family(rows, "v1")
    a, b = model_of(own, "a"), model_of(own, "b")
    own[a], own[b] = own[b], own[a]


def _swap_versions(rows: Rows) -> None:
    one, other = family(rows, "v1"), family(rows, "v2")
    name = model_of(one, "a")
    one[name], other[name] = other[name], one[name]


def _another_pipelines(rows: Rows) -> None:
    with Driver(declared("q")) as other:
        family(rows, "v1").update(family(learned(other), "v1"))


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        own = family(rows, "v1")
        name = model_of(own, "a")
        own[name] = change(own[name])

    return spoil


SPOILED: dict[str, Callable[[Rows], None]] = {
    "swapped between keys": _swap_keys,
    "swapped between versions": _swap_versions,
    "another pipeline's": _another_pipelines,
    "truncated": _changed(lambda blob: blob[:-1]),
    "cut to nothing": _changed(lambda _: b""),
    "unsigned": _changed(lambda blob: blob[OVERHEAD_BYTES:]),
    "a plain pickle": _changed(lambda _: pickle.dumps(linear_model.LogisticRegression())),
    "signed with another key": _changed(lambda blob: OTHER.seal(b"", blob[OVERHEAD_BYTES:])),
    "signed for another place": _changed(lambda blob: SEAL.seal(b"here", blob[OVERHEAD_BYTES:])),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_saved_model_that_is_not_this_ones_stops_the_partition(what: str) -> None:
    with Driver(declared()) as driver:
        rows = learned(driver)
        SPOILED[what](rows)
        driver._host.close()

        def go_on() -> None:
            driver.crash()
            learned(driver, 100)

        with pytest.raises(StateUntrusted):
            go_on()


def test_an_older_state_as_a_whole_is_learned_from_again() -> None:
    with Driver(declared()) as driver, Driver(declared()) as calm:
        older: Any = {name: dict(rows) for name, rows in learned(driver).items()}
        learned(driver, 100)
        driver._store._families = older
        driver.crash()
        learned(driver, 200)
        for begin in (0, 100, 200):
            learned(calm, begin)
        assert driver.outputs() == calm.outputs()
