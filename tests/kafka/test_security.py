"""TLS, logins and rights, against a broker that insists on all of them."""

from __future__ import annotations

import asyncio
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import msgspec
import pytest

from stream_app.errors import LogUnavailable
from stream_app.kafka.acls import Acl, needed_acls
from stream_app.kafka.connection import connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.membership import Membership
from stream_app.kafka.topics import create_topics, wanted_topics
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.terminal import Ended, Terminal
from tests.kafka.broker import Broker
from tests.kafka.certificates import Authority
from tests.kafka.guarded_broker import add_scram_user, grant, guarded_properties

PREFIX = "team-a."
Place = tuple[str, int]
# What the pipeline "shop" needs with this prefix, spelled out: role, operations, where.
NEEDED = """
producer Describe                                topic            team-a.shop.*
producer Write+Describe                          topic            team-a.shop.events
producer Read+Describe                           topic            team-a.shop.ledger
worker   Read+Write+Describe+DescribeConfigs     topic            team-a.shop.*
worker   Read+Describe                           group            team-a.shop.*
worker   Write+Describe                          transactional-id team-a.shop.*
reader   Read+Describe+DescribeConfigs           topic            team-a.shop.*
reader   Read+Describe                           group            team-a.shop.readers.*
operator Create+Read+Write+Describe+DescribeConfigs topic         team-a.shop.*
operator Write+Describe                          transactional-id team-a.shop.*
"""
SECRETS = {
    "operator": "operator-pa55-word",
    "producer": "producer-pa55-word",
    "worker": "worker-pa55-word",
    "reader": "reader-pa55-word",
    "outsider": "outsider-pa55-word",
}
MECHANISMS = {
    "operator": "PLAIN",
    "producer": "SCRAM-SHA-512",
    "worker": "SCRAM-SHA-256",
    "reader": "PLAIN",
    "outsider": "PLAIN",
}
WRONG = "wr0ng-pa55-word"
AT_ONCE_S = 20.0  # on a busy machine; the client itself takes 40 and more


class Guarded(msgspec.Struct):
    """The broker, where its certificates are, and what each user sets."""

    broker: Broker
    place: Path
    authority: Authority

    @property
    def url(self) -> str:
        return f"kafka://{self.broker.bootstrap}"

    def settings(self, user: str, **changed: str) -> dict[str, str]:
        names = {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_MECHANISM": MECHANISMS[user],
            "USERNAME": user,
            "PASSWORD": SECRETS[user],
            "CA_FILE": str(self.place / "ca.pem"),
            "TOPIC_PREFIX": PREFIX,
            **changed,
        }
        return {f"STREAM_APP_KAFKA_{name}": value for name, value in names.items() if value}


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    opened = Terminal(tmp_path_factory.mktemp("terminal"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def guarded(kafka_is_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    place = tmp_path_factory.mktemp("certificates")
    authority = Authority("the broker's authority")
    Authority("somebody else").save(place / "other.pem")
    plain = {name: SECRETS[name] for name, kind in MECHANISMS.items() if kind == "PLAIN"}
    with Broker(guarded_properties(place, authority, plain)) as broker:
        for name, kind in MECHANISMS.items():
            if kind != "PLAIN":
                add_scram_user(broker, name, {kind: SECRETS[name]})
            grant(broker, name, [acl for acl in needed_acls("shop", PREFIX) if acl.role == name])
        yield Guarded(broker, place, authority)


@pytest.fixture(scope="module")
def topics(guarded: Guarded) -> None:
    """The topics of "shop", made by the one who may."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(monkeypatch, guarded.settings("operator"))
        made = create_topics(connection(guarded.url), wanted_topics("shop", ["v1", "v2"], 1), 1)
    assert "shop.predictions" in made


def use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def shown(acl: Acl) -> list[str]:
    name = acl.name + "*" * acl.prefixed
    return [acl.role, "+".join(acl.operations), acl.resource, name]


def test_the_rights_that_are_needed_are_these() -> None:
    written = [line.split() for line in NEEDED.strip().splitlines()]
    assert [shown(acl) for acl in needed_acls("shop", PREFIX)] == written


def test_each_part_works_with_its_own_rights_and_no_more(
    guarded: Guarded, topics: None, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(DECLARATION)

    def run(user: str, *words: str, stdin: str = "") -> Ended:
        return terminal.run(
            tmp_path, *words, "--broker", guarded.url, stdin=stdin, **guarded.settings(user)
        )

    started = run("worker", "run", "shop.py", "--until-end")
    assert started.code == 0, started
    rows = [observation(i, label=i * 37 % 101 > 50) for i in range(60)]
    for spec, part in (("shop.py", rows[:30]), ("shop", rows[30:])):
        sent = run("producer", "produce", spec, "--json", stdin=json_lines(*part))
        assert sent.code == 0, sent
    ran = run("worker", "run", "shop.py", "--until-end")
    assert ran.code == 0, ran
    read = run("reader", "consume", "shop.predictions")
    assert len(read.out.splitlines()) == 60, read
    replayed = run("reader", "replay", "shop.py")
    assert replayed.code == 0, replayed
    (tmp_path / "shop.py").write_text(DECLARATION.replace("evaluate_every=50", "evaluate_every=60"))
    applied = run("operator", "apply", "shop.py")
    assert applied.code == 0, applied
    # What is not granted is refused by name, at once; what may not be seen is not "missing".
    for user, words, name in (
        ("producer", ("consume", "shop.predictions"), "the topic team-a.shop.predictions"),
        ("reader", ("produce", "shop"), "no right to write to any topic"),
        ("reader", ("run", "shop.py"), "the group team-a.shop.live"),
        ("outsider", ("consume", "shop.predictions"), "the topic team-a.shop.predictions"),
        ("outsider", ("status", "shop"), "the topic team-a.shop.ledger"),
    ):
        begun = time.monotonic()
        refused = run(user, *words, stdin=json_lines(observation(1000)))
        assert time.monotonic() - begun < AT_ONCE_S
        require_error(refused, name, "--acls")


def require_error(ended: Ended, *words: str) -> None:
    """Assert exit code 4, a problem and a way out in these words, and no secret anywhere."""
    assert ended.code == 4, ended
    *_, problem, attempt = ended.err.splitlines()
    assert problem.startswith("Error: "), ended
    assert attempt.startswith("Try: "), ended
    for word in words:
        assert word in problem + attempt, ended
    assert "retry" not in ended.err
    require_no_secret(ended.out + ended.err)


def require_no_secret(text: str) -> None:
    for secret in (*SECRETS.values(), WRONG):
        for shape in (secret, b64encode(secret.encode()).decode().rstrip("=")[4:-4]):
            assert shape not in text


def test_a_group_is_joined_by_a_worker_and_refused_to_others_by_name(
    guarded: Guarded, topics: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def member(user: str, assigned: Callable[[Set[Place]], None]) -> Membership:
        use(monkeypatch, guarded.settings(user))
        topics = [f"{PREFIX}shop.events"]
        return Membership(connection(guarded.url), f"{PREFIX}shop.live", topics, user, assigned)

    async def join() -> Set[Place]:
        ours: asyncio.Future[Set[Place]] = asyncio.get_running_loop().create_future()
        worker = member("worker", ours.set_result)
        await worker.start()
        try:
            return await asyncio.wait_for(ours, AT_ONCE_S)
        finally:
            await worker.stop()

    assert asyncio.run(join()) == {(f"{PREFIX}shop.events", 0)}
    with pytest.raises(LogUnavailable, match=r"group team-a\.shop\.live"):
        asyncio.run(member("reader", print).start())


# What is set, where, and what is said of it; "" leaves a setting out.
MISHAPS = {
    "a wrong password": ({"PASSWORD": WRONG}, "client", "user name or the password"),
    "a wrong password of SCRAM": (
        {"PASSWORD": WRONG, "SASL_MECHANISM": "SCRAM-SHA-256"},
        "client",
        "user name or the password",
    ),
    "an unknown user": ({"USERNAME": "nobody"}, "client", "user name or the password"),
    "a password of another mechanism": (
        {"SASL_MECHANISM": "SCRAM-SHA-512"},
        "client",
        "a password for each mechanism",
    ),
    "an unknown authority": ({"CA_FILE": "other.pem"}, "client", "is not trusted: self-signed"),
    "the system's authorities": ({"CA_FILE": ""}, "client", "is not trusted"),
    "a certificate of another host": ({}, "other name", "of another host: Hostname mismatch"),
    "no TLS where there is": (
        {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "CA_FILE": ""},
        "client",
        "speaks TLS, and the client did not|SECURITY_PROTOCOL=SASL_SSL",
    ),
    "nothing where there is TLS": (
        {
            "SECURITY_PROTOCOL": "PLAINTEXT",
            **dict.fromkeys(("SASL_MECHANISM", "USERNAME", "PASSWORD", "CA_FILE"), ""),
        },
        "client",
        "speaks TLS, and the client did not",
    ),
    "no login where one is wanted": (
        {
            "SECURITY_PROTOCOL": "SSL",
            **dict.fromkeys(("SASL_MECHANISM", "USERNAME", "PASSWORD"), ""),
        },
        "client",
        "had not logged in|SECURITY_PROTOCOL=SASL_SSL",
    ),
    "TLS where there is none": ({}, "inner", "does not speak TLS"),
    "a login where none is wanted": (
        {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "CA_FILE": ""},
        "inner",
        "takes no login",
    ),
    "nobody there": ({}, "nobody", "nothing listens there"),
    "nobody answers": ({}, "silent", "no answer in time"),
}


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("command", ["consume", "run"])
def test_what_keeps_a_client_out_is_named_at_once_and_no_secret_is_shown(
    guarded: Guarded, terminal: Terminal, tmp_path: Path, mishap: str, command: str
) -> None:
    changed, where, words = MISHAPS[mishap]
    if changed.get("CA_FILE"):
        changed = {"CA_FILE": str(guarded.place / changed["CA_FILE"])}
    (tmp_path / "shop.py").write_text(DECLARATION)
    arguments = ["run", "shop.py"] if command == "run" else ["consume", "shop.events"]
    port = guarded.broker.bootstrap.rpartition(":")[2]
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        urls = {
            "client": guarded.broker.bootstrap,
            "inner": guarded.broker.internal,
            "other name": f"localhost:{port}",
            "nobody": "127.0.0.1:1",
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
        }
        begun = time.monotonic()
        ended = terminal.run(
            tmp_path,
            *arguments,
            *("--broker", f"kafka://{urls[where]}", "--log-level", "debug"),
            **guarded.settings("reader", **changed),
        )
    assert time.monotonic() - begun < AT_ONCE_S
    assert "Traceback" in ended.err, "the test sees what debug shows"
    require_error(ended, *words.split("|"))


def test_a_mechanism_that_the_broker_lacks_is_named(
    guarded: Guarded, terminal: Terminal, tmp_path: Path, kafka_is_here: None
) -> None:
    plain = guarded_properties(tmp_path, guarded.authority, {"reader": SECRETS["reader"]})
    with Broker({**plain, "sasl.enabled.mechanisms": "PLAIN"}) as broker:
        settings = guarded.settings("reader", SASL_MECHANISM="SCRAM-SHA-256")
        settings["STREAM_APP_KAFKA_CA_FILE"] = str(guarded.place / "ca.pem")
        url = f"kafka://{broker.bootstrap}"
        ended = terminal.run(tmp_path, "consume", "x", "--broker", url, **settings)
    require_error(ended, "does not know this login mechanism")


def test_a_properties_file_of_java_and_a_password_file_lead_to_the_same_broker(
    guarded: Guarded, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "client.properties").write_text(
        "security.protocol=SASL_SSL\n"
        "sasl.mechanism : SCRAM-SHA-256\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n"
        f'    username="worker" password="{SECRETS["worker"]}";\n'
        "ssl.truststore.type=PEM\n"
        f"ssl.truststore.location={guarded.place / 'ca.pem'}\n"
        "acks=all\n"
    )
    (tmp_path / "client.properties").chmod(0o600)
    (tmp_path / "password").write_text(SECRETS["producer"] + "\n")
    (tmp_path / "password").chmod(0o644)
    words = ("consume", "no.such.topic", "--broker", guarded.url, "--log-level", "debug")
    by_file = {"STREAM_APP_KAFKA_PROPERTIES_FILE": str(tmp_path / "client.properties")}
    named = terminal.run(tmp_path, *words, **by_file)
    assert "the topic no.such.topic" in named.err, named  # which proves that worker was let in
    assert "acks" in named.err
    over = {
        **by_file,
        "STREAM_APP_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "STREAM_APP_KAFKA_USERNAME": "producer",
        "STREAM_APP_KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
    }
    other = terminal.run(tmp_path, *words, **over)
    assert "the topic no.such.topic" in other.err, other
    assert other.err.count("secret_readable_by_others") == 1
    assert f"chmod o-r {tmp_path / 'password'}" in other.err
    require_no_secret(named.err + other.err)


def test_a_program_that_logs_everything_logs_no_login(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "aiokafka")
    for user in ("reader", "worker"):
        use(monkeypatch, guarded.settings(user))
        reach = connection(guarded.url)
        KafkaLog(reach).close()
        require_no_secret(f"{reach} {reach!r} {reach.client_options()} {caplog.text}")
    assert "MetadataRequest" in caplog.text


@pytest.mark.parametrize("command", ["consume shop.events", "run shop.py", "status shop"])
def test_a_url_with_a_login_is_refused_before_anything_is_said_of_it(
    terminal: Terminal, tmp_path: Path, command: str
) -> None:
    (tmp_path / "shop.py").write_text(DECLARATION)
    for scheme in ("kafka", "rabbit"):
        url = f"{scheme}://ann:{WRONG}@127.0.0.1:1"
        for more in (("--broker", url), ()):
            ended = terminal.run(
                tmp_path,
                *(*command.split(), "--log-level", "debug", *more),
                **({} if more else {"STREAM_APP_BROKER": url}),
            )
            assert ended.code == 2, ended
            assert "no place for credentials" in ended.err
            require_no_secret(ended.out + ended.err)


def test_a_client_shows_its_certificate_and_a_strangers_is_refused(
    guarded: Guarded, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "ours.pem").write_bytes(guarded.authority.issue("reader", b"key-pa55-word"))
    (tmp_path / "strange.pem").write_bytes(Authority("somebody else").issue("reader"))
    words = ("consume", "no.such.topic", "--broker", guarded.url)

    def ended(file: str, **more: str) -> Ended:
        file = str(tmp_path / file)
        return terminal.run(
            tmp_path, *words, **guarded.settings("reader", CERTIFICATE_FILE=file, **more)
        )

    let_in = ended("ours.pem", KEY_PASSWORD="key-pa55-word")
    require_error(let_in, "the topic team-a.no.such.topic")
    require_error(ended("ours.pem", KEY_PASSWORD=WRONG), "ours.pem", "KEY_PASSWORD")
    require_error(ended("ours.pem"), "ours.pem", "KEY_PASSWORD")
    require_error(ended("strange.pem"), "TLS failed", "CERTIFICATE_FILE")


def test_a_server_that_is_away_does_not_matter_while_another_one_answers(
    guarded: Guarded, terminal: Terminal, tmp_path: Path
) -> None:
    url = f"kafka://127.0.0.1:1,{guarded.broker.bootstrap}"
    ended = terminal.run(
        tmp_path, "consume", "no.such.topic", "--broker", url, **guarded.settings("reader")
    )
    require_error(ended, "the topic team-a.no.such.topic")


def test_clients_that_are_sent_on_to_where_nobody_is_hear_of_it(
    kafka_is_here: None, terminal: Terminal, tmp_path: Path
) -> None:
    with Broker({"advertised.listeners": "CLIENT://127.0.0.1:1,INTERNAL://127.0.0.1:2"}) as broker:
        url = f"kafka://{broker.bootstrap}"
        ended = terminal.run(tmp_path, "consume", "x", "--broker", url)
    require_error(ended, "sends its clients on to 127.0.0.1:1", "advertised.listeners")
