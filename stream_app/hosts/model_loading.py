"""`load_model`: the way back into a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from stream_app.codec.partitioning import partition_of
from stream_app.core.commit import Manifest
from stream_app.core.environment import this_environment
from stream_app.core.log import Log
from stream_app.core.memory import Memory
from stream_app.core.models import Models
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import read_position
from stream_app.core.store import StateReader
from stream_app.errors import StateUnavailable, StateUntrusted, UsageError
from stream_app.hosts.event_positions import require_meant
from stream_app.hosts.log_url import DEFAULT_BROKER, DEFAULT_STATE, open_broker
from stream_app.hosts.manifests import champion, read_manifest, settings_in_force
from stream_app.hosts.model_files import SUFFIX, one_model
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.pipeline_names import is_spec
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning import tasks
from stream_app.learning.pickles import ModelPickles
from stream_app.near_names import no_version
from stream_app.storage.private_files import is_there
from stream_app.storage.rocksdb_store import RocksdbStore


def load_model(
    name_or_path: str | Path,
    *,
    version: str | None = None,
    partition: int | None = None,
    key: str = "",
    broker: str | None = None,
    state: str | None = None,
    pipeline: str | None = None,
    public_key: str | None = None,
) -> Any:
    """Return a copy of a River model: a live one's as of the last checkpoint, or of a file.

    `name_or_path` is a pipeline's name in the log, or its file, which a model with classes of
    your own needs. The default version is the champion; with a model per key, `key` says whose,
    and the partition follows from it. What the copy predicts for a feature dict in sorted order
    is, digit for digit, what live says next from there.

    Or it is a file of `stream-app export`, which needs neither log nor state. It must be signed by
    `public_key`, or without that by a key of the state directory; `pipeline` is the file that
    declares classes of your own.

    Raises `UsageError` for an unknown pipeline, version or key, `StateUnavailable` while there
    is no checkpoint; `StateUntrusted` for a file that was changed, or signed by an unknown key,
    `EnvironmentDiffers` for one of another River, Python or NumPy.
    """
    directory = StateDirectory(Path(state or DEFAULT_STATE))
    if is_model_file(name_or_path):
        _refuse_more(version=version, partition=partition, broker=broker)
        known = None if pipeline is None else load_pipeline(pipeline).known
        return one_model(
            Path(name_or_path), key, known=known, public_key=public_key, state=directory
        )
    if public_key is not None or pipeline is not None:
        raise UsageError(
            f"{name_or_path} is a pipeline, and `public_key` and `pipeline` go with a file of "
            "stream-app export",
            attempt="leave them out",
        )
    return _live_model(str(name_or_path), version, partition, key, broker, directory)


def is_model_file(text: str | Path) -> bool:
    """Tell a file of `stream-app export` from a pipeline's name and its declaration."""
    if isinstance(text, Path):
        return text.suffix != ".py"
    if text.endswith(".py"):
        return False
    return text.endswith(SUFFIX) or (is_spec(text) and Path(text).is_file())


def _refuse_more(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"a file has one version of one partition, so `{name}` chooses nothing",
                attempt=f"leave `{name}` out",
            )


def _live_model(
    name_or_path: str,
    version: str | None,
    partition: int | None,
    key: str,
    broker: str | None,
    directory: StateDirectory,
) -> Any:
    pipeline = load_pipeline(name_or_path) if is_spec(name_or_path) else None
    name = name_or_path if pipeline is None else pipeline.name
    log = open_broker(broker or DEFAULT_BROKER, read_only=True)
    try:
        manifest = read_manifest(log, name)
        place = _Place(log, manifest, directory, key)
        number = place.partition(partition)
        version = version or champion(log, manifest, number)
        path = directory.partition(log.log_id, name, number)
        if not is_there(path):
            raise _no_checkpoint(f"{name}/{number}", path)
        store = RocksdbStore.open(path, read_only=True)
        try:
            if read_position(store) is None:
                raise _no_checkpoint(f"{name}/{number}", path)
            return place.model(store, number, version, pipeline)
        finally:
            store.close()
    finally:
        log.close()


def _no_checkpoint(where: str, path: Path) -> StateUnavailable:
    return StateUnavailable(
        f"{where} has no checkpoint yet: there is no state in {path}.",
        attempt="stream-app run FILE, which saves one at the latest when it ends; or state= with "
        "the directory where it is",
    )


class _Place:
    """Where a model is: a log, a pipeline in it, a state directory, a key."""

    def __init__(self, log: Log, manifest: Manifest, state: StateDirectory, key: str) -> None:
        self._manifest = manifest
        self._state = state
        self._settings = settings_in_force(log, manifest).acceptance
        keyed = self._settings.model_per == "key"
        self._key = key
        if keyed != bool(key):
            has = "one model for each key" if keyed else f"one model per {self._settings.model_per}"
            raise UsageError(
                f"{manifest.pipeline} keeps {has}",
                attempt='load_model(..., key="...")' if keyed else "leave `key` out",
            )

    def partition(self, wanted: int | None) -> int:
        """Return the partition that is meant; raises `UsageError` when there is none such."""
        count = self._manifest.partitions
        if wanted is None:
            return partition_of(self._key.encode(), count) if self._key else 0
        require_meant(self._manifest.pipeline, wanted, count)
        return wanted

    def model(
        self, store: StateReader, partition: int, version: str, pipeline: Pipeline | None
    ) -> Any:
        """Return the model that the state holds."""
        where = f"{self._manifest.pipeline}/{version}/{partition}"
        position = read_position(store)
        assert position is not None  # noqa: S101 - whoever opened the state looked
        present = sorted(position.versions)
        if version not in present:
            here = f"the state of {self._manifest.pipeline}/{partition}"
            raise no_version(version, here, present)
        position.environment.check(this_environment(), f"the state of {where}")
        models = self._models(store, partition, version, pipeline)
        scalars = store.get(f"version.{version}", b"s")
        if scalars is not None:
            models.generation = msgspec.msgpack.decode(scalars)[0]
        if store.get(f"version.{version}", b"m" + self._key.encode()) is None:
            whose = f"key {self._key!r}" if self._key else "it"
            raise UsageError(
                f"{where} has no model yet: {whose} was not seen before offset "
                f"{position.next_offset}",
                attempt="a key of an event that was processed, or run the pipeline first",
            )
        return self._peek(models, where, by_name=pipeline is None)

    def _models(
        self, store: StateReader, partition: int, version: str, pipeline: Pipeline | None
    ) -> Models:
        plans = [] if pipeline is None else pipeline.plans([version])
        name, log_id = self._manifest.pipeline, self._manifest.log_id
        return Models(
            store,
            f"version.{version}",
            seal=self._state.seal(),
            context=f"{log_id}/{name}/{partition}/{version}/".encode(),
            task=tasks.load(self._settings.task),
            memory=Memory(live_max=1, rest_bytes_max=0),
            prototype=plans[0].prototype if plans else b"",
            pickles=ModelPickles({} if pipeline is None else pipeline.known),
        )

    def _peek(self, models: Models, where: str, *, by_name: bool) -> Any:
        try:
            return models.peek(self._key).model
        except StateUntrusted as error:
            if not by_name:
                raise
            # By name nothing is known of the user's own classes, nor what a reset starts from.
            raise StateUntrusted(
                f"the model of {where} cannot be read by its pipeline's name alone: "
                f"{error.problem}",
                attempt='load_model("flights.py"): the file that declares the pipeline',
            ) from error
