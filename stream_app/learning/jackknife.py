"""How sure a difference is: the delete-one-group jackknife over blocks of consecutive examples.

J. Shao and D. Tu, The Jackknife and Bootstrap, Springer 1995; groups of unequal size as in
F. Busing, E. Meijer and R. van der Leeden, Delete-m jackknife for unequal m, Statistics and
Computing 9, 1999. For a mean over equal blocks it is the method of batch means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

GROUPS: Final = 24
GROUPS_MIN: Final = 8
PER_GROUP_MIN: Final = 5
CONFIDENCE: Final = 0.95
Floats = NDArray[np.float64]


def groups_for(examples: int) -> int:
    """Return into how many groups so many examples are cut; 0 where they are too few."""
    groups = min(GROUPS, examples // PER_GROUP_MIN)
    return groups if groups >= GROUPS_MIN else 0


def cut(counts: Floats, groups: int) -> list[slice]:
    """Cut consecutive blocks of `counts` examples into groups of about as many examples each.

    There may be fewer groups than wanted: a block is never divided.
    """
    behind = np.cumsum(counts)
    wanted = np.linspace(0, behind[-1], groups + 1)[1:]
    ends = np.searchsorted(behind, wanted - 0.5 * counts.mean()) + 1
    ends[-1] = len(counts)
    edges = np.unique(np.concatenate([[0], np.minimum(ends, len(counts))]))
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def standard_error(
    groups: Floats, sizes: Floats, difference: Callable[[Floats], Floats]
) -> float | None:
    """Return the standard error of `difference` of the sum of all groups' rows.

    `difference` takes rows of sums and gives one number for each; None where one has none.
    """
    whole = groups.sum(axis=0)
    n = sizes.sum()
    found = difference(np.concatenate([[whole], whole - groups]))
    if not np.isfinite(found).all():
        return None
    all_of_them, without = found[0], found[1:]
    shares = n / sizes
    pseudo = shares * all_of_them - (shares - 1) * without
    centre = len(sizes) * all_of_them - np.sum((1 - sizes / n) * without)
    return math.sqrt(np.mean((pseudo - centre) ** 2 / (shares - 1)))


def students_t(degrees: int) -> float:
    """Return the two-sided 95 % quantile of Student's t: the expansion of Cornish and Fisher.

    M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.7.5; from 7 degrees of
    freedom on it is right to three digits.
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / degrees**i for i, term in enumerate(terms))
