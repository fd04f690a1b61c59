"""What a refused record was, as a dead letter carries it: capped, and readable where it can be."""

from __future__ import annotations

import base64

from stream_app.outputs import Original

ORIGINAL_BYTES_MAX = 4096


def original(value: bytes) -> Original:
    """Keep a refused value as people can read it: at most 4,096 bytes of it."""
    capped = value[:ORIGINAL_BYTES_MAX]
    truncated = len(value) > len(capped)
    try:
        # A cap in the middle of a character is no reason to call the text binary.
        text = capped.decode("utf-8", "ignore" if truncated else "strict")
        if truncated:
            value.decode("utf-8")
        return Original("utf-8", text, len(value), truncated)
    except UnicodeDecodeError:
        data = base64.b64encode(capped).decode("ascii")
        return Original("base64", data, len(value), truncated)
