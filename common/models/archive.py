"""common/models: the file of a frozen model: a zip without compression, of JSON and words, signed by the coordinator.

    manifest.json    SHA-256 of what follows but the signature, and whose signature there is
    model.json       the model, see `FrozenModel`
    README.md        the same for people
    networks/<name>.safetensors   the weights of each network whose score is an input; most models have none
    signature.json   Ed25519 over the manifest's SHA-256; absent where the manifest says that nobody signed

The same members are always the same bytes, and a file with any other byte is refused: there is one way to write a
model, so nothing can hide between the members, be unpacked to more than the file's own size, or be written anywhere.
Nothing of it is ever unpacked to a disk.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import FedmviError
from common.federation.signatures import Signer, model_is_signed
from common.models.logistic import MAX_SCORES, FrozenModel
from common.models.network import FOLDER, Digest
from common.study.fingerprint import digest
from common.study.plain_words import strange_in

MAX_FILE_BYTES = 8_000_000
"""Of a file without networks: numbers and words."""
MAX_NETWORK_BYTES = 12_000_000
"""Of a network's weights; one as large as was published has 8.9 million."""
MANIFEST, MODEL, README, SIGNATURE = "manifest.json", "model.json", "README.md", "signature.json"
_WITHOUT_NETWORKS = (MANIFEST, MODEL, README, SIGNATURE)
_WEIGHTS = re.compile(rf"{FOLDER}/[a-z0-9][a-z0-9_]{{0,31}}\.safetensors")
_MOST_BYTES = MAX_FILE_BYTES + MAX_SCORES * MAX_NETWORK_BYTES
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can have: no time is told, so that equal models are equal bytes."""
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Manifest(_Part):
    """`manifest.json`."""

    format: Literal["fedmvi model file 1"] = "fedmvi model file 1"
    sha256: dict[str, Digest] = Field(description="Of every member but this and the signature.")
    signed_by: Digest | None = Field(description="Public Ed25519 key of the coordinator; null: unsigned.")


class _Signature(_Part):
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


@dataclass(frozen=True)
class HandedOn:
    """A model as it was read from its file.

    Attributes
    ----------
    signed_by
        The key whose signature was verified, in hexadecimal; None for an unsigned file. Whose key it is must be known
        from elsewhere.
    digest
        SHA-256 of the file.
    weights
        Of each of the model's networks, by its name, the file of its weights (safetensors).
    """

    model: FrozenModel
    signed_by: str | None
    digest: str
    weights: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def pack_model(
    model: FrozenModel, readme: str, signer: Signer | None, weights: Mapping[str, bytes] | None = None
) -> bytes:
    """The file of a model; unsigned, and saying so, without a signer.

    `weights` has those of each of the model's networks by its name, as safetensors; ValueError for any other.
    """
    content = json.dumps(model.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    members = {MODEL: (content + "\n").encode(), README: readme.encode()}
    members |= {f"{FOLDER}/{name}.safetensors": part for name, part in sorted((weights or {}).items())}
    _check_weights(model, members)
    manifest = Manifest(
        sha256={name: digest(part) for name, part in members.items()},
        signed_by=None if signer is None else signer.public,
    )
    members[MANIFEST] = _json(manifest)
    if signer is not None:
        members[SIGNATURE] = _json(_Signature(signature=signer.model(digest(members[MANIFEST]))))
    return _zip(members)


def read_model(path: Path) -> HandedOn:
    """Read the file of a model, and verify its sums and its signature if it has one.

    Raises
    ------
    FedmviError
        781 with what is wrong in `local`: no such file, too large, damaged, changed, or not a model of this format.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise FedmviError(781, f"{path}: {error.strerror}") from error
    try:
        return _read(content)
    except (ValueError, ValidationError, RecursionError) as error:
        raise FedmviError(781, f"{path}: {_reason(error)}") from error


def verify_signer(handed: HandedOn, coordinator: str) -> None:
    """Error 782 if the model is unsigned, or signed by another key than the coordinator's (hexadecimal)."""
    if handed.signed_by != coordinator:
        by = "nobody" if handed.signed_by is None else f"the key {handed.signed_by}"
        raise FedmviError(782, f"signed by {by}; the consortium's key is {coordinator}")


def _read(content: bytes) -> HandedOn:
    members = _unzip(content)
    manifest = Manifest.model_validate_json(members[MANIFEST])
    if manifest.sha256 != {name: digest(members[name]) for name in members if name not in (MANIFEST, SIGNATURE)}:
        raise ValueError("model.json, README.md or a network's weights are not those of the manifest")
    if (manifest.signed_by is None) != (SIGNATURE not in members):
        raise ValueError("the manifest and the signature contradict each other")
    if manifest.signed_by is not None:
        signature = _Signature.model_validate_json(members[SIGNATURE]).signature
        if not model_is_signed(manifest.signed_by, digest(members[MANIFEST]), signature):
            raise ValueError("the signature is not of this model")
    model = FrozenModel.model_validate_json(members[MODEL])
    strange = strange_in(model.model_dump())
    if strange is not None:
        raise ValueError(f"a character that cannot be printed, in {strange!r}")
    _check_weights(model, members)
    weights = {network.name: members[network.member] for network in model.networks.values()}
    return HandedOn(model, manifest.signed_by, digest(content), weights)


def _check_weights(model: FrozenModel, members: Mapping[str, bytes]) -> None:
    """ValueError unless the weights are those of the model's networks, and of no other."""
    wanted = {network.member: network.weights for network in model.networks.values()}
    if wanted != {name: digest(part) for name, part in members.items() if _WEIGHTS.fullmatch(name)}:
        raise ValueError("the weights are not those of the model's networks")


def _reason(error: Exception) -> str:
    """What is wrong, in a line; of a model that does not validate, where first."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")[:300]
    return str(error)[:300]


def _json(part: _Part) -> bytes:
    return (json.dumps(part.model_dump(mode="json"), sort_keys=True, indent=1) + "\n").encode()


def _zip(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in _in_order(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = _UNIX, _REGULAR_FILE
            archive.writestr(info, members[name])
    return out.getvalue()


def _in_order(names: Iterable[str]) -> list[str]:
    """Those of these names that a model's file may have, in the order in which it has them."""
    there = set(names)
    weights = sorted(name for name in there if _WEIGHTS.fullmatch(name))
    return [name for name in (MANIFEST, MODEL, README, *weights, SIGNATURE) if name in there]


def _unzip(content: bytes) -> dict[str, bytes]:
    """The members of a file that `_zip` could have written; ValueError for any other."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if names != _in_order(names) or names[:3] != [MANIFEST, MODEL, README]:
                raise ValueError("its members are not those of a model")
            networks = sum(name not in _WITHOUT_NETWORKS for name in names)
            most = MAX_FILE_BYTES + networks * MAX_NETWORK_BYTES
            if networks > MAX_SCORES or len(content) > most:
                raise ValueError(f"{networks} networks, and more than {most} bytes")
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(content) for entry in entries):
                raise ValueError("a member is compressed, or larger than the file")
            members = {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OverflowError, OSError) as error:
        raise ValueError(f"not a whole zip file ({error})") from error
    if _zip(members) != content:
        raise ValueError("it has bytes that are not of a model")
    return members
