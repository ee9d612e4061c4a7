"""common/deployment: the passphrase of a kit is found in a file as people write one, and another kit's is not taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.deployment.kit import new_passphrase, read_kit, write_kit
from common.deployment.passphrases import ask_passphrase
from common.errors import FedmviError

PHRASE = new_passphrase()
SPACED = PHRASE.replace("-", " ").upper()
OTHER = new_passphrase()


@pytest.mark.parametrize(
    "text",
    [
        PHRASE,
        f"\n  {SPACED}  \n\n",
        f"\ufeff{SPACED}\r\n",  # as an editor of Windows leaves it
        f"hospital-a.kit {PHRASE}\n",
        f"hub.kit {OTHER}\nhospital-a.kit\t{SPACED}\nhospital-ab.kit {OTHER}\n",
        f"hospital-a.kit {OTHER}\nhospital-a.kit {PHRASE}\n",  # rotated: the later line is the newer kit's
    ],
    ids=["alone", "with spaces", "with a byte order mark", "with its kit", "among others", "twice"],
)
def test_a_passphrase_of_a_file_opens_its_kit_however_it_is_written(tmp_path: Path, text: str) -> None:
    kit, file = tmp_path / "hospital-a.kit", tmp_path / "passphrase.txt"
    kit.write_bytes(write_kit({"a.txt": b"1"}, PHRASE))
    file.write_bytes(text.encode())
    assert read_kit(kit.read_bytes(), ask_passphrase(kit, file)) == {"a.txt": b"1"}


@pytest.mark.parametrize(
    "text",
    ["", "\n", f"hub.kit {PHRASE}", f"hub.kit {SPACED}", f"{PHRASE}\n{OTHER}"],
    ids=["empty", "blank", "another kit's", "another kit's with spaces", "two"],
)
def test_a_file_without_a_passphrase_for_this_kit_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "passphrase.txt"
    file.write_text(text)
    with pytest.raises(FedmviError) as caught:
        ask_passphrase(Path("hospital-a.kit"), file)
    assert (caught.value.number, "no passphrase for hospital-a.kit" in caught.value.local) == (733, True)
