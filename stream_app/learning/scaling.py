"""A standard scaler's two passes over the features, on River's own counts, means and variances.

Each is here twice. Python does best with the plain one. A compiler does best where it is told
that numbers are floats, which it may only believe of exact floats: subclasses (NumPy's) stay what
they are through River's arithmetic. Both make the same bits and the same entries.
"""

from __future__ import annotations

from math import pow as power
from typing import Any, Final

from stream_app.compiled import COMPILED

Values = dict[Any, Any]


class PlainScaler:
    """The passes over a scaler's own figures. An object with slots: a key's model has few parts."""

    __slots__ = ("_counts", "_means", "_variances")

    def __init__(self, counts: Values, means: Values, variances: Values) -> None:
        self._counts = counts
        self._means = means
        self._variances = variances

    def transform(self, x: Any) -> Any:
        """Return the features, scaled."""
        means, variances = self._means, self._variances
        return {
            name: (value - means[name]) / variance**0.5 if (variance := variances[name]) else 0.0
            for name, value in x.items()
        }

    def advance(self, x: Any) -> Any:
        """Learn, and return the features, scaled: a feature's figures depend on no other's."""
        counts, means, variances = self._counts, self._means, self._variances
        scaled = {}
        for name, value in x.items():
            count, mean, variance = counts[name] + 1, means[name], variances[name]
            before = value - mean
            mean += before / count
            after = value - mean
            variance += (before * after - variance) / count
            counts[name], means[name], variances[name] = count, mean, variance
            scaled[name] = after / variance**0.5 if variance else 0.0
        return scaled


class FloatScaler:
    """What `PlainScaler` is, made for a compiler."""

    __slots__ = ("_counts", "_means", "_plain", "_variances")

    def __init__(self, counts: Values, means: Values, variances: Values) -> None:
        self._counts = counts
        self._means = means
        self._variances = variances
        self._plain = PlainScaler(counts, means, variances)

    def transform(self, x: Any) -> Any:
        """Return the features, scaled."""
        if type(x) is not dict:
            return self._plain.transform(x)
        means, variances = self._means, self._variances
        features: Values = x
        scaled: Values = {}
        for name, value in features.items():
            variance = variances[name]
            if type(value) is float and type(variance) is float and variance > 0.0:
                mean = means[name]
                if type(mean) is float:
                    scaled[name] = (value - mean) / power(variance, 0.5)
                    continue
            scaled[name] = (value - means[name]) / variance**0.5 if variance else 0.0
        return scaled

    def advance(self, x: Any) -> Any:
        """Learn, and return the features, scaled: a feature's figures depend on no other's."""
        if type(x) is not dict:
            return self._plain.advance(x)
        counts, means, variances = self._counts, self._means, self._variances
        features: Values = x
        scaled: Values = {}
        for name, value in features.items():
            count, mean, variance = counts[name], means[name], variances[name]
            exact = type(value) is float and type(mean) is float and type(variance) is float
            if not exact or type(count) is not int:
                scaled.update(self._plain.advance({name: value}))
                continue
            one: float = value
            old_mean: float = mean
            old_variance: float = variance
            n: int = count + 1
            before = one - old_mean
            new_mean = old_mean + before / n
            after = one - new_mean
            new_variance = old_variance + (before * after - old_variance) / n
            counts[name] = n
            means[name] = new_mean
            variances[name] = new_variance
            if new_variance > 0.0:
                scaled[name] = after / power(new_variance, 0.5)
            else:
                scaled[name] = after / new_variance**0.5 if new_variance else 0.0
        return scaled


Scaler: Final = FloatScaler if COMPILED else PlainScaler
