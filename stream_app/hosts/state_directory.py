"""Where state lives on disk: one directory per log, pipeline, lineage and partition, and keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.codec.signatures import public_key
from stream_app.core.commit import LIVE
from stream_app.errors import StateUntrusted, UsageError
from stream_app.storage.key_files import load_or_create_seal_key, load_or_create_signing_key
from stream_app.storage.private_files import is_there, make_private_directory

KEY_NAME = "k1"
# What a key file is called that is not the first one's. The log names k1, k2, ...
_FIRST_FILE = "control.key"
SHARED_SEAL_KEY = "STREAM_APP_SEAL_KEY_FILE"


def backfill_lineage(version: str) -> str:
    """Return the name of a version's backfill, which the live lineage never has."""
    return f"backfill-{version}"


class StateDirectory(msgspec.Struct, frozen=True):
    """The directory that `--state` names.

    `<root>/<log id>/<pipeline>/<lineage>/<partition>/` holds a partition, `<partition>.kept/` the
    checkpoints of it that are kept, `<root>/keys/` the key that seals state and the one that signs
    controls.
    """

    root: Path

    def partition(self, log_id: str, pipeline: str, partition: int, lineage: str = LIVE) -> Path:
        """Return a partition's directory."""
        return self.root / log_id / pipeline / lineage / str(partition)

    def kept(self, log_id: str, pipeline: str, partition: int, lineage: str = LIVE) -> Path:
        """Return the directory of a partition's kept checkpoints."""
        live = self.partition(log_id, pipeline, partition, lineage)
        return live.with_name(f"{live.name}.kept")

    def logs_of(self, pipeline: str) -> list[str]:
        """Return the ids of the logs that this directory has state of a pipeline from."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{pipeline}"))

    def seal(self) -> BlobSeal:
        """Return the seal of this state, made at first use, or of the key that machines share.

        Makes the directory. Raises `StateUntrusted` when others may write to it, and
        `StateUnavailable`.
        """
        # What a shared key seals stands in it as well, and on a new machine nobody has made it.
        make_private_directory(self.root)
        shared = os.environ.get(SHARED_SEAL_KEY)
        if shared:
            return BlobSeal(_shared_key(Path(shared)))
        return BlobSeal(load_or_create_seal_key(self._keys() / "seal.key"))

    def signing_key(self) -> bytes:
        """Return the private key that signs controls, made at first use."""
        return load_or_create_signing_key(self._keys() / _FIRST_FILE)

    def signing_key_file(self, pipeline: str, name: str) -> Path:
        """Return where the private key is that a pipeline's log knows by a name."""
        file = _FIRST_FILE if name == KEY_NAME else f"control-{pipeline}-{name}.key"
        return self.root / "keys" / file

    def next_signing_key(self, pipeline: str, name: str) -> bytes:
        """Return a further private key, whose file is on disk before anybody hears of it.

        A file that is there is taken: whoever made it died before the log had its record.
        """
        make_private_directory(self.root)
        return load_or_create_signing_key(self.signing_key_file(pipeline, name))

    def signer(self, pipeline: str, in_force: Mapping[str, str]) -> tuple[str, bytes]:
        """Return (name, private key) of one that is here and in force; makes none.

        Raises `StateUntrusted` when there is none: a control would only become a dead letter.
        """
        for name, public in reversed(list(in_force.items())):
            path = self.signing_key_file(pipeline, name)
            if is_there(path):
                private = load_or_create_signing_key(path)
                if public_key(private).hex() == public:
                    return name, private
        raise StateUntrusted(
            f"the key in {self.root / 'keys'} is not one that controls of {pipeline} are signed "
            f"with: in force are {', '.join(in_force)}.",
            attempt="--state with the directory that the pipeline was first started with, or that "
            "its key was last rotated in",
        )

    def own_public_keys(self) -> dict[str, Path]:
        """Return the public key of every signing key whose file is here; makes none."""
        files = sorted((self.root / "keys").glob("control*.key"))
        return {public_key(load_or_create_signing_key(file)).hex(): file for file in files}

    def _keys(self) -> Path:
        # Who may write to the root may put other keys, and state that they seal, in place of ours.
        make_private_directory(self.root)
        return self.root / "keys"

    def public_keys(self) -> dict[str, str]:
        """Return the public keys that a manifest names at first start."""
        return {KEY_NAME: public_key(self.signing_key()).hex()}


def _shared_key(path: Path) -> bytes:
    """Return the key in a file that is there on purpose: a fresh one would open nothing."""
    if not path.is_file():
        raise UsageError(
            f"{SHARED_SEAL_KEY} names {path}, which is no file",
            attempt="a copy of <state>/keys/seal.key of the machine that ran first",
        )
    return load_or_create_seal_key(path)
