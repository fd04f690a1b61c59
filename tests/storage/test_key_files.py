"""What key files promise: one secret, made once, that nobody else could read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_app.codec.signatures import public_key, sign, verify
from stream_app.errors import StateUnavailable, StateUntrusted
from stream_app.storage.key_files import load_or_create_seal_key, load_or_create_signing_key
from stream_app.storage.private_files import replace, write_new

ROOT = Path(__file__).parents[2]
KINDS = {"seal": load_or_create_seal_key, "signing": load_or_create_signing_key}
Load = Callable[[Path], bytes]


@pytest.fixture(params=KINDS)
def load(request: pytest.FixtureRequest) -> Load:
    return KINDS[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "key"


@pytest.fixture
def permissive_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_key_is_made_once_and_read_for_ever_after(load: Load, path: Path) -> None:
    key = load(path)
    assert len(key) == 32
    assert load(path) == key
    assert load(path.with_name("another")) != key


@pytest.mark.usefixtures("permissive_umask")
def test_a_key_is_private_whatever_the_umask(load: Load, path: Path) -> None:
    load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path], "no draft is left behind"


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_start_at_once_agree_on_one_key(kind: str, path: Path) -> None:
    # They wait for one byte each, so that they get to the file together.
    script = (
        "import sys, pathlib; from stream_app.storage import key_files; print(flush=True);"
        "sys.stdin.read(1);"
        f"print(key_files.load_or_create_{kind}_key(pathlib.Path({str(path)!r})).hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert keys == {KINDS[kind](path).hex()}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_key_that_others_may_use_is_refused_until_the_advice_is_taken(
    load: Load, path: Path, mode: int
) -> None:
    key = load(path)
    path.chmod(mode)
    with pytest.raises(StateUntrusted, match="Other users may use the key") as caught:
        load(path)
    assert caught.value.attempt == f"chmod 600 {path}"
    subprocess.run(caught.value.attempt.split(), check=True)
    assert load(path) == key


def test_a_key_that_only_its_owner_may_read_is_fine(load: Load, path: Path) -> None:
    key = load(path)
    path.chmod(0o400)
    assert load(path) == key


def test_a_directory_where_others_may_replace_the_key_is_refused(load: Load, path: Path) -> None:
    load(path)
    path.parent.chmod(0o777)
    with pytest.raises(StateUntrusted, match="written by other users"):
        load(path)
    path.parent.chmod(0o1777)
    load(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"x" * 10_000])
def test_a_seal_key_of_another_size_is_refused_and_not_replaced(path: Path, content: bytes) -> None:
    write_new_key(path, content)
    with pytest.raises(StateUntrusted, match="instead of 32"):
        load_or_create_seal_key(path)
    assert path.read_bytes() == content


def write_new_key(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)


RSA_OR_ELSE = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, RSA_OR_ELSE])
def test_what_is_no_signing_key_is_refused_and_not_replaced(path: Path, content: bytes) -> None:
    write_new_key(path, content)
    with pytest.raises(StateUntrusted, match="no unencrypted ed25519"):
        load_or_create_signing_key(path)
    assert path.read_bytes() == content


def test_a_key_of_another_algorithm_or_with_a_password_is_no_signing_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519, x25519  # noqa: PLC0415

    other = x25519.X25519PrivateKey.generate().private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    )
    for content in (other, locked):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace(path, content)
        with pytest.raises(StateUntrusted, match="no unencrypted ed25519"):
            load_or_create_signing_key(path)


def test_a_signing_key_signs_and_is_pem_that_other_tools_read(path: Path) -> None:
    key = load_or_create_signing_key(path)
    assert verify(public_key(key), b"m", sign(key, "k1", b"m"))
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_raw_bytes_are_a_signing_key_too(path: Path) -> None:
    write_new_key(path, bytes(range(32)))
    assert load_or_create_signing_key(path) == bytes(range(32))


def test_what_is_no_file_is_refused(load: Load, path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    path.parent.chmod(0o700)
    with pytest.raises(StateUnavailable, match="Is a directory"):
        load(path)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(StateUntrusted, match="no ordinary file"):
        load(path)


def test_a_new_file_never_replaces_one_that_is_there(tmp_path: Path) -> None:
    assert write_new(tmp_path / "file", b"first")
    assert not write_new(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1
