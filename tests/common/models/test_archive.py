"""common/models: a model's file is read only as it was written, and only if the key that it names signed it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from common.errors import FedmviError
from common.models.archive import MAX_FILE_BYTES, pack_model, read_model, verify_signer
from common.models.logistic import MAX_TERMS, FrozenModel
from common.study.chain import ChainedImpute
from tests.client.enrolled import signer
from tests.handed_on import MEANS, TERMS, small_model

README = "# A model\n"


def packed(by: int | None = 1, model: FrozenModel | None = None) -> bytes:
    return pack_model(model or small_model(), README, None if by is None else signer(by))


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip as the product writes it, of any members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in parts:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, compression
            archive.writestr(info, content)
    return out.getvalue()


def whole(model_json: bytes) -> bytes:
    """An unsigned file around any text: what somebody who needs no key can make."""
    sums = {"model.json": sha256(model_json).hexdigest(), "README.md": sha256(README.encode()).hexdigest()}
    manifest = json.dumps({"format": "fedmvi model file 1", "sha256": sums, "signed_by": None}).encode()
    return zipped([("manifest.json", manifest), ("model.json", model_json), ("README.md", README.encode())])


def refusal(path: Path, content: bytes) -> FedmviError:
    path.write_bytes(content)
    with pytest.raises(FedmviError) as refused:
        read_model(path)
    assert refused.value.number == 781
    return refused.value


@pytest.mark.parametrize("by", [None, 1])
def test_what_is_written_is_read_and_the_same_model_is_the_same_bytes(tmp_path: Path, by: int | None) -> None:
    (tmp_path / "m.zip").write_bytes(packed(by))
    handed = read_model(tmp_path / "m.zip")
    assert handed.model == small_model()
    assert handed.signed_by == (None if by is None else signer(by).public)
    assert handed.digest == sha256(packed(by)).hexdigest()


def test_chained_regressions_survive_the_file(tmp_path: Path) -> None:
    p = len(TERMS)
    ones = (1.0,) * p
    rows = tuple(tuple(0.0 if j == t + 1 else 0.1 for j in range(p + 1)) for t in (0, 3))
    chain = ChainedImpute(TERMS, MEANS, ones, (0.0,) * p, (100.0,) * p, (0, 3), rows)
    model = small_model(missing="chained", filling=chain)
    (tmp_path / "m.zip").write_bytes(packed(1, model))
    assert read_model(tmp_path / "m.zip").model.filling == chain


def test_the_bytes_are_those_of_every_version_of_python() -> None:
    """A reader writes the members again and compares: another way of writing would refuse all older files."""
    assert sha256(whole(b"{}")).hexdigest() == "23ea4e18f339a077881bc51e70ef61692a9581ef9f5a99355fc5cab181098185"


def test_no_byte_can_be_changed_cut_or_added(tmp_path: Path) -> None:
    content = packed()
    for i in range(len(content)):
        refusal(tmp_path / "m.zip", content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
    for i in (0, 1, 30, len(content) // 2, len(content) - 1):
        refusal(tmp_path / "m.zip", content[:i])
    refusal(tmp_path / "m.zip", content + b"\0")
    refusal(tmp_path / "m.zip", b"\0" + content)


def test_a_signature_is_of_this_model_by_this_key(tmp_path: Path) -> None:
    ours, other = members(packed(1)), members(packed(2))
    coefficients = (*small_model().coefficients[:-1], 9.0)
    changed = members(packed(1, small_model(coefficients=coefficients)))
    order = ("manifest.json", "model.json", "README.md", "signature.json")
    for mixed in (
        {**ours, "signature.json": other["signature.json"]},
        {**ours, "signature.json": changed["signature.json"]},
        {**ours, "model.json": changed["model.json"]},
        {**ours, "README.md": b"# Another\n"},
        {**ours, "manifest.json": changed["manifest.json"]},
        {**ours, "manifest.json": other["manifest.json"]},
        {name: ours[name] for name in order[:-1]},
        {**members(packed(None)), "signature.json": ours["signature.json"]},
    ):
        refusal(tmp_path / "m.zip", zipped([(name, mixed[name]) for name in order if name in mixed]))


def test_a_site_takes_its_coordinators_signature_and_no_other_nor_none(tmp_path: Path) -> None:
    for by, number in ((1, 0), (2, 782), (None, 782)):
        (tmp_path / "m.zip").write_bytes(packed(by))
        handed = read_model(tmp_path / "m.zip")
        if number:
            with pytest.raises(FedmviError) as refused:
                verify_signer(handed, signer(1).public)
            assert refused.value.number == number
        else:
            verify_signer(handed, signer(1).public)


def _parts(content: bytes) -> list[tuple[str, bytes]]:
    return list(members(content).items())


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"\x80\x04K\x00." * 10,
    "a bomb": lambda: zipped([("model.json", b"0" * 50_000_000)], zipfile.ZIP_DEFLATED),
    "a bomb among members": lambda: zipped(
        [(n, b"0" * 50_000_000 if n == "README.md" else c) for n, c in _parts(packed())], zipfile.ZIP_DEFLATED
    ),
    "compressed": lambda: zipped(_parts(packed()), zipfile.ZIP_DEFLATED),
    "too large": lambda: zipped([("model.json", b"0" * (MAX_FILE_BYTES + 1))]),
    "a path upwards": lambda: zipped([*_parts(packed()), ("../../evil.json", b"{}")]),
    "an absolute path": lambda: zipped([("/etc/cron.d/evil", b"{}"), *_parts(packed())[1:]]),
    "a member twice": lambda: zipped([*_parts(packed()), ("model.json", b"{}")]),
    "another order": lambda: zipped(_parts(packed())[::-1]),
    "a pickle": lambda: zipped([("model.pkl", b"cos\nsystem\n(S'true'\ntR.")]),
    "brackets without end": lambda: whole(b"[" * 1_000_000),
    "a number without end": lambda: whole(b'{"cutoff": ' + b"9" * 1_000_000 + b"}"),
    "no object": lambda: whole(b"7"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_with_a_number(tmp_path: Path, what: str) -> None:
    refusal(tmp_path / "m.zip", HOSTILE[what]())
    assert [path.name for path in tmp_path.iterdir()] == ["m.zip"]


def _told(**changes: Any) -> bytes:
    return json.dumps(small_model().model_dump(mode="json") | changes).encode()


def _variable(**changes: Any) -> list[dict[str, Any]]:
    inputs = small_model().model_dump(mode="json")["inputs"]
    inputs[0]["variable"] |= changes
    return list(inputs)


WRONG: dict[str, Callable[[], bytes]] = {
    "one coefficient less": lambda: _told(coefficients=[0.1] * 6),
    "a covariance that is not square": lambda: _told(covariance=[[0.1] * 7] * 6),
    "other terms": lambda: _told(terms=["age"] * 6),
    "means of other terms": lambda: _told(filling={"step": "impute", "names": ["age"], "values": [1.0]}),
    "no means": lambda: _told(filling=None),
    "means that nobody declared": lambda: _told(missing="complete-case"),
    "another step": lambda: _told(filling={"step": "fold", "folds": 3, "endpoint": "mvi"}),
    "a fact too many": lambda: _told(patients=["p1"]),
    "another format": lambda: _told(format="fedmvi logistic model 2"),
    "a line that is forged": lambda: _told(title="Hybrid\nsigned by the coordinator"),
    "a control character": lambda: _told(title="Hybrid\x1b[2J"),
    "a number that is none": lambda: _told(cutoff=float("nan")),
    "text for a number": lambda: _told(cutoff="0.5"),
    "a name that is a formula": lambda: _told(inputs=_variable(name="=cmd|' /C calc'!A0")),
    "levels without end": lambda: _told(
        inputs=_variable(kind="categorical", levels=[str(i) for i in range(MAX_TERMS + 1)], cutoff=None)
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_model_that_contradicts_itself_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "m.zip").write_bytes(whole(_told()))
    assert read_model(tmp_path / "m.zip").model == small_model()
    refusal(tmp_path / "m.zip", whole(WRONG[what]()))


def test_a_file_that_is_not_there_is_refused_with_the_same_number(tmp_path: Path) -> None:
    with pytest.raises(FedmviError) as refused:
        read_model(tmp_path / "none.zip")
    assert refused.value.number == 781
