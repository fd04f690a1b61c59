"""Compiles the per-event path with mypyc where `STREAM_APP_COMPILED=1`; else does nothing.

Pure Python is the reference and runs everywhere. A compiled build is a wheel, never an editable
install: an extension beside its source would go on running after the source has changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from setuptools import setup
from setuptools.errors import OptionError

if TYPE_CHECKING:
    from setuptools import Extension

# What runs for every event. No structs: mypyc leaves out what their class is declared with. No
# class whose instances go into images: those are River's and the users'.
COMPILED_MODULES = (
    "stream_app/compiled.py",
    "stream_app/codec/decode.py",
    "stream_app/codec/partitioning.py",
    "stream_app/core/acceptance.py",
    "stream_app/core/chain.py",
    "stream_app/core/emitter.py",
    "stream_app/core/identities.py",
    "stream_app/core/models.py",
    "stream_app/core/placement.py",
    "stream_app/core/processor.py",
    "stream_app/core/sampled_digest.py",
    "stream_app/core/table.py",
    "stream_app/core/version.py",
    "stream_app/core/watermark.py",
    "stream_app/learning/float_figures.py",
    "stream_app/learning/linear_calls.py",
    "stream_app/learning/monitors.py",
    "stream_app/learning/prequential.py",
    "stream_app/learning/quick_calls.py",
    "stream_app/learning/scaling.py",
    "stream_app/learning/steady_calls.py",
    "stream_app/learning/tasks/binary.py",
    "stream_app/learning/tasks/classification.py",
    "stream_app/learning/tasks/multiclass.py",
    "stream_app/learning/tasks/regression.py",
    "stream_app/learning/tasks/task.py",
    "stream_app/learning/undo.py",
    "stream_app/learning/unrolled.py",
)
# These ask for names and versions only.
_METADATA = {"egg_info", "dist_info"}
# And these would put extensions beside their sources.
_BESIDE = {"editable_wheel", "develop", "--inplace", "-i"}
# Only what is compiled is read closely; the checks of types are the usual mypy's.
TYPES = """\
[mypy]
strict = true
ignore_errors = true
cache_dir = {cache}

[mypy-aiokafka.*,faust.*,mode.*,numpy.*,river.*]
follow_imports = skip

[mypy-stream_app,stream_app.cli.*,stream_app.hosts.*,stream_app.kafka.*]
follow_imports = skip
"""


def extensions() -> list[Extension]:
    """Return the compiled modules as extensions; raises where mypyc says no."""
    if os.environ.get("STREAM_APP_COMPILED", "") in ("", "0") or _METADATA & {*sys.argv}:
        return []
    if _BESIDE & {*sys.argv}:
        raise OptionError(
            "STREAM_APP_COMPILED=1 builds wheels only: an editable install would go on running "
            "what was compiled after its source has changed. Try: scripts/compile"
        )
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 - not needed where nothing is compiled
    except ImportError:
        raise OptionError(
            "STREAM_APP_COMPILED=1 needs mypy, of the version in requirements.lock, in the "
            "environment that builds. Try: scripts/compile"
        ) from None

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mypy.ini"
        config.write_text(TYPES.format(cache=folder))
        found: list[Extension] = mypycify(
            [f"--config-file={config}", *COMPILED_MODULES],
            group_name="stream_app",
            opt_level="2",
            debug_level="0",
        )
    for extension in found:
        # Contraction would round once where Python rounds twice: other bits.
        # And a newer compiler's warning is no reason to have no build.
        options = [option for option in extension.extra_compile_args if option != "-Werror"]
        extension.extra_compile_args = [*options, "-ffp-contract=off"]
    return found


setup(ext_modules=extensions())
