"""What an explanation looks like to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream_app.cli.stdout import fitted_table, note_lines, styled, text_lines
from stream_app.cli.table import clock_time, count, duration
from stream_app.core.environment import Environment
from stream_app.counted import counted
from stream_app.hosts.explaining import Explanation, RefusedRecord
from stream_app.hosts.labels_found import LabelFound
from stream_app.learning.model_looks import Linear, Look, TreePath
from stream_app.outputs import Prediction

TREES_SHOWN_MAX = 10
_CLASSES = {"True": "true", "False": "false"}  # as predictions and labels are written


def explained_lines(found: Explanation | RefusedRecord) -> Iterator[str]:
    """Yield the lines that tell a person everything."""
    if isinstance(found, RefusedRecord):
        yield from _refused(found)
        return
    yield styled(f"{found.position}  observation {found.observation_id}", bold=True)
    yield f"  key {found.key}, {clock_time(found.ts_ms)}"
    yield f"  {found.version} says: {_answer(found.recomputed)}"
    yield f"  learned from {counted(found.recomputed.learned, 'example')} by then"
    yield f"  {_same(found)}"
    if found.failure is not None:
        yield f"  its call raised {found.failure}"
    yield ""
    yield from _features(found)
    if found.look is not None:
        yield from _model(found.look)
    yield from text_lines(f"label: {_label(found.label)}")
    yield ""
    yield from _monitors(found)
    yield from _versions(found)
    for note in [*found.notes, *(found.look.notes if found.look else ())]:
        yield from note_lines(note)


def _refused(found: RefusedRecord) -> Iterator[str]:
    letter = found.letter
    yield styled(f"{found.position} was refused: there is no prediction", bold=True)
    yield f"  {letter.reason}{f' in {letter.field}' if letter.field else ''}: {letter.detail}"
    data = "".join(c if c.isprintable() else " " for c in letter.original.data)
    yield f"  {data}{'...' if letter.original.truncated else ''}"


def _answer(said: Prediction) -> str:
    if said.prediction is None:
        return f"nothing ({said.null_reason})"
    text = str(said.prediction).lower() if type(said.prediction) is bool else str(said.prediction)
    if isinstance(said.probability, float):
        return f"{text}, probability {said.probability!r}"
    if isinstance(said.probabilities, dict):
        return f"{text}; " + ", ".join(f"{k} {v:.4g}" for k, v in said.probabilities.items())
    return text


def _same(found: Explanation) -> str:
    if found.same == "equal":
        return styled(f"equal, to the bit, to what is in {found.topic}", fg="green")
    if found.same == "differs" and found.published is not None:
        return styled(f"published in {found.topic}: {_answer(found.published)}", fg="red")
    return f"not compared with {found.topic}: {found.same}"


def _features(found: Explanation) -> Iterator[str]:
    """Yield a row per feature, from the event through every step to its share of the answer."""
    steps = found.look.steps if found.look is not None else []
    linear = found.look.linear if found.look is not None else []
    one = linear[0] if len(linear) == 1 else None
    columns: list[Mapping[str, Any]] = [found.raw, found.seen, *(step.features for step in steps)]
    head = ["FEATURE", "EVENT", f"TAKEN BY {found.version}", *(s.step for s in steps)]
    if one is not None:
        columns.append({term.feature: term.weight for term in one.terms})
        columns.append({term.feature: term.contribution for term in one.terms})
        head += ["WEIGHT", "CONTRIBUTION"]
    names = _ordered(one, columns)
    rows = [(name, *(_shown(column, name) for column in columns)) for name in names]
    if one is not None:
        blank = [""] * (len(head) - 2)
        rows.append(("(intercept)", *blank, f"{one.intercept:+.6g}"))
        rows.append((f"= {one.unit}", *blank, f"{one.total:+.6g}"))
    yield from fitted_table(head, rows, right=range(1, len(head)))
    yield ""


def _ordered(one: Linear | None, columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return all names: those that count most first, where that is known."""
    first = [term.feature for term in one.terms] if one is not None else []
    return list(dict.fromkeys([*first, *(name for column in columns for name in column)]))


def _shown(column: Mapping[str, Any], name: str) -> str:
    if name not in column:
        return "-"
    value = column[name]
    return f"{value:.6g}" if type(value) is float else str(value)


def _model(seen: Look) -> Iterator[str]:
    if len(seen.linear) > 1:
        rows = [
            (each.label or "", term.feature, f"{term.weight:.6g}", f"{term.contribution:+.6g}")
            for each in seen.linear
            for term in each.terms
        ]
        yield from fitted_table(("CLASS", "FEATURE", "WEIGHT", "CONTRIBUTION"), rows, right=(2, 3))
        yield ""
    for number, path in enumerate(seen.trees[:TREES_SHOWN_MAX]):
        yield from _tree(path, f"tree {number}" if len(seen.trees) > 1 else "tree")
    if len(seen.trees) > TREES_SHOWN_MAX:
        yield f"and {len(seen.trees) - TREES_SHOWN_MAX} more trees: --json has them"
    if seen.without:
        rows2 = [
            (row.feature, _one_value(row.prediction), _one_value(row.probability))
            for row in seen.without
        ]
        yield from fitted_table(("WITHOUT", "IT WOULD SAY", "PROBABILITY"), rows2)
        yield ""


def _tree(path: TreePath, name: str) -> Iterator[str]:
    weight = "" if path.weight is None else f", counts {path.weight:.4g}"
    yield f"{name}: {_one_value(path.says)}{weight}"
    for split in path.splits:
        yield f"  {split.taken}   ({_one_value(split.value)})"
    yield f"  leaf: {_one_value(path.leaf) if path.leaf else 'none yet'}"
    yield ""


def _one_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{_CLASSES.get(name, name)} {_one_value(inner)}" for name, inner in value.items()
        )
    if type(value) is bool:
        return str(value).lower()
    if value is None:
        return "-"
    return f"{value:.6g}" if type(value) is float else str(value)


def _label(found: LabelFound) -> str:
    if found.state == "waits":
        return "none yet; the observation waits for it"
    if found.state == "timed_out":
        return "none came in time"
    if found.state == "unknown":
        return f"none in what was looked through, up to offset {count(found.looked_to or 0)}"
    text = _one_value(found.label)
    if found.state == "inline":
        return f"{text}, with the observation"
    delay = duration(abs(found.delay_ms or 0) / 1000)
    when = f"{delay} {'before' if (found.delay_ms or 0) < 0 else 'after'} it, at {found.position}"
    late = "; too late to be learned from" if found.state == "late" else ""
    return f"{text}, {when}{late}"


def _monitors(found: Explanation) -> Iterator[str]:
    if not found.monitors:
        return
    rows = [
        (
            row.name,
            row.detector,
            count(row.values),
            _one_value(row.mean_before),
            _one_value(row.mean_newest),
        )
        for row in found.monitors
    ]
    head = ("DRIFT MONITOR", "DETECTOR", "VALUES SINCE IT FIRED", "MEAN BEFORE", "MEAN NEWEST")
    yield from fitted_table(head, rows, right=(2, 3, 4))
    yield ""


def _versions(found: Explanation) -> Iterator[str]:
    yield f"{found.version} is definition {found.definition[:12]}"
    yield f"settings in force since offset {count(found.settings_since)}"
    now = found.environment_now
    yield f"here: {_environment(now)}"
    if found.environment_committed != now:
        yield f"live: {_environment(found.environment_committed)}"
    place = "the first record" if found.checkpoint is None else f"checkpoint {found.checkpoint}"
    yield from text_lines(
        f"folded {counted(found.folded, 'record')} from {count(found.began)}, {place}"
    )


def _environment(it: Environment) -> str:
    return f"Python {it.python}, River {it.river}, NumPy {it.numpy}, {it.cpu.partition(' ')[0]}"
