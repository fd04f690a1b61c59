"""What a seal promises: only what was sealed with this key, for this place, ever opens."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.codec.blobs import OVERHEAD_BYTES, BlobSeal
from stream_app.errors import StateUntrusted, UsageError

SEAL = BlobSeal(bytes(range(32)))
HERE = b"flights/v1/0/EWR"


@given(context=st.binary(max_size=50), payload=st.binary(max_size=200))
def test_a_sealed_blob_opens_in_its_place(context: bytes, payload: bytes) -> None:
    blob = SEAL.seal(context, payload)
    assert len(blob) == len(payload) + OVERHEAD_BYTES
    assert SEAL.open(context, blob) == payload


def test_a_blob_swapped_with_another_place_does_not_open() -> None:
    there = SEAL.seal(b"flights/v1/0/JFK", b"model of JFK")
    with pytest.raises(StateUntrusted, match="flights/v1/0/EWR"):
        SEAL.open(HERE, there)


def test_bytes_cannot_move_between_context_and_payload() -> None:
    blob = SEAL.seal(b"flights/v1", b"0payload")
    with pytest.raises(StateUntrusted):
        SEAL.open(b"flights/v10", blob[:OVERHEAD_BYTES] + b"payload")


@pytest.mark.parametrize("payload", [b"", b"x", b"a payload of some bytes"])
def test_no_single_flipped_bit_goes_unseen(payload: bytes) -> None:
    blob = SEAL.seal(HERE, payload)
    for bit in range(len(blob) * 8):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StateUntrusted):
            SEAL.open(HERE, bytes(changed))


def test_no_truncation_or_extension_goes_unseen() -> None:
    blob = SEAL.seal(HERE, b"a payload")
    for length in range(len(blob)):
        with pytest.raises(StateUntrusted):
            SEAL.open(HERE, blob[:length])
    with pytest.raises(StateUntrusted):
        SEAL.open(HERE, blob + b"\0")


def test_an_empty_blob_is_named_as_too_short() -> None:
    with pytest.raises(StateUntrusted, match="too short to be sealed"):
        SEAL.open(HERE, b"")


def test_a_pickle_that_was_never_sealed_does_not_open() -> None:
    with pytest.raises(StateUntrusted, match="unknown format"):
        SEAL.open(HERE, b"\x80\x05K\x01." + bytes(40))


@given(blob=st.binary(max_size=100))
def test_garbage_is_untrusted_and_never_another_error(blob: bytes) -> None:
    with pytest.raises(StateUntrusted):
        SEAL.open(HERE, b"\x01" + blob)


def test_another_key_does_not_open() -> None:
    blob = SEAL.seal(HERE, b"a payload")
    with pytest.raises(StateUntrusted, match="another key") as caught:
        BlobSeal(secrets.token_bytes(32)).open(HERE, blob)
    assert "seal key back" in caught.value.attempt


def test_the_named_place_is_printable_and_short() -> None:
    with pytest.raises(StateUntrusted) as caught:
        SEAL.open(b"a\n\x1b[31m\xff" + b"x" * 5000, b"")
    assert caught.value.problem.isprintable()
    assert len(caught.value.problem) < 400


def test_equal_inputs_make_equal_blobs_and_other_releases_read_them() -> None:
    # A golden value: whoever changes the format changes the format byte too.
    assert SEAL.seal(b"here", b"payload").hex() == GOLDEN


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        BlobSeal(bytes(length))


GOLDEN = "01617d157649889f1dae3dc54cbe7555d5fd3669e9d934419cd6b97d9539ee1bae7061796c6f6164"
