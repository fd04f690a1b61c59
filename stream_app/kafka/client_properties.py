"""A client's properties file as Java's clients read it, and the login module's line in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stream_app.errors import UsageError
from stream_app.kafka.secret import Secret

# What the project can do; every other key of these families would be a promise not kept.
HONOURED = frozenset(
    {
        "security.protocol",
        "sasl.mechanism",
        "sasl.jaas.config",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.password",
        "ssl.keystore.location",
        "ssl.keystore.type",
        "ssl.truststore.location",
        "ssl.truststore.type",
    }
)
# Tuning of Java's clients, and of tools beside them: how we read and write is our own affair.
_HARMLESS = re.compile(
    r"(acks|allow|auto|basic|batch|bootstrap|buffer|check|client|compression|connections|default|"
    r"delivery|enable|exclude|fetch|group|heartbeat|interceptor|isolation|key|linger|max|metadata|"
    r"metrics?|partition|partitioner|receive|reconnect|request|retries|retry|schema|send|session|"
    r"socket|transaction|transactional|value)(\.|$)"
)
_LOGINS = {
    "org.apache.kafka.common.security.plain.PlainLoginModule": "PLAIN",
    "org.apache.kafka.common.security.scram.ScramLoginModule": "SCRAM",
}
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LINE = re.compile(r"\A((?:\\.|[^\\=:\s])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_TOKEN = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([^\s=;"']+)|([=;]))""")


def parse_properties(text: str) -> dict[str, str]:
    """Return a properties file's keys and values: comments, continuations, escapes as in Java."""
    pairs = (pair for line in _logical_lines(text) for pair in _LINE.findall(line))
    return {_unescaped(key): _unescaped(value) for key, value in pairs}


def _logical_lines(text: str) -> Iterator[str]:
    pending = ""
    for line in re.split(r"\r\n|\r|\n", text):
        stripped = line.lstrip(" \t\f")
        if not pending and stripped[:1] in {"", "#", "!"}:
            continue
        pending += stripped
        backslashes = len(pending) - len(pending.rstrip("\\"))
        if backslashes % 2:
            pending = pending[:-1]
            continue
        yield pending
        pending = ""
    if pending:
        yield pending


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)

    return _ESCAPE.sub(one, text)


def check_keys(properties: Mapping[str, str], place: str) -> list[str]:
    """Return the keys that change nothing here; raises `UsageError` for one that should."""
    ignored = []
    for key in properties:
        if key in HONOURED:
            continue
        if not _HARMLESS.match(key):
            raise UsageError(
                f"{place}: {key} is nothing that stream-app can honour",
                attempt="take the line out of a copy of the file; stream-app knows "
                + ", ".join(sorted(HONOURED)),
            )
        ignored.append(key)
    return ignored


def require_pem(properties: Mapping[str, str], place: str) -> None:
    """Raise `UsageError` for a store that is not PEM; it says how to convert it."""
    for store, convert in (
        ("truststore", "keytool -list -rfc -keystore {0} >ca.pem"),
        (
            "keystore",
            "keytool -importkeystore -srckeystore {0} -destkeystore client.p12 "
            "-deststoretype PKCS12 && openssl pkcs12 -in client.p12 -out client.pem",
        ),
    ):
        location = properties.get(f"ssl.{store}.location")
        # Java takes a store without a type for JKS.
        kind = properties.get(f"ssl.{store}.type", "JKS").upper()
        if location is not None and kind != "PEM":
            raise UsageError(
                f"{place}: ssl.{store}.location={location} is a {kind} file, and only PEM can be "
                "read",
                attempt=f"{convert.format(location)}, then name the new file and set "
                f"ssl.{store}.type=PEM",
            )


def read_login(text: str, place: str) -> tuple[str, str, Secret]:
    """Return (PLAIN or SCRAM, user name, password) of a `sasl.jaas.config`."""
    words = list(_words(text))
    kind = _LOGINS.get(words[0]) if words else None
    if kind is None:
        module = words[0] if words and words[0].endswith("LoginModule") else "the value"
        raise UsageError(
            f"{place}: sasl.jaas.config: {module} is no login module that stream-app knows",
            attempt=" or ".join(_LOGINS),
        )
    options = dict(zip(words[2::3], words[4::3], strict=False))
    # MODULE required username = NAME password = PASSWORD ;
    shaped = len(words) == 9 and words[3] == words[6] == "=" and words[8] == ";"
    if not shaped or set(options) != {"username", "password"}:
        # What stands there may be the password: no word of it is shown.
        raise UsageError(
            f"{place}: sasl.jaas.config is not a login with a user name and a password",
            attempt='MODULE required username="NAME" password="PASSWORD";',
        )
    return kind, options["username"], Secret(options["password"])


def _words(text: str) -> Iterator[str]:
    """Yield words, quoted or not, and the signs between them."""
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            yield ""
            return
        position = match.end()
        double, single, bare, sign = match.groups()
        quoted = double if double is not None else single
        yield bare or sign if quoted is None else _unescaped(quoted)
