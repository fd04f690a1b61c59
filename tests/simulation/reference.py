"""The fold once more, as simply as it can be said: models in a dict, outputs in lists.

It shares no line with the core. What it does not know (drift monitors, digests, bytes) is compared
with an undisturbed run of the core itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from stream_app.events import Control, Label, Observation
from tests.core.reference import Reference
from tests.simulation.models import Brittle, Curious, Fingerprint

MODELS = {"plain": Fingerprint, "curious": Curious, "brittle": Brittle, "tuned": Fingerprint}
MAY_FAIL = ("brittle", "tuned")
Row = tuple[Any, ...]
NAME = re.compile("[a-z0-9-]+")


class Garbage:
    """A record that is no event, and why."""

    def __init__(self, value: bytes, reason: str) -> None:
        self.value = value
        self.reason = reason


class Settings:
    """A settings control: from here on an evaluation is due after so many examples."""

    def __init__(self, control_id: str, evaluate_every: int, ts_ms: int) -> None:
        self.id = control_id
        self.evaluate_every = evaluate_every
        self.ts_ms = ts_ms


class KeyChange:
    """A key control: names to add, each with the key of a name, and None for those to revoke."""

    def __init__(self, control_id: str, ts_ms: int, changes: dict[str, str | None]) -> None:
        self.id = control_id
        self.ts_ms = ts_ms
        self.changes = changes


class By:
    """A control that a key has signed."""

    def __init__(self, signer: str, event: Control | Settings | KeyChange) -> None:
        self.signer = signer
        self.event = event


class SeatRow(NamedTuple):
    """A change of the seat; no `control` stands for one that a person made at the committed place.

    A refused one is remembered and changes nothing.
    """

    since: int
    champion: str
    control: str | None = None
    refused: bool = False


class Promote(NamedTuple):
    """A promote control that acted: an order, whether it can be obeyed or not."""

    at: int
    version: str
    control: str


class Seating:
    """Who is champion where; `hosted` tells who runs beside the record at an offset."""

    def __init__(
        self, first: str, seated: Sequence[SeatRow], hosted: Callable[[int], Collection[str]]
    ) -> None:
        self.champion = first
        self.rows: list[SeatRow] = []
        self._first = first
        self._seated = list(seated)
        self._hosted = hosted

    def reach(self, at: int) -> None:
        """Let those be seated who are to be before the record at `at`."""
        while self._seated and self._seated[0].since <= at:
            self.rows.append(self._seated.pop(0))
            self.champion = self.rows[-1].champion

    def promote(self, order: Promote, failed: Collection[str]) -> None:
        """Obey, unless the version is not there or has failed; the next record is the first."""
        name = order.version
        if name == self.champion:
            return
        refused = name in failed or name not in self._hosted(order.at)
        self.rows.append(SeatRow(order.at + 1, name, order.control, refused))
        if not refused:
            self.champion = name

    def champion_at(self, at: int) -> str:
        """Return whose the record at `at` is."""
        reached = [row.champion for row in self.rows if row.since <= at and not row.refused]
        return [self._first, *reached][-1]


class _Version:
    def __init__(self, name: str, failures_max: int) -> None:
        self.name = name
        self.failures_max = failures_max
        self.models: dict[str, Any] = {}
        self.learned_of: dict[str, int] = {}
        self.said: dict[str, Any] = {}
        self.failed = False
        self.waiting = name == "tuned"  # for the file that it begins from
        self.in_a_row = {"predict": 0, "learn": 0}
        self.scored = self.unscored = self.window = 0
        self.error = 0.0
        self.rows: list[Row] = []

    def begin(self, models: dict[str, tuple[int, int]] | None) -> None:
        self.waiting, self.failed = False, models is None
        for key, (learned, state) in (models or {}).items():
            self.models[key] = Fingerprint()
            self.models[key].state = state
            self.learned_of[key] = learned

    def predict(self, at: int, key: str, name: str, x: dict[str, Any]) -> None:
        if self.waiting:
            self.said[name] = None
            self.rows.append((at, "prediction", name, 0, None, "untrained"))
            return
        before = self.models.get(key, MODELS[self.name]())
        said, reason = None, "failed" if self.failed else None
        if not self.failed:
            model = deepcopy(before)
            try:
                said, reason = model.predict_one(x), None
                self.models[key] = model
            except ZeroDivisionError:
                reason = "model_raised"
        self.said[name] = said
        learned = self.learned_of.get(key, 0)
        self.rows.append((at, "prediction", name, learned, said, reason))
        self._count("predict", at, name, raised=reason == "model_raised")

    def learn(self, at: int, key: str, name: str, x: dict[str, Any], y: Any) -> None:
        said = self.said.pop(name)
        if self.waiting:
            return
        self.window += 1
        if said is None:
            self.unscored += 1
        else:
            self.scored += 1
            self.error += abs(said - y)
        if self.failed:
            return
        model = deepcopy(self.models.get(key, MODELS[self.name]()))
        raised = False
        try:
            model.learn_one(x, y)
            self.models[key] = model
            self.learned_of[key] = self.learned_of.get(key, 0) + 1
        except ZeroDivisionError:
            raised = True
        self._count("learn", at, name, raised=raised)

    def _count(self, call: str, at: int, name: str, *, raised: bool) -> None:
        if self.failed:
            return
        self.in_a_row[call] = self.in_a_row[call] + 1 if raised else 0
        if raised:
            self.rows.append((at, "model_failure", call, name))
            self.failed = self.in_a_row[call] >= self.failures_max

    def evaluate(self, at: int, every: int, labels: dict[str, int]) -> None:
        if self.window < every:
            return
        mean = self.error / self.scored if self.scored else None
        self.rows.append((at, "evaluation", self.scored, self.unscored, self.window, mean, labels))
        self.window = 0


class ReferenceFold(Reference):
    """What should come of records: the rows of each version, and the refusals of all."""

    def __init__(
        self,
        *,
        versions: list[str],
        champion: str,
        failures_max: int,
        by_key: bool,
        evaluate_every: int,
        seated: Sequence[SeatRow],
        files: dict[str, dict[str, tuple[int, int]] | None],
        **bounds: int,
    ) -> None:
        super().__init__(**bounds)
        self.seating = Seating(champion, seated, lambda _at: versions)
        self.promotes: list[Promote] = []
        self.failed_at: dict[str, int] = {}
        self.files = files
        self.versions = [_Version(name, failures_max) for name in versions]
        self.by_key = by_key
        self.every = evaluate_every
        self.refusals: list[Row] = []
        self.accepted: dict[str, tuple[str, dict[str, Any]]] = {}
        self.at = 0
        self.signs = {"k1": True}  # False: no more

    def fold(self, at: int, event: Observation | Label | Garbage | By) -> bool:
        """Take the record at offset `at`; tells whether the champion goes on."""
        self.seating.reach(at)
        champion = self.seating.champion
        before = deepcopy(self.__dict__) if champion in MAY_FAIL else {}
        self.at = at
        self._fold(at, event)
        for version in self.versions:
            if version.failed:
                self.failed_at.setdefault(version.name, at)
        if champion in self.failed_at:
            self.__dict__ = before  # nothing of that record is published
            return False
        return True

    def _fold(self, at: int, event: Observation | Label | Garbage | By) -> None:
        if isinstance(event, Garbage):
            self._refuse(event.reason)
        elif isinstance(event, By):
            self._signed(event.signer, event.event)
        else:
            refused = len(self.letters)
            self.take(event)
            self.refusals += [(at, reason) for reason in self.letters[refused:]]

    def _refuse(self, reason: str) -> None:
        self.count["records"] += 1
        self.count["dead_letters"] += 1
        self.refusals.append((self.at, reason))

    def _signed(self, signer: str, event: Control | Settings | KeyChange) -> None:
        if not signer:
            self._refuse("unsigned")
        elif signer not in self.signs:
            self._refuse("unknown_key")
        elif not self.signs[signer] and event.id not in self.acted:
            self._refuse("revoked_key")
        elif isinstance(event, Settings):
            self._settings(event)
        elif isinstance(event, KeyChange):
            self._keys(event)
        elif event.action == "promote":
            self._promote(event)
        elif event.action == "import":
            self._import(event)
        elif event.action == "environment":
            self._environment(event)
        else:
            self.take(event)

    def _promote(self, event: Control) -> None:
        name = event.version
        if event.id not in self.acted:
            if name is None or not NAME.fullmatch(name):
                self._refuse("bad_promote")
                return
            self.acted.add(event.id)
            self.count["controls"] += 1
            self.promotes.append(Promote(self.at, name, event.id))
            self.seating.promote(self.promotes[-1], self.failed_at)
        self.count["records"] += 1

    def _environment(self, event: Control) -> None:
        if event.id not in self.acted:
            said: dict[str, Any] = event.environment or {}
            if not said.keys() >= {"python", "river", "numpy", "cpu"}:
                self._refuse("bad_environment")
                return
            self.acted.add(event.id)
            self.count["controls"] += 1
        self.count["records"] += 1

    def _import(self, event: Control) -> None:
        name, file = event.version, str((event.file or {}).get("sha256"))
        if event.id not in self.acted:
            if name is None or not NAME.fullmatch(name) or file not in self.files:
                self._refuse("bad_import")
                return
            self.acted.add(event.id)
            self.count["controls"] += 1
            for version in self.versions:
                if version.name == name and version.waiting:
                    version.begin(self.files[file])
        self.count["records"] += 1

    def _keys(self, event: KeyChange) -> None:
        signs = dict(self.signs)
        for name, key in event.changes.items():
            fits = name not in self.signs if key else self.signs.get(name, False)
            if not fits and event.id not in self.acted:
                self._refuse("bad_keys")
                return
            signs[name] = key is not None
        if event.id not in self.acted and not any(signs.values()):
            self._refuse("bad_keys")
            return
        self.count["records"] += 1
        if event.id not in self.acted:
            self.acted.add(event.id)
            self.count["controls"] += 1
            self.signs = signs

    def _settings(self, event: Settings) -> None:
        self.count["records"] += 1
        if event.id in self.acted:
            return
        self.acted.add(event.id)
        self.count["controls"] += 1
        self.every = event.evaluate_every
        for version in self.versions:  # reporting starts anew
            version.scored = version.unscored = version.window = 0
            version.error = 0.0

    def _observe(self, event: Observation) -> bool:
        key = event.id if event.key is None else event.key
        if not self._find(event.id):
            self.accepted[event.id] = (key, event.features)
            for version in self.versions:
                version.predict(self.at, key if self.by_key else "", event.id, event.features)
        return super()._observe(event)

    def _join(self, name: str, label: Any, delay: int) -> None:
        super()._join(name, label, delay)
        key, features = self.accepted[name]
        for version in self.versions:
            version.learn(self.at, key if self.by_key else "", name, features, label)
            version.evaluate(self.at, self.every, self._labels())

    def _labels(self) -> dict[str, int]:
        names = ("joined", "late", "early", "unknown", "duplicate", "conflicting")
        counted = {name: self.count[f"labels_{name}"] for name in names}
        timed_out, early = self.count["timed_out"], len(self.early)
        return counted | {"waiting": self.waiting, "timed_out": timed_out, "early_waiting": early}
