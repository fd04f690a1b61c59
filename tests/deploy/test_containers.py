"""The Dockerfile and docker-compose.yml, as far as that goes without an engine."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from stream_app.cli.commands import COMMANDS, stream_app
from stream_app.hosts.group_share import DRAIN_S
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.kafka.membership import REQUEST_TIMEOUT_S

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in DOCKERFILE if line.startswith(name + " ")]


def commands() -> list[tuple[str, list[str]]]:
    """Return (service, what it passes to stream-app), for each command of a shell's pipe."""
    found = []
    for name, service in OURS.items():
        if "entrypoint" not in service:
            found.append((name, service["command"]))
            continue
        assert service["entrypoint"] == ["sh", "-c"]
        for part in service["command"][0].split("|"):
            program, *arguments = shlex.split(part)
            assert program == "stream-app"
            found.append((name, arguments))
    return found


def test_the_compose_file_is_one_by_the_specification_s_schema() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    ran = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(("service", "arguments"), commands())
def test_every_command_exists_and_takes_its_options(service: str, arguments: list[str]) -> None:
    name, *rest = arguments
    command = stream_app.get_command(click.Context(stream_app), name)
    assert command is not None, f"{service}: {name} is none of {', '.join(COMMANDS)}"
    command.make_context(name, rest)  # raises for an option that it does not have


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_names_is_there(name: str) -> None:
    service = OURS[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", ()):
        assert volume.split(":")[0] in COMPOSE["volumes"]
    for secret in service.get("secrets", ()):
        assert secret["source"] in COMPOSE["secrets"]
    key = service["environment"].get("STREAM_APP_SEAL_KEY_FILE")
    assert (key is not None) == ("secrets" in service)
    assert key in {None, *(f"/run/secrets/{s['source']}" for s in service.get("secrets", ()))}


def test_a_service_waits_for_health_only_where_there_is_a_check() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert "restart" not in SERVICES[other], "it would never have completed"


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not any("network_mode" in service for service in SERVICES.values())


def test_workers_are_given_longer_to_stop_than_they_may_take() -> None:
    workers = [service for service in OURS.values() if service["command"][0] == "run"]
    assert len(workers) == 2
    assert len({worker["hostname"] for worker in workers}) == 2
    for worker in workers:
        assert int(worker["stop_grace_period"].removesuffix("s")) > DRAIN_S + REQUEST_TIMEOUT_S


def test_every_source_that_the_image_copies_exists_and_reaches_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    sources = [source for line in instructions("COPY") for source in line.split()[:-1]]
    assert {"requirements.lock", "stream_app"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source
    assert all((ROOT / name).exists() for name in let_in)


def test_the_image_runs_as_a_user_without_rights_who_owns_the_state() -> None:
    [user] = instructions("USER")
    number = user.split(":")[0]
    assert number.isdigit()
    assert int(number) > 0
    [state] = re.findall(r"STREAM_APP_STATE=(\S+)", "\n".join(instructions("ENV")))
    assert any(f"--uid {number} " in line and state in line for line in instructions("RUN"))
    for service in OURS.values():
        assert all(v.endswith(f":{state}") for v in service.get("volumes", ()))
        assert all(secret["uid"] == number for secret in service.get("secrets", ()))


def test_what_the_image_runs_by_default_is_the_program() -> None:
    assert instructions("ENTRYPOINT") == ['["stream-app"]']
    [command] = instructions("CMD")
    assert command == '["--help"]'


def test_the_flights_of_the_image_may_have_any_number_of_partitions() -> None:
    """One worker of two would have nothing to do with a single model for all."""
    pipeline = load_pipeline(str(ROOT / "deploy/flights.py"))
    assert pipeline.name == "flights"
    assert pipeline.model_per == "key"


def test_the_example_for_kubernetes_stops_late_enough_and_runs_what_exists() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    [block] = re.findall(r"```yaml\n(apiVersion: apps/v1.*?)```", text, re.S)
    pod = yaml.safe_load(block)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_S + REQUEST_TIMEOUT_S
    [worker] = pod["containers"]
    name, *rest = worker["args"]
    command = stream_app.get_command(click.Context(stream_app), name)
    assert command is not None
    command.make_context(name, rest)
    mounted = {mount["name"] for mount in worker["volumeMounts"]}
    assert mounted == {"state", "keys"}
    assert worker["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
