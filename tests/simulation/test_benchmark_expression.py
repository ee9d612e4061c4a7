"""simulation: the benchmark of gene expression draws what it says, and counts false and true finds as it says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import hypergeom, norm
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from common.federation.runner import conclude
from common.statistics.expression import expression
from common.study.genomics import LIBRARY, gene_columns
from common.study.recipe import Recipe
from common.terminal import EXIT_PROBLEMS
from simulation.benchmarks.expression import scenarios as s
from simulation.benchmarks.expression import studying
from simulation.benchmarks.expression.drawing import NAMES, draw_counts, draw_patients, null_sets
from simulation.benchmarks.expression.figures import Campaign, Judged, Mean
from simulation.benchmarks.expression.studying import Found, Studied, fitted, one_study
from simulation.cli import app
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from simulation.views import COHORT, federation_of

NOTHING = dict.fromkeys(s.EFFECTS, 0)


def found(false: int = 0, true: int = 0) -> Found:
    return Found((2000, 90), false + true, false, 0, {**NOTHING, s.EFFECTS[-1]: true})


def studied(seed: int, one: Found) -> Studied:
    return Studied(seed, 35, {scenario.name: one for scenario in s.SCENARIOS})


# --------------------------------------------------------------------------------------------- what is drawn


def test_every_hospital_has_patients_in_both_groups_however_they_are_grouped_and_predictors_err_as_declared() -> None:
    for patients in s.SIZES:
        assert sum(s.sites_of(patients)) == patients
        drawn = draw_patients(3, patients)
        assert np.bincount(drawn.site).tolist() == list(s.sites_of(patients))
        for group in drawn.groups.values():
            ones = np.bincount(drawn.site, weights=group)
            assert np.minimum(ones, np.bincount(drawn.site) - ones).min() >= s.LEAST_IN_GROUP
    many = [draw_patients(seed, 140) for seed in range(40)]
    for grouping in s.GROUPINGS[1:]:
        assert grouping.auc is not None
        mvi, called = (np.concatenate([d.groups[name] for d in many]) for name in (s.TRUE.name, grouping.name))
        right = norm.cdf(norm.ppf(grouping.auc) / np.sqrt(2.0))
        assert np.mean(mvi == called) == pytest.approx(right, abs=0.02)
        assert roc_auc_score(mvi, called) == pytest.approx(right, abs=0.02), "of the two groups, not of the score"


def test_only_declared_genes_differ_and_factors_make_genes_of_a_block_go_together() -> None:
    people = draw_patients(5, 1400)
    for correlated in (False, True):
        drawn = draw_counts(5, people, signal=True, correlated=correlated)
        assert {n for n, c in zip(NAMES, drawn.change, strict=True) if c} <= set(GLUCOSE_METABOLISM)
        sizes, often = np.unique(np.abs(drawn.change[drawn.change != 0]), return_counts=True)
        assert (sizes.tolist(), set(often.tolist())) == (list(s.EFFECTS), {s.PER_EFFECT})
        assert drawn.change.sum() == 0.0, "as much up as down"
        zeros = (drawn.counts == 0).mean(axis=0)
        assert zeros[drawn.zero_heavy].mean() == pytest.approx(s.ZERO_SHARE, abs=0.02)
        logs = np.log(drawn.counts / drawn.counts.sum(axis=1, keepdims=True) + 1e-6)
        logs -= np.array([logs[people.site == k].mean(axis=0) for k in range(4)])[people.site]
        plain = (drawn.change == 0) & ~drawn.zero_heavy
        correlation = np.corrcoef(logs[:, 100:150][:, plain[100:150]].T)
        within = correlation[np.triu_indices_from(correlation, 1)].mean()
        assert (within > 0.15) == correlated, within


def test_sets_of_nothing_hold_no_gene_of_the_pathway() -> None:
    for sets in null_sets(1).values():
        assert len(sets) == s.SETS
        assert all(not set(genes) & set(GLUCOSE_METABOLISM) and set(genes) <= set(NAMES) for genes in sets.values())


# --------------------------------------------------------------------------------------------- what is asked


def test_a_campaign_gets_what_the_federation_would_answer() -> None:
    people = draw_patients(2, 35)
    drawn = draw_counts(2, people, signal=True, correlated=True)
    genes = gene_columns(NAMES)
    columns = {name: drawn.counts[:, g] for g, name in enumerate(genes)}
    columns |= people.groups | {LIBRARY: drawn.counts.sum(axis=1), "covariate": people.covariate}
    asked = expression(
        COHORT, Recipe(), genes, (s.PREDICTED.name, "covariate"), least=s.LEAST_PER_MILLION, found=s.FOUND_IN
    )
    federated = conclude(federation_of(columns, {}, people.site, masked=True), [asked])[0].fit
    (ours,) = fitted(drawn, [s.PREDICTED.name])
    assert ours.genes == federated.genes
    assert np.abs(ours.t_ - federated.t_).max() < 1e-9


def test_genes_that_differ_are_found_in_a_large_study_and_a_covariate_does_not_pass_for_the_group() -> None:
    rows = one_study(4, 140, enriched=False)
    true = rows["true MVI, independent genes"]
    assert true.true[1.5] == s.PER_EFFECT and true.true[1.0] >= s.PER_EFFECT - 2
    assert true.sensitivity > rows[f"{s.PREDICTED.name}, independent genes"].sensitivity
    for name, row in rows.items():
        assert row.false + sum(row.true.values()) == row.discoveries
        assert row.proportion <= 0.3, name
    people = draw_patients(4, 140)
    with_covariate = draw_counts(4, people, signal=False, correlated=False)
    (adjusted,) = fitted(with_covariate, [s.TRUE.name])
    (blind,) = fitted(replace(with_covariate, patients=replace(people, covariate=np.arange(140.0) % 7)), [s.TRUE.name])
    assert np.square(blind.t_).mean() > 1.15 * np.square(adjusted.t_).mean()


def test_over_representation_in_a_study_is_the_hypergeometric_tail() -> None:
    people = draw_patients(6, 140)
    (fit,) = fitted(draw_counts(6, people, signal=True, correlated=False), [s.TRUE.name])
    called = {g for g, p in zip(fit.genes, fit.adjusted_p_, strict=True) if p < s.LEVEL}
    inside = {f"gene.{g}" for g in GLUCOSE_METABOLISM} & set(fit.genes)
    tail = hypergeom.sf(len(called & inside) - 1, len(fit.genes), len(inside), len(called))
    assert tail < 1e-6 and studying._sets(fit, 6).pathway[1]


# --------------------------------------------------------------------------------------------- how it is judged


def test_a_mean_beyond_its_bound_fails_the_campaign_and_the_worst_scenario_is_told() -> None:
    calm = Campaign(tuple(studied(seed, found(true=10)) for seed in range(30)))
    assert calm.passed and calm.report()["false_discovery_proportion"] == 0.0
    wild = Campaign(tuple(studied(seed, found(false=seed % 2, true=1)) for seed in range(30)))
    report = wild.report()
    assert not wild.passed and not report["pass"]
    assert report["false_discovery_proportion"] == pytest.approx(0.25)
    assert report["false_discovery_bound"] < report["false_discovery_proportion"]
    assert report["sensitivity_true"] == pytest.approx(1 / 30)
    failed = Campaign((*calm.studied, Studied(99, 35, {}, "FEDMVI-601")))
    assert not failed.passed and failed.report()["errors"] == {"99, 35 patients": "FEDMVI-601"}


def test_the_bound_is_the_level_and_two_standard_errors_of_the_mean() -> None:
    values = [0.0] * 90 + [1.0] * 10
    judged = Judged("nothing differs", 35, Mean.of(values))
    error = np.std(values, ddof=1) / 10.0
    assert judged.bound == pytest.approx(0.05 + 2 * error)
    assert judged.met == (judged.bound >= 0.1)


def test_a_few_studies_keep_to_the_rate_and_the_command_says_so() -> None:
    done = CliRunner().invoke(
        app,
        [
            "benchmark",
            "expression",
            "--studies",
            "6",
            "--patients",
            "35",
            "--enriched",
            "1",
            "--workers",
            "1",
            "--json",
        ],
    )
    report = json.loads(done.stdout)
    assert done.exit_code == (0 if report["pass"] else EXIT_PROBLEMS)
    assert report["errors"] == {} and report["studies"] == 6 and report["patients"] == 35
    assert report["false_discovery_proportion"] <= report["false_discovery_bound"]
    assert report["sensitivity_true"] >= report["sensitivity_predicted"]
    assert set(report["sizes"]["35"]["scenarios"]) == {scenario.name for scenario in s.SCENARIOS}
