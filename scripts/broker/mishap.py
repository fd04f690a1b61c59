"""What went wrong with the broker, and what to type next."""

from __future__ import annotations


class BrokerMishap(Exception):
    """The broker, or what it needs, is not as it should be."""

    def __init__(self, problem: str, attempt: str) -> None:
        super().__init__(problem, attempt)
        self.problem = problem
        self.attempt = attempt

    def __str__(self) -> str:
        return f"{self.problem} Try: {self.attempt}"
