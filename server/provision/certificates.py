"""server/provision: makes the keys and certificates of a consortium (X.509, RFC 5280; EC P-384; Ed25519)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BEFORE = timedelta(hours=1)
"""Certificates are valid from an hour before they are made: clocks differ."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key for a certificate or a node."""
    return ec.generate_private_key(ec.SECP384R1())


def new_coordinator_key() -> Ed25519PrivateKey:
    """The private key by which the coordinator signs messages."""
    return Ed25519PrivateKey.generate()


def key_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    """A private key as PEM, not encrypted: its file's mode guards it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def node_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in OpenSSH's form, which `flower-supernode` takes."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def node_public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public half in OpenSSH's form, which `flwr supernode register` takes."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A private key from `key_pem`; ValueError if it is no such one."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("no key of an elliptic curve")
    return key


def authority_certificate(key: ec.EllipticCurvePrivateKey, consortium: str, expires: date) -> x509.Certificate:
    """The authority's certificate, signed by itself; it may sign certificates of parties and no further authority."""
    name = _name(f"{consortium[:50]} authority", consortium)
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(name, name, key.public_key(), key.public_key(), expires).add_extension(usage, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA384())


class Issuer:
    """What an authority signs with."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self.certificate = key, certificate

    def server(
        self, key: ec.EllipticCurvePublicKey, consortium: str, names: Sequence[str], expires: date
    ) -> x509.Certificate:
        """A certificate for the hub under these names, and `localhost` and 127.0.0.1 for its own programs."""
        wanted = list(dict.fromkeys([*names, "localhost", "127.0.0.1"]))
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in wanted])
        subject = _name(f"{consortium[:50]} hub", consortium)
        return self._party(subject, key, ExtendedKeyUsageOID.SERVER_AUTH, expires, alternatives)

    def client(self, key: ec.EllipticCurvePublicKey, consortium: str, site: str, expires: date) -> x509.Certificate:
        """A certificate for a site, by which the hub's proxy admits it."""
        return self._party(_name(site, consortium), key, ExtendedKeyUsageOID.CLIENT_AUTH, expires)

    def revocations(self, revoked: Iterable[tuple[int, date]], number: int) -> bytes:
        """The list of revoked serial numbers (PEM). It is valid as long as the authority.

        The authority is kept offline, and a proxy with an outdated list refuses everybody: a shorter time would end
        the consortium on a day that nobody remembers. Whoever installs an older list is told (740).
        """
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - _BEFORE).next_update(self.certificate.not_valid_after_utc)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(_issuer_identifier(self._key.public_key()), critical=False)
        for serial, day in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_midnight(day))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA384()).public_bytes(Encoding.PEM)

    def _party(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        purpose: x509.ObjectIdentifier,
        expires: date,
        *more: x509.ExtensionType,
    ) -> x509.Certificate:
        builder = _builder(subject, self.certificate.subject, key, self._key.public_key(), expires)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA384())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    expires: date,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - _BEFORE).not_valid_after(_midnight(expires))
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.add_extension(_issuer_identifier(issuer_key), critical=False)


def _issuer_identifier(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
