"""client/images/checking: what a check remarks on one image or one mask, before it is a numbered error with a path."""

from __future__ import annotations

from dataclasses import dataclass

from client.images.case import MaskKey
from common.errors import Severity


@dataclass(frozen=True)
class Remark:
    """One remark.

    Attributes
    ----------
    number
        Of the error, as in `common/errors/images.py`.
    severity
        How bad it is.
    subject
        A phase, or the key of a mask.
    detail
        What was found, in words and figures. It stays at the site.
    """

    number: int
    severity: Severity
    subject: str | MaskKey
    detail: str


def mask_name(key: MaskKey) -> str:
    """A mask in words, as `tumour of reader 2 on portal`."""
    region, reader, phase = key
    return f"{region} of reader {reader} on {phase}" if reader > 1 else f"{region} on {phase}"
