"""tests/client: the manifest is read whole or told line by line, and written so that no spreadsheet runs it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cohort.problems import CellError
from client.images.finding.manifest import COLUMNS, Line, Manifest, manifest_bytes, read_manifest, write_manifest
from common.errors import FedmviError, Severity

GOOD = {"patient_id": "p1", "kind": "image", "phase": "portal", "path": "scans/1", "use": "yes"}
MASK = {"patient_id": "p1", "kind": "mask", "region": "tumour", "path": "m.nii", "use": "yes"}


def read(folder: Path, *rows: dict[str, str], delimiter: str = ",", encoding: str = "utf-8") -> Manifest:
    """Write rows of cells as a person would, and read them."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(
        out, list(dict.fromkeys([*GOOD, *(name for row in rows for name in row)])), delimiter=delimiter
    )
    writer.writeheader()
    writer.writerows(rows)
    (folder / "manifest.csv").write_text(out.getvalue(), encoding=encoding)
    return read_manifest(folder / "manifest.csv")


def test_columns_that_are_not_needed_may_be_absent_and_cells_empty(tmp_path: Path) -> None:
    manifest = read(tmp_path, GOOD, MASK | {"phase": ""})
    assert manifest.problems == ()
    (number, image), (_, mask) = manifest.lines
    assert (number, image.phase, image.volume, image.seconds_after_injection) == (2, "portal", 0, None)
    assert (mask.region, mask.reader, mask.phase) == ("tumour", 1, "")


@pytest.mark.parametrize(("delimiter", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-8"), (",", "utf-8-sig")])
def test_what_spreadsheets_save_is_read(tmp_path: Path, delimiter: str, encoding: str) -> None:
    manifest = read(tmp_path, GOOD | {"use": "YES", "phase": "Portal"}, delimiter=delimiter, encoding=encoding)
    assert [line.phase for _, line in manifest.lines] == ["portal"]
    assert manifest.problems == ()


@pytest.mark.parametrize(
    ("change", "column", "words"),
    [
        ({"phase": "artrial"}, "phase", ("'artrial'", "did you mean 'arterial'? Allowed: plain", "hepatobiliary")),
        ({"phase": "pv"}, "phase", ("'pv' is not a phase. Allowed: plain, arterial",)),
        ({"phase": ""}, "phase", ("needed where `use` is yes",)),
        ({"kind": "picture"}, "kind", ("'picture'", "image or mask")),
        ({"use": "maybe"}, "use", ("'maybe'", "yes or no")),
        ({"volume": "two"}, "volume", ("'two' is not allowed here; expected: Which of", "from 1")),
        ({"volume": "-1"}, "volume", ("'-1'",)),
        ({"seconds_after_injection": "35,5"}, "seconds_after_injection", ("'35,5'", "decimal point")),
        ({"seconds_after_injection": "inf"}, "seconds_after_injection", ("'inf'",)),
        ({"b_value": "-5"}, "b_value", ("'-5'", "s/mm²")),
        ({"tesla": "nan"}, "tesla", ("'nan'",)),
        ({"region": "tumour"}, "region", ("an image has no region",)),
        ({"path": ""}, "path", ("needed",)),
        ({"patient_id": ""}, "patient_id", ("needed",)),
    ],
)
def test_a_bad_cell_is_told_with_row_column_value_and_what_is_allowed(
    tmp_path: Path, change: dict[str, str], column: str, words: tuple[str, ...]
) -> None:
    manifest = read(tmp_path, MASK, GOOD | change)
    assert [number for number, _ in manifest.lines] == [2]
    (problem,) = manifest.problems
    assert isinstance(problem, CellError)
    assert (problem.number, problem.place.row, problem.place.column) == (350, 3, column)
    assert all(word in problem.local for word in words)
    assert problem.local.startswith("manifest.csv" if column == "patient_id" else "p1: manifest.csv")


def test_every_bad_line_is_told_at_once(tmp_path: Path) -> None:
    manifest = read(
        tmp_path, GOOD | {"phase": "x"}, MASK | {"region": "Tumour 1"}, GOOD, GOOD | {"use": "", "volume": "a"}
    )
    assert [p.place.row for p in manifest.problems if isinstance(p, CellError)] == [2, 3, 5, 5]
    assert [number for number, _ in manifest.lines] == [4]


def test_two_lines_in_use_for_one_phase_are_told_and_one_out_of_use_is_not(tmp_path: Path) -> None:
    manifest = read(tmp_path, GOOD, GOOD | {"path": "b"}, GOOD | {"use": "no"}, GOOD | {"patient_id": "p2"})
    (problem,) = manifest.problems
    assert "rows 2, 3" in problem.local


def test_headers_that_are_not_understood(tmp_path: Path) -> None:
    assert "did you mean 'volume'?" in read(tmp_path, GOOD | {"volumes": "1"}).problems[0].local
    (own,) = read(tmp_path, GOOD | {"ward": "7b"}).problems
    assert own.severity is Severity.WARNING
    (tmp_path / "manifest.csv").write_text("patient_id,kind\np1,image\n")
    (problem,) = read_manifest(tmp_path / "manifest.csv").problems
    assert "phase, path, use" in problem.local


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b'a,"b\n', b"\0\0", b"patient_id,kind,phase,path,use\n1,2,3,4,5,6\n"]
)
def test_what_is_no_table_is_an_error_with_a_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert manifest.lines == ()
    assert {problem.number for problem in manifest.problems} == {350}
    assert {problem.number for problem in read_manifest(tmp_path).problems} == {350}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12).map(str.strip)


@given(agent=TEXT, why=TEXT, path=TEXT, segment=TEXT, number=st.floats(-1e4, 1e4))
def test_what_is_written_is_read_again_and_no_cell_is_a_formula(
    agent: str, why: str, path: str, segment: str, number: float
) -> None:
    line = Line(patient_id="p", kind="image", agent=agent, why=why, path=path, segment=segment, use="no",
                seconds_after_injection=round(number, 3))  # fmt: skip
    content = manifest_bytes([line])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: content)
        manifest = read_manifest(Path("manifest.csv"))
    ((_, again),) = manifest.lines
    assert again == line.model_copy(update={"agent": " ".join(agent.split()), "why": " ".join(why.split())})
    row = list(csv.reader(io.StringIO(content.decode(), newline="")))[1]
    free = [cell for name, cell in zip(COLUMNS, row, strict=True) if name != "seconds_after_injection"]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in free)


def test_the_same_lines_give_the_same_bytes_in_any_order_and_nothing_is_overwritten(tmp_path: Path) -> None:
    lines = [Line(patient_id=f"p{i}", kind="image", path=f"{9 - i}", use="no") for i in range(5)]
    assert manifest_bytes(lines) == manifest_bytes(lines[::-1])
    write_manifest(tmp_path / "m.csv", lines)
    before = (tmp_path / "m.csv").read_bytes()
    with pytest.raises(FedmviError) as caught:
        write_manifest(tmp_path / "m.csv", [])
    assert caught.value.number == 358
    assert (tmp_path / "m.csv").read_bytes() == before
    with pytest.raises(FedmviError) as caught:
        write_manifest(tmp_path / "no" / "m.csv", lines)
    assert caught.value.number == 377
