"""River's catalogue: every model, metric and detector, seeded, and how to make each work."""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import math
import pkgutil
import random
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import river
from river import (
    anomaly,
    base,
    cluster,
    compose,
    covariance,
    drift,
    ensemble,
    facto,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    misc,
    multioutput,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    proba,
    rules,
    sketch,
    stats,
    time_series,
    tree,
    utils,
)

# Rooms of River that hold no model: data, plotting, checks, and what needs other packages.
_NO_MODELS = (
    "river.api",
    "river.bandit.datasets",
    "river.bandit.envs",
    "river.bandit.evaluate",
    "river.checks",
    "river.compat",
    "river.datasets",
    "river.evaluate",
    "river.stream",
)

Step = Callable[[Any, int], object]


def modules() -> Iterator[ModuleType]:
    """Every module of River that may hold a model."""
    for found in pkgutil.walk_packages(river.__path__, "river."):
        if not found.name.startswith(_NO_MODELS):
            yield importlib.import_module(found.name)
    for name in ("drift", "stats", "vectordict"):
        yield importlib.import_module(f"river._river_rust.{name}")


def classes() -> dict[str, type]:
    """Every class that those modules define, by "module:qualname", nested ones too."""
    found: dict[str, type] = {}

    def add(owner: object) -> None:
        for thing in vars(owner).values():
            if inspect.isclass(thing) and thing.__module__.startswith("river."):
                name = f"{thing.__module__}:{thing.__qualname__}"
                if name not in found and not thing.__module__.startswith(_NO_MODELS):
                    found[name] = thing
                    add(thing)

    for module in modules():
        add(module)
    return found


def _filled(params: dict[str, Any]) -> dict[str, Any]:
    def value(name: str, param: Any) -> Any:
        if name == "seed" and param is None:
            return 7
        if isinstance(param, tuple) and len(param) == 2 and inspect.isclass(param[0]):
            return (param[0], _filled(param[1]))
        return param

    return {name: value(name, param) for name, param in params.items()}


def seeded(model: Any) -> Any:
    """The same model with every seed that it lacks."""
    return model.clone(_filled(model._get_params())) if isinstance(model, base.Base) else model


def variants() -> Iterator[tuple[str, Any]]:
    """Configurations that keep other functions, methods and classes than the defaults do."""
    logistic, tree_ = linear_model.LogisticRegression, tree.HoeffdingTreeClassifier
    yield "scaler|logreg", preprocessing.StandardScaler() | logistic()
    yield "scaler(window)|logreg", preprocessing.StandardScaler(window_size=20) | logistic()
    yield "minmax(window)|linear", preprocessing.MinMaxScaler(window_size=9) | _linear()
    yield "maxabs(window)|linear", preprocessing.MaxAbsScaler(window_size=9) | _linear()
    yield "minmax|linear", preprocessing.MinMaxScaler() | _linear()
    yield "select|tree", compose.Select("a", "b") | tree_(grace_period=20)
    yield (
        "type|onehot+scaler|logreg",
        (
            (compose.SelectType(str) | preprocessing.OneHotEncoder())
            + (compose.SelectType(float) | preprocessing.StandardScaler())
        )
        | logistic(),
    )
    yield "agg|linear", feature_extraction.TargetAgg(by="c", how=stats.Mean()) | _linear()
    yield "agg(rolling)", feature_extraction.Agg(on="a", by="c", how=utils.Rolling(stats.Mean, 5))
    yield "grouper", compose.Grouper(preprocessing.StandardScaler(), by="c")
    yield "renamer", compose.Renamer({"a": "z"}) | _linear()
    yield "func(abs)", compose.FuncTransformer(dict)
    yield "imputer", preprocessing.StatImputer(("a", stats.Mean())) | _linear()
    for mode in (0, 1, 2):
        yield f"pa({mode})", linear_model.PAClassifier(mode=mode)
        yield f"par({mode})", linear_model.PARegressor(mode=mode)
    for method in ("bag", "me", "half", "wt", "subag"):
        yield (
            f"leveraging({method})",
            ensemble.LeveragingBaggingClassifier(
                logistic(), n_models=3, bagging_method=method, seed=1
            ),
        )
    for detection in ("all", "drop", "off"):
        yield f"oxt({detection})", forest.OXTRegressor(n_models=3, detection_mode=detection, seed=1)
    for optimizer in (
        optim.AdaGrad, optim.Adam, optim.AdaDelta, optim.FTRLProximal, optim.Momentum,
        optim.RMSProp, optim.NesterovMomentum, optim.AdaMax, optim.AMSGrad, optim.Nadam,
    ):  # fmt: skip
        yield f"logreg({optimizer.__name__})", logistic(optimizer())
    yield "logreg(schedule)", logistic(optim.SGD(optim.schedulers.InverseScaling(0.1)))
    yield "logreg(optimal)", logistic(optim.SGD(optim.schedulers.Optimal(optim.losses.Log())))
    yield "logreg(l1)", logistic(l1=0.1)
    yield "linear(normal)", _linear(initializer=optim.initializers.Normal(seed=1))
    for splitter in (
        tree.splitter.ExhaustiveSplitter, tree.splitter.HistogramSplitter,
        tree.splitter.GaussianSplitter,
    ):  # fmt: skip
        yield f"tree({splitter.__name__})", tree_(grace_period=20, splitter=splitter())
    yield "tree(nominal)", tree_(grace_period=20, nominal_attributes=["c"], delta=0.1)
    yield "tree(binary)", tree_(grace_period=20, nominal_attributes=["c"], binary_split=True)
    for leaf in ("mc", "nb", "nba"):
        yield f"tree({leaf})", tree_(grace_period=20, leaf_prediction=leaf, delta=0.1, tau=0.5)
        yield (
            f"efdt({leaf})",
            tree.ExtremelyFastDecisionTreeClassifier(
                grace_period=20, leaf_prediction=leaf, delta=0.1, nominal_attributes=["c"]
            ),
        )
        yield (
            f"hat({leaf})",
            tree.HoeffdingAdaptiveTreeClassifier(
                grace_period=20, leaf_prediction=leaf, delta=0.1, nominal_attributes=["c"], seed=1
            ),
        )
        yield f"last({leaf})", tree.LASTClassifier(leaf_prediction=leaf)
        yield f"arf({leaf})", forest.ARFClassifier(
            n_models=3, grace_period=20, leaf_prediction=leaf, delta=0.1, seed=1,
            nominal_attributes=["c"],
        )  # fmt: skip
    for leaf in ("mean", "model", "adaptive"):
        yield (
            f"regtree({leaf})",
            tree.HoeffdingTreeRegressor(
                grace_period=20, leaf_prediction=leaf, delta=0.1, tau=0.5, nominal_attributes=["c"]
            ),
        )
        yield (
            f"hatr({leaf})",
            tree.HoeffdingAdaptiveTreeRegressor(
                grace_period=20, leaf_prediction=leaf, delta=0.1, tau=0.5, seed=1
            ),
        )
        yield (
            f"arfr({leaf})",
            forest.ARFRegressor(
                n_models=3, grace_period=20, leaf_prediction=leaf, delta=0.1, seed=1
            ),
        )
        yield f"isoup({leaf})", tree.ISOUPTreeRegressor(grace_period=20, leaf_prediction=leaf)
    for number, regression in enumerate(
        (tree.splitter.EBSTSplitter(), tree.splitter.TEBSTSplitter(), tree.splitter.QOSplitter())
    ):
        yield (
            f"regtree(splitter {number})",
            tree.HoeffdingTreeRegressor(grace_period=20, splitter=regression, delta=0.1, tau=0.5),
        )
        yield (
            f"isoup(nominal, splitter {number})",
            tree.ISOUPTreeRegressor(grace_period=20, splitter=regression, nominal_attributes=["c"]),
        )
        yield (
            f"isoup(splitter {number})",
            tree.ISOUPTreeRegressor(grace_period=20, splitter=regression),
        )
    yield "sgt", tree.SGTRegressor(grace_period=20, delta=0.5)
    yield "arf", forest.ARFClassifier(n_models=3, grace_period=20, seed=1)
    yield (
        "arf(no drift)",
        forest.ARFClassifier(n_models=3, drift_detector=None, warning_detector=None, seed=1),
    )
    yield (
        "arf(multiclass detectors)",
        forest.ARFClassifier(
            n_models=3,
            drift_detector=drift.KSWIN(seed=1),
            warning_detector=drift.PageHinkley(),
            seed=1,
        ),
    )
    yield "srp", ensemble.SRPClassifier(tree_(grace_period=20), n_models=3, seed=1)
    yield "srpr", ensemble.SRPRegressor(n_models=3, seed=1)
    yield "amf", forest.AMFClassifier(n_estimators=3, seed=1)
    yield "amfr", forest.AMFRegressor(n_estimators=3, seed=1)
    yield "knn(lazy)", neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=50))
    yield "knn(swinn)", neighbors.KNNClassifier(engine=neighbors.SWINN(maxlen=60, seed=1))
    yield "hst", anomaly.HalfSpaceTrees(n_trees=3, height=4, seed=1)
    yield "svm", anomaly.OneClassSVM()
    yield "lof", anomaly.LocalOutlierFactor(5)
    yield "nb", naive_bayes.GaussianNB()
    yield "amrules", rules.AMRules(n_min=20, delta=0.5, drift_detector=drift.ADWIN())
    yield "chain", multioutput.RegressorChain(_linear(), order=["x", "y"])
    yield "fm", facto.FMClassifier(n_factors=2, seed=1)
    yield "kmeans", cluster.KMeans(n_clusters=3, seed=1)
    yield "dbstream", cluster.DBSTREAM()
    yield "denstream", cluster.DenStream(n_samples_init=10)
    yield "holtwinters", time_series.HoltWinters(0.3, 0.1, 0.6, seasonality=4, multiplicative=True)
    yield "snarimax", time_series.SNARIMAX(p=2, d=1, q=2, sp=1, m=4, sd=1)
    yield "ph(up)", drift.PageHinkley(mode="up")
    yield "ph(down)", drift.PageHinkley(mode="down")
    yield "dummy(fixed)", drift.DummyDriftDetector("fixed", t_0=20, seed=1)
    yield "dummy(random)", drift.DummyDriftDetector("random", t_0=20, w=5, seed=1)
    yield "rocauc", metrics.ROCAUC(n_thresholds=100)
    yield "metrics", metrics.ROCAUC() + metrics.LogLoss() + metrics.Accuracy()
    yield "rolling accuracy", utils.Rolling(metrics.Accuracy, window_size=10)
    yield "rolling mean", utils.Rolling(stats.Mean, window_size=10)
    yield "time rolling mean", utils.TimeRolling(stats.Mean, period=dt.timedelta(seconds=7))
    for average in ("geometric", "arithmetic", "min", "max"):
        yield f"mutual({average})", metrics.NormalizedMutualInfo(average_method=average)
    yield "fbeta", metrics.FBeta(0.5)
    yield "multifbeta", metrics.MultiFBeta(betas={0: 1, 1: 2}, weights=None)
    yield "weighted", metrics.WeightedF1()
    yield "per output", metrics.multioutput.PerOutput(metrics.MAE())
    yield "macro", metrics.multioutput.MacroAverage(metrics.Accuracy())
    yield "autocorr", stats.AutoCorr(2)
    yield "rolling quantile", stats.RollingQuantile(0.5, 10)
    yield "rolling iqr", stats.RollingIQR(10)
    yield "rolling min", stats.RollingMin(10)
    yield "rolling max", stats.RollingMax(10)
    yield "rolling abs max", stats.RollingAbsMax(10)
    yield "rolling mode", stats.RollingMode(10)
    yield "rolling ptp", stats.RollingPeakToPeak(10)
    yield "bayesian mean", stats.BayesianMean(1, 2)
    yield "link", stats.Mean() | stats.Var()
    yield "target scaler", preprocessing.TargetStandardScaler(_linear())
    yield "target min max", preprocessing.TargetMinMaxScaler(_linear())
    yield "cov", covariance.EmpiricalCovariance()
    yield "precision", covariance.EmpiricalPrecision()
    yield "gaussian(seed)", proba.Gaussian(seed=1)
    yield "sdft", misc.SDFT(8)
    yield "histogram", sketch.Histogram(max_bins=8)
    yield "bag of words", feature_extraction.BagOfWords(ngram_range=(1, 2), stop_words={"the"})


def _linear(**params: Any) -> Any:
    return linear_model.LinearRegression(**params)


def catalogue() -> Iterator[tuple[str, Any]]:
    """Names and fresh seeded instances: River's own examples of every class, then variants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in sorted(classes().items()):
            if inspect.isabstract(cls) or not issubclass(cls, base.Base):
                continue
            try:
                found = [cls(**params) for params in cls._unit_test_params()]
                yield from ((f"{name}#{n}", seeded(model)) for n, model in enumerate(found))
            except (TypeError, ValueError, RuntimeError, NotImplementedError):
                continue  # no example: it is covered by a variant or made by other classes
        yield from variants()


def example(n: int, width: int = 6) -> tuple[dict[str, Any], float, bool, str]:
    """The n-th example: features of numbers and a word, and a target of every kind."""
    chance = random.Random(n)
    x: dict[str, Any] = {
        name: round(chance.gauss(0.0, 1.0 + index), 6)
        for index, name in enumerate("abdefghijk"[:width])
    }
    x["c"] = chance.choice(["red", "green", "blue"])
    drifted = -1.0 if (n // 60) % 2 else 1.0
    score = drifted * x["a"] + 0.4 * x["b"] + (0.8 if x["c"] == "red" else 0.0)
    score += chance.gauss(0.0, 0.2)
    return x, score, score > 0, ("low", "mid", "high")[(score > -0.5) + (score > 0.5)]


def _numbers(x: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in x.items() if name != "c"}


def steps(model: Any) -> list[Step]:
    """Ways to show the model one example, richest first; each returns all that the model says."""
    found: list[Step] = []
    if isinstance(model, base.Wrapper | compose.Pipeline) or hasattr(model, "learn_one"):
        found += [_supervised(kind, mixed) for kind in (0, 1, 2) for mixed in (True, False)]
        found += [
            _counts,
            _multi,
            _multi_label,
            _unsupervised(True),
            _unsupervised(False),
            _words,
            _series,
            _ranking,
        ]
    if hasattr(model, "update"):
        found += [
            _measure,
            _bits,
            _labelled,
            _one_number,
            _one_word,
            _two_numbers,
            _timed,
            _features,
            _outputs,
        ]
    return found


def _said(model: Any, x: Any) -> Any:
    said = []
    for call in ("predict_one", "predict_proba_one", "score_one", "transform_one"):
        if hasattr(model, call):
            try:
                said.append(getattr(model, call)(x))
            except Exception as error:  # some cannot speak yet, or not of this; that is an answer
                said.append(type(error).__name__)
    return said


def _supervised(kind: int, mixed: bool) -> Step:
    def step(model: Any, n: int) -> object:
        x, number, flag, word = example(n)
        x = x if mixed else _numbers(x)
        said = _said(model, x)
        model.learn_one(x, (flag, number, word)[kind])
        return said

    return step


def _unsupervised(mixed: bool) -> Step:
    def step(model: Any, n: int) -> object:
        x = example(n)[0] if mixed else _numbers(example(n)[0])
        if isinstance(model, base.AnomalyDetector):
            x = {name: 1 / (1 + math.exp(-value)) for name, value in _numbers(x).items()}
        model.learn_one(x)
        return _said(model, x)

    return step


def _counts(model: Any, n: int) -> object:
    x = {name: int(abs(value)) for name, value in _numbers(example(n)[0]).items()}
    said = _said(model, x)
    model.learn_one(x, example(n)[3])
    return said


def _multi(model: Any, n: int) -> object:
    x, number, _, _ = example(n)
    x = _numbers(x)
    said = _said(model, x)
    model.learn_one(x, {"x": number, "y": 2 * number + x["d"]})
    return said


def _multi_label(model: Any, n: int) -> object:
    x, _, flag, _ = example(n)
    x = _numbers(x)
    said = _said(model, x)
    model.learn_one(x, {"x": flag, "y": x["d"] > 0})
    return said


def _words(model: Any, n: int) -> object:
    x, _, flag, word = example(n)
    text = f"{x['c']} the {word} house {n % 11}"
    said = _said(model, text)
    try:
        model.learn_one(text)
    except TypeError:
        model.learn_one(text, flag)
    return said


def _series(model: Any, n: int) -> object:
    number = 10 + math.sin(n) + example(n)[1] * 0.01
    model.learn_one(number)
    return model.forecast(3) if n > 20 and hasattr(model, "forecast") else None


def _ranking(model: Any, n: int) -> object:
    user, item = f"user{n % 7}", f"item{n % 5}"
    said = model.predict_one(user, item)
    model.learn_one(user, item, n % 4)
    return said


def _measure(model: Any, n: int) -> object:
    _, number, flag, word = example(n)
    kinds: list[tuple[Any, Any]] = [
        (flag, n % 3 == 0),
        (flag, 1 / (1 + math.exp(-number))),
        (flag, {True: 1 / (1 + math.exp(-number)), False: 1 / (1 + math.exp(number))}),
        (word, "mid"),
        (number, number + 0.1),
    ]
    for true, predicted in kinds:
        try:
            model.update(true, predicted)
        except (TypeError, AttributeError, KeyError, ValueError):
            continue
        return _got(model)
    raise TypeError("not of this kind")


def _got(model: Any) -> Any:
    for call in ("get", "drift_detected"):
        if hasattr(model, call):
            got = getattr(model, call)
            try:
                return got() if callable(got) else got
            except NotImplementedError:
                return None
    return None


def _one_number(model: Any, n: int) -> object:
    model.update(example(n)[1])
    return _got(model)


def _one_word(model: Any, n: int) -> object:
    model.update(f"{example(n)[3]} {n % 17}")
    return repr(model)


def _bits(model: Any, n: int) -> object:
    if not isinstance(model, base.BinaryDriftDetector | base.DriftDetector):
        raise TypeError("not of this kind")
    model.update(example(n)[2])
    return _got(model)


def _two_numbers(model: Any, n: int) -> object:
    model.update(example(n)[1], example(n + 1)[1])
    return _got(model)


def _timed(model: Any, n: int) -> object:
    model.update(example(n)[1], t=dt.datetime(2013, 1, 1) + dt.timedelta(seconds=n))
    return _got(model)


def _features(model: Any, n: int) -> object:
    model.update(_numbers(example(n, 3)[0]))
    return repr(model)


def _labelled(model: Any, n: int) -> object:
    model.update(_numbers(example(n, 3)[0]), n % 3, {0: {"a": 1.0}, 1: {"a": 2.0}})
    return _got(model)


def _outputs(model: Any, n: int) -> object:
    _, number, flag, _ = example(n)
    for true, predicted in (
        ({"x": flag, "y": not flag}, {"x": True, "y": False}),
        ({"x": number, "y": 1.0}, {"x": 1.0, "y": number}),
    ):
        try:
            model.update(true, predicted)
        except (TypeError, AttributeError):
            continue
        return _got(model)
    raise TypeError("not of this kind")


def step_for(make: Callable[[], Any], examples: int = 16) -> Step | None:
    """The first way of showing examples that this model accepts, or None."""
    for step in steps(make()):
        model = make()
        try:
            for n in range(examples):
                step(model, n)
        except Exception:
            continue
        return step
    return None
