"""Java, and Kafka's jars: fetched by Maven once per checkout, then used by every broker in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.broker.mishap import BrokerMishap

ROOT = Path(__file__).resolve().parents[2]
POM = Path(__file__).with_name("pom.xml")
CACHE = ROOT / ".kafka"
JAVA_MIN = 17


def find_java() -> str:
    """Return the java of JAVA_HOME or PATH. Raises BrokerMishap if it is missing or too old."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    said = ""
    if java is not None:
        ran = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        said = ran.stderr + ran.stdout if ran.returncode == 0 else ""
    version = re.search(r'version "(\d+)', said)
    if java is not None and version is not None and int(version[1]) >= JAVA_MIN:
        return java
    where = f"in JAVA_HOME ({home})" if home else "on PATH"
    found = f"Java {version[1]} was found" if version else "no Java that runs was found"
    raise BrokerMishap(
        f"Kafka needs Java {JAVA_MIN} or newer; {found} {where}.",
        f"install it (Debian: apt install openjdk-{JAVA_MIN}-jre-headless) or set JAVA_HOME",
    )


def ensure_jars() -> Path:
    """Return the directory that holds the jars; fetch them if they are not there yet."""
    place = _place()
    if place.is_dir():
        return place
    maven = _find_maven()
    place.parent.mkdir(parents=True, exist_ok=True)
    with (CACHE / "jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _fetch(maven, place)
    return place


def are_here() -> bool:
    """Say whether the jars have been fetched."""
    return _place().is_dir()


def require() -> None:
    """Raise BrokerMishap unless there is Java, and the jars or a Maven to fetch them."""
    find_java()
    if not are_here():
        _find_maven()


def _place() -> Path:
    return CACHE / "jars" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def _find_maven() -> str:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerMishap(
            "Maven, which fetches Kafka once, was not found: there is no mvn on PATH.",
            "install it (Debian: apt install maven)",
        )
    return maven


def _fetch(maven: str, place: Path) -> None:
    """Copy the jars beside their place and rename them into it: whole, or not there."""
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=place.parent) as workshop:
        ran = subprocess.run(
            # --strict-checksums: a jar that arrived damaged must not be run
            [
                *(maven, "--quiet", "--batch-mode", "--strict-checksums", f"--file={POM}"),
                *("dependency:copy-dependencies", "-DincludeScope=runtime"),
                f"-DoutputDirectory={workshop}/jars",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise BrokerMishap(
                f"Maven could not fetch Kafka:\n{(ran.stdout + ran.stderr).strip()[-2000:]}\n",
                "repair what Maven names (network, disk, its own settings) and run it again",
            )
        Path(workshop, "jars").rename(place)
