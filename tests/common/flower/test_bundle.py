from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from common.errors import FedmviError
from common.flower.bundle import MOST_BYTES, bundle_fingerprint, read_bundle, refuse_other_code
from common.study.fingerprint import code_fingerprint
from server.hub.control import packed_bundle

Files = dict[str, bytes]
CODE = {
    "common/__init__.py": b'"""common"""\n',
    "common/study/rules.py": b"LIMIT = 5\n",
    "common/study/tables.toml": b"[a]\nb = 1\n",
    "client/app.py": b"import common\n\nprint('hello')\n",
}
BESIDE = {"pyproject.toml": b"[project]\n", "LICENSE": b"free\n", ".info/CONTENT": b"x,y,1\n"}


def packed(files: Files) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    for name, text in CODE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text)
    return tmp_path


def number_of(content: bytes, root: Path) -> int:
    try:
        refuse_other_code(content, root=root)
    except FedmviError as error:
        return error.number
    return 0


def test_what_the_hub_packs_has_the_fingerprint_of_what_is_installed() -> None:
    content = packed_bundle()
    assert bundle_fingerprint(read_bundle(content)) == code_fingerprint()
    refuse_other_code(content, loaded=code_fingerprint())


def test_the_installed_code_is_accepted_whatever_the_servers_code_is(installed: Path) -> None:
    assert number_of(packed(CODE | BESIDE | {"server/app.py": b"anything()"}), installed) == 0


def crlf(files: Files) -> Files:
    return {name: text.replace(b"\n", b"\r\n") for name, text in files.items()}


def test_line_endings_of_another_system_are_accepted(installed: Path) -> None:
    assert number_of(packed(crlf(CODE)), installed) == 0


CHANGES: dict[str, Callable[[Files], Files]] = {
    "a changed line": lambda f: f | {"common/study/rules.py": b"LIMIT = 0\n"},
    "an added line": lambda f: f | {"common/__init__.py": f["common/__init__.py"] + b"#\n"},
    "an extra module": lambda f: f | {"client/extra.py": b""},
    "a missing module": lambda f: {name: text for name, text in f.items() if name != "client/app.py"},
    "a renamed module": lambda f: {name.replace("app", "apq"): text for name, text in f.items()},
    "content moved between two files": lambda f: f | {"client/app.py": f["common/__init__.py"],
                                                      "common/__init__.py": f["client/app.py"]},
    "another table": lambda f: f | {"common/study/tables.toml": b"[a]\nb = 2\n"},
    "an extra table": lambda f: f | {"client/more.toml": b""},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_code_is_refused(installed: Path, change: Callable[[Files], Files]) -> None:
    assert number_of(packed(change(CODE)), installed) == 502


@pytest.mark.parametrize(
    "name",
    ["../x.py", "/x.py", "common/../x.py", "common//x.py", "common\\x.py", "client/a.so", "client/__pycache__/a.pyc",
     "sitecustomize.py", "numpy/__init__.py", "common/", "client/a b.py", "client/.hidden.py", "common/x.py\0.py"],
)  # fmt: skip
def test_a_name_that_has_no_place_in_a_bundle_is_refused(installed: Path, name: str) -> None:
    assert number_of(packed(CODE | {name: b"x"}), installed) == (720 if "\0" not in name else 502)


def test_what_is_no_sound_zip_is_refused(installed: Path) -> None:
    good = packed(CODE)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = BytesIO(good)
        with zipfile.ZipFile(twice, "a") as archive:
            archive.writestr("client/app.py", b"other")
    link = zipfile.ZipInfo("client/link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    linked = BytesIO(good)
    with zipfile.ZipFile(linked, "a") as archive:
        archive.writestr(link, b"/etc/passwd")
    corrupted = good.replace(b"LIMIT = 5", b"LIMIT = 6", 1)
    for content in (b"", b"PK", good[: len(good) // 2], twice.getvalue(), linked.getvalue(), corrupted):
        assert number_of(content, installed) == 720
    assert number_of(b"\0" * (MOST_BYTES + 1), installed) == 720


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_that_is_packed_in_another_way_is_refused_and_not_tried(installed: Path, how: int) -> None:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive:
        for name, text in CODE.items():
            archive.writestr(name, text)
    damaged = content.getvalue().replace(b"LIMIT", b"LIM\xff\xff")
    assert number_of(damaged, installed) == 720


def test_a_bomb_is_not_unpacked(installed: Path) -> None:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(12):
            archive.writestr(f"client/x{number}.py", b"\0" * (10 << 20))
    assert len(content.getvalue()) < MOST_BYTES
    assert number_of(content.getvalue(), installed) == 720


def test_a_process_whose_code_was_replaced_on_disk_answers_no_more(installed: Path) -> None:
    loaded = code_fingerprint(installed)
    (installed / "client/app.py").write_bytes(b"new = 1\n")
    newer = packed(CODE | {"client/app.py": b"new = 1\n"})
    with pytest.raises(FedmviError) as error:
        refuse_other_code(newer, loaded, installed)
    assert error.value.number == 502
