"""The compiled build does, byte for byte, what the Python it was made from does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "stream_app")
HALF = 800
ORDERS = [("pure Python",), ("pure Python", "compiled"), ("compiled", "pure Python")]


def what_is_missing() -> str | None:
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    compilers = ("cc", "gcc", "clang")
    if not any(map(shutil.which, (os.environ.get("CC") or "cc", *compilers))):
        return "there is no C compiler"
    return None if headers.exists() else f"there is no {headers}"


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Skip where nothing can be compiled; fail where STREAM_APP_REQUIRE_COMPILER=1."""
    missing = what_is_missing()
    if missing is not None:
        if os.environ.get("STREAM_APP_REQUIRE_COMPILER") == "1":
            pytest.fail(f"STREAM_APP_REQUIRE_COMPILER=1, and {missing}", pytrace=False)
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\nNO COMPILER, THE COMPILED BUILD IS NOT TESTED: {missing}", flush=True)
        pytest.skip(missing)
    return installed(tmp_path_factory.mktemp("compiled"))


def installed(folder: Path) -> Path:
    """Build the wheel and unpack it into a folder that can be imported from."""
    wheels, home = folder / "wheels", folder / "home"
    done = pip("wheel", "--wheel-dir", str(wheels), str(sources_in(folder / "sources")))
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = wheels.iterdir()
    zipfile.ZipFile(wheel).extractall(home)
    return home


def sources_in(folder: Path) -> Path:
    """Copy what a wheel is built from."""
    folder.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "pip", arguments[0], "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--no-input", *arguments[1:]]
    environment = {**os.environ, "STREAM_APP_COMPILED": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def fold(home: Path, *arguments: object, hash_seed: str = "random") -> None:
    """Run `fold.py` with the `stream_app` that is in `home`."""
    path = os.pathsep.join((str(home), str(ROOT)))
    command = [sys.executable, "-P", "-m", "tests.compiled.fold", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def report(path: Path, build: str) -> list[str]:
    first, *lines = path.read_text(encoding="utf-8").split("\n")
    assert first == build
    return lines


def compare(ours: list[str], wanted: list[str]) -> None:
    # One by one first: the first that differs says more than two long lists.
    for line, expected in zip(ours, wanted, strict=False):
        assert line == expected
    assert len(ours) == len(wanted)


def test_outputs_digests_and_images_are_those_of_pure_python(
    compiled: Path, tmp_path: Path
) -> None:
    # Digests do not depend on hashes, the bytes of a pickled set do.
    fold(ROOT, "memory", tmp_path / "pure", hash_seed="1")
    fold(compiled, "memory", tmp_path / "compiled", hash_seed="1")
    wanted = report(tmp_path / "pure", "pure Python")
    assert len(wanted) > 5000
    compare(report(tmp_path / "compiled", "compiled"), wanted)


def test_calls_of_models_are_rivers_in_the_compiled_build_too(compiled: Path) -> None:
    files = ("test_steady_calls.py", "test_quick_calls.py", "test_scaling.py")
    program = (
        "import sys, pytest\n"
        "from stream_app.compiled import COMPILED\n"
        "assert COMPILED\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', *sys.argv[1:]]))"
    )
    path = os.pathsep.join((str(compiled), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *(f"tests/learning/{name}" for name in files)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_either_build_goes_on_from_the_checkpoint_of_the_other(
    compiled: Path, tmp_path: Path
) -> None:
    builds = {"pure Python": ROOT, "compiled": compiled}
    base = tmp_path / "base"
    base.mkdir()
    fold(ROOT, "prepare", base)
    outcomes = []
    for number, order in enumerate(
        [("pure Python",), ("pure Python", "compiled"), ("compiled", "pure Python")]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(base, folder)
        for end, build in zip((HALF, 1 << 40)[-len(order) :], order, strict=True):
            fold(builds[build], "go-on", folder, end, folder / "report")
        outcomes.append(report(folder / "report", order[-1]))
    assert len(outcomes[0]) > 2000
    compare(outcomes[1], outcomes[0])
    compare(outcomes[2], outcomes[0])


def test_a_compiled_build_cannot_be_editable(compiled: Path, tmp_path: Path) -> None:
    sources = sources_in(tmp_path / "sources")
    done = pip("install", "--target", str(tmp_path / "target"), "--editable", str(sources))
    assert done.returncode != 0
    assert "builds wheels only" in done.stdout + done.stderr
    assert not [*sources.rglob("*.so")]
