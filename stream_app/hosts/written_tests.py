"""Writes tests for people: what happened in the log once, as a pytest of their pipeline.

Every test that feeds the driver has been tried before it is handed out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.errors import UsageError
from stream_app.hosts.driver import Driver
from stream_app.hosts.pipeline_names import is_spec
from stream_app.outputs import AnyOutput, DeadLetter, Prediction
from stream_app.records import Record

if TYPE_CHECKING:
    from stream_app.hosts.explaining import Explanation

RECORDS_MAX = 50
"""So many records may stand in a test; beyond that it reads the log."""


def prediction_test(
    log: Log, pipeline: Pipeline, found: Explanation, spec: str, broker: str, state: str
) -> str:
    """Return a test that makes a prediction again.

    With few records before it the test has them all; else it names the log, and says so.
    """
    records = _all_before(log, found)
    if records and _answer(pipeline, records, found.version) == found.recomputed:
        return _with_records(pipeline, found, spec, records)
    name = _named(found.position)
    return "\n".join(
        [
            f'"""Makes the prediction for {_quiet(found.observation_id)} again, from the log.',
            "",
            "Needs the log and, to be quick, the checkpoints that it names: what the model has",
            f"learned from {found.recomputed.learned:,} examples does not fit into a test.",
            '"""',
            "",
            _import(spec, pipeline),
            "",
            "from stream_app.testing import explained",
            "",
            "",
            f"def test_predicts_{name}_again():",
            "    found = explained(",
            f"        {_attribute(spec, pipeline)},",
            f"        {found.position!r},",
            f"        version={found.version!r},",
            f"        broker={broker!r},",
            f"        state={state!r},",
            "    )",
            *_asserted("found.recomputed", found.recomputed),
            "",
        ]
    )


def refusal_test(
    log: Log, pipeline: Pipeline, spec: str, letters: Sequence[DeadLetter]
) -> tuple[str, list[UsageError]]:
    """Return a test for each refused record, which the driver refuses for the same reason.

    Those that it does not refuse when they come alone are left out, each with an error. Raises
    the first of these when none is left.
    """
    lines = ['"""Records that were refused once, and have to be."""', "", _import(spec, pipeline)]
    lines += ["", "from stream_app.testing import Driver"]
    errors = []
    for letter in letters:
        try:
            lines += ["", "", *_refusal(log, pipeline, letter, _attribute(spec, pipeline))]
        except UsageError as error:
            errors.append(error)
    if errors and len(errors) == len(letters):
        raise errors[0]
    return "\n".join([*lines, ""]), errors


def _refusal(log: Log, pipeline: Pipeline, letter: DeadLetter, attribute: str) -> list[str]:
    source = letter.source
    rows = log.read(source.topic, source.partition, source.offset, records_max=1)
    if not rows or rows[0].offset != source.offset:
        raise UsageError(
            f"the record at {source.topic}/{source.partition}@{source.offset} is gone",
            attempt="a newer dead letter: --reason and --limit choose",
        )
    record = rows[0]
    times = _times_until_refused(pipeline, record, letter)
    again = ["        # The first one of this id is accepted.", _send(record)] if times == 2 else []
    return [
        f"def test_refuses_{_named(record.position)}():",
        f"    with Driver({attribute}, made_up_clocks=False) as driver:",
        *again,
        _send(record, "[letter] = "),
        f"    assert letter.reason == {letter.reason!r}",
        f"    assert letter.field == {letter.field!r}",
        f"    assert letter.detail == {letter.detail!r}",
    ]


def _times_until_refused(pipeline: Pipeline, record: Record, letter: DeadLetter) -> int:
    """Return how often the record is to be sent: a duplicate is refused at the second time."""
    with Driver(pipeline, made_up_clocks=False) as driver:
        for times in (1, 2):
            outputs = _sent(driver, record)
            if len(outputs) == 1 and isinstance(outputs[0], DeadLetter):
                said = outputs[0]
                wanted = (letter.reason, letter.field, letter.detail)
                if (said.reason, said.field, said.detail) == wanted:
                    return times
    raise UsageError(
        f"{record.position} was refused ({letter.reason}) because of records before it, or under "
        "other settings or keys: no test with this record alone shows that",
        attempt="--reason with another one",
    )


def _all_before(log: Log, found: Explanation) -> list[Record]:
    """Return the observation's record and all before it, if they are few; else nothing."""
    prediction = found.recomputed
    topic, partition, offset = (
        prediction.source.topic,
        prediction.source.partition,
        prediction.source.offset,
    )
    start = log.bounds(topic, partition)[0]
    if start > 0 or offset - start >= RECORDS_MAX:
        return []
    rows = log.read(topic, partition, start, records_max=RECORDS_MAX)
    return [row for row in rows if row.offset <= offset]


def _answer(pipeline: Pipeline, records: Sequence[Record], version: str) -> Prediction | None:
    outputs: list[AnyOutput] = []
    with Driver(pipeline, made_up_clocks=False) as driver:
        for record in records:
            outputs = _sent(driver, record)
    own = [o for o in outputs if isinstance(o, Prediction) and o.version == version]
    return own[0] if own else None


def _sent(driver: Driver, record: Record) -> list[AnyOutput]:
    return driver.send_bytes(record.value, record.key, record.headers, at_ms=record.timestamp_ms)


def _with_records(
    pipeline: Pipeline, found: Explanation, spec: str, records: Sequence[Record]
) -> str:
    version = found.version
    return "\n".join(
        [
            f'"""Makes the prediction for {_quiet(found.observation_id)} again, from all records '
            'before it."""',
            "",
            _import(spec, pipeline),
            "",
            "from stream_app.testing import Driver, Prediction",
            "",
            "",
            f"def test_predicts_{_named(found.position)}_again():",
            f"    with Driver({_attribute(spec, pipeline)}, made_up_clocks=False) as driver:",
            *(_send(record) for record in records[:-1]),
            _send(records[-1], "outputs = "),
            f"    [said] = [o for o in outputs if isinstance(o, Prediction) "
            f"and o.version == {version!r}]",
            *_asserted("said", found.recomputed),
            "",
        ]
    )


def _send(record: Record, before: str = "") -> str:
    headers = f", {record.headers!r}" if record.headers else ""
    return (
        f"        {before}driver.send_bytes(\n            {record.value!r},\n"
        f"            {record.key!r}{headers},\n            at_ms={record.timestamp_ms},\n        )"
    )


def _asserted(name: str, said: Prediction) -> list[str]:
    fields = ["observation_id", "learned", "prediction"]
    fields += ["probability"] if isinstance(said.probability, float) else []
    fields += ["probabilities"] if isinstance(said.probabilities, dict) else []
    fields += ["null_reason"] if isinstance(said.null_reason, str) else []
    rows = []
    for field in fields:
        value = getattr(said, field)
        equal = "is" if value is None or isinstance(value, bool) else "=="
        rows.append(f"    assert {name}.{field} {equal} {value!r}")
    return rows


def _attribute(spec: str, pipeline: Pipeline) -> str:
    """Return the name that the pipeline has in its module."""
    place, _, attribute = spec.rpartition(":")
    if place and attribute.isidentifier():
        return attribute
    module = sys.modules[Path(spec).stem if spec.endswith(".py") else spec]
    names = [name for name, value in vars(module).items() if value is pipeline]
    return names[0] if names else "pipeline"


def _import(spec: str, pipeline: Pipeline) -> str:
    place = spec.rpartition(":")[0] or spec
    module = Path(place).stem if place.endswith(".py") else place
    if not is_spec(spec):
        raise UsageError(f"{spec!r} is a name, and a test needs the file", attempt=f"{spec}.py")
    return f"from {module} import {_attribute(spec, pipeline)}"


def _named(position: str) -> str:
    return re.sub(r"\W+", "_", position)


def _quiet(text: str) -> str:
    """Keep whatever an id is made of from ending the docstring that it stands in."""
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in text)[:80]
