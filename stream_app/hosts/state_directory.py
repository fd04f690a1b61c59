"""Where state lives on disk: one directory per log, pipeline, lineage and partition, and keys."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.codec.signatures import public_key
from stream_app.core.commit import LIVE
from stream_app.storage.key_files import load_or_create_seal_key, load_or_create_signing_key
from stream_app.storage.private_files import refuse_writers

KEY_NAME = "k1"


class StateDirectory(msgspec.Struct, frozen=True):
    """The directory that `--state` names.

    `<root>/<log id>/<pipeline>/<lineage>/<partition>/` holds a partition, `<root>/keys/` the key
    that seals state and the one that signs controls.
    """

    root: Path

    def partition(self, log_id: str, pipeline: str, partition: int, lineage: str = LIVE) -> Path:
        """Return a partition's directory."""
        return self.root / log_id / pipeline / lineage / str(partition)

    def logs_of(self, pipeline: str) -> list[str]:
        """Return the ids of the logs that this directory has state of a pipeline from."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{pipeline}"))

    def seal(self) -> BlobSeal:
        """Return the seal of this state, made at first use.

        Raises `StateUntrusted` when others may write to the directory: whoever may replace the
        keys in it may seal what they like.
        """
        self._refuse_writers()
        return BlobSeal(load_or_create_seal_key(self.root / "keys" / "seal.key"))

    def signing_key(self) -> bytes:
        """Return the private key that signs controls, made at first use; raises as `seal`."""
        self._refuse_writers()
        return load_or_create_signing_key(self.root / "keys" / "control.key")

    def public_keys(self) -> dict[str, str]:
        """Return the public keys that a manifest names at first start."""
        return {KEY_NAME: public_key(self.signing_key()).hex()}

    def _refuse_writers(self) -> None:
        if self.root.exists():
            refuse_writers(self.root)
