"""`export` and `inspect`: a version's models in a file, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

from stream_app import load_model
from tests.cli.conftest import EVENTS, json_lines, observation
from tests.cli.terminal import Terminal, assert_error


def test_an_exported_model_says_what_live_says_next(shop: Path, terminal: Terminal) -> None:
    done = terminal.run(shop, "export", "shop.py", "v1", "v1.stream-model")
    assert done.code == 0, done
    assert f"before shop.events/0@{EVENTS + 1} of log" in done.out
    assert "made from .stream-app/state/" in done.out
    model = load_model(shop / "v1.stream-model", state=str(shop / ".stream-app/state"))
    expected = model.predict_proba_one({"items": 3, "price": 61.5})[True]
    event = observation(5000) | {"features": {"price": 61.5, "items": 3, "country": "DE"}}
    terminal.run(shop, "produce", "shop", stdin=json_lines(event))
    terminal.run(shop, "run", "shop.py", "--until-end")
    [prediction] = terminal.run(shop, "consume", "shop.predictions", "--from", str(EVENTS)).json()
    assert prediction["probability"] == expected
    again = terminal.run(
        shop, "export", "shop.py", "v1", "again.stream-model", "--at", f"0@{EVENTS + 1}", "--json"
    )
    [said] = again.json()
    assert said["origin"]["next_offset"] == EVENTS + 1
    assert said["learned"] == EVENTS


def test_a_file_is_shown_and_checked_without_its_model(shop: Path, terminal: Terminal) -> None:
    terminal.run(shop, "export", "shop.py", "v2", "v2.stream-model", "--at", "0@100")
    shown = terminal.run(shop, "inspect", "v2.stream-model")
    assert shown.code == 0, shown
    assert "version      v2 of shop, definition" in shown.out
    assert "before shop.events/0@100 of log" in shown.out
    assert "models       1, 100 examples learned" in shown.out
    [row] = terminal.run(shop, "inspect", "v2.stream-model", "--json").json()
    assert row["features"] == ["price"]
    other = ("inspect", "v2.stream-model", "--state", "elsewhere")
    assert_error(terminal.run(shop, *other), 5, "none of those in elsewhere/keys", "--public-key")
    assert terminal.run(shop, *other, "--public-key", row["public_key"]).code == 0
    path = shop / "v2.stream-model"
    path.write_bytes(path.read_bytes()[:-1])
    assert_error(terminal.run(shop, "inspect", "v2.stream-model"), 5, "is cut short")
    assert_error(terminal.run(shop, "inspect", "shop.py"), 2, "no file that stream-app export")


def test_what_cannot_be_exported_says_what_can(shop: Path, terminal: Terminal) -> None:
    assert_error(
        terminal.run(shop, "export", "shop.py", "v3", "m"), 2, "has no version 'v3'", "Try: one of"
    )
    assert_error(
        terminal.run(shop, "export", "shop.py", "v1", "m", "--at", "0@9999"), 2, "has come to 301"
    )
    assert_error(terminal.run(shop, "export", "shop.py", "v1", "no/m"), 4, "No such file")
