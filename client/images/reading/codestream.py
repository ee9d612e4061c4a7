"""client/images/reading: what a compressed picture says of its own size, before a decoder is let loose on it.

GDCM ends the whole program where a picture decodes to another number of bytes than the DICOM header lets it expect.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

_JPEG = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
JPEG_LS = 0xF7
_FRAMES = frozenset({*range(0xC0, 0xD0), JPEG_LS}) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG and JPEG-LS that begin a frame header (ITU-T T.81, table B.1; T.87, C.1.1)."""
_TABLES = 0xC4
_SCAN = 0xDA


@dataclass(frozen=True)
class CodedSize:
    """Rows, columns, values per pixel and bits per value; the JPEG process by its marker, 0 for JPEG 2000."""

    rows: int
    columns: int
    values: int
    bits: int
    process: int = 0


def check_coded(coded: bytes, header: Dataset) -> CodedSize:
    """See that a compressed frame of JPEG, JPEG-LS or JPEG 2000 has the size that the header says, and return it.

    Raises
    ------
    ValueError
        Where it has another, or is none of these.
    """
    size = coded_size(coded)
    if (size.rows, size.columns, size.values) != (header.Rows, header.Columns, 1):
        raise ValueError(f"the picture is coded as {size}, but the header has {header.Rows} x {header.Columns} pixels")
    # JPEG-LS and JPEG 2000 are decoded into as many bytes as their own bits need, JPEG into what the header allocates.
    wanted = header.BitsAllocated if size.process not in (0, JPEG_LS) else 8 if size.bits <= 8 else 16
    if not 2 <= size.bits <= 16 or wanted != (8 if size.bits <= 8 else 16):
        raise ValueError(f"the picture is coded in {size.bits} bits, but the header allocates {header.BitsAllocated}")
    return size


def coded_size(coded: bytes) -> CodedSize:
    """What the frame header of JPEG and JPEG-LS, or the SIZ segment of JPEG 2000 (ITU-T T.800, A.5.1), says."""
    if coded.startswith(_JPEG):
        return _jpeg(coded)
    at = coded.find(_JPEG_2000, 0, 4096)  # a JP2 file header may come before it
    if at < 0 or len(coded) < at + 43:
        raise ValueError("neither JPEG nor JPEG 2000")
    width, height, left, top = (int.from_bytes(coded[at + i : at + i + 4], "big") for i in (8, 12, 16, 20))
    return CodedSize(
        height - top, width - left, int.from_bytes(coded[at + 40 : at + 42], "big"), coded[at + 42] % 128 + 1
    )


def _jpeg(coded: bytes) -> CodedSize:
    """Walk from segment to segment up to the coded pixels; a break in the chain is a damaged picture."""
    at, size, tables = len(_JPEG), None, False
    while at + 10 <= len(coded) and coded[at] == 0xFF:
        marker = coded[at + 1]
        if marker == _SCAN and size and (tables or size.process == JPEG_LS):
            return size
        if marker in _FRAMES:
            rows, columns = (int.from_bytes(coded[at + i : at + i + 2], "big") for i in (5, 7))
            size = CodedSize(rows, columns, coded[at + 9], coded[at + 4], marker)
        tables = tables or marker == _TABLES
        at += 1 if marker == 0xFF else 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    raise ValueError("a damaged JPEG: no pixels follow its headers")
