"""What the client raises, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from stream_app.errors import Fenced, LogUnavailable, StreamAppError

# Another producer with the same transactional id has begun; what we had open was aborted.
FENCED = (
    kafka.ProducerFenced,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.TransactionCoordinatorFenced,
)
_DENIED = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
)
_REFUSED = (
    kafka.AuthenticationFailedError,
    kafka.SaslAuthenticationFailed,
    kafka.AuthenticationMethodNotSupported,
    kafka.UnsupportedSaslMechanismError,
)


@contextmanager
def named_errors(url: str, doing: str) -> Iterator[None]:
    """Turn what the client raises while `doing` something into named errors."""
    try:
        yield
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        raise named(error, url, doing) from error


def named(error: BaseException, url: str, doing: str) -> StreamAppError:
    """Return the named error for what a client raised."""
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, FENCED):
        return Fenced(
            f"while {doing}, the broker said that another process has taken over ({what}).",
            attempt="let the new owner work; this process must end without saving",
        )
    if isinstance(error, _DENIED):
        return LogUnavailable(
            f"{url} does not allow {doing}: {what}.",
            attempt="stream-app doctor PIPELINE --acls prints the ACLs that are needed",
        )
    if isinstance(error, _REFUSED):
        return LogUnavailable(
            f"{url} refused the credentials while {doing}: {what}.",
            attempt="look at STREAM_APP_KAFKA_SECURITY_PROTOCOL, _SASL_MECHANISM, _USERNAME and "
            "_PASSWORD_FILE",
        )
    if isinstance(error, kafka.MessageSizeTooLargeError | kafka.RecordTooLargeError):
        return LogUnavailable(
            f"{url} finds a record too large while {doing}: {what}.",
            attempt="raise max.message.bytes of the topic, or lower limits.value_bytes_max",
        )
    return LogUnavailable(
        f"{url} could not be used for {doing}: {what}.",
        attempt="look whether the broker runs and can be reached from here, then start again: "
        "nothing is lost",
    )
