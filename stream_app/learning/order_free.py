"""River's classes whose results depend on hashes, in variants whose results do not.

Most iterate over a `set` of words, whose order differs with `PYTHONHASHSEED` and may differ after
a restore, since a restored set is filled in another order. Their variants iterate in sorted order,
which is what River's do with booleans. All survive `clone()`, which ensembles call as they learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final

from river import compose, forest, multiclass, neighbors, rules, tree, utils
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif


class SortedSet(set[Any]):
    """A set that iterates in sorted order; by type first, so that kinds may mix."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(set.__iter__(self), key=_order))

    def __sub__(self, other: AbstractSet[Any]) -> SortedSet:
        return SortedSet(set.__sub__(self, other))


def _order(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value


class _SetsAreSorted:
    """Turns every set that an object keeps as an attribute into a sorted one."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, SortedSet(value) if type(value) is set else value)


class SortedSelect(_SetsAreSorted, compose.Select):
    """Selects features in sorted order; River's order changes the last bits of sums over them."""


class SortedKNNClassifier(_SetsAreSorted, neighbors.KNNClassifier):
    """Breaks ties between classes by their order."""


class SortedHoeffdingAdaptiveTreeClassifier(_SetsAreSorted, tree.HoeffdingAdaptiveTreeClassifier):
    """Breaks ties between classes by their order."""


class SortedAMFClassifier(_SetsAreSorted, forest.AMFClassifier):
    """Breaks ties between classes by their order."""


class SortedOneVsOneClassifier(_SetsAreSorted, multiclass.OneVsOneClassifier):
    """Meets its pairs of classes, and so breaks ties between them, in their order."""


class NumberedAMRules(rules.AMRules):
    """Names its rules by numbers: River names them by their place in memory.

    A restore gives them other places, so states differed that were made by the same calls; and a
    new rule could be given the place, and so take the place, of one that was there before.
    """

    def learn_one(self, x: dict[Any, Any], y: Any, w: int = 1) -> None:
        """Learn as River does."""
        super().learn_one(x, y, w)
        if list(self._rules) != list(range(len(self._rules))):
            self._rules = dict(enumerate(self._rules.values()))


def sorted_minkowski_distance(a: Mapping[Any, float], b: Mapping[Any, float], p: int) -> float:
    """Return River's `minkowski_distance`, summed over the features in sorted order."""
    if p in (1, 2):
        return utils.math.minkowski_distance(a, b, p)
    features = sorted({*a, *b}, key=_order)
    total: float = sum(abs(a.get(k, 0.0) - b.get(k, 0.0)) ** p for k in features) ** (1 / p)
    return total


SUBSTITUTES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "river.compose:Select": SortedSelect,
        "river.forest:AMFClassifier": SortedAMFClassifier,
        "river.multiclass:OneVsOneClassifier": SortedOneVsOneClassifier,
        "river.neighbors:KNNClassifier": SortedKNNClassifier,
        "river.rules:AMRules": NumberedAMRules,
        "river.tree:HoeffdingAdaptiveTreeClassifier": SortedHoeffdingAdaptiveTreeClassifier,
        "river.utils.math:minkowski_distance": sorted_minkowski_distance,
    }
)


def original(thing: Any) -> Any:
    """Return what River has in place of one of our variants, and anything else as it is."""
    if thing is sorted_minkowski_distance:
        return utils.math.minkowski_distance
    if isinstance(thing, type) and thing in SUBSTITUTES.values():
        return next(kind for kind in thing.__mro__ if kind.__module__.startswith("river."))
    return thing


def _sort_words_of_splits() -> None:
    """Let River's trees try the words of a feature in sorted order.

    They try them in a set's order and keep the first of equally good splits, so which word a
    branch tests depended on hashes. Leaves make these observers themselves, deep inside every
    kind of tree and forest, so the class itself is the only place to say it.
    """
    made: Callable[[Any], None] = NominalSplitterClassif.__init__

    def __init__(self: Any) -> None:  # noqa: N807 - it becomes the class's own
        made(self)
        self._att_values = SortedSet()

    if "stream_app" not in made.__module__:
        NominalSplitterClassif.__init__ = __init__  # type: ignore[method-assign]


_sort_words_of_splits()
