"""tests/client/approval: what a hospital is told of gene expression before it agrees, and what it sees of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.approval.telling import tell
from client.cohort.site import load_site
from client.describing.describe import describe_site
from client.preparation.prepare import prepare
from tests.client.cohort.conftest import as_csv, clean_row
from tests.client.cohort.genes import PATIENTS, as_text, counts, genomic_study, named, write


def hospital(folder: Path, n: int = 60) -> Any:
    (folder / "patients.csv").write_text(as_csv([clean_row(i) for i in range(n)]))
    (folder / "site.toml").write_text('[site]\nname = "a"\n')
    (folder / "site.secret").write_text("5e" * 32)
    return load_site(folder)


def test_a_hospital_is_told_which_genes_are_read_and_what_of_them_leaves(tmp_path: Path) -> None:
    site, study = hospital(tmp_path), genomic_study()
    values = counts()
    values[5] = 0  # of GENE35
    write(tmp_path, as_text(named(), PATIENTS, values))
    prepare(site, study)
    told = tell(site, study)
    assert dict(told.uses)["Gene expression"] == "40 genes, counts of reads; they stay"
    assert any("Of 40 genes, sums over the sites" in line for line in told.leaves)
    assert any("all 40 genes" in line and "not allowed" in line for line in told.leaves)
    assert "Gene expression of single patients, and the size of their libraries." in told.stays


def test_the_description_counts_patients_with_rna_and_names_silent_genes(tmp_path: Path) -> None:
    site, study = hospital(tmp_path), genomic_study()
    values = counts()
    values[5] = 0
    write(tmp_path, as_text(named(), PATIENTS, values))
    found, page = describe_site(site, study, None)
    assert found.study is not None and found.study.expression is not None and page is not None
    expression = found.study.expression
    assert expression.silent == ("GENE35",) and not expression.unread
    (cohort,) = expression.cohorts
    library = values.sum(axis=0)
    assert (cohort.patients, cohort.with_rna) == (60, 40)
    assert (cohort.libraries[0], cohort.libraries[2]) == (library.min(), library.max())
    text = page.read_text()
    assert "40 of 60 patients have gene expression" in text and "GENE35" in text
    write(tmp_path, "nothing")
    found, _ = describe_site(site, study, None)
    assert found.study is not None and found.study.expression is not None and found.study.expression.unread
