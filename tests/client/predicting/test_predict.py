"""client/predicting: what a hospital's table may say, what is flagged, and what is refused with its row and column."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.cohort.problems import CellError
from client.cohort.site import Site, load_site
from client.predicting.predict import predict
from client.predicting.prediction import Prediction
from client.preparation.prepare import UnfitDataError
from common.errors import FedmviError
from common.models.archive import pack_model
from common.models.logistic import FrozenModel, Input
from tests.handed_on import COEF, FEATURE, MEANS, on_a_feature, small_model

HEADER = "patient_id,age,ldh,afp,sex,child_pugh"
USUAL = "p1,57,210,35.5,male,B"


def given(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "new.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def predicted(folder: Path, *rows: str, model: FrozenModel | None = None, header: str = HEADER) -> list[Prediction]:
    return list(predict(model or small_model(), given(folder, *rows, header=header), None).predictions)


def logistic(*x: float) -> float:
    return 1 / (1 + math.exp(-sum(b * v for b, v in zip(COEF, (1.0, *x), strict=True))))


def test_every_coding_enters_the_probability_as_the_protocol_says(tmp_path: Path) -> None:
    rows = [USUAL, "p2,40.5,99.5,20,female,A", "p3,70,640,20.1,male,C"]
    found = predicted(tmp_path, *rows)
    wanted = [
        logistic(57, math.log1p(210), 1, 1, 1, 0),
        logistic(40.5, math.log1p(99.5), 0, 0, 0, 0),
        logistic(70, math.log1p(640), 1, 1, 0, 1),
    ]
    assert [p.probability for p in found] == pytest.approx(wanted, abs=1e-14)
    assert [p.group for p in found] == ["high" if round(p, 4) >= 0.5 else "low" for p in wanted]
    x = (1.0, 57.0, math.log1p(210), 1.0, 1.0, 1.0, 0.0)
    variance = sum(0.01 * v * v for v in x) + 0.001 * sum(x) ** 2
    reach = 1.959963984540054 * math.sqrt(variance)
    centre = math.log(wanted[0] / (1 - wanted[0]))
    assert found[0].low == pytest.approx(1 / (1 + math.exp(reach - centre)), abs=1e-14)
    assert found[0].high == pytest.approx(1 / (1 + math.exp(-reach - centre)), abs=1e-14)


def test_missing_inputs_are_filled_and_named_or_there_is_no_probability(tmp_path: Path) -> None:
    (filled,) = predicted(tmp_path, "p1,,210,NA,male,")
    wanted = logistic(MEANS[0], math.log1p(210), MEANS[2], 1, MEANS[4], MEANS[5])
    assert filled.probability == pytest.approx(wanted, abs=1e-14)
    assert (filled.filled, filled.missing) == (("age", "afp", "child_pugh"), ())
    complete = small_model(missing="complete-case", filling=None)
    without, whole = predicted(tmp_path, "p1,,210,35,male,A", USUAL.replace("p1", "p2"), model=complete)
    assert (without.probability, without.low, without.high, without.group) == (None, None, None, "")
    assert (without.missing, without.filled) == (("age",), ())
    assert whole.probability is not None


def test_values_outside_what_the_model_saw_are_used_and_flagged(tmp_path: Path) -> None:
    usual, young, old, wrong = predicted(
        tmp_path, USUAL, "p2,20,210,5,male,A", "p3,57,900,5,male,A", "p4,130,210,5,male,A"
    )
    assert (usual.unusual, usual.implausible) == ((), ())
    assert (young.unusual, young.implausible) == (("age",), ())
    assert (old.unusual, old.implausible) == (("ldh",), ())
    assert (wrong.unusual, wrong.implausible) == (("age",), ("age",))
    assert wrong.probability == pytest.approx(logistic(130, math.log1p(210), 0, 1, 0, 0), abs=1e-14)


def test_a_bound_is_used_where_it_decides_the_cut_off(tmp_path: Path) -> None:
    below, above = predicted(tmp_path, "p1,57,210,<20,male,A", "p2,57,210,>400,male,A")
    assert below.probability == pytest.approx(logistic(57, math.log1p(210), 0, 1, 0, 0), abs=1e-14)
    assert above.probability == pytest.approx(logistic(57, math.log1p(210), 1, 1, 0, 0), abs=1e-14)


@pytest.mark.parametrize(
    ("row", "number", "column"),
    [
        ("p2,57,210,35,man,B", 308, "sex"),
        ("p2,57,210,35,male,D", 308, "child_pugh"),
        ("p2,nan,210,35,male,B", 303, "age"),
        ("p2,inf,210,35,male,B", 303, "age"),
        ("p2,old,210,35,male,B", 303, "age"),
        ('p2,"57,5",210,35,male,B', 304, "age"),
        ("p2,57,-3,35,male,B", 306, "ldh"),
        ("p2,57,<210,35,male,B", 305, "ldh"),
        ("p2,57,210,<50,male,B", 305, "afp"),
        ("p1,57,210,35,male,B", 301, "patient_id"),
        ("p 2,57,210,35,male,B", 302, "patient_id"),
        ("p2,57,210,35,male", 206, ""),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_row_and_column(
    tmp_path: Path, row: str, number: int, column: str
) -> None:
    with pytest.raises(UnfitDataError) as refused:
        predicted(tmp_path, USUAL, row)
    (problem,) = refused.value.problems
    assert isinstance(problem, CellError)
    assert (problem.number, problem.place.row, problem.place.column) == (number, 3, column)
    assert "row 3" in problem.local
    assert not {"man", "old", "57,5"} & set(problem.facts.values())


def test_every_problem_of_a_table_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnfitDataError) as refused:
        predicted(tmp_path, "p1,x,210,35,male,B", "p1,57,210,35,it,B")
    assert [p.number for p in refused.value.problems] == [301, 303, 308]


def test_a_unit_in_the_header_or_in_a_single_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitDataError) as header:
        predicted(tmp_path, USUAL, header="patient_id,age,ldh,AFP (IU/mL),sex,child_pugh")
    assert [p.number for p in header.value.problems] == [323]
    # A size that somebody may record in mm.
    size = {"unit": "cm", "units": {"mm": 0.1}, "low": 0.2, "high": 60.0}
    first = Input(variable=small_model().inputs[0].variable.model_copy(update=size), coding="linear")
    with pytest.raises(UnfitDataError) as single:
        predicted(tmp_path, "p1,510,210,35,male,B", model=small_model(inputs=(first, *small_model().inputs[1:])))
    assert [p.number for p in single.value.problems] == [307]


def test_a_missing_column_and_an_empty_table_are_refused(tmp_path: Path) -> None:
    for header, rows, number in ((HEADER.replace(",sex", ""), ("p1,57,210,35,B",), 207), (HEADER, (), 211)):
        with pytest.raises(UnfitDataError) as refused:
            predicted(tmp_path, *rows, header=header)
        assert [p.number for p in refused.value.problems] == [number]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "hospital-x"
    folder.mkdir()
    (folder / "site.toml").write_text("""
[site]
name = "hospital-x"
[tables]
delimiter = ";"
missing = ["", "-"]
[columns]
patient_id = { header = "Nr" }
afp = { header = "AFP Labor", unit = "IU/mL" }
sex = { header = "Geschlecht", codes = { "w" = "female", "m" = "male" } }
""")
    return load_site(folder)


def test_a_hospitals_own_headers_units_and_codes_are_read_by_its_site_toml(tmp_path: Path, site: Site) -> None:
    table = given(tmp_path, "p1;57;210;16,6;m;B".replace(",", "."), "p2;57;210;16.5;w;-",
                  header="Nr;age;ldh;AFP Labor;Geschlecht;child_pugh")  # fmt: skip
    first, second = predict(small_model(), table, site).predictions
    # 16.6 IU/mL are 20.09 ng/mL, and 16.5 are 19.97.
    assert first.probability == pytest.approx(logistic(57, math.log1p(210), 1, 1, 1, 0), abs=1e-14)
    assert second.probability == pytest.approx(logistic(57, math.log1p(210), 0, 0, MEANS[4], MEANS[5]), abs=1e-14)
    assert second.filled == ("child_pugh",)


def test_features_come_from_columns_of_their_own_names_and_their_want_is_said(tmp_path: Path) -> None:
    (found,) = predicted(tmp_path, "p1,3.5,60", header=f"patient_id,{FEATURE},age", model=on_a_feature())
    assert found.probability == pytest.approx(1 / (1 + math.exp(-0.8)), abs=1e-14)
    with pytest.raises(FedmviError) as refused:
        predicted(tmp_path, "p1,60", header="patient_id,age", model=on_a_feature())
    assert refused.value.number == 783
    assert FEATURE in refused.value.local and "1 feature(s)" in refused.value.what


def test_a_refused_table_leaves_nothing_and_is_shown_with_its_rows(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(pack_model(small_model(), "# A model\n", None))
    table = given(tmp_path, USUAL, "p2,57,210,35,man,B")
    typed = ["predict", "--model", str(tmp_path / "m.zip"), "--patients", str(table), "--out"]
    shown = CliRunner().invoke(app, [*typed, str(tmp_path / "out.csv")])
    assert shown.exit_code == 1
    assert "FEDMVI-308" in shown.output and "row 3, column 'sex'" in shown.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.zip", "new.csv"]
    given(tmp_path, USUAL)
    for out in ("out.txt", "nowhere/out.csv"):
        wrong = CliRunner().invoke(app, [*typed, str(tmp_path / out)])
        assert isinstance(wrong.exception, FedmviError) and wrong.exception.number == 785
    done = CliRunner().invoke(app, [*typed, str(tmp_path / "out.csv")])
    assert done.exit_code == 0 and "unsigned, nobody vouches for it" in done.output
    assert "Research only." in done.output
