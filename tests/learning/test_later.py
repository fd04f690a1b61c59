"""River is imported without SciPy, and a model that calls SciPy finds it, or ends the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def test_an_import_that_fails_ends_the_process_and_is_no_failure_of_the_model() -> None:
    assert told_by(
        "import errno, sys\n"
        "from stream_app.errors import SurroundingsError\n"
        "from stream_app.learning.pickles import pickles_for\n"
        "from stream_app.learning.tasks import Binary\n"
        "from stream_app.learning.undo import UndoableModel\n"
        "from river import linear_model\n"
        "class NoHandles:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.startswith('scipy'): raise OSError(errno.EMFILE, 'Too many open files')\n"
        "pickles = pickles_for({})\n"
        "image = pickles.dumps(linear_model.AdPredictor())\n"
        "model = UndoableModel(Binary(), image, 0, pickles)\n"
        "sys.meta_path.insert(0, NoHandles())\n"
        "try: model.learn({'a': 1.0}, True)\n"
        "except SurroundingsError as error: print(error)\n"
    ).startswith("scipy.special.ndtri, which a model calls, could not be imported (")
