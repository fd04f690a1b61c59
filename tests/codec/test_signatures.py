"""What a signature promises: this key, this control, this pipeline, this log, and no garbage."""

from __future__ import annotations

import base64
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.codec.signatures import canonical, key_name_of, public_key, sign, verify
from stream_app.errors import UsageError
from stream_app.events import Control

# RFC 8032, section 7.1, test 2.
RFC_PRIVATE = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
PUBLIC = public_key(RFC_PRIVATE)
MESSAGE = b"promote v2"
SIGNATURE = sign(RFC_PRIVATE, "k1", MESSAGE)
PROMOTE = Control(
    "promote-7f3a", 1357050000000, "promote", version="v2", reason="AUC +0.012", by="änne"
)


def _fields(control: Control) -> dict[str, object]:
    return msgspec.structs.asdict(control)


def test_the_signature_is_the_one_of_the_rfc() -> None:
    assert public_key(RFC_PRIVATE) == RFC_PUBLIC
    signature = "ed25519:k1:" + base64.urlsafe_b64encode(RFC_SIGNATURE).decode().rstrip("=")
    assert sign(RFC_PRIVATE, "k1", b"\x72") == signature
    assert verify(RFC_PUBLIC, b"\x72", signature)


def test_another_message_or_another_key_does_not_verify() -> None:
    assert verify(PUBLIC, MESSAGE, SIGNATURE)
    assert not verify(PUBLIC, b"promote v1", SIGNATURE)
    assert not verify(public_key(bytes(32)), MESSAGE, SIGNATURE)


def test_no_changed_character_verifies() -> None:
    for place in range(len("ed25519:k1:"), len(SIGNATURE)):
        for character in "AB_-=+/ \nä":
            changed = SIGNATURE[:place] + character + SIGNATURE[place + 1 :]
            assert verify(PUBLIC, MESSAGE, changed) == (changed == SIGNATURE)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "ed25519",
        "ed25519:k1",
        "ed25519:k1:",
        "ed25519::" + SIGNATURE.split(":")[2],
        "rsa:k1:" + SIGNATURE.split(":")[2],
        SIGNATURE + "==",
        SIGNATURE + "\n",
        " " + SIGNATURE,
        SIGNATURE + ":",
        "ed25519:K1:" + SIGNATURE.split(":")[2],
        "ed25519:k1:" + "A" * 86,
        "\ud800",
    ],
)
def test_garbage_is_no_signature_and_no_error(garbage: str) -> None:
    assert verify(PUBLIC, MESSAGE, garbage) is False


@given(sig=st.text(), key=st.binary(max_size=40))
def test_no_text_and_no_key_makes_verify_raise(sig: str, key: bytes) -> None:
    assert verify(PUBLIC, MESSAGE, sig) is False
    assert verify(PUBLIC, MESSAGE, "ed25519:k1:" + sig) is False
    assert verify(key, MESSAGE, SIGNATURE) is False


def test_the_keys_name_can_be_read_back() -> None:
    assert key_name_of(SIGNATURE) == "k1"
    assert key_name_of("ed25519:k1:short") is None


@pytest.mark.parametrize("name", ["", "a:b", "Ana", "k 1", "k1\n"])
def test_a_key_name_that_would_not_read_back_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        sign(RFC_PRIVATE, name, MESSAGE)


def test_a_private_key_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        public_key(bytes(31))
    with pytest.raises(UsageError, match="32 bytes"):
        sign(bytes(64), "k1", MESSAGE)


def test_the_canonical_bytes_are_these() -> None:
    assert (
        canonical(_fields(PROMOTE), "flights", "log-1")
        == (
            '{"control":{"action":"promote","by":"änne","id":"promote-7f3a","reason":"AUC +0.012",'
            '"ts_ms":1357050000000,"version":"v2"},"log_id":"log-1","pipeline":"flights"}'
        ).encode()
    )


def test_the_struct_and_its_json_give_the_same_canonical_bytes() -> None:
    signed = msgspec.structs.replace(PROMOTE, sig=SIGNATURE, settings={"b": [1, 2.5], "a": None})
    decoded = msgspec.json.decode(msgspec.json.encode(signed))
    shuffled = dict(reversed(decoded.items()))
    assert "kind" in shuffled
    assert canonical(shuffled, "flights", "log-1") == canonical(_fields(signed), "flights", "log-1")


def test_a_control_cannot_be_played_to_another_pipeline_or_log() -> None:
    here = canonical(_fields(PROMOTE), "flights", "log-1")
    assert canonical(_fields(PROMOTE), "trains", "log-1") != here
    assert canonical(_fields(PROMOTE), "flights", "log-2") != here
    # A field of the control that is called like ours does not stand in for it either.
    posing = {**_fields(PROMOTE), "pipeline": "flights", "log_id": "log-1"}
    assert canonical(posing, "trains", "log-2") != here


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "promote-7f3b"},
        {"ts_ms": 1357050000001},
        {"version": "v1"},
        {"by": None},
        {"settings": {}},
        {"settings": {"x": None}},
    ],
)
def test_every_field_is_covered(changed: dict[str, object]) -> None:
    other = {**_fields(PROMOTE), **changed}
    assert canonical(other, "p", "l") != canonical(_fields(PROMOTE), "p", "l")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", "\ud800", {1, 2}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="'c-1'"):
        canonical({"id": "c-1", "settings": {"x": value}}, "p", "l")


def test_importing_the_module_does_not_import_the_cryptography() -> None:
    asked = "import sys, stream_app.codec.signatures, stream_app.storage.key_files; "
    asked += "sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
