"""server/study: the table of characteristics against the pooled rows, with small counts and what tells them hidden."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.published.results import Result, Results
from common.study.described import described_variables
from common.study.loader import parse_study
from server.study.characteristics import Answers, _shown
from server.study.conduct import conduct
from tests.disclosure.consortium import STUDY, Consortium, Row, make

NO_MODELS = STUDY.partition("[[models]]")[0]
TABLE = '\n[characteristics]\nvariables = ["age", "afp", "inr", "sex", "child_pugh", "ascites"]\n'
CUTOFFS = {"age": 50.0, "afp": 20.0, "inr": 1.0}


def change(rows: list[Row]) -> None:
    """Child-Pugh classes of whom few are C, ascites of two patients of a, values that are missing, an older class."""
    for i, row in enumerate(rows):
        row["child_pugh"] = "C" if i == 7 else ("A", "A", "B")[i % 3]
        row["ascites"] = "yes" if i < 2 and row["patient_id"].startswith("a") else "no"
        row["age"] = f"{float(row['age']) + 4.0 * float(row['mvi']):g}"
        row["inr"] = "" if i % 9 == 0 else row["inr"]
        row["sex"] = "" if i % 20 == 1 else row["sex"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("sites"), dict.fromkeys("abcdef", change), study=NO_MODELS + TABLE, masked=True)


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


def rows_of(made: Consortium, sites: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(made.folders[site] / "patients.csv") for site in sites])


def values(result: Result) -> dict[tuple[str, str], float | None]:
    return {(e.name, e.term): e.value for e in result.estimates}


def smd(first: pd.Series, second: pd.Series) -> float:
    """Austin's formula in its own words, of the rows."""
    return (second.mean() - first.mean()) / math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)


@pytest.mark.parametrize(("cohort", "sites"), [("train", "abc"), ("external", "def")])
def test_numbers_and_levels_are_those_of_the_pooled_rows(
    made: Consortium, results: Results, cohort: str, sites: str
) -> None:
    rows, found = rows_of(made, sites), values(results.get(f"characteristics.{cohort}"))
    for name, cutoff in CUTOFFS.items():
        known = rows[name].dropna()
        assert found["known", name] == len(known)
        assert found["mean", name] == pytest.approx(known.mean(), rel=1e-12)
        assert found["std", name] == pytest.approx(known.std(ddof=1), rel=1e-9)
        assert found["patients", f"{name}>{cutoff:g}"] == int((known > cutoff).sum())
    known = rows["sex"].dropna()
    for level in ("female", "male"):
        assert found["patients", f"sex={level}"] == int((known == level).sum())
        assert found["share", f"sex={level}"] == pytest.approx(float((known == level).mean()), rel=1e-12)


def test_classes_of_an_open_cohort_have_the_pooled_moments_and_differences(made: Consortium, results: Results) -> None:
    rows, result = rows_of(made, "abc"), results.get("characteristics.train.mvi")
    found = values(result)
    assert (result.n, result.events) == (len(rows), int(rows["mvi"].sum()))
    for name in CUTOFFS:
        classes = [rows.loc[rows["mvi"] == k, name].dropna() for k in (0, 1)]
        for suffix, own in zip(("absent", "present"), classes, strict=True):
            assert found[f"known_{suffix}", name] == len(own)
            assert found[f"mean_{suffix}", name] == pytest.approx(own.mean(), rel=1e-10)
            assert found[f"std_{suffix}", name] == pytest.approx(own.std(ddof=1), rel=1e-8)
        assert found["smd", name] == pytest.approx(smd(*classes), rel=1e-8)
    assert found["smd", "age"] > 0.1, "the class that was made older is"
    counted = rows.dropna(subset="sex").groupby("mvi")["sex"].value_counts().to_dict()
    assert found["patients_present", "sex=male"] == counted[1, "male"]
    share = [counted[k, "male"] / (counted[k, "male"] + counted[k, "female"]) for k in (0, 1)]
    spread = math.sqrt(sum(p * (1 - p) for p in share) / 2)
    assert found["smd", "sex"] == pytest.approx((share[1] - share[0]) / spread, rel=1e-10)


def test_other_cohorts_are_compared_with_the_training_cohort(made: Consortium, results: Results) -> None:
    train, external = rows_of(made, "abc"), rows_of(made, "def")
    found = values(results.get("characteristics.external"))
    for name in CUTOFFS:
        assert found["smd", name] == pytest.approx(smd(train[name].dropna(), external[name].dropna()), rel=1e-8)
    assert ("smd", "age") not in values(results.get("characteristics.train"))


def test_a_closed_cohort_is_never_described_by_class(results: Results) -> None:
    told = [r.id for r in results.results if r.statistic == "characteristics"]
    assert told == ["characteristics.train", "characteristics.train.mvi", "characteristics.external"]


def test_few_patients_of_a_level_are_hidden_with_what_would_tell_them(made: Consortium, results: Results) -> None:
    rows, result = rows_of(made, "abc"), results.get("characteristics.train")
    found = values(result)
    assert int((rows["child_pugh"] == "C").sum()) == 3 and int((rows["ascites"] == "yes").sum()) == 2
    hidden = [level for level in "ABC" if found["patients", f"child_pugh={level}"] is None]
    assert "C" in hidden and len(hidden) == 2, "else the known total tells it"
    assert found["patients", "ascites=yes"] is None and found["patients", "ascites=no"] is None
    assert ("share", "ascites=no") not in found and found["known", "ascites"] == 180
    by_class = values(results.get("characteristics.train.mvi"))
    assert by_class["smd", "child_pugh"] is None, "the difference of hidden counts would be an equation for them"
    for level in hidden:
        shown = [by_class.get((f"patients_{k}", f"child_pugh={level}")) for k in ("absent", "present")]
        assert None in shown, "the classes do not add up to a hidden count"


def test_what_is_shown_leaves_every_small_count_open() -> None:
    """All tables of three levels with one small cell: a reader who solves the equations finds several solutions."""
    rng = np.random.default_rng(5)
    study = parse_study(STUDY + TABLE)
    part = next(p for p in described_variables(study, study.cohort("train")) if p.variable.name == "child_pugh")
    for _ in range(12):
        table = rng.integers(6, 30, size=(3, 2))
        table[rng.integers(3), rng.integers(2)] = rng.integers(1, 5)
        shown = _shown(Answers(part, levels=table.sum(axis=1), table=table), 5)
        assert shown.classes is not None
        cells = np.array(shown.classes, dtype=object).T
        found = set()
        for shift in range(-4, 5):
            for other in range(-4, 5):
                for i in range(3):
                    moved = table.copy()
                    moved[i] += (shift, other)
                    moved[(i + 1) % 3] -= (shift, other)
                    agrees = all(c is None or c == m for c, m in zip(cells.ravel(), moved.ravel(), strict=True))
                    whole = all(a is None or a == m for a, m in zip(shown.all_, moved.sum(axis=1), strict=True))
                    if agrees and whole and moved.min() >= 0:
                        found.add(tuple(moved[table < 5]))
        assert len(found) > 1


def test_a_few_patients_of_no_known_class_are_not_told_by_subtraction(tmp_path: Path) -> None:
    def unknown(rows: list[Row]) -> None:
        change(rows)
        rows[3]["mvi"] = ""

    made = make(tmp_path, dict.fromkeys("abcdef", change) | {"a": unknown}, study=NO_MODELS + TABLE, masked=True)
    found = conduct(made.study, made.port(), lambda _: None).results
    by_class = found.get("characteristics.train.mvi")
    assert not [e for e in by_class.estimates if e.value is not None]
    assert values(found.get("characteristics.train"))["known", "age"] == 180
