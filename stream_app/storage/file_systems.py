"""Which kind of file system a path is on, as the kernel's table of mounts tells."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mounts")


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the kind, such as "ext4" or "nfs4"; None where there is no such table."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    place = path.resolve()
    kind, depth = None, -1
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mounted = Path(fields[1].encode().decode("unicode_escape"))
        # The last of several mounts on one place is the one that is seen.
        if place.is_relative_to(mounted) and len(mounted.parts) >= depth:
            kind, depth = fields[2], len(mounted.parts)
    return kind
