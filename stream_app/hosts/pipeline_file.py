"""Finds the pipeline that a person named: `file.py`, `file.py:attribute` or `module:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from stream_app.core.pipeline import Pipeline
from stream_app.errors import StreamAppError, SurroundingsError, UsageError
from stream_app.hosts.collector import collector_at_rest
from stream_app.near_names import near_name


def load_pipeline(spec: str) -> Pipeline:
    """Return the pipeline that `spec` names; raises `UsageError` and what its file raises.

    A file is imported under its own name, so that a class in it has the same qualified name
    wherever the command was typed.
    """
    place, colon, attribute = spec.rpartition(":")
    if not colon:
        place, attribute = spec, ""
    is_file = place.endswith(".py")
    with collector_at_rest():
        module = _import_file(Path(place), spec) if is_file else _import_module(place, spec)
    return _pick(module, attribute, spec)


def _import_file(path: Path, spec: str) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise _no_file(path, spec)
    name = path.stem
    present = sys.modules.get(name)
    if present is not None:
        if getattr(present, "__file__", None) == str(path):
            return present
        raise UsageError(
            f"{path.name} has the name of the module {name!r}, which is loaded already",
            attempt="give the file a name of its own",
        )
    loader = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if loader is None or loader.loader is None:
        raise UsageError(f"{path} is no Python file", attempt="a file that ends in .py")
    module = importlib.util.module_from_spec(loader)
    sys.modules[name] = module
    # A file may import its neighbours, as a script may.
    sys.path.insert(0, str(path.parent))
    try:
        loader.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _broken(error, spec) from error
    return module


def _no_file(path: Path, spec: str) -> UsageError:
    """Return the error for what is no file, with the one that may have been meant."""
    if path.is_dir():
        return UsageError(
            f"{spec} is a directory, and a Python file is wanted",
            attempt="the path of a file in it",
        )
    near = near_name(path.name, [each.name for each in path.parent.glob("*.py")])
    return UsageError(
        f"there is no file {path}" + (f"; did you mean {near}?" if near else ""),
        attempt=str(Path(spec).with_name(near))
        if near
        else "the path of the Python file that declares the pipeline",
    )


class _FromSource(SourceFileLoader):
    """Compiles a file as it is now.

    Python tells cached bytecode from its source by size and whole seconds: a declaration that was
    edited twice within one would be the one before.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Return what the file says."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _import_module(place: str, spec: str) -> ModuleType:
    nothing = UsageError(
        f"{spec!r} names neither a file nor a module that can be imported",
        attempt="file.py, file.py:attribute or module:attribute; a pipeline's name is not enough "
        "where its models are needed",
    )
    if not place.isidentifier() and Path(place).is_dir():
        raise _no_file(Path(place), spec)
    if not place.isidentifier() and Path(place).is_file():
        raise UsageError(
            f"{place} is no Python file, which ends in .py",
            attempt="the Python file that declares the pipeline, such as flights.py",
        )
    if not all(part.isidentifier() for part in place.split(".")):
        raise nothing  # a path: Python would speak of packages and relative imports
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise nothing from None
        raise _broken(error, spec) from error
    except Exception as error:
        raise _broken(error, spec) from error


def _broken(error: BaseException, spec: str) -> BaseException:
    """Return a declaration's own error as it is, any other with its place in the file."""
    if isinstance(error, StreamAppError) or not isinstance(error, Exception):
        return error
    where = ""
    file = spec.partition(":")[0]
    if isinstance(error, OSError) and error.filename == str(Path(file).resolve()):
        return SurroundingsError(
            f"{file} cannot be read: {error.strerror}.", attempt=f"look at it: ls -l {file}"
        )
    if not isinstance(error, SyntaxError):  # which names its own place
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({Path(last.filename).name}, line {last.lineno})"
    return UsageError(
        f"{spec} cannot be imported: {type(error).__name__}: {error}{where}",
        attempt=f"python {file} to see the whole error",
    )


def _pick(module: ModuleType, attribute: str, spec: str) -> Pipeline:
    if attribute:
        found = getattr(module, attribute, None)
        if found is None:
            place = spec.removesuffix(f":{attribute}")
            there = " or ".join(f"{place}:{name}" for name in _pipelines(module))
            raise UsageError(
                f"{spec}: there is no {attribute!r} in {module.__name__}",
                attempt=there or f'{attribute} = Pipeline("name", ...)',
            )
        return require_pipeline(found, spec)
    named = _pipelines(module)
    if len(named) == 1:
        return require_pipeline(getattr(module, named[0]), spec)
    if not named:
        guess = getattr(module, "pipeline", None) or getattr(module, "model", None)
        if guess is not None:
            return require_pipeline(guess, spec)
        raise UsageError(f"{spec} declares no Pipeline", attempt='pipeline = Pipeline("name", ...)')
    raise UsageError(
        f"{spec} declares several pipelines", attempt=" or ".join(f"{spec}:{n}" for n in named)
    )


def _pipelines(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, Pipeline)]


def require_pipeline(found: object, where: str) -> Pipeline:
    """Return `found` if it is a pipeline; raises a `UsageError` fit for what it is instead."""
    if isinstance(found, Pipeline):
        return found
    kind = type(found)
    if kind.__module__.startswith("river."):
        raise UsageError(
            f"{where} is a River {kind.__name__}: a model, which a stream_app Pipeline declares "
            "as a version",
            attempt='Pipeline("name", task=Binary(), versions={"v1": Version(model)})',
        )
    raise UsageError(
        f"{where} is no Pipeline but {found!r:.64}", attempt="the name of a stream_app.Pipeline"
    )
