"""The declaration: what a pipeline is. Nothing runs; mistakes are caught here, by their path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal

from stream_app.codec.limits import Limits
from stream_app.core.drift_monitors import DriftMonitor, prepared_monitors
from stream_app.core.evaluate import evaluate
from stream_app.core.feature_types import feature_types
from stream_app.core.intake import Intake, sources_of
from stream_app.core.keeping import Keep
from stream_app.core.parameters import (
    checked_limits,
    checked_name,
    checked_task,
    expect,
    one_of,
    positive,
)
from stream_app.core.promote_when import PromoteWhen, checked_gate
from stream_app.core.settings import (
    AcceptanceSettings,
    ModelPer,
    MonitorSettings,
    ReportingSettings,
    Settings,
)
from stream_app.core.version_plan import VersionPlan
from stream_app.errors import DeclarationError, StateUntrusted
from stream_app.learning.definition import Json, Prepared, build, definition_digest, prepare
from stream_app.learning.metric_checks import check_metric, named_metrics
from stream_app.learning.monitors import Monitor
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.tasks import Task
from stream_app.near_names import did_you_mean, no_version


class Labels:
    """How long an observation waits for its label, in event time."""

    def __init__(self, *, wait: Any = timedelta(days=1)) -> None:
        if not isinstance(wait, timedelta) or not timedelta(0) < wait <= timedelta(days=3650):
            raise DeclarationError(
                f"labels.wait: {wait!r} is no time to wait",
                attempt="labels=Labels(wait=timedelta(days=2))",
            )
        self.wait: timedelta = wait


class Version:
    """One model under a name of its own; `features` are those it takes, by default all.

    The model must be untrained: only what is in the log may be in a model. With `start="file"` it
    begins with the models of a file all the same, which `stream-app import` puts into the log;
    until that record it predicts nothing.
    """

    def __init__(
        self,
        model: Any,
        *,
        features: Iterable[str] | None = None,
        start: Literal["untrained", "file"] = "untrained",
    ) -> None:
        self.model = model
        self.start = start
        if isinstance(features, str):
            raise DeclarationError(
                f"Version.features: {features!r} is one string, not names",
                attempt=f"features=[{features!r}]",
            )
        self.features = None if features is None else tuple(features)


class Pipeline:
    """The declared path of an event: how it is checked, who learns from it, what is reported.

    Raises `DeclarationError`, which names the parameter by its path and what to write instead.
    """

    def __init__(
        self,
        name: str,
        *,
        task: Task,
        versions: Mapping[str, Version],
        features: object = None,
        labels: Labels | None = None,
        metrics: Any = None,
        initial_champion: str | None = None,
        model_per: ModelPer = "pipeline",
        seed: int = 0,
        drift: Iterable[DriftMonitor] = (),
        limits: Limits | None = None,
        evaluate_every: int = 1000,
        digest_every: int = 100_000,
        intake: Iterable[Intake] = (),
        promote_when: PromoteWhen | None = None,
        checkpoints: Keep | None = None,
    ) -> None:
        self.name = checked_name("name", name)
        self.task = checked_task(task)
        self.features = feature_types(features)
        self.labels: Labels = expect(
            "labels",
            Labels() if labels is None else labels,
            Labels,
            "labels=Labels(wait=timedelta(days=2))",
        )
        self.limits = checked_limits(limits if limits is not None else Limits())
        self.model_per = one_of("model_per", model_per, ("pipeline", "partition", "key"))
        self.seed: int = expect("seed", seed, int, "seed=1")
        self.evaluate_every = positive("evaluate_every", evaluate_every)
        self.digest_every = positive("digest_every", digest_every)
        self.versions: dict[str, Version] = dict(
            expect("versions", versions, Mapping, 'versions={"v1": Version(model)}')
        )
        self._prepared = self._prepare_versions()
        self.initial_champion = self._champion(initial_champion)
        monitors = expect("drift", drift, Iterable, 'drift=[DriftMonitor("error", drift.ADWIN())]')
        self._drift = prepared_monitors(list(monitors), self.features, self.seed)
        self._metrics = self._prepare_metrics(metrics)
        names = list(self._metrics) or list(self.task.default_metrics())
        self.promote_when = checked_gate(promote_when, names)
        self.known: dict[str, object] = {}
        for prepared in [*self._prepared.values(), *self._metrics.values()]:
            self.known.update(prepared.known)
        for _, prepared in self._drift:
            self.known.update(prepared.known)
        self.checkpoints: Keep = expect(
            "checkpoints",
            Keep() if checkpoints is None else checkpoints,
            Keep,
            "checkpoints=Keep(records=100_000, at_most=100)",
        )
        self._plans = [self._plan(version) for version in self.versions]
        self.sources = sources_of(
            expect("intake", intake, Iterable, 'intake=[Intake("topic", ...)]'),
            self.name,
            self.features,
        )

    def settings(self) -> Settings:
        """Return everything beside the versions that can change state or an output."""
        return Settings(
            AcceptanceSettings(
                task=self.task.fields(),
                features=self.features,
                wait_ms=self.labels.wait // timedelta(milliseconds=1),
                model_per=self.model_per,
                limits=self.limits,
            ),
            ReportingSettings(
                metrics={name: prepared.tree for name, prepared in self._metrics.items()},
                evaluate_every=self.evaluate_every,
                digest_every=self.digest_every,
                monitors=[
                    MonitorSettings(monitor.name, monitor.watches, prepared.tree)
                    for monitor, prepared in self._drift
                    if monitor.action == "alert"
                ],
                promote_when=None if self.promote_when is None else self.promote_when.settings(),
            ),
        )

    def plans(self, names: Iterable[str] | None = None) -> list[VersionPlan]:
        """Return the versions made ready for the fold, all or those with these names."""
        wanted = None if names is None else set(names)
        return [plan for plan in self._plans if wanted is None or plan.name in wanted]

    def definitions(self) -> dict[str, str]:
        """Return every version's definition digest."""
        return {plan.name: plan.definition for plan in self._plans}

    def seeds(self) -> dict[str, dict[str, int]]:
        """Return the seeds that were filled, by version and parameter path."""
        return {name: dict(prepared.seeds) for name, prepared in self._prepared.items()}

    def untrained(self, version: str) -> Any:
        """Return a version's model as it begins to learn here, seeds and all that is filled in.

        To be trained elsewhere for `Version(..., start="file")`; raises `UsageError`.
        """
        if version not in self._prepared:
            raise no_version(version, self.name, self._prepared)
        prepared = self._prepared[version]
        return build(prepared.tree, prepared.known)

    def tree(self, version: str) -> Json:
        """Return the tree of the constructor calls that a version's model is."""
        return self._prepared[version].tree

    @property
    def imports(self) -> bool:
        """Whether a version begins from a file, which is kept in the log."""
        return any(version.start == "file" for version in self.versions.values())

    def own_code(self, version: str) -> list[str]:
        """Return the names of the users' classes and functions that a version's model holds."""
        return sorted(self._prepared[version].known)

    def notes(self) -> list[str]:
        """Return what is allowed in this declaration, and may yet be a mistake."""
        rows = [note for name in self.versions for note in self.notes_of(name)]
        return rows + self._intake_notes()

    def notes_of(self, version: str) -> list[str]:
        """Return those of the notes that are about one version, which is declared."""
        chosen, declared = self.versions[version].features or (), self.features or {}
        return [
            f'versions["{version}"].features: {feature!r} is not declared, so the version goes '
            "without it wherever no event carries it"
            + did_you_mean(feature, [n for n in declared if n not in chosen])
            for feature in (chosen if declared else ())
            if feature not in declared
        ]

    def _intake_notes(self) -> list[str]:
        """Return which mapped features only versions that name them will get."""
        declared = self.features
        mapped = {
            (source.topic, name)
            for source in self.sources
            for mapping in source.mappings
            for name, _ in mapping.features
        }
        return [
            f"intake from {topic}: feature {name!r} is not declared, so only versions that name "
            f"it get it{did_you_mean(name, declared or ())}"
            for topic, name in sorted(mapped)
            if declared is not None and name not in declared
        ]

    def evaluate(
        self,
        dataset: Iterable[Any],
        *,
        version: str | None = None,
        moment: Any = None,
        delay: Any = None,
    ) -> Any:
        """Return River's metric after a dataset has gone through the core, test then train.

        `dataset` yields (features, label) as River's do; `moment` and `delay` are those of
        River's `progressive_val_score`. The figure is, digit for digit, River's own over the same
        events in sorted feature order, and the one that `run` publishes for them.
        """
        return evaluate(self, dataset, version=version, moment=moment, delay=delay)

    def _prepare_versions(self) -> dict[str, Prepared]:
        if not self.versions:
            raise DeclarationError(
                "versions: a pipeline needs at least one",
                attempt='versions={"v1": Version(StandardScaler() | LogisticRegression())}',
            )
        prepared = {}
        for name, version in self.versions.items():
            path = f'versions["{checked_name("versions", name)}"]'
            if not isinstance(version, Version):
                raise DeclarationError(
                    f"{path}: expected a Version, got {type(version).__name__}",
                    attempt=f'versions={{"{name}": Version(model)}}',
                )
            prepared[name] = prepare(version.model, seed=self.seed, path=f"{path}.model")
            one_of(f"{path}.start", version.start, ("untrained", "file"))
            self._check_model(path, version, prepared[name])
        return prepared

    def _check_model(self, path: str, version: Version, prepared: Prepared) -> None:
        try:
            self.task.predictor(prepared.prototype)
        except DeclarationError as error:
            raise DeclarationError(
                f"{path}.model: {error.problem}", attempt=error.attempt
            ) from None
        for feature in version.features or ():
            if not isinstance(feature, str):
                raise DeclarationError(
                    f"{path}.features: {feature!r} is no name", attempt="names of features"
                )
        if version.features is not None and not version.features:
            raise DeclarationError(
                f"{path}.features: no features at all",
                attempt="leave `features` out to take all of them",
            )

    def _champion(self, declared: str | None) -> str:
        if declared is None and len(self.versions) == 1:
            return next(iter(self.versions))
        if declared is None:
            raise DeclarationError(
                "initial_champion: several versions, and none is said to be the champion at first",
                attempt=f'initial_champion="{next(iter(self.versions))}", or another of them',
            )
        if declared not in self.versions:
            raise DeclarationError(
                f"initial_champion: {declared!r} is none of the versions",
                attempt=f"one of {', '.join(self.versions)}",
            )
        return declared

    def _prepare_metrics(self, declared: Any) -> dict[str, Prepared]:
        models = {name: prepared.prototype for name, prepared in self._prepared.items()}
        rows = {}
        for name, metric in named_metrics(declared, self.task).items():
            check_metric(name, metric, self.task, models)
            rows[name] = prepare(metric, seed=self.seed, path=f"metrics.{name}")
        return rows

    def _plan(self, name: str) -> VersionPlan:
        version, prepared = self.versions[name], self._prepared[name]
        names = version.features
        if names is None and self.features is not None:
            names = tuple(self.features)
        names = None if names is None else tuple(sorted(set(names)))
        resetting = [(m.name, m.watches, p) for m, p in self._drift if m.action == "reset"]
        definition = {
            "model": prepared.tree,
            "features": names,
            "monitors": [[name, watches, p.tree] for name, watches, p in resetting],
        }
        if version.start == "file":
            definition["start"] = version.start

        def monitors() -> list[Monitor]:
            return [Monitor(n, w, build(p.tree, p.known)) for n, w, p in resetting]

        pickles = ModelPickles(self.known)
        prototype = pickles.dumps(prepared.prototype)
        try:
            pickles.loads(prototype)
        except StateUntrusted as error:
            raise DeclarationError(
                f'versions["{name}"].model: cannot be restored from its own bytes: {error.problem}',
                attempt="another River model, or functions and classes at the top of a module",
            ) from None
        return VersionPlan(
            name=name,
            definition=definition_digest(definition),
            task=self.task,
            prototype=prototype,
            features=names,
            copies=prepared.changes_features,
            monitors=monitors,
            pickles=pickles,
            keyed=self.model_per == "key",
            from_file=version.start == "file",
        )
