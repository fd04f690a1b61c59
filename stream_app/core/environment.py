"""What the bits of a model depend on beside its definition and the log."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import version

import msgspec

from stream_app.errors import EnvironmentDiffers


class Environment(msgspec.Struct, frozen=True):
    """Libraries that state cannot be carried across, and the CPU, which is only recorded."""

    python: str
    river: str
    numpy: str
    cpu: str

    def carries_to(self, now: Environment) -> bool:
        """Tell whether state of this environment can be loaded exactly in another one."""
        return (self.python, self.river, self.numpy) == (now.python, now.river, now.numpy)

    def check(self, now: Environment, where: str) -> None:
        """Raise `EnvironmentDiffers` when state of this environment cannot be loaded exactly."""
        for name in ("python", "river", "numpy"):
            then, today = getattr(self, name), getattr(now, name)
            if then != today:
                raise EnvironmentDiffers(
                    f"{where} was learned under {name} {then}; this is {name} {today}, which may "
                    "compute other bits.",
                    attempt=f"install {name} {then} again; or let stream-app apply FILE "
                    "--accept-environment carry the state over, which a replay may tell from then "
                    "on; or declare the models under new version names in a new pipeline",
                )


@cache
def this_environment() -> Environment:
    """Return the environment of this process."""
    python = ".".join(map(str, sys.version_info[:2]))
    cpu = f"{platform.system()} {platform.machine()} {_cpu_features()}".strip()
    return Environment(python, version("river"), version("numpy"), cpu)


def _cpu_features() -> str:
    """Return the vector units that NumPy found: they choose among its kernels."""
    umath = import_module("numpy._core._multiarray_umath")
    found: dict[str, bool] = umath.__cpu_features__
    return "+".join(sorted(name for name, there in found.items() if there))
