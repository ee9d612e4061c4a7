"""server/provision: installs `hub.kit` into the hub's folder, first or again: runs and state are not touched."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_public_key

from common.deployment.certificates import is_valid_now, load_certificate, same_key, was_issued_by
from common.deployment.kit import MAX_KIT_BYTES, read_kit
from common.deployment.owner import refuse_root
from common.errors import FedmviError
from common.files import write_whole
from server.hub.folder import FILES, SECRETS, Hub, load_hub

_FOR_PEOPLE = ("README.md", "fedmvi-server.service", "compose.yaml")
_FOLDERS = ("sites", "tls", "keys", "runs")
_TRIED = ".hub."
"""How folders begin in which a kit is looked at before it is installed."""


def install(kit: Path, passphrase: str, folder: Path) -> Hub:
    """Install a kit of the hub. Nothing is changed unless all of it is sound; installing it twice does no harm.

    Keys of sites that are admitted no more go first, `hub.toml` comes last: after a kill, install again.

    Raises
    ------
    FedmviError
        213 the folder holds something else; 733 and 734 as `read_kit`; 735 the kit is a site's, or of another
        consortium; 739 its keys and certificates do not fit together; 740 the hub has a later one; 728 root in another
        user's folder.
    """
    refuse_root(folder)
    try:
        with kit.open("rb") as file:
            files = read_kit(file.read(MAX_KIT_BYTES + 1), passphrase)
    except OSError as error:
        raise FedmviError(734, f"{kit}: {error}") from error
    _refuse_others(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In the hub's folder if it is there: its user may write nowhere else, and a container's root cannot be written.
    place = folder.resolve() if folder.is_dir() else folder.resolve().parent
    with TemporaryDirectory(prefix=_TRIED, dir=place) as temporary:
        _write(files, Path(temporary))
        new = load_hub(Path(temporary))
        verify_hub(new)
    if (folder / "hub.toml").exists():
        _refuse_older(new, load_hub(folder), files["tls/ca.crt"])
    elif folder.exists() and any(
        path.name not in _FOLDERS and not path.name.startswith(_TRIED) for path in folder.iterdir()
    ):
        raise FedmviError(213, str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder / "sites").glob("*.pub"):
        if f"sites/{path.name}" not in files:
            path.unlink()
    _write(files, folder)
    for left in folder.glob(f"{_TRIED}*"):
        shutil.rmtree(left, ignore_errors=True)  # of an install that was killed
    return load_hub(folder)


def verify_hub(hub: Hub) -> None:
    """Check what `load_hub` does not: that keys and certificates are sound and belong together; error 739."""
    try:
        problems = _problems(hub)
    except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        raise FedmviError(739, f"{hub.folder}: {error}") from error
    if problems:
        raise FedmviError(739, f"{hub.folder}: " + "; ".join(problems))


def _problems(hub: Hub) -> list[str]:
    authority, server = load_certificate(hub.ca.read_bytes()), load_certificate(hub.server_certificate.read_bytes())
    key = load_pem_private_key(hub.server_key.read_bytes(), password=None)
    coordinator = load_pem_private_key(hub.coordinator_key.read_bytes(), password=None)
    revocations = x509.load_pem_x509_crl(hub.revocations.read_bytes())
    authority_key = authority.public_key()
    signed = isinstance(authority_key, ec.EllipticCurvePublicKey) and revocations.is_signature_valid(authority_key)
    keys = {name: load_ssh_public_key(path.read_bytes()) for name, path in hub.site_keys.items()}
    strangers = {path.stem for path in (hub.folder / "sites").glob("*.pub")} - set(keys)
    found = {
        "server.crt is not of the authority in ca.crt": not was_issued_by(server, authority),
        "server.key does not belong to server.crt": not same_key(server.public_key(), key.public_key()),
        "the authority is not valid today": not is_valid_now(authority),
        "crl.pem is not of the authority in ca.crt": not signed,
        "coordinator.key is no Ed25519 key": not isinstance(coordinator, Ed25519PrivateKey),
        f"keys of sites that hub.toml does not name: {sorted(strangers)}": bool(strangers),
        "a site's key is not of an elliptic curve": not all(
            isinstance(key, ec.EllipticCurvePublicKey) for key in keys.values()
        ),
    }
    return [words for words, wrong in found.items() if wrong]


def _refuse_others(files: Mapping[str, bytes]) -> None:
    """A kit that lacks a file of a hub, or has one that no hub has."""
    if "enrolment.toml" in files:
        raise FedmviError(735, "it is the kit of a site", given="a site", wanted="the hub")
    absent = sorted(set(FILES) - set(files))
    others = sorted(
        name
        for name in set(files) - set(FILES) - set(_FOR_PEOPLE)
        if not (name.startswith("sites/") and name.endswith(".pub"))
    )
    if absent or others:
        raise FedmviError(734, f"it lacks {absent}" if absent else f"it also holds {others}")


def _refuse_older(new: Hub, installed: Hub, authority: bytes) -> None:
    if new.consortium != installed.consortium or authority != installed.ca.read_bytes():
        raise FedmviError(735, "it has another authority", given=new.consortium, wanted=installed.consortium)
    if new.issue < installed.issue:
        raise FedmviError(740, given=new.issue, installed=installed.issue)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for name in _FOLDERS:
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    for name in sorted(files, key=lambda name: name == "hub.toml"):
        path = folder / name
        # A hub that runs takes a file that is written for one that has changed, and restarts what reads it.
        if not path.is_file() or path.read_bytes() != files[name]:
            write_whole(path, files[name], 0o600 if name in SECRETS else 0o644)
