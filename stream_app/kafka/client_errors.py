"""What the client raises, as errors that say what to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from stream_app.errors import Fenced, LogForbidden, LogUnavailable, RecordTooLarge, StreamAppError

# Another producer with the same transactional id has begun; what we had open was aborted.
FENCED = (
    kafka.ProducerFenced,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.TransactionCoordinatorFenced,
)
_DENIED: dict[type[BaseException], str] = {
    kafka.TopicAuthorizationFailedError: "topic",
    kafka.GroupAuthorizationFailedError: "group",
    kafka.TransactionalIdAuthorizationFailed: "transactional id",
    kafka.ClusterAuthorizationFailedError: "cluster",
}
_OTHER_HOST = (62, 64)  # OpenSSL's codes for a certificate of another name, of another address
_SETTING = "STREAM_APP_KAFKA_"
Words = tuple[str, str]
"""What happened, as the end of a sentence, and what to do."""


@contextmanager
def named_errors(url: str, doing: str) -> Iterator[None]:
    """Turn what the client raises while `doing` something into named errors."""
    try:
        yield
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        raise named(error, url, doing) from error


def named(error: BaseException, url: str, doing: str) -> StreamAppError:
    """Return the named error for what a client raised."""
    error = _telling(error)
    if isinstance(error, FENCED):
        return Fenced(
            f"while {doing}, the broker said that another process has taken over ({_said(error)}).",
            attempt="let the new owner work; this process must end without saving",
        )
    for kinds, words in _WORDS:
        if isinstance(error, kinds):
            what, attempt = words(error)
            kind = _FOR_GOOD.get(kinds, LogUnavailable)
            return kind(f"{url}: {doing}: {what}.", attempt=attempt)
    return LogUnavailable(
        f"{url} could not be used for {doing}: {_said(error)}.",
        attempt="look whether the broker runs and can be reached from here, then start again: "
        "nothing is lost",
    )


def _telling(error: BaseException) -> BaseException:
    """Return the error of TLS below what the client made of it, if there is one."""
    below: BaseException | None = error
    seen: set[int] = set()
    while below is not None and id(below) not in seen:
        if isinstance(below, ssl.SSLError):
            return below
        seen.add(id(below))
        below = below.__cause__
    return error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _denied(error: BaseException) -> Words:
    kind = next(name for cls, name in _DENIED.items() if isinstance(error, cls))
    given = error.args[0] if error.args else ()
    names = [given] if isinstance(given, str) else sorted(given)
    what = f"the {kind} {', '.join(names)}".rstrip()
    if kind == "cluster":
        # A producer is refused like that, too: it gets its id by a right to write somewhere.
        what += ", or has no right to write to any topic"
    return (
        f"this user has no right to do that with {what}",
        "stream-app doctor PIPELINE --acls prints the ACLs that are needed",
    )


def _bad_login(error: BaseException) -> Words:
    said = str(error.args[0]) if error.args and isinstance(error.args[0], str) else _said(error)
    return (
        f"the broker refused the user name or the password: {said.rstrip('.')}",
        f"{_SETTING}USERNAME, _PASSWORD_FILE and _SASL_MECHANISM: a SCRAM user has a password for "
        "each mechanism",
    )


def _wrong_mechanism(_: BaseException) -> Words:
    return (
        "the broker does not know this login mechanism",
        f"another {_SETTING}SASL_MECHANISM: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, one that its "
        "sasl.enabled.mechanisms has",
    )


def _no_login(_: BaseException) -> Words:
    return (
        "this port of the broker takes no login",
        f"{_SETTING}SECURITY_PROTOCOL=SSL or PLAINTEXT, or the port that takes logins",
    )


def _bad_certificate(error: BaseException) -> Words:
    reason = getattr(error, "verify_message", "").rstrip(".") or str(error)
    if getattr(error, "verify_code", 0) in _OTHER_HOST:
        return (
            f"the broker's certificate is of another host: {reason}",
            "the host name that is in the certificate; a certificate with this name in it; or, "
            f"on a network that you trust, {_SETTING}CHECK_HOSTNAME=false",
        )
    return (
        f"the broker's certificate is not trusted: {reason}",
        f"{_SETTING}CA_FILE: the PEM file of the authority that signed it",
    )


def _bad_tls(error: BaseException) -> Words:
    reason = getattr(error, "reason", None) or str(error)
    return (
        f"TLS failed: {reason}",
        f"{_SETTING}CERTIFICATE_FILE and _KEY_FILE, if the broker wants a certificate of its "
        f"clients ({_SETTING}SECURITY_PROTOCOL for a port that speaks no TLS)",
    )


def _unknown_host(error: BaseException) -> Words:
    return (
        f"the host name cannot be resolved: {getattr(error, 'strerror', None) or error}",
        "--broker kafka://HOST:PORT with a name that this machine knows",
    )


def _refused(_: BaseException) -> Words:
    return "nothing listens there", "start the broker, or look at host and port of --broker"


def _silent(error: BaseException) -> Words:
    return (
        f"no answer in time{f' ({error})' if str(error) else ''}",
        "look whether the broker runs, and for a firewall on the way; then start again: nothing "
        "is lost",
    )


def _too_large(error: BaseException) -> Words:
    where = f"the topic {error.args[0]}" if error.args else "a topic"
    return (
        f"{where} takes no batch as large as that",
        "raise its max.message.bytes: stream-app doctor PIPELINE says to what, and how",
    )


_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordTooLargeError)
_FOR_GOOD: dict[tuple[type[BaseException], ...], type[LogUnavailable]] = {
    tuple(_DENIED): LogForbidden,
    _TOO_LARGE: RecordTooLarge,
}
_WORDS: tuple[tuple[tuple[type[BaseException], ...], Callable[[BaseException], Words]], ...] = (
    (tuple(_DENIED), _denied),
    ((kafka.SaslAuthenticationFailed, kafka.AuthenticationFailedError), _bad_login),
    (
        (kafka.UnsupportedSaslMechanismError, kafka.AuthenticationMethodNotSupported),
        _wrong_mechanism,
    ),
    ((kafka.IllegalSaslStateError,), _no_login),
    (_TOO_LARGE, _too_large),
    ((ssl.SSLCertVerificationError,), _bad_certificate),
    ((ssl.SSLError,), _bad_tls),
    ((socket.gaierror,), _unknown_host),
    ((ConnectionRefusedError,), _refused),
    ((TimeoutError, kafka.RequestTimedOutError), _silent),
)
