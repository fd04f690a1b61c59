"""`stream-app compare` as people meet it: the verdict first, then JSON, then a page."""

from __future__ import annotations

import hashlib
import html.parser
import json
from datetime import date
from pathlib import Path

import pytest

from stream_app.codec.encode import encode_event
from stream_app.datasets.flights import flights
from tests.cli.conftest import EVENTS, json_lines, observation
from tests.cli.terminal import Terminal, assert_error


@pytest.fixture(scope="module")
def flown(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of real flights that the deployed pipeline has learned from."""
    directory = tmp_path_factory.mktemp("flown")
    declaration = Path(__file__).parents[2] / "deploy" / "flights.py"
    (directory / "flights.py").write_text(declaration.read_text())
    rows = (encode_event(e).value.decode() for e in flights(start=date(2013, 1, 1), days=3))
    text = "".join(f"{row}\n" for row in rows)
    assert terminal.run(directory, "produce", "flights.py", stdin=text).code == 0
    assert terminal.run(directory, "run", "flights.py", "--until-end").code == 0
    return directory


def test_real_flights_are_compared_and_the_figures_are_near_the_last_evaluations(
    flown: Path, terminal: Terminal
) -> None:
    consumed = terminal.run(flown, "consume", "flights.evaluations").json()
    newest = [row for row in consumed if row["kind"] == "evaluation"][-1]
    # That was some hundred labels before the end.
    [found] = terminal.run(flown, "compare", "flights", "v1", "v2", "--json").json()
    assert found["counted"]["compared"] + found["counted"]["unscored_b"] >= newest["scored"]
    assert found["counted"]["compared"] > 2000
    assert [row["name"] for row in found["metrics"]] == ["ROCAUC", "LogLoss"]
    for row in found["metrics"]:
        assert row["low"] < row["difference"] < row["high"]
        assert abs(row["a"] - newest["metrics"][row["name"]]["total"]) < 0.05


def test_the_verdict_comes_first_and_what_to_type_next_is_said(
    flown: Path, terminal: Terminal
) -> None:
    shown = terminal.run(flown, "compare", "flights", "v1", "v2", "--by", "dep_delay")
    assert shown.code == 0, shown
    first, *rest = shown.out.splitlines()
    assert "labelled events" in first
    assert "is better by" in first or first.startswith("No difference")
    assert any(line.startswith("  Try: stream-app explain flights.py 0@") for line in rest)
    assert sum(line.lstrip().startswith(("below", "-")) for line in rest) >= 1
    assert "\x1b" not in shown.out
    assert max(map(len, rest)) < 110


def test_nothing_is_written_but_the_page_which_needs_nothing_and_escapes_everything(
    shop: Path, terminal: Terminal
) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text.replace("metrics.LogLoss()", '{"<b>&": metrics.Accuracy()}'))
    log = shop / ".stream-app" / "log.db"
    before = hashlib.sha256(log.read_bytes()).hexdigest()
    arguments = ("compare", "shop.py", "v1", "v2", "--by", "country", "--html", "page.html")
    shown = terminal.run(shop, *arguments)
    assert shown.code == 0, shown
    assert hashlib.sha256(log.read_bytes()).hexdigest() == before
    page = (shop / "page.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "http" not in page
    assert "<script" not in page
    seen: list[str] = []

    class Tags(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            seen.append(tag)

        def handle_endtag(self, tag: str) -> None:
            while seen and seen.pop() != tag:
                pass

    Tags().feed(page)
    assert {"html", "body", "table", "svg"}.isdisjoint(seen)


def test_the_declared_metrics_decide_and_the_files_metrics_where_a_file_is_named(
    shop: Path, terminal: Terminal
) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text.replace("metrics.LogLoss()", "metrics.Accuracy()"))
    [by_file] = terminal.run(shop, "compare", "shop.py", "v1", "v2", "--json").json()
    [by_name] = terminal.run(shop, "compare", "shop", "v1", "v2", "--json").json()
    assert [row["name"] for row in by_file["metrics"]] == ["Accuracy"]
    assert [row["name"] for row in by_name["metrics"]] == ["LogLoss"]
    assert by_file["counted"]["compared"] == EVENTS


def test_the_first_declared_metric_judges_also_once_settings_have_changed(
    shop: Path, terminal: Terminal
) -> None:
    """The log's note of them was sorted by name, and so LogLoss judged after any change."""
    text = (shop / "shop.py").read_text()
    both = text.replace("metrics.LogLoss()", "metrics.ROCAUC() + metrics.LogLoss()")
    (shop / "shop.py").write_text(both)
    assert terminal.run(shop, "apply", "shop.py").code == 0
    for name in ("shop", "shop.py"):
        [found] = terminal.run(shop, "compare", name, "v1", "v2", "--json").json()
        assert [row["name"] for row in found["metrics"]] == ["ROCAUC", "LogLoss"]
    row = {"id": "late", "ts_ms": 1_800_000_000_000, "label": True}
    event = {"kind": "observation", "features": {"price": 1.0, "items": 1, "country": "de"}} | row
    terminal.run(shop, "produce", "shop.py", stdin=json_lines(event))
    assert terminal.run(shop, "run", "shop.py", "--until-end").code == 0
    [status] = terminal.run(shop, "status", "shop", "--json").json()
    assert not status["settings_pending"]


def test_mistakes_are_named_with_what_to_type(shop: Path, terminal: Terminal) -> None:
    cases = [
        (("shop", "v1", "v3"), "no version 'v3', only v1, v2"),
        (("shop", "v2", "v2"), "are one version"),
        (("shpo", "v1", "v2"), "Try: shop\n"),
        (("shop", "v1", "v2", "--by", "prise"), "did you mean price?"),
        (("shop", "v1", "v2", "--from", "yesterday"), "event:2013-02-01"),
        (("shop", "v1", "v2", "--from", "2013-02-01", "--to", "2013-03-01"), "event:2013-02-01"),
        (("shop", "v1", "v2", "--html", "no/where/page.html"), "mkdir -p no/where"),
    ]
    for arguments, expected in cases:
        assert_error(terminal.run(shop, "compare", *arguments), 2, expected)


def test_consume_takes_times_too(shop: Path, terminal: Terminal) -> None:
    def ids(begin: str) -> list[str]:
        arguments = ("consume", "shop.predictions", "--from", begin)
        return [row["observation_id"] for row in terminal.run(shop, *arguments).json()]

    assert len(ids("-1d")) == EVENTS
    assert ids("2100-01-01") == []
    assert ids("0@298") == ["o298", "o299"]
    refused = terminal.run(shop, "consume", "shop.predictions", "--from", "event:2023-01-01")
    assert_error(refused, 2, "Try: the time of append: --from 2023-01-01")


def test_json_is_one_line_with_all_that_the_page_has(shop: Path, terminal: Terminal) -> None:
    shown = terminal.run(shop, "compare", "shop", "v1", "v2", "--json", "--by", "items")
    [line] = shown.out.splitlines()
    found = json.loads(line)
    assert found["by"] == "items"
    assert {part["value"] for part in found["slices"]} == {"0", "1", "2", "3", "4"}
    assert len(found["disagreements"]) == 10


def test_a_backfilled_and_then_promoted_version_is_compared_over_all_events(
    shop: Path, terminal: Terminal
) -> None:
    text = (shop / "shop.py").read_text()
    third = '        "v3": Version(linear_model.LogisticRegression(), features=["price"]),\n    },'
    (shop / "shop.py").write_text(text.replace("    },\n    initial", f"{third}\n    initial"))
    lacks = terminal.run(shop, "compare", "shop.py", "v1", "v3")
    assert_error(lacks, 2, "v3 has no predictions", "stream-app backfill shop.py v3")
    more = [json_lines(observation(i, label=i % 3 == 0)) for i in range(EVENTS, EVENTS + 60)]
    for arguments, stdin in (
        (("backfill", "shop.py", "v3"), ""),
        (("run", "shop.py", "--until-end"), ""),
        (("promote", "shop", "v3", "--reason", "to compare"), ""),
        (("produce", "shop.py"), "".join(more)),
        (("run", "shop.py", "--until-end"), ""),
    ):
        done = terminal.run(shop, *arguments, stdin=stdin)
        assert done.code == 0, done
    last = terminal.run(shop, "consume", "shop.predictions").json()[-1]
    assert (last["version"], last["observation_id"]) == ("v3", f"o{EVENTS + 59}")
    [found] = terminal.run(shop, "compare", "shop", "v1", "v3", "--json").json()
    assert found["counted"]["compared"] == EVENTS + 60
    assert found["counted"]["only_a"] == found["counted"]["only_b"] == 0
