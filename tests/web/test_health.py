"""When a process counts as alive and as ready; time is given, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_app.hosts.embedded import Progress
from stream_app.web.address import Address
from stream_app.web.board import STALL_S, Board
from stream_app.web.server import WebServer
from tests.web.reports import ask, ask_json, report


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board[Progress]:
    return Board(clock=clock)


@pytest.fixture
def server(board: Board[Progress]) -> Iterator[WebServer]:
    with WebServer(Address("127.0.0.1", 0), board) as opened:
        yield opened


def test_before_the_partitions_are_known_it_is_alive_and_not_ready(server: WebServer) -> None:
    assert ask(server, "/livez")[0] == 200
    status, body = ask_json(server, "/readyz")
    assert (status, body["missing"]) == (503, "its partitions are not known yet")


def test_it_is_ready_only_when_every_partition_is_live(
    server: WebServer, board: Board[Progress]
) -> None:
    board.own("shop", [0, 1, 2])
    board.take(report(0))
    board.take(report(1, next_offset=4, committed=10))
    status, body = ask_json(server, "/readyz")
    assert status == 503
    assert body == {
        "ready": False,
        "partitions": [
            {"partition": 0, "state": "live", "next_offset": 10, "lag": 10},
            {
                "partition": 1,
                "state": "learning again",
                "next_offset": 4,
                "lag": 16,
                "missing": "6 records up to 10 are to be learned again",
            },
            {"partition": 2, "state": "opening", "missing": "its state is being opened"},
        ],
    }
    assert ask(server, "/livez")[0] == 200
    board.take(report(1))
    assert ask(server, "/readyz")[0] == 503
    board.take(report(2))
    assert ask(server, "/readyz")[0] == 200


def test_only_a_loop_that_makes_no_step_for_the_stated_time_is_dead(
    server: WebServer, board: Board[Progress], clock: Clock
) -> None:
    board.own("shop", [0, 1])
    board.take(report(0))
    board.take(report(1, next_offset=0))
    clock.now += STALL_S
    assert ask(server, "/livez")[0] == 200
    board.take(report(0))
    clock.now += 1
    status, body = ask_json(server, "/livez")
    assert (status, body["alive"]) == (503, False)
    assert [row["state"] for row in body["partitions"]] == ["live", "stalled"]
    assert body["partitions"][1]["missing"] == "no step for 121 s"
    assert ask(server, "/readyz")[0] == 503
    board.take(report(1))
    assert ask(server, "/livez")[0] == 200


def test_opening_a_partition_may_take_as_long_as_it_takes(
    server: WebServer, board: Board[Progress], clock: Clock
) -> None:
    board.own("shop", [0])
    clock.now += 100 * STALL_S
    assert ask(server, "/livez")[0] == 200


def test_an_error_that_needs_a_person_leaves_it_alive_and_not_ready(
    server: WebServer, board: Board[Progress], clock: Clock
) -> None:
    board.own("shop", [0, 1])
    board.take(report(0))
    board.take(report(1))
    board.stop(1, "version v1 of shop, the champion, failed at shop.events/1@7")
    clock.now += 10
    assert ask(server, "/livez")[0] == 200
    status, body = ask_json(server, "/readyz")
    assert status == 503
    assert body["partitions"][1]["state"] == "stopped"
    assert "shop.events/1@7" in body["partitions"][1]["missing"]
    clock.now += STALL_S  # nobody reports of it any more, which is not a loop that hangs
    board.take(report(0))
    assert ask(server, "/livez")[0] == 200


def test_a_partition_that_went_elsewhere_is_forgotten(
    server: WebServer, board: Board[Progress]
) -> None:
    board.own("shop", [0, 1])
    board.take(report(0))
    board.take(report(1))
    board.own("shop", [1])
    board.take(report(0))  # what its old owner still had to say
    assert [row["partition"] for row in ask_json(server, "/readyz")[1]["partitions"]] == [1]
    assert 'partition="0"' not in ask(server, "/metrics")[1]
    board.own("shop", [])
    assert ask(server, "/readyz")[0] == 200  # a worker that waits for partitions may serve
