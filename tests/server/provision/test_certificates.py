"""OpenSSL agrees with the certificates of a consortium, and with what may not be done with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from server.hub.folder import Hub
from server.provision.certificates import new_key
from server.provision.provisioning import renew, revoke
from tests.consortium_kits import Kits, provisioned


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return provisioned(tmp_path_factory.mktemp("certificates"), names=["hub.example.org"])


@pytest.fixture(scope="module")
def folder(kits: Kits) -> Path:
    """What OpenSSL is to look at: the hub's files, and the certificates of two sites, one of which is revoked."""
    hub = kits.install(kits.folder.parent / "hub")
    (hub.tls / "a.crt").write_bytes(kits.files("hospital-a")["client.crt"])
    (hub.tls / "b.crt").write_bytes(kits.files("hospital-b")["client.crt"])
    revoke(kits.folder, "hospital-b", kits)
    kits.install(hub.folder)
    return hub.tls


def openssl(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


STRICT = ("verify", "-x509_strict", "-CAfile", "ca.crt")


def test_openssl_verifies_hub_and_sites_strictly(folder: Path) -> None:
    assert openssl(folder, *STRICT, "-purpose", "sslserver", "server.crt") == (0, "server.crt: OK\n")
    assert openssl(folder, *STRICT, "-purpose", "sslclient", "a.crt") == (0, "a.crt: OK\n")


@pytest.mark.parametrize(
    "name", ["-verify_ip 127.0.0.1", "-verify_hostname localhost", "-verify_hostname hub.example.org"]
)
def test_the_hubs_certificate_has_all_its_names(folder: Path, name: str) -> None:
    assert openssl(folder, *STRICT, *name.split(), "server.crt")[0] == 0
    assert openssl(folder, *STRICT, "-verify_hostname", "other.example.org", "server.crt")[0] != 0


def test_a_site_cannot_pose_as_the_hub_nor_the_hub_as_a_site(folder: Path) -> None:
    assert "unsuitable certificate purpose" in openssl(folder, *STRICT, "-purpose", "sslserver", "a.crt")[1]
    assert "unsuitable certificate purpose" in openssl(folder, *STRICT, "-purpose", "sslclient", "server.crt")[1]


def test_a_site_cannot_issue_certificates(folder: Path, kits: Kits) -> None:
    files = kits.files("hospital-a")
    (folder / "a.key").write_bytes(files["client.key"])
    (folder / "stranger.key").write_bytes(new_key().private_bytes(Encoding.PEM, *_unencrypted()))
    openssl(folder, "req", "-new", "-key", "stranger.key", "-subj", "/CN=hospital-z", "-out", "stranger.csr")
    code, words = openssl(
        folder, "x509", "-req", "-in", "stranger.csr", "-CA", "a.crt", "-CAkey", "a.key", "-days", "9", "-out", "z.crt"
    )
    assert code == 0, words
    assert openssl(folder, "verify", "-CAfile", "ca.crt", "-untrusted", "a.crt", "z.crt")[0] != 0


def _unencrypted() -> tuple[object, object]:
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    return PrivateFormat.PKCS8, NoEncryption()


def test_a_revoked_site_is_on_the_list_and_the_others_are_not(folder: Path) -> None:
    check = (*STRICT, "-crl_check", "-CRLfile", "crl.pem")
    assert openssl(folder, *check, "a.crt")[0] == 0
    assert "certificate revoked" in openssl(folder, *check, "b.crt")[1]


def test_serial_numbers_do_not_repeat_and_cannot_be_guessed(kits: Kits, folder: Path) -> None:
    serials = [
        openssl(folder, "x509", "-noout", "-serial", "-in", f)[1] for f in ("a.crt", "b.crt", "ca.crt", "server.crt")
    ]
    assert len(set(serials)) == 4
    assert all(len(serial.strip().removeprefix("serial=")) >= 36 for serial in serials)


def test_a_renewed_hub_has_another_key_under_the_same_authority(kits: Kits, folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("ca.crt", "server.crt", "server.key", "crl.pem")}
    renew(kits.folder, kits)
    hub: Hub = kits.install(folder.parent)
    after = {name: (hub.tls / name).read_bytes() for name in before}
    assert after["ca.crt"] == before["ca.crt"]
    assert after["server.key"] != before["server.key"]
    assert openssl(folder, *STRICT, "-purpose", "sslserver", "server.crt")[0] == 0
