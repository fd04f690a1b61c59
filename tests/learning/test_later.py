"""River is imported without SciPy, and a model that calls SciPy finds it, or ends the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.errors import SurroundingsError
from stream_app.hosts.intake import IMPORTED_ON_KAFKA
from stream_app.hosts.warm_forks import FOLDING
from stream_app.learning.pickles import pickles_for
from stream_app.learning.tasks import Binary
from stream_app.learning.undo import ModelRaised, UndoableModel

from . import users_code

# Everything of River that calls SciPy through what its modules hold, in so far as it can be called
# by an example at a time.
CALLERS = """
from river import drift, linear_model, metrics, naive_bayes, optim, preprocessing
from river import proba, tree

def said():
    geometric = metrics.GeometricMean()
    area = metrics.ROCAUC()
    for truth, guess in ((True, 0.9), (False, 0.4), (True, 0.3), (False, 0.2), (True, 0.7)):
        geometric.update(truth, guess > 0.5)
        area.update(truth, guess)
    yield geometric.get(), area.get()
    yield proba.Beta(2, 3).cdf(0.3)
    normal = proba.MultivariateGaussian(seed=3)
    window = drift.KSWIN(seed=1)
    grown = tree.SGTClassifier(delta=0.5, grace_period=20)
    advert = linear_model.AdPredictor()
    naive = naive_bayes.MultinomialNB()
    bayes = linear_model.BayesianLinearRegression()
    topics = preprocessing.LDA(n_components=2, number_of_documents=60, seed=4)
    for i in range(300):
        x = {"a": float(i % 7), "b": float(i % 5) ** 2}
        normal.update(x)
        window.update(float(i % 7 + i // 200))
        grown.learn_one(x, i % 7 > 3)
        advert.learn_one(x, i % 7 > 3)
        naive.learn_one({"a": i % 7, "b": i % 5}, i % 3)
        bayes.learn_one(x, float(i % 7))
    yield normal(x), normal.cdf(x), window.drift_detected, window.p_value
    yield grown.predict_proba_one(x), advert.predict_proba_one(x)
    yield naive.predict_proba_one({"a": 3, "b": 1}), bayes.predict_one(x)
    yield topics.learn_transform_one({"hello": 2, "world": 1})
    import numpy
    yield optim.losses.CrossEntropy().mean_func(numpy.array([[1.0, 2.0, 3.0]])).tolist()
"""


def told_by(program: str) -> str:
    """Return what a fresh Python that runs a program prints."""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("room", ["hosts.pipeline_file", "hosts.embedded", "learning.pickles"])
def test_nothing_of_scipy_is_imported_before_a_model_asks(room: str) -> None:
    loaded = told_by(
        f"import sys, stream_app.{room}\n"
        "assert 'river.linear_model' in sys.modules\n"
        "print([name for name in sys.modules if name.startswith('scipy')])"
    )
    assert loaded == "[]\n"


@pytest.mark.parametrize("modules", [FOLDING, IMPORTED_ON_KAFKA], ids=["folding", "intake"])
def test_nothing_of_scipy_is_in_what_workers_are_forks_of(modules: tuple[str, ...]) -> None:
    loaded = told_by(
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert 'river.linear_model' in sys.modules\n"
        "print([name for name in sys.modules if name.startswith('scipy')])"
    )
    assert loaded == "[]\n"


def test_a_declaration_with_an_area_is_evaluated_without_scipy() -> None:
    loaded = told_by(
        "import sys, stream_app.learning\n"
        "from river import metrics\n"
        "from stream_app import Binary, Pipeline, Version\n"
        "from river import linear_model\n"
        "area = metrics.ROCAUC(n_thresholds=100)\n"
        "model = linear_model.LogisticRegression()\n"
        "Pipeline('p', task=Binary(), metrics=area, versions={'v1': Version(model)})\n"
        "area.update(True, 0.4)\n"
        "area.get()\n"
        "print([name for name in sys.modules if name.startswith('scipy')])"
    )
    assert loaded == "[]\n"


AREAS = """
from river import metrics
from random import Random

def areas():
    chance = Random(5)
    for n in (2, 3, 10, 100):
        area = metrics.ROCAUC(n_thresholds=n)
        yield area.get()
        for i in range(400):
            truth = chance.random() < 0.3
            area.update(truth, min(1.0, max(0.0, chance.gauss(0.3 + 0.2 * truth, 0.3))))
            if i % 3 == 0: yield area.get()

for each in areas(): print(type(each).__name__, float(each).hex())
"""


def test_an_area_is_to_the_bit_what_scipy_makes_of_it() -> None:
    ours = told_by(
        f"import stream_app.learning\n{AREAS}\nimport sys; assert 'scipy' not in sys.modules"
    )
    assert ours == told_by(AREAS)
    assert len(ours.splitlines()) == 4 * (1 + 134)


def test_models_that_call_scipy_say_what_they_say_without_stand_ins() -> None:
    end = "\nfor line in said(): print(line)"
    with_stand_ins = told_by(f"import stream_app.learning\n{CALLERS}{end}")
    assert with_stand_ins == told_by(f"{CALLERS}{end}")
    assert len(with_stand_ins.splitlines()) == 7


def test_who_imports_scipy_gets_scipy_before_and_behind() -> None:
    for first, second in (("scipy.stats", "stream_app.learning"), ("stream_app.learning", "scipy")):
        told = told_by(
            f"import {first}, {second}\n"
            "import scipy.special, scipy.stats\n"
            "from scipy.stats import f\n"
            "from river.tree import stochastic_gradient_tree as t\n"
            "print(scipy.special.ndtri(0.5), f.cdf(1.0, 1, 1) == t.f_dist.cdf(1.0, 1, 1))\n"
            "print(*(type(each).__name__ for each in (scipy, scipy.special, scipy.stats, f)))"
        )
        assert told == "0.0 True\nmodule module module f_gen\n"


def test_a_module_without_stand_in_is_imported_while_river_is() -> None:
    """Another thread may do so, or what River imports in another release."""
    told = told_by(
        "import sys\n"
        "from stream_app.learning.later import scipy_later\n"
        "finders = list(sys.meta_path)\n"
        "with scipy_later():\n"
        "    from scipy import stats as later\n"
        "    import scipy.sparse.linalg\n"
        "    from scipy.optimize import minimize\n"
        "    print(type(later).__name__, scipy.sparse.linalg.__spec__.loader is not None)\n"
        "    same = scipy.sparse.linalg is sys.modules['scipy.sparse.linalg']\n"
        "    print(same, scipy.sparse.__file__)\n"
        "import importlib\n"
        "importlib.reload(scipy.sparse.linalg)\n"
        "print(finders == sys.meta_path, later.gmean([1, 4]))\n"
    )
    assert told.splitlines()[0] == "_LaterModule True"
    assert told.splitlines()[1].startswith("True /")
    assert told.splitlines()[2] == "True 2.0"


def what_ends_it(model: str, error: str) -> str:
    """Return what ends the process when a model's call imports SciPy and an error comes of it."""
    return told_by(
        "import sys\n"
        "from stream_app.errors import SurroundingsError\n"
        "from stream_app.learning.pickles import pickles_for\n"
        "from stream_app.learning.tasks import Binary\n"
        "from stream_app.learning.undo import UndoableModel\n"
        "from river import linear_model\n"
        "from tests.learning.users_code import Importing\n"
        "class NoHandles:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name.startswith('scipy'): raise {error}\n"
        "pickles = pickles_for({'tests.learning.users_code:Importing': Importing})\n"
        f"image = pickles.dumps({model}())\n"
        "model = UndoableModel(Binary(), image, 0, pickles)\n"
        "sys.meta_path.insert(0, NoHandles())\n"
        "try: model.learn({'a': 1.0}, True)\n"
        "except SurroundingsError as error: print(error)\n"
    )


ODD_ERRORS = ["OSError(24, 'Too many open files')", "SystemExit(3)", "ImportError('a library')"]


@pytest.mark.parametrize("error", ODD_ERRORS)
def test_an_import_that_fails_ends_the_process_and_is_no_failure_of_the_model(error: str) -> None:
    said = what_ends_it("linear_model.AdPredictor", error)
    assert said.startswith("scipy.special.ndtri, which a model calls, could not be imported (")


@pytest.mark.parametrize("error", [*ODD_ERRORS, "ValueError('another NumPy')"])
def test_what_is_imported_within_a_call_is_no_failure_of_the_model_either(error: str) -> None:
    """River's chi-squared statistic does so, and before stand-ins SciPy was always there."""
    said = what_ends_it("Importing", error)
    assert said.startswith("a model could not import what it needs (")


def test_a_module_that_fails_while_it_is_executed_is_no_failure_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_at_once.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    pickles = pickles_for({"tests.learning.users_code:Importing": users_code.Importing})
    model = UndoableModel(Binary(), pickles.dumps(users_code.Importing()), 0, pickles)
    with pytest.raises(SurroundingsError, match="could not import what it needs"):
        model.learn({"text": "__import__('fails_at_once')"}, True)


def test_what_a_model_evaluates_is_its_own_failure() -> None:
    pickles = pickles_for({"tests.learning.users_code:Importing": users_code.Importing})
    model = UndoableModel(Binary(), pickles.dumps(users_code.Importing()), 0, pickles)
    with pytest.raises(ModelRaised, match="ZeroDivisionError"):
        model.learn({"text": "1 / 0"}, True)


def test_an_import_that_fails_within_a_class_that_catches_all_ends_the_batch() -> None:
    told = told_by(
        "import sys\n"
        "from stream_app import Binary, Observation, Pipeline, Version\n"
        "from stream_app.codec.encode import encode_event\n"
        "from stream_app.core.rehearsal import rehearsal_processor\n"
        "from stream_app.errors import SurroundingsError\n"
        "from stream_app.records import Record\n"
        "from river import metrics\n"
        "from tests.learning.users_code import Careless\n"
        "class NoHandles:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.startswith('scipy'): raise OSError(24, 'Too many open files')\n"
        "shop = Pipeline('shop', task=Binary(), features={'a': float}, metrics=metrics.LogLoss(),\n"
        "    versions={'v1': Version(Careless())})\n"
        "processor = rehearsal_processor(shop)\n"
        "sys.meta_path.insert(0, NoHandles())\n"
        "new = encode_event(Observation('o1', 1, {'a': 1.0}, key='k', label=True))\n"
        "record = Record('shop.events', 0, 0, 1, new.key, new.value)\n"
        "try: print(processor.process([record]))\n"
        "except SurroundingsError as error: print(error)\n"
    )
    assert told.startswith("scipy.special.ndtri, which a model calls, could not be imported (")
