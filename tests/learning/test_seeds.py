"""Seeds: every one that a declaration leaves open is filled from its own path."""

from __future__ import annotations

import hashlib

from river import compose, ensemble, facto, forest, linear_model, preprocessing, tree

from stream_app.learning.definition import fill_seeds, prepare
from tests.learning import users_code
from tests.learning.estimators import estimators, events, predictions


def expected(seed: int, path: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:4], "big")


def test_a_seed_comes_from_the_pipelines_seed_and_the_parameters_path() -> None:
    model = preprocessing.StandardScaler() | forest.ARFClassifier()
    filled, seeds = fill_seeds(model, 1)
    assert seeds == {'["ARFClassifier"].seed': expected(1, '["ARFClassifier"].seed')}
    assert filled["ARFClassifier"].seed == seeds['["ARFClassifier"].seed']
    assert model["ARFClassifier"].seed is None


def test_a_path_is_what_one_types_to_reach_the_seed() -> None:
    voting = ensemble.VotingClassifier(
        [linear_model.LogisticRegression(), tree.HoeffdingAdaptiveTreeClassifier()]
    )
    filled, seeds = fill_seeds(preprocessing.StandardScaler() | voting, 3)
    [path] = seeds
    assert path == '["VotingClassifier"].models[1].seed'
    assert filled["VotingClassifier"].models[1].seed == seeds[path]


def test_a_models_own_seed_needs_no_path() -> None:
    assert list(fill_seeds(forest.ARFClassifier(), 1)[1]) == ["seed"]


def test_seeds_that_are_set_stay() -> None:
    filled, seeds = fill_seeds(forest.ARFClassifier(seed=0), 1)
    assert seeds == {}
    assert filled.seed == 0


def test_seeds_within_defaults_and_users_classes_are_filled() -> None:
    model = users_code.Shifted() | facto.FMClassifier()
    assert set(fill_seeds(model, 1)[1]) == {
        '["Shifted"].seed',
        '["FMClassifier"].seed',
        '["FMClassifier"].latent_initializer.seed',
    }


def test_another_seed_of_the_pipeline_is_another_model() -> None:
    model = forest.ARFClassifier(n_models=3, grace_period=10)
    one, other = (prepare(model, seed=seed) for seed in (1, 2))
    assert one.digest != other.digest
    examples = events("words")
    assert list(predictions(one.prototype, examples)) != list(
        predictions(other.prototype, examples)
    )


def test_steps_of_one_kind_get_seeds_of_their_own() -> None:
    union = compose.TransformerUnion(
        compose.Select("a") | preprocessing.FeatureHasher(), preprocessing.FeatureHasher()
    )
    seeds = fill_seeds(union, 1)[1]
    assert len(seeds) == len(set(seeds.values())) == 2


def test_no_seed_of_rivers_catalogue_stays_open() -> None:
    for name, estimator in estimators():
        filled, _ = fill_seeds(estimator, 1)
        assert not filled._is_stochastic, name
