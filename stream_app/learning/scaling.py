"""A standard scaler's two passes over the features: the bits and the entries of River's own.

River's counts, means and variances are three dicts that Python cannot look things up in quickly,
since they are no plain ones. A scaler that is used for long keeps a feature's figures side by side
in a row and gives them back, by `settle`, before anyone looks at them; it takes half the time. One
of a model per key learns little before it is put into bytes, and works on the dicts.
"""

from __future__ import annotations

from typing import Any

Values = dict[Any, Any]


class PlainScaler:
    """The passes over River's own dicts. An object with slots: a key's model has few parts."""

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

    def settle(self) -> None:
        """Give back what was learned: it is where it belongs already."""


class RowScaler:
    """The passes over rows of [count, mean, variance, its root], for features that were learned.

    What has no row is looked up, and gets its entries, as River does it.
    """

    __slots__ = ("_counts", "_means", "_rows", "_variances")

    def __init__(self, counts: Values, means: Values, variances: Values) -> None:
        self._counts = counts
        self._means = means
        self._variances = variances
        self._rows: dict[Any, list[Any]] = {}

    def transform(self, x: Any) -> Any:
        """Return the features, scaled."""
        rows = self._rows
        try:
            return {
                name: (value - row[1]) / row[3] if (row := rows[name])[2] else 0.0
                for name, value in x.items()
            }
        except KeyError:
            return {name: self._scaled(name, value) for name, value in x.items()}

    def _scaled(self, name: Any, value: Any) -> Any:
        row = self._rows.get(name)
        if row is not None:
            return (value - row[1]) / row[3] if row[2] else 0.0
        variance = self._variances[name]
        return (value - self._means[name]) / variance**0.5 if variance else 0.0

    def advance(self, x: Any) -> Any:
        """Learn, and return the features, scaled: a feature's figures depend on no other's."""
        rows = self._rows
        scaled = {}
        for name, value in x.items():
            try:
                row = rows[name]
            except KeyError:
                row = self._begun(name)
            count, mean, variance, _ = row
            count = count + 1
            before = value - mean
            mean += before / count
            after = value - mean
            variance += (before * after - variance) / count
            root = variance**0.5
            row[0] = count
            row[1] = mean
            row[2] = variance
            row[3] = root
            scaled[name] = after / root if variance else 0.0
        return scaled

    def _begun(self, name: Any) -> list[Any]:
        """Return a new row; the dicts have an entry from here on, so that `settle` adds none."""
        count, mean, variance = self._counts[name], self._means[name], self._variances[name]
        self._counts[name] = count
        row = self._rows[name] = [count, mean, variance, 0.0]
        return row

    def settle(self) -> None:
        """Give back what was learned to River's own dicts."""
        counts, means, variances = self._counts, self._means, self._variances
        for name, (count, mean, variance, _) in self._rows.items():
            counts[name], means[name], variances[name] = count, mean, variance
        self._rows.clear()
