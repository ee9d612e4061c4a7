"""tests/common/study: what a protocol may say of gene expression; every contradiction is told with its line."""

from __future__ import annotations

import pytest

from common.errors import FedmviError
from common.study.fingerprint import preparation_fingerprint
from common.study.genomics import sequenced_sites, unversioned
from common.study.loader import parse_study

STUDY = """
[study]
name = "genes"
title = "Genes"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi_word"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "rna"
role = "genomics"
sites = ["a", "d", "e"]

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["afp", "age"]

[genomics]
genes = '''
G6PC1 ENSG00000131482 G6PC
PCK1  ENSG00000124253

FBP1
'''
scale = "counts"

[genomics.gene_sets]
file = "sets.gmt"
sha256 = "{sha}"
smallest = 2

[[genomics.comparisons]]
name = "by-group"
cohort = "rna"
group = "score.clinical"
covariates = ["age", "sex"]

[[genomics.comparisons]]
name = "by-mvi"
cohort = "rna"
group = "mvi"
""".replace("{sha}", "0" * 64)


def problems(old: str, new: str, times: int = 1) -> list[str]:
    assert old in STUDY
    with pytest.raises(FedmviError) as refused:
        parse_study(STUDY.replace(old, new, times))
    assert refused.value.number == 103
    return refused.value.local.removeprefix("study.toml: ").split("; ")


def line(text: str) -> int:
    return 1 + next(i for i, found in enumerate(STUDY.splitlines()) if text in found)


def test_genes_are_read_in_order_with_all_their_names() -> None:
    study = parse_study(STUDY)
    assert study.genomics is not None
    assert study.genomics.symbols == ("G6PC1", "PCK1", "FBP1")
    assert study.genomics.by_name["ENSG00000124253"] == "PCK1" and study.genomics.by_name["G6PC"] == "G6PC1"
    assert sequenced_sites(study) == {"a", "d", "e"}
    assert {"age", "sex"} <= set(study.variable_names()) and "mvi" not in study.variable_names()


def test_versions_of_ensembl_are_no_other_genes_and_copies_of_y_are() -> None:
    assert unversioned("ENSG00000131482.9") == "ENSG00000131482" == unversioned("ENSG00000131482")
    assert unversioned("ENSMUSG00000131482.12") == "ENSMUSG00000131482"
    assert unversioned("ENSG00000002586.20_PAR_Y") == "ENSG00000002586.20_PAR_Y"
    assert unversioned("RP11-34P13.7") == "RP11-34P13.7"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("FBP1", "FBP1 G6PC", "'G6PC' is in the list twice, as gene 1 and as gene 3"),
        ("FBP1", "FBP1|2203", "gene 3 of the list: 'FBP1|2203' is no name of a gene"),
        ("ENSG00000124253", "ENSG00000124253.4", "gene 2 of the list: write 'ENSG00000124253', without the version"),
        ("PCK1  ENSG00000124253\n\nFBP1\n", "", "a gene a line, at least two"),
    ],
)
def test_a_bad_list_of_genes_is_told_by_the_gene(old: str, new: str, sentence: str) -> None:
    (found,) = problems(old, new)
    assert found == f"line {line('genes = ')}: genomics.genes: {sentence}"


@pytest.mark.parametrize(
    ("old", "new", "at", "sentence"),
    [
        ('"by-mvi"', '"by-group"', '"by-mvi"', "comparisons[2].name: 'by-group' is declared twice"),
        ('cohort = "rna"\ngroup = "mvi"', 'cohort = "train"\ngroup = "mvi"', 'group = "mvi"',
         "comparisons[2].cohort: 'train' is not a cohort with the role genomics"),
        ('group = "mvi"', 'group = "nobody"', 'group = "mvi"',
         "comparisons[2].group: 'nobody' is neither a score, nor an endpoint of the study, nor a variable"),
        ('group = "mvi"', 'group = "age"', 'group = "mvi"', "'age' is not binary: two groups are compared"),
        ('group = "mvi"', 'group = "child_pugh"', 'group = "mvi"', "'child_pugh' is not binary"),
        ('"score.clinical"', '"score.radiomics"', '"score.clinical"', "'radiomics' is no model, choice or network"),
        ('group = "mvi"', 'group = "mvi"\nby = "score"', 'group = "mvi"', "'mvi' is no score"),
        ('["age", "sex"]', '["age", "age"]', '["age", "sex"]', "'age' is named twice"),
        ('["age", "sex"]', '["mvi"]', '["age", "sex"]', "'mvi' is an endpoint"),
        ('["age", "sex"]', '["child_pugh"]', '["age", "sex"]', "'child_pugh' has more than two levels"),
        ('["age", "sex"]', '["score.clinical"]', '["age", "sex"]', "'score.clinical' is the group itself"),
        ('["age", "sex"]', '["shoes"]', '["age", "sex"]', "'shoes' is neither in the dictionary nor in [[variables]]"),
        ("smallest = 2", "smallest = 4", "smallest = 2", "no set has 4 genes or more and at most 500, of 3 genes"),
    ],
)  # fmt: skip
def test_contradictions_are_told_with_their_lines(old: str, new: str, at: str, sentence: str) -> None:
    found = problems(old, new)
    assert any(sentence in one for one in found)
    told = next(one for one in found if sentence in one)
    number = int(told.split(":")[0].removeprefix("line "))
    header = line("[genomics.gene_sets]")
    assert abs(number - line(at)) <= 1 or number == header


def test_what_is_compared_and_how_decides_what_is_prepared() -> None:
    def fingerprint(old: str = "", new: str = "") -> str:
        return preparation_fingerprint(parse_study(STUDY.replace(old, new, 1)))

    same = fingerprint()
    assert fingerprint('name = "by-mvi"', 'name = "other"') == same
    assert fingerprint("smallest = 2", "smallest = 3") == same
    assert fingerprint("FBP1", "HK2") != same
    assert fingerprint('scale = "counts"', 'scale = "tpm"') != same
    assert fingerprint('sites = ["a", "d", "e"]', 'sites = ["a", "d", "f"]') != same
