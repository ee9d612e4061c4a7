"""server/study: the file of gene sets that a protocol names: found beside it, known by its digest, read line by line.

GMT: a line a set, fields separated by tabs: its name, a description, its genes. gseapy's own reader passes over lines
that it does not understand, and sets that are named twice; here either is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from common.errors import FedmviError
from common.study.genomics import GeneSets, Genomics, unversioned
from common.study.protocol import Study

Sets = Mapping[str, tuple[str, ...]]
"""Genes by the name of their set."""


def declared_sets(study: Study) -> GeneSets | None:
    """The file that a study names, if it does."""
    return None if study.genomics is None else study.genomics.gene_sets


def read_bytes(path: Path, declared: GeneSets) -> bytes:
    """The content of the file.

    Raises
    ------
    FedmviError
        130 there is none, 131 its digest is not that of the protocol.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FedmviError(130, str(path), file=declared.file) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != declared.sha256:
        raise FedmviError(131, f"{path}: {digest}", file=declared.file)
    return content


def parse_sets(content: bytes, genomics: Genomics) -> Sets:
    """The sets in the order of the file; genes by the symbols of the study where they are its genes.

    Raises
    ------
    FedmviError
        132 a line that names no set and a gene, a set that is named twice, or text that is not UTF-8.
    """
    declared = genomics.gene_sets
    file = "" if declared is None else declared.file
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            name, _, *genes = (field.strip() for field in line.decode("utf-8").split("\t"))
        except ValueError as error:
            raise FedmviError(132, f"line {number}: {error}", file=file, line=number) from error
        symbols = dict.fromkeys(genomics.by_name.get(unversioned(gene), gene) for gene in genes if gene)
        if not name or name in found or not symbols:
            raise FedmviError(132, f"line {number}: '{name[:80]}'", file=file, line=number)
        found[name] = tuple(symbols)
    if not found:
        raise FedmviError(132, "the file is empty", file=file, line=1)
    return MappingProxyType(found)
