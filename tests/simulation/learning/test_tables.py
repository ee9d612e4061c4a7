"""simulation: learning: the tables beside drawn stacks have what a study asks for, and grades decide all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FedmviError
from common.study.loader import load_study, parse_study
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.learning.tables import draw_tables
from simulation.shipped import shipped_study

MRI = shipped_study(Path("mri-deep-learning")).read_text(encoding="utf-8")


def test_a_study_of_networks_alone_has_its_endpoints_and_nothing_else() -> None:
    tables = draw_tables(load_study(shipped_study(Path("demo-network"))), 1, 20)
    assert {tuple(table.cells) for table in tables.values()} == {("patient_id", "mvi", "mvi_grade")}
    assert all(table.classes == {"M0": 10, "M1": 6, "M2": 4} for table in tables.values())


def test_clinical_columns_and_follow_up_go_with_the_grades_in_the_words_of_the_study() -> None:
    study = parse_study(MRI.replace('positive = ["1"]\nnegative = ["0"]', 'positive = ["dead"]\nnegative = ["alive"]'))
    tables = draw_tables(study, 1, 200)
    above: dict[str, list[bool]] = {"absent": [], "present": []}
    for site, table in tables.items():
        cells = table.cells
        assert [cell == "present" for cell in cells["mvi"]] == [grade > 0 for grade in table.grades.values()]
        assert set(cells["cohort"]) == {c.label for c in study.cohorts if site in c.sites}
        assert set(cells["rfs_event"]) == {"dead", "alive"}
        for mvi, afp in zip(cells["mvi"], cells["afp"], strict=True):
            above[mvi].append(float(afp) > 20)
    shares = {mvi: sum(found) / len(found) for mvi, found in above.items()}
    # Published: 52 of 136 and 125 of 185; 600 draws of each, and hospitals differ.
    assert shares == {"absent": pytest.approx(52 / 136, abs=0.12), "present": pytest.approx(125 / 185, abs=0.12)}
    assert draw_tables(study, 1, 200) == tables != draw_tables(study, 2, 200)


def test_a_column_that_cannot_be_drawn_is_refused_before_anything_is(tmp_path: Path) -> None:
    study = parse_study(MRI.replace('  "sex",\n  "afp", #', '  "child_pugh",\n  "afp", #'))
    with pytest.raises(FedmviError, match="815") as refused:
        make_learning_hospitals(tmp_path / "sites", study, Drawing(seed=1))
    assert "child_pugh" in refused.value.local
    assert not (tmp_path / "sites").exists()
