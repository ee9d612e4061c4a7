"""Start-up kits open with their passphrase, whole, or not at all."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from common.deployment import kit as module
from common.deployment.kit import MAX_FILE_BYTES, MAX_FILES, MAX_KIT_BYTES, new_passphrase, read_kit, write_kit
from common.errors import FedmviError

FILES = {"enrolment.toml": b'site = "a"\n', "sites/hospital-a.pub": bytes(range(256)), "empty.txt": b""}
PASSPHRASE = new_passphrase()


@pytest.fixture(scope="module")
def kit() -> bytes:
    return write_kit(FILES, PASSPHRASE)


def refused(content: bytes, passphrase: str = PASSPHRASE) -> int:
    with pytest.raises(FedmviError) as error:
        read_kit(content, passphrase)
    return error.value.number


def forged(files: object) -> bytes:
    """A kit with its passphrase, made by somebody who does not keep to the rules of `write_kit`."""
    return module._encrypt(json.dumps(files).encode(), PASSPHRASE)


def test_what_was_packed_comes_out(kit: bytes) -> None:
    assert read_kit(kit, PASSPHRASE) == FILES


def test_a_kit_shows_nothing_of_its_contents(kit: bytes) -> None:
    assert b"site" not in kit.lower()
    assert write_kit(FILES, PASSPHRASE) != kit


def test_a_passphrase_has_at_least_128_bits_and_no_letter_that_looks_like_a_digit() -> None:
    drawn = [new_passphrase() for _ in range(200)]
    letters = "".join(drawn).replace("-", "")
    assert len(set(drawn)) == 200
    assert not set(letters) & set("ilouILOU")
    assert len(set(letters)) == 32
    assert min(len(p.replace("-", "")) for p in drawn) * 5 >= 128


def test_a_passphrase_may_be_typed_as_it_was_heard(kit: bytes) -> None:
    heard = PASSPHRASE.replace("-", "  ").upper().replace("0", "O").replace("1", "l")
    assert read_kit(kit, heard) == FILES


def test_another_passphrase_opens_nothing(kit: bytes) -> None:
    assert refused(kit, new_passphrase()) == 733
    assert refused(kit, PASSPHRASE[:-1]) == 733
    assert refused(kit, "") == 733


def test_a_short_passphrase_is_not_accepted_for_a_kit() -> None:
    with pytest.raises(ValueError, match="too short"):
        write_kit(FILES, "correct horse")


def test_one_flipped_bit_anywhere_is_found(kit: bytes) -> None:
    for place in [0, 5, len(module._MAGIC), len(module._MAGIC) + 20, len(kit) // 2, len(kit) - 1]:
        changed = bytearray(kit)
        changed[place] ^= 1
        assert refused(bytes(changed)) == (734 if place < len(module._MAGIC) else 733), place


def test_a_truncated_kit_is_refused(kit: bytes) -> None:
    for length in (len(kit) - 1, len(kit) // 2, len(module._MAGIC) + 28, len(module._MAGIC) + 3, len(module._MAGIC)):
        assert refused(kit[:length]) == 733
    assert refused(b"") == 734
    assert refused(b"PK\x03\x04" + kit) == 734


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../x",
        "..",
        ".",
        "",
        ".ssh",
        "a/.ssh",
        "a/b/c",
        "a\\b",
        "a\nb",
        "ca.crt\n",
        "ä",
        "x" * 90,
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    assert refused(forged({name: ""})) == 734
    with pytest.raises(ValueError, match="name"):
        write_kit({name: b""}, PASSPHRASE)


def test_what_is_too_large_is_refused() -> None:
    assert refused(forged({"a": b64encode(bytes(MAX_FILE_BYTES + 1)).decode()})) == 734
    assert refused(forged({f"f{i}": "" for i in range(MAX_FILES + 1)})) == 734
    assert refused(module._MAGIC + bytes(MAX_KIT_BYTES)) == 734


@pytest.mark.parametrize("files", [[], "x", 1, None, {}, {"a": 1}, {"a": "not base64!"}, {"a": None}, [["a", "b"]]])
def test_contents_that_are_no_files_are_refused(files: object) -> None:
    assert refused(forged(files)) == 734
