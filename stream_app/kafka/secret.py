"""A password that shows itself only to those who use it, never to those who print it."""

from __future__ import annotations

import logging
from typing import Self

from aiokafka.conn import SaslAuthenticateRequest

HIDDEN = "[hidden]"


class Secret(str):
    """Text whose `repr`, `str` and format are hidden; `encode` and `join` give what it is."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Return a secret as it is: of one, `str` would take what it shows."""
        return text if isinstance(text, cls) else super().__new__(cls, text)

    def __repr__(self) -> str:
        return HIDDEN

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, _: str) -> str:
        return HIDDEN


def keep_logins_out_of_logs() -> None:
    """Keep the client from logging, at debug, every request that it sends: logins are some."""
    logging.getLogger("aiokafka.conn").addFilter(_is_no_login)


def _is_no_login(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    kinds = {type(argument).__name__.partition("_v")[0] for argument in arguments}
    return not kinds & {SaslAuthenticateRequest.__name__, "SaslAuthenticateResponse"}
