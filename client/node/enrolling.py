"""client/node: installs a kit as the site's enrolment, after everything in it was checked."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from client.cohort.site import ENROLMENT, Site, refuse_root_at
from client.node.enrolment import FILES, SECRETS, Enrolment, read_enrolment
from common.deployment.certificates import common_name, expiry_of, load_certificate, same_key, was_issued_by
from common.deployment.fields import today
from common.deployment.kit import MAX_KIT_BYTES, read_kit
from common.deployment.papers import SITE_PAPERS, papers
from common.errors import FedmviError
from common.files import sync_folder, write_whole

_OLD = f"{ENROLMENT}.old"


def enrol(site: Site, kit: Path, passphrase: str) -> Enrolment:
    """Install a kit. Nothing is changed unless all of it is sound; what was there before is kept as `enrolment.old`.

    Raises
    ------
    FedmviError
        728 root in another user's folder, 731 the kit's keys and certificates do not fit together, 732 they have
        expired, 733 and 734 as `read_kit`, 735 the kit is for another site, 741 it is of another authority or
        coordinator than the site's enrolment.
    """
    refuse_root_at(site)
    files = read_kit(_content(kit), passphrase)
    _refuse_others(site, files)
    with _beside(site) as folder:
        for name, content in files.items():
            write_whole(folder / name, content, 0o600 if name in SECRETS else 0o644)
        enrolment = read_enrolment(folder)
        if enrolment.site != site.name:
            raise FedmviError(735, str(kit), given=enrolment.site, wanted=site.name)
        verify_enrolment(enrolment)
        _refuse_another_authority(site, enrolment)
        for name, content in papers(SITE_PAPERS, enrolment.model_dump()).items():
            write_whole(folder / name, content, 0o644)
        _replace(site, folder)
    return read_enrolment(site.folder / ENROLMENT)


def verify_enrolment(enrolment: Enrolment) -> None:
    """Check what `load_enrolment` does not: that keys and certificates are sound and belong together.

    Raises
    ------
    FedmviError
        731 they do not, or others on this machine may read the private keys; 732 a certificate has expired.
    """
    try:
        problems = _problems(enrolment)
        ends = min(enrolment.expires, expiry_of(enrolment.client_certificate), expiry_of(enrolment.ca))
    except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        raise FedmviError(731, f"{enrolment.folder}: {error}") from error
    if problems:
        raise FedmviError(731, f"{enrolment.folder}: " + "; ".join(problems))
    if ends <= today():
        raise FedmviError(732, str(enrolment.folder), site=enrolment.site, date=ends.isoformat())


def _problems(enrolment: Enrolment) -> list[str]:
    """What is wrong with keys and certificates. ValueError if one cannot be read."""
    certificate = load_certificate(enrolment.client_certificate.read_bytes())
    key = load_pem_private_key(enrolment.client_key.read_bytes(), password=None)
    node = load_ssh_private_key(enrolment.node_key.read_bytes(), password=None)
    node_public = load_ssh_public_key(enrolment.node_public_key.read_bytes())
    open_to_others = [name for name in SECRETS if (enrolment.folder / name).stat().st_mode & 0o077]
    found = {
        f"others on this machine may read {' and '.join(open_to_others)} (chmod 600)": bool(open_to_others),
        "client.crt is not of the authority in ca.crt": not was_issued_by(
            certificate, load_certificate(enrolment.ca.read_bytes())
        ),
        f"client.crt is for '{common_name(certificate)}'": common_name(certificate) != enrolment.site,
        "client.crt has another serial number": certificate.serial_number != int(enrolment.serial, 16),
        "client.key does not belong to client.crt": not same_key(certificate.public_key(), key.public_key()),
        "node.key is no key of an elliptic curve": not isinstance(node, ec.EllipticCurvePrivateKey),
        "node.pub does not belong to node.key": not same_key(node_public, node.public_key()),
    }
    return [words for words, wrong in found.items() if wrong]


def _content(kit: Path) -> bytes:
    try:
        with kit.open("rb") as file:
            return file.read(MAX_KIT_BYTES + 1)
    except OSError as error:
        raise FedmviError(734, f"{kit}: {error}") from error


def _refuse_others(site: Site, files: Mapping[str, bytes]) -> None:
    """A kit that lacks a file of an enrolment, or has one that no enrolment has."""
    if "hub.toml" in files:
        raise FedmviError(735, "it is the kit of the hub", given="hub", wanted=site.name)
    absent, others = sorted(set(FILES) - set(files)), sorted(set(files) - set(FILES))
    if absent or others:
        raise FedmviError(734, f"it lacks {absent}" if absent else f"it also holds {others}")


def _refuse_another_authority(site: Site, new: Enrolment) -> None:
    """Rotation keeps authority and coordinator: a kit with others would turn the site over to somebody else.

    What cannot be read cannot be compared, and is no reason to believe the kit.
    """
    places = (site.folder / ENROLMENT, site.folder / _OLD)
    place = next((p for p in places if any((p / name).exists() for name in FILES)), None)
    if place is None:
        return
    try:
        old = read_enrolment(place)
        same, whose = old.coordinator == new.coordinator, f"{old.consortium}; {old.contact}"
        same = same and old.ca.read_bytes() == new.ca.read_bytes()
    except (FedmviError, OSError) as error:
        same, whose = False, f"{place} is damaged: {error}"
    if not same:
        raise FedmviError(741, whose, site=site.name)


@contextlib.contextmanager
def _beside(site: Site) -> Iterator[Path]:
    """A new folder beside the enrolment, readable by its owner only, which is gone in the end unless it was renamed."""
    for left in site.folder.glob(f".{ENROLMENT}.*"):
        shutil.rmtree(left, ignore_errors=True)  # of an enrolment that was killed
    folder = Path(mkdtemp(prefix=f".{ENROLMENT}.", dir=site.folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(site: Site, folder: Path) -> None:
    """Put the folder in the enrolment's place. A kill between the renames leaves the old one as `enrolment.old`."""
    place, old = site.folder / ENROLMENT, site.folder / _OLD
    sync_folder(folder)
    if place.exists() or place.is_symlink():
        if old.is_symlink():
            old.unlink()
        elif old.exists():
            shutil.rmtree(old)
        place.rename(old)
    folder.rename(place)
    sync_folder(site.folder)
