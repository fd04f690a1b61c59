"""What is set for TLS and logins is read as it was meant, or named; no broker is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.errors import LogUnavailable, StreamAppError, UsageError
from stream_app.kafka.client_properties import parse_properties
from stream_app.kafka.connection import parse_servers
from stream_app.kafka.secret import Secret
from stream_app.kafka.security import Security, read_security

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
LOGIN = f'sasl.jaas.config={PLAIN} required username="ann" password="pa55";\n'
PASSWORD = "n0body-sees-this"


def read(**names: str) -> Security:
    return read_security({f"STREAM_APP_KAFKA_{name}": value for name, value in names.items()})


def refusal(**names: str) -> str:
    with pytest.raises(StreamAppError) as caught:
        read(**names)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def java(tmp_path: Path) -> Path:
    path = tmp_path / "client.properties"
    path.touch(0o600)
    return path


def test_nothing_set_means_nothing_asked_for() -> None:
    assert read() == Security()
    assert read().client_options() == {}


def test_a_secret_shows_itself_to_nobody_and_works() -> None:
    secret = Secret(Secret(PASSWORD))
    shown = f"{secret} {secret!r} {secret!s:>20} {[secret]}"
    assert PASSWORD not in shown
    assert secret.encode() == PASSWORD.encode()
    assert "\0".join(["", "ann", secret]).endswith(PASSWORD)


def test_a_properties_file_is_read_as_java_reads_it() -> None:
    text = (
        "# a comment\n! another\n\n  a = 1 \nb:2\nc 3\nd\n"
        "long = one, \\\n    two\nkey\\ with\\:signs=x\\=y\\u00e9\\\\\ntab=\\tz\nlast=\\\n"
    )
    assert parse_properties(text) == {
        "a": "1 ",
        "b": "2",
        "c": "3",
        "d": "",
        "long": "one, two",
        "key with:signs": "x=yé\\",
        "tab": "\tz",
        "last": "",
    }


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ('password="s p;a=ce"', "s p;a=ce"),
        ("password='single \"'", 'single "'),
        ("password=bare", "bare"),
        (r'password="quote\\"d"', 'quote"d'),
    ],
)
def test_a_login_module_gives_name_and_password(java: Path, written: str, password: str) -> None:
    login = f'sasl.jaas.config={SCRAM} required username="ann" {written};\n'
    java.write_text("security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n" + login)
    found = read(PROPERTIES_FILE=str(java))
    assert (found.protocol, found.mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert found.username == "ann"
    assert found.password.encode() == password.encode()
    assert found.readable_by_others == ()


def test_the_environment_wins_over_the_file_setting_by_setting(java: Path) -> None:
    java.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
        + LOGIN
        + "ssl.endpoint.identification.algorithm=\nssl.truststore.type=pem\n"
        "ssl.truststore.location=/their/ca.pem\nbootstrap.servers=elsewhere:9092\n"
    )
    found = read(PROPERTIES_FILE=str(java), CA_FILE="/my/ca.pem", USERNAME="bob")
    assert (found.ca_file, found.username) == ("/my/ca.pem", "bob")
    assert found.password.encode() == b"pa55"
    assert not found.check_hostname
    assert found.ignored == ("bootstrap.servers",)
    assert read(PROPERTIES_FILE=str(java), CHECK_HOSTNAME="true").check_hostname


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sasl.oauthbearer.token.endpoint.url=x", "sasl.oauthbearer.token.endpoint.url is nothing"),
        ("ssl.cipher.suites=x", "ssl.cipher.suites is nothing"),
        ("securty.protocol=SSL", "securty.protocol is nothing"),
        ("ssl.truststore.location=/t.jks", "keytool -list -rfc -keystore /t.jks"),
        ("ssl.truststore.type=PKCS12\nssl.truststore.location=/t.p12", "PKCS12"),
        ("ssl.keystore.type=JKS\nssl.keystore.location=/k.jks", "openssl pkcs12"),
        ("ssl.endpoint.identification.algorithm=ldap", "https, or nothing"),
        ("security.protocol=TLS", "one of PLAINTEXT, SSL"),
        (f"sasl.jaas.config=com.x.OtherLoginModule required a={PASSWORD};", "OtherLoginModule"),
        (f"sasl.jaas.config={PASSWORD}", "the value is no login module"),
        (f'sasl.jaas.config={PLAIN} required username="a" password="{PASSWORD}"', "is not a login"),
        (f"sasl.jaas.config={PLAIN} required username={PASSWORD};", "is not a login"),
        (f"sasl.mechanism=SCRAM-SHA-256\n{LOGIN}", "is a login for PLAIN"),
        (LOGIN, "has no effect with the security protocol PLAINTEXT"),
    ],
)
def test_what_a_file_says_and_cannot_be_honoured_is_named(
    java: Path, text: str, words: str
) -> None:
    java.write_text(text)
    assert words in refusal(PROPERTIES_FILE=str(java))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_MECHANISM is not set"),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "USERNAME": "ann"},
            "set STREAM_APP_KAFKA_PASSWORD_FILE",
        ),
        (
            {
                "SECURITY_PROTOCOL": "SASL_SSL",
                "SASL_MECHANISM": "GSSAPI",
                "USERNAME": "a",
                "PASSWORD": PASSWORD,
            },
            "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
        ),
        ({"PASSWORD": PASSWORD}, "STREAM_APP_KAFKA_PASSWORD is set, and has no effect"),
        ({"CA_FILE": "/ca.pem"}, "SECURITY_PROTOCOL=SSL or SASL_SSL"),
        ({"PASSWORD": PASSWORD, "PASSWORD_FILE": "/x"}, "contradict each other"),
        ({"PASSWORD_FILE": PASSWORD}, "the file of STREAM_APP_KAFKA_PASSWORD_FILE cannot be read"),
        ({"PROPERTIES_FILE": "/no/such/file"}, "PROPERTIES_FILE cannot be read"),
        ({"SECURITY_PROTOCOL": "SSL", "KEY_FILE": "/k.pem"}, "CERTIFICATE_FILE"),
        ({"SECURITY_PROTOCOL": "SSL", "CHECK_HOSTNAME": "maybe"}, "true or false"),
        ({"TOPIC_PREFIX": "a b"}, "TOPIC_PREFIX"),
    ],
)
def test_settings_that_do_not_go_together_are_named(names: dict[str, str], words: str) -> None:
    assert words in refusal(**names)


def test_a_password_file_loses_its_last_newline_only_and_must_not_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.touch(0o604)
    path.write_text(" spaced \n")
    login = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "plain", "USERNAME": "ann"}
    found = read(PASSWORD_FILE=str(path), **login)
    assert found.password.encode() == b" spaced "
    assert found.readable_by_others == (str(path),)
    path.write_text("\n")
    assert "is empty" in refusal(PASSWORD_FILE=str(path), **login)


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    found = read(SECURITY_PROTOCOL="SSL", CA_FILE=str(tmp_path / "ca.pem"))
    with pytest.raises(LogUnavailable, match=r"ca\.pem cannot be used"):
        found.client_options()


def test_a_setting_on_the_command_line_or_in_the_url_is_no_place_for_a_password() -> None:
    with pytest.raises(UsageError, match="no place for credentials") as caught:
        parse_servers(f"kafka://ann:{PASSWORD}@broker:9092")
    assert PASSWORD not in str(caught.value)
