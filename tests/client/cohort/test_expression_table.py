"""tests/client/cohort: a hospital's gene expression becomes the study's genes, and every problem of it is found."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.cohort.check import check_site
from client.cohort.site import load_site
from client.cohort.store import load_prepared, store_digest
from client.preparation.prepare import UnfitDataError, prepare
from client.release.differencing import Register
from common.errors import FedmviError, Severity
from common.study.loader import parse_study
from tests.client.cohort.conftest import STUDY, MakeSite
from tests.client.cohort.genes import (
    GENES,
    GENOMICS,
    PATIENTS,
    as_text,
    counts,
    ensembl,
    genomic_study,
    named,
    per_million,
    read,
    told,
    write,
)  # fmt: skip
from tests.public_data import public


@pytest.fixture
def folder(make_site: MakeSite) -> Path:
    return make_site(n=60).folder


def test_the_studys_genes_are_in_its_order_and_libraries_count_everything(folder: Path) -> None:
    values = counts()
    write(folder, as_text(named(), PATIENTS[::-1], values[:, ::-1]))
    table, problems = read(folder, genomic_study())
    assert table is not None and table.genes == GENES
    assert np.array_equal(table.values, values[len(GENES) - 1 :: -1].T)
    assert np.array_equal(table.library, values.sum(axis=0))
    assert told(problems) == {(220, "NOTE", 0, "")}


def test_names_are_symbols_or_ensembl_identifiers_of_any_version_or_both(folder: Path) -> None:
    values, study = counts(), genomic_study()
    write(folder, as_text(named(), PATIENTS, values))
    wanted, _ = read(folder, study)
    versioned = tuple(f"{ensembl(name)}.{i}" if name in GENES else name for i, name in enumerate(named()))
    write(folder, as_text(versioned, PATIENTS, values))
    by_id, _ = read(folder, study)
    # Two columns of names; the symbol counts where the study does not know the identifier.
    half = tuple(
        f"{ensembl(name) if i % 2 and name in GENES else 'ENSG99999999999'},{name}" for i, name in enumerate(named())
    )
    write(folder, as_text(half, PATIENTS, values).replace("gene,", "gene_id,symbol,", 1))
    by_both, _ = read(folder, study)
    for other in (by_id, by_both):
        assert wanted is not None and other is not None and np.array_equal(wanted.values, other.values)


@pytest.mark.parametrize("head", ["", '"",', None])
def test_tables_as_r_writes_them_are_read(head: str | None, folder: Path) -> None:
    """`write.csv` has an empty header above the names, `write.table` none; both quote."""
    values = counts()
    text = as_text(tuple(f'"{name}"' for name in named()), tuple(f'"{p}"' for p in PATIENTS), values)
    write(folder, text.replace("gene,", "," if head is None else head, 1))
    table, problems = read(folder, genomic_study())
    assert table is not None and table.values[0, 0] == values[len(GENES) - 1, 0]
    assert {p.severity for p in problems} == {Severity.NOTE}


def test_csv_tsv_parquet_and_h5ad_of_one_matrix_are_one_store(folder: Path) -> None:
    anndata = pytest.importorskip("anndata")
    import pandas as pd
    import scipy.sparse

    study, values = genomic_study(), counts()
    write(folder, as_text(named(), PATIENTS, values))
    write(folder, as_text(named(), PATIENTS, values, "\t"), "x.tsv")
    columns = {"gene": pa.array(named())} | {p: pa.array(values[:, i].astype(int)) for i, p in enumerate(PATIENTS)}
    pq.write_table(pa.table(columns), folder / "x.parquet")
    pd.DataFrame(values, index=list(named()), columns=list(PATIENTS)).to_parquet(folder / "y.parquet")
    obs, var = pd.DataFrame(index=list(PATIENTS)), pd.DataFrame(index=list(named()))
    anndata.AnnData(values.T, obs, var).write_h5ad(folder / "x.h5ad")
    ids = pd.DataFrame(
        {"gene_ids": [ensembl(n) if n in GENES else n for n in named()]}, index=[f"v{i}" for i in range(100)]
    )
    anndata.AnnData(scipy.sparse.csr_matrix(values.T.astype(np.float32)), obs, ids).write_h5ad(folder / "y.h5ad")
    digests = set()
    for plain in ("expression.csv", "x.tsv"):
        (folder / f"{plain}.gz").write_bytes(gzip.compress((folder / plain).read_bytes()))
    packed = ("expression.csv.gz", "x.tsv.gz")
    for file in ("expression.csv", "x.tsv", *packed, "x.parquet", "y.parquet", "x.h5ad", "y.h5ad"):
        (folder / "site.toml").write_text(f'[site]\nname = "a"\n[tables]\nexpression = "{file}"\n')
        digests.add(prepare(load_site(folder), study).digest)
    assert len(digests) == 1


def test_patients_without_rna_are_nan_and_strangers_are_named(make_site: MakeSite) -> None:
    site, study = make_site(n=60), genomic_study()
    values = counts(patients=4)
    write(site.folder, as_text(named(), ("p3", "lab-17", "p9", "p0"), values))
    problems = {p.number: p for p in check_site(site.folder, study)}
    assert problems[216].severity is Severity.WARNING and "'lab-17'" in problems[216].local
    assert problems[222].severity is Severity.NOTE and problems[222].local == "57 of 60 patients"
    assert problems[403].severity is Severity.WARNING
    prepare(site, study)
    expression = load_prepared(site, study).expression
    assert expression is not None
    there = ~np.isnan(expression.library)
    assert np.flatnonzero(there).tolist() == [0, 3, 9]
    assert np.array_equal(~np.isnan(expression.values).any(axis=1), there)
    assert np.array_equal(expression.values[[3, 9, 0], 0], values[len(GENES) - 1, [0, 2, 3]])
    write(site.folder, as_text(named(), ("A", "B", "C", "D"), values))
    assert (216, "ERROR", 1, "") in told(check_site(site.folder, study))


def test_one_who_withdrew_is_as_if_never_in_the_file(make_site: MakeSite) -> None:
    site, study = make_site(n=60), genomic_study()
    values = counts()
    values[7, 3] = -1  # of p3
    write(site.folder, as_text(named(), PATIENTS, values))
    assert 325 in {p.number for p in check_site(site.folder, study)}
    (site.folder / "withdrawn.csv").write_text("patient_id,date\np3,2026-01-05\n")
    problems = check_site(site.folder, study)
    assert not {216, 325} & {p.number for p in problems} and "p3" not in " ".join(p.local for p in problems)
    prepare(site, study)
    table = load_prepared(site, study)
    assert (
        "p3" not in table.patients and table.expression is not None and table.n == len(table.expression.library) == 59
    )
    kept = [p for p in PATIENTS if p != "p3"]
    assert np.array_equal(table.expression.library[:39], values[:, [PATIENTS.index(p) for p in kept]].sum(axis=0))


def test_every_problem_of_a_bad_file_is_found_in_one_pass(folder: Path) -> None:
    names, values = list(named()), counts()
    cells = as_text(tuple(names), PATIENTS, values).splitlines()
    rows = [line.split(",") for line in cells]
    rows[0][5] = "p1"  # twice, and p4 not at all
    rows[3][2], rows[3][7] = "NA", "n/a"
    rows[4][3] = "1_000"
    rows[5][3] = "-3"
    rows[6][0] = rows[5][0]
    rows[7][0] = ensembl(rows[8][0]) + ".4"
    rows[45][0], rows[46][0] = "1-Mar", "A1BG (1)"
    rows[47][0] = rows[48][0]
    rows.append(["__no_feature", *["100000"] * len(PATIENTS)])
    rows[50].append("9")
    for row in rows[1:]:
        row[30] = "0" if row is not rows[50] else row[30]
    write(folder, "\n".join(map(",".join, rows)) + "\n")
    _, problems = read(folder, genomic_study())
    assert told(problems) == {
        (206, "ERROR", 51, ""),
        (208, "ERROR", 1, "p1"),
        (218, "ERROR", 7, ""),
        (218, "ERROR", 9, ""),
        (324, "ERROR", 4, "p1"),
        (324, "ERROR", 5, "p2"),
        (325, "ERROR", 6, "p2"),
        (328, "ERROR", 0, "p29"),
        (219, "WARNING", 46, ""),
        (217, "WARNING", 47, ""),
        (218, "NOTE", 49, ""),
        (220, "NOTE", 0, ""),
        (221, "NOTE", 102, ""),
    }
    assert [p.severity for p in problems] == sorted((p.severity for p in problems), reverse=True)
    words = {p.number: p.local for p in problems if p.number != 218}
    assert "'NA', and 1 more in the row" in words[324] or "'1_000'" in words[324]
    assert "38 of the study's 40" in words[220]


@pytest.mark.parametrize(
    ("scale", "change", "numbers"),
    [
        ("counts", per_million, {326}),
        ("counts", lambda v: np.round(per_million(v)), {326}),
        ("counts", lambda v: np.log2(v + 1), {326}),
        ("counts", lambda v: np.log2(v + 1) - 8, {325, 326}),
        ("counts", lambda v: v + 0.25, {326}),
        ("counts", lambda v: np.column_stack([per_million(v)[:, :3], v[:, 3:]]), {327}),
        ("counts", lambda v: v, set()),
        ("tpm", lambda v: v, {326}),
        ("tpm", lambda v: np.log2(per_million(v) + 1), {326}),
        ("tpm", lambda v: np.column_stack([per_million(v)[:, :30], v[:, 30:]]), {327}),
        ("tpm", lambda v: 0.7 * per_million(v), {329}),
        ("tpm", lambda v: np.column_stack([per_million(v)[:, :30], per_million(v)[:, 30:] / 100]), {327}),
        ("tpm", per_million, set()),
        ("tpm", lambda v: np.round(per_million(v)), set()),
    ],
)  # fmt: skip
def test_another_scale_or_a_mixture_is_recognised(scale: str, change: object, numbers: set[int], folder: Path) -> None:
    write(folder, as_text(named(), PATIENTS, change(counts())))  # type: ignore[operator]
    _, problems = read(folder, genomic_study(scale))
    assert {p.number for p in problems if p.severity is not Severity.NOTE} == numbers


@pytest.mark.parametrize(
    ("kept", "severity"), [(40, Severity.NOTE), (37, Severity.NOTE), (30, Severity.WARNING), (0, Severity.ERROR)]
)
def test_losses_are_told_and_weighed(kept: int, severity: Severity, folder: Path) -> None:
    names = tuple(name if name not in GENES[kept:] else f"X{name}" for name in named())
    write(folder, as_text(names, PATIENTS, counts()))
    table, problems = read(folder, genomic_study())
    (problem,) = (p for p in problems if p.number == 220)
    assert problem.severity is severity and problem.facts == {"lacking": 40 - kept, "genes": 40}
    assert table is not None and np.array_equal(~table.values.any(axis=0), np.arange(40) >= kept)


@pytest.mark.parametrize(
    ("file", "content", "number"),
    [
        ("expression.xlsx", b"PK", 215),
        ("expression.parquet", b"PAR1 nonsense PAR1", 215),
        ("expression.h5ad", b"\x89HDF nonsense", 215),
        ("expression.csv.gz", b"gene,p1,p2\nGENE1,1,2\n", 215),
        ("expression.csv.gz", gzip.compress(b"gene,p1,p2\n" * 99, mtime=0)[:-12], 215),
        ("expression.csv.gz", gzip.compress(b"gene,p1\nG\xe9ne,3\n", mtime=0), 205),
        ("expression.parquet.gz", b"", 215),
        ("expression.csv", b"p1,p2,p3\n1,2,3\n", 215),
        ("expression.csv", b"gene;p1;p2\nGENE1;1;2\n", 215),
        ("expression.csv", b"gene,p1,p2\n", 215),
        ("expression.csv", b"", 215),
        ("expression.csv", b"gene,p1\nG\xe9ne,3\n", 205),
        ("elsewhere.csv", None, 204),
    ],
)
def test_what_is_no_table_of_genes_has_one_number(file: str, content: bytes | None, number: int, folder: Path) -> None:
    (folder / "site.toml").write_text(f'[site]\nname = "a"\n[tables]\nexpression = "{file}"\n')
    if content is not None:
        (folder / file).write_bytes(content)
    table, problems = read(folder, genomic_study())
    assert table is None and [p.number for p in problems] == [number]


def test_a_packed_file_that_unpacks_to_more_than_any_table_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "site.toml").write_text('[site]\nname = "a"\n[tables]\nexpression = "expression.csv.gz"\n')
    text = as_text(named(), PATIENTS, counts()).encode()
    (folder / "expression.csv.gz").write_bytes(gzip.compress(text))
    monkeypatch.setattr("client.cohort.expression_files.MOST_UNPACKED", len(text))
    assert read(folder, genomic_study())[0] is not None
    monkeypatch.setattr("client.cohort.expression_files.MOST_UNPACKED", len(text) - 1)
    table, (problem,) = read(folder, genomic_study())
    assert table is None and problem.number == 215 and "unpacked" in problem.local


def test_an_h5ad_of_anything_but_numbers_is_refused(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    (folder / "site.toml").write_text('[site]\nname = "a"\n[tables]\nexpression = "x.h5ad"\n')
    obs, var = pd.DataFrame(index=list(PATIENTS)), pd.DataFrame(index=list(named()))
    anndata.AnnData(counts().T, obs, var).write_h5ad(folder / "x.h5ad")
    with h5py.File(folder / "x.h5ad", "a") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=np.full((40, 100), b"cos\nsystem\n(S'true'\ntR."))
        file["X"].attrs.update(attributes)
    table, problems = read(folder, genomic_study())
    assert table is None and [p.number for p in problems] == [215]


def test_a_changed_expression_file_is_noticed_and_nothing_else_is_prepared_again(make_site: MakeSite) -> None:
    site, study = make_site(n=60), genomic_study()
    values = counts()
    write(site.folder, as_text(named(), PATIENTS, values))
    first = prepare(site, study)
    assert first.fresh and not prepare(site, study).fresh
    values[99, 0] += 1  # of another gene: only a library changes
    write(site.folder, as_text(named(), PATIENTS, values))
    with pytest.raises(FedmviError, match="212"):
        load_prepared(site, study)
    again = prepare(site, study)
    assert again.fresh and again.digest != first.digest and again.digest == store_digest(site, study)
    (first.folder / "expression.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(FedmviError, match="212"):
        load_prepared(site, study)
    assert prepare(site, study).fresh
    (first.folder / "expression.parquet").unlink()
    with pytest.raises(FedmviError, match="212"):
        load_prepared(site, study)


def test_bad_expression_stops_the_preparation(make_site: MakeSite) -> None:
    site = make_site(n=60)
    write(site.folder, as_text(named(), PATIENTS, np.log2(counts() + 1)))
    with pytest.raises(UnfitDataError) as refused:
        prepare(site, genomic_study())
    assert refused.value.number == 326


def test_a_study_that_compares_no_expression_here_reads_none(make_site: MakeSite) -> None:
    site = make_site(n=60)
    write(site.folder, "no table")
    elsewhere = GENOMICS.format(genes="GENE1\nGENE2", scale="counts").replace('["a", "b", "c"]', '["d", "e", "f"]')
    for study in (parse_study(STUDY), parse_study(STUDY + elsewhere)):
        prepare(site, study)
        assert load_prepared(site, study).expression is None


def test_the_tumours_and_livers_of_tcga_are_read_as_they_were_published(folder: Path) -> None:
    """Symbols with Entrez numbers behind them, an empty first header, points for dashes in ids: 19,442 genes."""
    with gzip.open(public("tcga_lihc/LIHC_tpm_5pairs.csv.gz"), "rt", encoding="utf-8") as file:
        text = file.read()
    patients = text.splitlines()[0].split(",")[1:]
    for i, barcode in enumerate(patients):
        text = text.replace(barcode, f"p{i}", 1)
    write(folder, text)
    genes = ("G6PC", "PCK1", "FBP1", "ALDOA", "HK2", "SLC2A1")
    lines = "\n".join(f"{gene} {gene}9" for gene in genes)
    table, problems = read(folder, parse_study(STUDY + GENOMICS.format(genes=lines, scale="tpm")))
    assert {p.number for p in problems if p.severity is not Severity.NOTE} == set()
    assert table is not None
    tumour, liver = np.log2(table.values[:5] + 1).mean(axis=0), np.log2(table.values[5:10] + 1).mean(axis=0)
    assert (tumour - liver > 0).tolist() == [False, False, False, True, True, True]
    assert np.isnan(table.library[10:]).all() and np.allclose(table.library[:10], 1e6, rtol=1e-3)
    _, problems = read(folder, parse_study(STUDY + GENOMICS.format(genes=lines, scale="counts")))
    assert 326 in {p.number for p in problems}


def test_a_corrected_count_is_a_corrected_patient_for_the_differencing_ledger(make_site: MakeSite) -> None:
    """Else two runs over the same patients would give, by subtraction, what one patient's count was before."""
    site, study, values = make_site(n=60), genomic_study(), counts()
    write(site.folder, as_text(named(), PATIENTS, values))
    prepare(site, study)
    before = Register(site, load_prepared(site, study)).all
    assert before.difference(Register(site, load_prepared(site, study)).all) == 0
    values[3, 7] += 1
    write(site.folder, as_text(named(), PATIENTS, values))
    prepare(site, study)
    assert before.difference(Register(site, load_prepared(site, study)).all) == 1


def test_an_h5ad_without_its_library_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "site.toml").write_text('[site]\nname = "a"\n[tables]\nexpression = "x.h5ad"\n')
    (folder / "x.h5ad").write_bytes(b"")
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "anndata" else there(name))
    _, (problem,) = read(folder, genomic_study())
    assert problem.number == 804 and "fedmvi[genomics]" in problem.do
