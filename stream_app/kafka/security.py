"""TLS and logins of every client: from the environment, and from a Java client's properties.

The environment wins over the file, setting by setting. Nothing here connects anywhere.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stream_app.errors import LogUnavailable, UsageError
from stream_app.kafka.client_properties import (
    check_keys,
    parse_properties,
    read_login,
    require_pem,
)
from stream_app.kafka.secret import Secret

PREFIX = "STREAM_APP_KAFKA_"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TLS = ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE", "KEY_PASSWORD", "CHECK_HOSTNAME")
_LOGIN = ("SASL_MECHANISM", "USERNAME", "PASSWORD")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Setting(msgspec.Struct, frozen=True):
    """A value, and the name under which its owner knows it."""

    value: str
    name: str


class Security(msgspec.Struct, frozen=True):
    """What was asked for, whole and consistent; files are named and not read yet."""

    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password: Secret = Secret("")
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: Secret = Secret("")
    check_hostname: bool = True
    topic_prefix: str = ""
    # Files with secrets that other users of this machine can read; keys that change nothing.
    readable_by_others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether clients log in with a name and a password."""
        return self.protocol.startswith("SASL")

    def client_options(self) -> dict[str, Any]:
        """Return arguments of every client; raises named errors for certificates and keys."""
        options: dict[str, Any] = {}
        if self.protocol != "PLAINTEXT":
            options["security_protocol"] = self.protocol
        if self.tls:
            options["ssl_context"] = _tls_context(self)
        if self.sasl:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options


def read_security(environment: Mapping[str, str]) -> Security:
    """Return what the environment asks for, itself or by the properties file that it names."""
    readable: list[str] = []
    found, ignored = _of_properties(environment.get(PREFIX + "PROPERTIES_FILE"), readable)
    found |= _of_environment(environment, readable)
    protocol = _one_of(found.get("SECURITY_PROTOCOL"), PROTOCOLS, "PLAINTEXT")
    _refuse_unused(found, protocol)
    certificate, key = found.get("CERTIFICATE_FILE"), found.get("KEY_FILE")
    if key is not None and certificate is None:
        raise UsageError(
            f"{key.name} is set, and the key's certificate is not", attempt=_set("CERTIFICATE_FILE")
        )
    key_file = (key or certificate or Setting("", "")).value
    if key_file and _others_may_read(key_file):
        readable.append(key_file)
    return Security(
        protocol=protocol,
        **_login(found, protocol),
        ca_file=_value(found, "CA_FILE"),
        certificate_file=None if certificate is None else certificate.value,
        key_file=None if key is None else key.value,
        key_password=Secret(_value(found, "KEY_PASSWORD") or ""),
        check_hostname=_truth(found.get("CHECK_HOSTNAME")),
        topic_prefix=_prefix(environment.get(PREFIX + "TOPIC_PREFIX", "")),
        readable_by_others=tuple(dict.fromkeys(readable)),
        ignored=tuple(ignored),
    )


def _of_environment(environment: Mapping[str, str], readable: list[str]) -> dict[str, Setting]:
    found = {}
    for short in ("SECURITY_PROTOCOL", *_LOGIN, *_TLS):
        name = PREFIX + short
        if short.endswith("PASSWORD"):
            secret = _secret(environment, name, readable)
            if secret is not None:
                found[short] = secret
        elif environment.get(name):
            found[short] = Setting(environment[name], name)
    return found


def _secret(environment: Mapping[str, str], name: str, readable: list[str]) -> Setting | None:
    """Return a secret that is set, or is in the file that is named; without its last newline."""
    file_name = name + "_FILE"
    path = environment.get(file_name)
    if environment.get(name) and path:
        raise UsageError(f"{name} and {file_name} contradict each other", attempt="one of them")
    if not path:
        return Setting(Secret(environment[name]), name) if environment.get(name) else None
    text = _read(path, file_name, "utf-8").removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError(f"the file of {file_name} is empty", attempt="put the password into it")
    if _others_may_read(path):
        readable.append(path)
    return Setting(Secret(text), file_name)


def _of_properties(path: str | None, readable: list[str]) -> tuple[dict[str, Setting], list[str]]:
    """Return (settings by our names, keys that change nothing) of a Java client's file."""
    if not path:
        return {}, []
    # Java reads these files as Latin-1; what that lacks is written as \uXXXX in them.
    properties = parse_properties(_read(path, PREFIX + "PROPERTIES_FILE", "latin-1"))
    ignored = check_keys(properties, path)
    require_pem(properties, path)
    found = {
        short: Setting(properties[key], f"{key} in {path}")
        for short, key in (
            ("SECURITY_PROTOCOL", "security.protocol"),
            ("SASL_MECHANISM", "sasl.mechanism"),
            ("CA_FILE", "ssl.truststore.location"),
            ("CERTIFICATE_FILE", "ssl.keystore.location"),
        )
        if properties.get(key)
    }
    identification = "ssl.endpoint.identification.algorithm"
    if identification in properties:
        found["CHECK_HOSTNAME"] = _identification(properties[identification], path)
    if properties.get("ssl.key.password"):
        secret = Secret(properties["ssl.key.password"])
        found["KEY_PASSWORD"] = Setting(secret, f"ssl.key.password in {path}")
    if "sasl.jaas.config" in properties:
        found |= _jaas(properties["sasl.jaas.config"], found.get("SASL_MECHANISM"), path)
    if {"PASSWORD", "KEY_PASSWORD"} & set(found) and _others_may_read(path):
        readable.append(path)
    return found, ignored


def _identification(value: str, path: str) -> Setting:
    name = f"ssl.endpoint.identification.algorithm in {path}"
    if value.lower() not in {"", "https"}:
        raise UsageError(f"{name} is {value!r}", attempt="https, or nothing behind the = sign")
    return Setting("true" if value else "false", name)


def _jaas(text: str, mechanism: Setting | None, path: str) -> dict[str, Setting]:
    kind, username, password = read_login(text, path)
    name = f"sasl.jaas.config in {path}"
    if mechanism is not None and not mechanism.value.upper().startswith(kind):
        raise UsageError(
            f"{name} is a login for {kind}, and {mechanism.name} is {mechanism.value!r}",
            attempt="the login module of that mechanism",
        )
    return {"USERNAME": Setting(username, name), "PASSWORD": Setting(password, name)}


def _login(found: Mapping[str, Setting], protocol: str) -> dict[str, Any]:
    if not protocol.startswith("SASL"):
        return {}
    for short in _LOGIN:
        if not _value(found, short):
            raise UsageError(
                f"{found['SECURITY_PROTOCOL'].name} is {protocol}, and {PREFIX + short} is not set",
                attempt=_set(short if short != "PASSWORD" else "PASSWORD_FILE"),
            )
    return {
        "mechanism": _one_of(found["SASL_MECHANISM"], MECHANISMS, ""),
        "username": found["USERNAME"].value,
        "password": Secret(_value(found, "PASSWORD") or ""),
    }


def _refuse_unused(found: Mapping[str, Setting], protocol: str) -> None:
    """Raise `UsageError` for what would have no effect: somebody counts on it."""
    unused = {
        *(() if protocol.startswith("SASL") else _LOGIN),
        *(() if protocol.endswith("SSL") else _TLS),
    }
    for short in found:
        if short in unused:
            wanted = "SASL_SSL (or SASL_PLAINTEXT)" if short in _LOGIN else "SSL or SASL_SSL"
            raise UsageError(
                f"{found[short].name} is set, and has no effect with the security protocol "
                f"{protocol}",
                attempt=f"{PREFIX}SECURITY_PROTOCOL={wanted}, or leave it out",
            )


def _tls_context(security: Security) -> ssl.SSLContext:
    """Return a context that trusts the named CA and no other; without one, the system's."""
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(error, f"the CA certificates {security.ca_file}", "CA_FILE") from error
    context.check_hostname = security.check_hostname
    if security.certificate_file is not None:
        # A callable: without one OpenSSL would ask the terminal for the password and wait.
        password = security.key_password
        files = (security.certificate_file, security.key_file)
        try:
            context.load_cert_chain(*files, password=password.encode)
        except (OSError, ValueError) as error:
            what = f"the certificate {files[0]} with its key {files[1] or 'in the same file'}"
            raise _unusable(error, what, "CERTIFICATE_FILE, _KEY_FILE or _KEY_PASSWORD") from error
    return context


def _unusable(error: Exception, what: str, setting: str) -> LogUnavailable:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    hint = " (a key with a password wants KEY_PASSWORD)" if "DECRYPT" in str(reason) else ""
    return LogUnavailable(
        f"{what} cannot be used: {reason}{hint}.",
        attempt=f"PEM files that this user may read, in {PREFIX}{setting}",
    )


def _read(path: str, name: str, encoding: str) -> str:
    try:
        return Path(path).read_text(encoding)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is no {encoding} text"
        # Without the path: whoever mistook the setting has the password itself there.
        raise LogUnavailable(
            f"the file of {name} cannot be read: {reason}.", attempt=f'ls -l "${name}"'
        ) from None


def _others_may_read(path: str) -> bool:
    try:
        return bool(Path(path).stat().st_mode & 0o004)
    except OSError:
        return False  # whoever opens it says why


def _value(found: Mapping[str, Setting], short: str) -> str | None:
    return found[short].value if short in found else None


def _one_of(setting: Setting | None, allowed: tuple[str, ...], default: str) -> str:
    if setting is None:
        return default
    value = setting.value.upper()
    if value not in allowed:
        raise UsageError(
            f"{setting.name} is {setting.value!r}", attempt=f"one of {', '.join(allowed)}"
        )
    return value


def _truth(setting: Setting | None) -> bool:
    if setting is None:
        return True
    truth = _TRUTH.get(setting.value.lower())
    if truth is None:
        raise UsageError(f"{setting.name} is {setting.value!r}", attempt="true or false")
    return truth


def _prefix(prefix: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9._-]{0,100}", prefix):
        raise UsageError(
            f"{PREFIX}TOPIC_PREFIX is {prefix!r}",
            attempt="at most 100 letters, digits, dots, dashes and underscores, as in team-a.",
        )
    return prefix


def _set(short: str) -> str:
    return f"set {PREFIX}{short}"
