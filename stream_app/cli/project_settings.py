"""Settings that a project keeps in `[tool.stream-app]` of its pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from stream_app.errors import UsageError

NAMES = ("broker", "state", "workers", "http", "log-level", "log-format")


def project_settings(directory: Path) -> dict[str, object]:
    """Return the settings by option name (`log_level`), none when there is no such table.

    Raises `UsageError` for a file that is no TOML, and for a setting that does not exist.
    """
    path = directory / "pyproject.toml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", attempt="repair the file, or work elsewhere"
        ) from error
    if "stream-app" not in text:
        return {}
    return _read(path, text)


def _read(path: Path, text: str) -> dict[str, object]:
    import tomllib

    try:
        found = tomllib.loads(text).get("tool", {}).get("stream-app", {})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}", attempt="repair that line") from None
    unknown = sorted(set(found) - set(NAMES))
    if unknown:
        raise UsageError(
            f"{path}: [tool.stream-app] has no setting {unknown[0]!r}",
            attempt=f"one of {', '.join(NAMES)}",
        )
    return {name.replace("-", "_"): value for name, value in found.items()}
