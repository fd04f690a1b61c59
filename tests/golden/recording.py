"""A recording: a log's records and all that a fold of them put out, as lines of JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.core.history import Entry, History, Outcome

FOLDER = Path(__file__).parent / "recorded"


def _text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


def input_lines(entries: list[Entry]) -> str:
    """Return the records of a log, one to a line."""
    rows = [
        {"append_ms": e.append_ms, "hole": e.hole, "key": _text(e.key), "value": _text(e.value)}
        for e in entries
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_entries(text: str) -> list[Entry]:
    """Return the records that `input_lines` wrote."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [
        Entry(_bytes(row["value"]) or b"", _bytes(row["key"]), row["append_ms"], row["hole"])
        for row in rows
    ]


def output_lines(outcome: Outcome) -> str:
    """Return every output, byte for byte, and how the fold stands at the end."""
    rows: list[dict[str, Any]] = [
        {
            "topic": topic,
            "key": _text(key),
            "headers": [[name, _text(header)] for name, header in headers],
            "value": _text(value),
        }
        for topic, outputs in sorted(outcome.outputs.items())
        for key, value, headers in outputs
    ]
    rows.append(
        {
            "next_offset": outcome.next_offset,
            "chain": outcome.chain.hex(),
            "acceptance": outcome.acceptance.hex(),
            "versions": {name: digest.hex() for name, digest in outcome.versions.items()},
        }
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def paths(name: str) -> tuple[Path, Path]:
    """Return the files of a case: (records, outputs)."""
    return FOLDER / f"{name}.records.jsonl", FOLDER / f"{name}.outputs.jsonl"


def record(name: str, history: History) -> None:
    """Write a case's two files; raises `FileExistsError`: a recording is added, never edited."""
    FOLDER.mkdir(exist_ok=True)
    records, outputs = paths(name)
    with records.open("x", encoding="utf-8", newline="\n") as file:
        file.write(input_lines(history.entries))
    with outputs.open("x", encoding="utf-8", newline="\n") as file:
        file.write(output_lines(history.fold()))
