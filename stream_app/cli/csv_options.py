"""Options of a command that reads CSV: which columns are what."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from stream_app.errors import UsageError

if TYPE_CHECKING:
    from stream_app.hosts.csv_lines import Columns

_OPTIONS = (
    click.option("--csv", "as_csv", is_flag=True, help="CSV; a FILE named .csv or .tsv is anyhow."),
    click.option("--delimiter", metavar="C", help="Of CSV.  [default: , or tab for .tsv]"),
    click.option(
        "--id", "id_", metavar="COLUMN", default="id", show_default=True, help="CSV: the id."
    ),
    click.option(
        "--time",
        "time_",
        metavar="COLUMN",
        default="ts_ms",
        show_default=True,
        help="CSV: event time.",
    ),
    click.option(
        "--time-unit",
        type=click.Choice(["ms", "s", "iso"]),
        default="ms",
        show_default=True,
        help="CSV: Unix milliseconds, Unix seconds or ISO 8601 (UTC unless it says otherwise).",
    ),
    click.option("--key", metavar="COLUMN", help="CSV: the key.  [default: key, if there is one]"),
    click.option(
        "--label",
        metavar="COLUMN",
        help="CSV: the label; without a time or delay of its own it comes with its observation, to "
        "be learned from at once.  [default: label, if any]",
    ),
    click.option("--label-time", metavar="COLUMN", help="CSV: when the label became known."),
    click.option(
        "--label-delay",
        metavar="DELAY",
        help="CSV: how long after: 90s, 15m, 2h, 1d, or a column (seconds; ms if the unit is ms).",
    ),
    click.option(
        "--feature",
        "features",
        multiple=True,
        metavar="COLUMN",
        help="CSV: a feature; may be repeated.  [default: all other columns]",
    ),
)


class CsvChoice(NamedTuple):
    """What was said about CSV."""

    as_csv: bool
    delimiter: str | None
    id_: str
    time_: str
    time_unit: str
    key: str | None
    label: str | None
    label_time: str | None
    label_delay: str | None
    features: tuple[str, ...]

    def columns(self, file: str) -> Columns | None:
        """Return which columns of `file` are what, None where it has JSON lines.

        Raises `UsageError` for options that contradict each other.
        """
        if self.label_time is not None and self.label_delay is not None:
            raise UsageError(
                "--label-time and --label-delay contradict each other", attempt="one of them"
            )
        if not self.as_csv and not file.endswith((".csv", ".tsv")):
            return None
        from stream_app.hosts.csv_lines import Columns

        return Columns(
            id=self.id_,
            time=self.time_,
            unit=self.time_unit,  # type: ignore[arg-type]  # click has checked it
            key=self.key,
            label=self.label,
            label_time=self.label_time,
            label_delay=self.label_delay,
            features=self.features,
            delimiter=self.delimiter or ("\t" if file.endswith(".tsv") else ","),
        )


def csv_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, as its one argument `csv`."""

    @wraps(command)
    def gathered(**given: Any) -> Any:
        said = {name: given.pop(name) for name in CsvChoice._fields}
        return command(**given, csv=CsvChoice(**said))

    found: Callable[..., Any] = gathered
    for option in reversed(_OPTIONS):
        found = option(found)
    return found
