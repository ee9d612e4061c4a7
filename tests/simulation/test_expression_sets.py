"""simulation: the shipped study of gene expression asks for the genes and sets that its simulated hospitals have."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.errors import FedmviError
from common.study.contradictions import contradictions
from common.study.loader import load_study
from simulation.cli import DEMO_SEED, app
from simulation.cohorts.consortium import load_consortium
from simulation.cohorts.expression import gene_truth
from simulation.cohorts.gene_lists import LARGEST, NULL_SETS, SMALLEST, gene_list, gmt, null_sets
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from simulation.shipped import shipped_study
from tests.public_data import public

CONSORTIUM = load_consortium("radiogenomics")


def test_the_study_lists_the_genes_that_its_hospitals_measure_and_the_file_of_sets_that_is_shipped() -> None:
    path = shipped_study(Path("radiogenomics"))
    study = load_study(path)
    assert study.genomics is not None and study.genomics.gene_sets is not None
    assert study.genomics.symbols == gene_list(CONSORTIUM)
    shipped = (path.parent / study.genomics.gene_sets.file).read_bytes()
    assert shipped == gmt(CONSORTIUM, DEMO_SEED).encode()
    assert hashlib.sha256(shipped).hexdigest() == study.genomics.gene_sets.sha256
    assert contradictions(study) == []
    assert (resources.files("studies") / study.genomics.gene_sets.file).is_file(), "comes with the package"


@pytest.mark.parametrize("seed", [0, 1, 77])
def test_the_list_of_genes_is_the_same_whatever_the_seed_and_null_sets_hold_no_gene_that_differs(seed: int) -> None:
    truth = gene_truth(CONSORTIUM, seed)
    assert truth.genes == gene_list(CONSORTIUM)
    differing = set(truth.as_json()["associated"])  # type: ignore[call-overload]
    assert differing and differing <= set(GLUCOSE_METABOLISM)
    sets = null_sets(CONSORTIUM, seed)
    assert len(sets) == NULL_SETS
    sizes = [len(genes) for genes in sets.values()]
    assert (sizes[0], sizes[-1]) == (SMALLEST, LARGEST) and sizes == sorted(sizes)
    for genes in sets.values():
        assert len(set(genes)) == len(genes)
        assert not differing & set(genes) and set(genes) <= set(truth.genes)
    assert sets == null_sets(CONSORTIUM, seed) != null_sets(CONSORTIUM, seed + 1)


def test_the_pathway_of_the_shipped_sets_is_reactomes() -> None:
    reactome = public("genesets/ReactomePathways_2024-09-18.gmt").read_text(encoding="utf-8").splitlines()
    theirs = next(line.split("\t")[2:] for line in reactome if line.split("\t")[1] == "R-HSA-70326")
    name, about, *ours = gmt(CONSORTIUM, DEMO_SEED).splitlines()[0].split("\t")
    assert name == "Glucose metabolism" and "R-HSA-70326" in about
    assert sorted(gene for gene in theirs if gene) == sorted(ours)


def test_a_command_writes_both_files_for_a_study_of_ones_own(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["genes", "radiogenomics", "--out", str(tmp_path), "--json"])
    told = json.loads(done.stdout)
    assert tuple(Path(told["genes"]).read_text(encoding="utf-8").split()) == gene_list(CONSORTIUM)
    assert hashlib.sha256(Path(told["gene_sets"]).read_bytes()).hexdigest() == told["sha256"]
    with pytest.raises(FedmviError, match="829"):
        CliRunner().invoke(app, ["genes", "demo", "--out", str(tmp_path)], catch_exceptions=False)
