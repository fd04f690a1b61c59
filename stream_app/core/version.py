"""One version's fold: predict, be scored, learn; its drift monitors, failures and evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.core.accepted import Joined
from stream_app.core.importing import FileOrder, misfit
from stream_app.core.memory import Memory
from stream_app.core.model_file import Entry, ModelHeader
from stream_app.core.models import Models
from stream_app.core.said import Failure, Fired, NullReason, Said
from stream_app.core.sampled_digest import SampledDigest
from stream_app.core.settings import Settings
from stream_app.core.store import StateReader
from stream_app.core.table import Table
from stream_app.core.version_plan import VersionPlan
from stream_app.events import Feature, LabelValue
from stream_app.learning.digests import structural_digest
from stream_app.learning.monitors import Monitor
from stream_app.learning.prequential import Prequential
from stream_app.learning.undo import ModelRaised, UndoableModel

_encode = msgspec.msgpack.Encoder().encode
Features = dict[str, Any]
_NOT_AT_HAND: Final = object()
_BEGUN: Final = b"i"


class VersionFold:
    """One version on one partition; calls come in the order of the log.

    What a call caused beside its result is left in `failures` and `fired` for the processor to
    publish and clear.
    """

    def __init__(
        self,
        plan: VersionPlan,
        reader: StateReader,
        *,
        seal: BlobSeal,
        context: str,
        reporting: Prequential,
        monitors: list[Monitor],
        memory: Memory,
    ) -> None:
        self.plan = plan
        self.name = plan.name
        self.family = f"version.{plan.name}"
        self._seal = seal
        self._context = f"{context}/{plan.name}/".encode()
        self.models = Models(
            reader,
            self.family,
            seal=seal,
            context=self._context,
            task=plan.task,
            prototype=plan.prototype,
            pickles=plan.pickles,
            memory=memory,
            copies=plan.copies,
            lasting=not plan.keyed,
        )
        self._digest = SampledDigest(self.models, plan.pickles.extra)
        self._waiting: Table[Any] = Table(
            reader, self.family, b"w", _encode, msgspec.msgpack.Decoder().decode
        )
        self.prequential = reporting
        self.monitors = monitors
        self._resetting = plan.monitors()
        self._in_a_row = {"predict": 0, "learn": 0}
        self.failed: str | None = None
        self.begun_from: str | None = None
        self.failures: list[Failure] = []
        self.fired: list[Fired] = []
        self._whole = -2
        self._failures_max = 1
        self.learned = 0
        self._take = plan.task.take
        self._keyed = plan.keyed
        self._said: Any = _NOT_AT_HAND
        self._asked: UndoableModel | None = None  # the model that said it, unless that was reset
        self._settle()

    @property
    def waits_for_file(self) -> bool:
        """Whether it begins from a file, and the order to do so is still to come."""
        return self.plan.from_file and self.begun_from is None

    def begin(self, order: FileOrder, header: ModelHeader, entries: Sequence[Entry]) -> None:
        """Take the models of a file for what was learned so far.

        One that does not fit fails the version, everywhere alike: for its definition and the file
        decide that.
        """
        self.begun_from = order.sha256
        wrong = misfit(header, self.plan, order.definition)
        if wrong:
            self.failed = f"the imported file does not fit: {wrong}"[:300]
        else:
            self.models.take(entries)
            self.learned = sum(entry.learned for entry in entries)
        self._settle()

    def _settle(self) -> None:
        """Derive what calls look at from what is saved."""
        self._sort_monitors()
        self._mute: NullReason | None = "untrained" if self.waits_for_file else None
        if self.failed is not None:
            self._mute = "failed"

    def _sort_monitors(self) -> None:
        self._feature_monitors = [m for m in self._resetting if m.watches != "error"]
        self._error_monitors = [m for m in self._resetting if m.watches == "error"]

    def change(self, settings: Settings, since: int) -> None:
        """Put other settings into force from the next record on, whose offset is `since`."""
        self._failures_max = settings.acceptance.limits.failures_max
        names, declared = self.plan.features, settings.acceptance.features
        whole = names is not None and declared is not None and {*declared} <= {*names}
        self._whole = since if whole else -2

    def select(self, features: Features) -> Features:
        """Return the version's own features, in canonical order."""
        names = self.plan.features
        if names is None:
            return features
        return {name: features[name] for name in names if name in features}

    @property
    def all_monitors(self) -> list[Monitor]:
        """The monitors of this version, those that reset it last; for reading."""
        return [*self.monitors, *self._resetting]

    def predict(
        self, seq: int, key: str, features: dict[str, Feature], schema: int, waits: bool
    ) -> Said:
        """Predict an accepted observation; keep what was said when its label is still to come."""
        if self._mute is not None:
            self._keep(seq, None, waits)
            learned = 0
            if self.failed is not None:
                learned = self.models.peek(key if self._keyed else "").learned
            return Said(None, None, self._mute, learned)
        if self._keyed:
            # A prediction may change a model, too: the digest must not depend on what comes after.
            self._digest.touch(key)
        model = self._asked = self.models.get(key if self._keyed else "")
        chosen = features if schema == self._whole else self.select(features)
        learned = model.learned
        try:
            said, prediction, probability = self._take(model.predict(chosen))
        except ModelRaised as raised:
            said, result = None, self._no_prediction(str(raised), learned)
        except (TypeError, ValueError) as odd:
            said, result = None, self._no_prediction(f"no valid prediction: {odd}", learned)
        else:
            self._in_a_row["predict"] = 0
            reason = "untrained" if prediction is None else None
            result = Said(prediction, probability, reason, learned)
        self._keep(seq, said, waits)
        if self._feature_monitors:
            self._watch(chosen)
        return result

    def _keep(self, seq: int, said: Any, waits: bool) -> None:
        """Keep what was said until its label comes: with the same record, or later."""
        if waits:
            self._waiting.add(seq, said)
        else:
            self._said = said

    def _no_prediction(self, detail: str, learned: int) -> Said:
        self._fail("predict", detail)
        return Said(None, None, "model_raised", learned)

    def learn(self, joined: Joined) -> None:
        """Score the prediction that was published for an example, then learn it."""
        at_once = self._said is not _NOT_AT_HAND
        if at_once:
            said, self._said = self._said, _NOT_AT_HAND
        else:
            said = self._waiting.pop(joined.seq)
        label = joined.label
        if self._mute is not None and self.failed is None:
            return
        self.prequential.score(label, said, joined.delay_ms)
        if (self.monitors or self._error_monitors) and said is not None and said != {}:
            self._watch_error(label, said)
        if self.failed is not None:
            return
        features = joined.features
        if joined.schema != self._whole:
            features = self.select(features)
        key = joined.key if self._keyed else ""
        model = self._asked if at_once else None
        try:
            (model or self.models.get(key)).learn(features, label)
        except ModelRaised as raised:
            self._fail("learn", str(raised))
        else:
            self._in_a_row["learn"] = 0
            self.learned += 1
        if self._keyed:
            self._digest.touch(key)

    def forget(self, seq: int) -> None:
        """Drop the prediction of an observation that timed out."""
        self._waiting.pop(seq)

    def _fail(self, call: str, detail: str) -> None:
        self.failures.append(Failure(call, detail))
        self._in_a_row[call] += 1
        if self._in_a_row[call] >= self._failures_max:
            self.failed = f"{call} raised {self._in_a_row[call]} times in a row, last {detail}"
            self._settle()

    def _watch_error(self, label: LabelValue, said: Any) -> None:
        error = self.plan.task.error(label, said)
        for monitor in self.monitors:
            firing = monitor.update(error)
            if firing is not None:
                self.fired.append(Fired(monitor, firing, "alert"))
        for monitor in self._error_monitors:
            self._may_reset(monitor, error)

    def _watch(self, features: Features) -> None:
        for monitor in self._feature_monitors:
            value = features.get(monitor.feature)
            if type(value) is float or type(value) is int:
                self._may_reset(monitor, value)

    def _may_reset(self, monitor: Monitor, value: Any) -> None:
        firing = monitor.update(value)
        if firing is not None:
            self.fired.append(Fired(monitor, firing, "reset"))
            self.models.reset()
            self._asked = None
            self._digest.reset()

    def digest(self) -> bytes:
        """Return the digest of all that decides the version's further predictions."""
        if not self._keyed:
            self._digest.touch("")
        resetting = [monitor.state() for monitor in self._resetting]
        rest: tuple[Any, ...] = (self.models.generation, self.failed, self._in_a_row, resetting)
        if self.plan.from_file:
            rest = (*rest, self.begun_from)
        watched = structural_digest(rest, self.plan.pickles.extra)
        return hashlib.sha256(self._digest.total() + watched).digest()

    def changes(self) -> int:
        """Return how many entries the next checkpoint will write or delete."""
        return self.models.changes() + self._waiting.changes()

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand all that changed to a checkpoint."""
        self.models.collect(writes)
        self._waiting.collect(writes)
        self._digest.collect(writes)
        changed = sorted(self._digest.changed)
        scalars = (self.models.generation, self.learned, self._in_a_row, self.failed, changed)
        writes[b"s"] = _encode(scalars)
        if self.begun_from is not None:
            writes[_BEGUN] = self.begun_from.encode()
        watching = [
            self.prequential.state(),
            [monitor.state() for monitor in self.monitors],
            [monitor.state() for monitor in self._resetting],
        ]
        blob = self.plan.pickles.dumps(watching)
        writes[b"r"] = self._seal.seal(self._context + b"r", blob)

    def saved(self) -> None:
        """Take note that what was handed out is in the store now."""
        self.models.saved()
        self._waiting.saved()

    def load(self, reader: StateReader) -> None:
        """Take back what `collect` handed out, if there is any."""
        scalars = reader.get(self.family, b"s")
        blob = reader.get(self.family, b"r")
        if scalars is None or blob is None:
            return
        state = msgspec.msgpack.decode(scalars)
        self.models.generation, self.learned, self._in_a_row, self.failed, changed = state
        begun = reader.get(self.family, _BEGUN)
        self.begun_from = None if begun is None else begun.decode()
        self._digest.load(reader, self.family, changed)
        watching: Any = self.plan.pickles.loads(self._seal.open(self._context + b"r", blob))
        self.prequential = Prequential.of(watching[0])
        self.monitors = [Monitor.of(state) for state in watching[1]]
        self._resetting = [Monitor.of(state) for state in watching[2]]
        self._settle()
