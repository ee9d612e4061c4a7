"""common/deployment: X.509 certificates of a consortium, read and checked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


def load_certificate(content: bytes) -> x509.Certificate:
    """The one certificate of a PEM text; ValueError if there is none."""
    return x509.load_pem_x509_certificate(content)


def common_name(certificate: x509.Certificate) -> str:
    """To whom the certificate was given."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def was_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def same_key(one: PublicKeyTypes, other: PublicKeyTypes) -> bool:
    """Whether two public keys are the same."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return one.public_bytes(*form) == other.public_bytes(*form)


def expiry(certificate: x509.Certificate) -> date:
    """The first day on which the certificate is not valid for all of it."""
    return certificate.not_valid_after_utc.astimezone(UTC).date()


def expiry_of(path: Path) -> date:
    """See `expiry`; ValueError or OSError if the file holds no certificate."""
    return expiry(load_certificate(path.read_bytes()))


def is_valid_now(certificate: x509.Certificate) -> bool:
    """Whether the certificate is valid at this moment."""
    return certificate.not_valid_before_utc <= datetime.now(UTC) < certificate.not_valid_after_utc
