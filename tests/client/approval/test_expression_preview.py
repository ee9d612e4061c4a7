"""tests/client/approval: what a study asks of genes is shown before it is asked, and all of it passes the gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.approval.examples import example, modes_of
from client.approval.preview import preview
from client.approval.subjects import subjects_of
from client.cohort.site import load_site
from client.release.expression_scope import ASKED
from client.release.gate import Gate
from common.federation.query import Mode, Query
from common.study.loader import parse_study
from tests.disclosure.expressed import GENOMIC, sequenced

STUDIES = {
    "total": GENOMIC,
    "effective": GENOMIC.replace('libraries = "total"', 'libraries = "effective"'),
    "tpm": GENOMIC.replace('libraries = "total"', 'libraries = "total"\nscale = "tpm"'),
}


@pytest.mark.parametrize("kind", STUDIES)
def test_every_question_of_genes_has_an_example_that_the_gate_takes(kind: str, tmp_path: Path) -> None:
    made = sequenced(tmp_path)
    study, policy = parse_study(STUDIES[kind]), load_site(made.folders["d"]).policy
    gate, shown = Gate.of(policy, study), set()
    for subject in subjects_of(study):
        for name in subject.questions if subject.part.startswith("gene expression") else ():
            for mode in (mode for mode in modes_of(name) if mode in subject.modes):
                ask = example(name, mode, subject, study)
                assert isinstance(ask.question, Query) and ask.question.consistent()
                gate.admit(ask, ("d", "e", "f"))
                shown.add((name, mode))
    all_of_them = {kind.name for kind in Query.registry.values() if issubclass(kind, ASKED)}
    lacking = all_of_them - {name for name, _ in shown}
    scaling = {"query.zero_counts", "query.log_counts", "query.library_logs"}
    weighing = {"query.weight_counts", "query.weighted_products", "query.weighted_residuals"}
    assert lacking == {"total": scaling, "effective": set(), "tpm": scaling | weighing}[kind]


def test_a_hospital_sees_what_of_its_genes_would_leave_and_what_its_policy_keeps(tmp_path: Path) -> None:
    made = sequenced(tmp_path)
    site = load_site(made.folders["d"])
    told = [one for one in preview(site, made.study).releases if one.part.startswith("gene expression")]
    assert {one.cohort for one in told} == {"rna"} and all(one.closed and not one.refused for one in told)
    strict = site.model_copy(update={"policy": site.policy.model_copy(update={"release_alone": False})})
    own = [
        one.refused
        for one in preview(strict, made.study).releases
        if one.part.startswith("gene expression") and one.mode == Mode.EACH.value
    ]
    assert own and set(own) == {408}
