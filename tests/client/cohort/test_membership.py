"""tests/client/cohort: who is in a cohort depends on patients and the secret, on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cohort.membership import eligible, flow, members
from client.cohort.site import Site, SiteHead
from common.errors import FedmviError
from common.study.protocol import Cohort, Endpoint, Split, Study, StudyHead
from common.study.table import SiteTable


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    (folder / "site.secret").write_text("ab" * 32)
    return Site(site=SiteHead(name="a"), folder=folder)


def make_study(fractions: tuple[float, ...] = (0.3, 0.2), stratify: str | None = "mvi") -> Study:
    here = ("a", "b", "c")
    splits = [
        Cohort(name=f"split-{i}", role="internal-test", sites=here, split=Split(fraction=f, stratify=stratify))
        for i, f in enumerate(fractions)
    ]
    return Study(
        study=StudyHead(name="s", title="S"),
        endpoints=(Endpoint(name="mvi", kind="binary", columns=("mvi",)),),
        cohorts=(
            Cohort(name="train", role="train", sites=here),
            *splits,
            Cohort(name="old", role="outcome", sites=("a",), label="2015"),
            Cohort(name="elsewhere", role="external-test", sites=("z",)),
        ),
    )


@st.composite
def tables(draw: st.DrawFn) -> SiteTable:
    n = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = tuple(rng.choice(["2015", "2018"], n).tolist())
    failed = {"resection": rng.random(n) < 0.1, "image_quality": rng.random(n) < 0.1}
    return SiteTable(tuple(f"p{i}" for i in range(n)), {}, {"mvi": rng.choice([0, 1, np.nan], n)}, failed, labels)


def permuted(table: SiteTable, order: list[int]) -> SiteTable:
    return SiteTable(
        tuple(table.patients[i] for i in order),
        {},
        {k: v[order] for k, v in table.endpoints.items()},
        {k: v[order] for k, v in table.failed.items()},
        tuple(table.labels[i] for i in order),
    )


@given(table=tables(), data=st.data())
def test_the_order_of_rows_never_changes_who_is_where(site: Site, table: SiteTable, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(table.n)))
    study = make_study()
    for cohort in study.cohorts:
        there = members(site, permuted(table, order), study, cohort)
        assert np.array_equal(there, members(site, table, study, cohort)[order])


@given(table=tables(), first=st.floats(0.05, 0.5), second=st.floats(0.05, 0.45))
def test_splits_are_disjoint_with_exact_shares_and_train_is_the_rest(
    site: Site, table: SiteTable, first: float, second: float
) -> None:
    study = make_study((first, second))
    train, *splits = [members(site, table, study, c) for c in study.cohorts[:3]]
    inside = eligible(table)
    assert np.array_equal(train.astype(int) + sum(s.astype(int) for s in splits), inside.astype(int))
    codes = np.nan_to_num(table.endpoints["mvi"], nan=9)
    for value in (0, 1, 9):
        stratum = inside & (codes == value)
        left = int(stratum.sum())
        for split, fraction in zip(splits, (first, second), strict=True):
            share = min(round(fraction * int(stratum.sum())), left)
            assert int((split & stratum).sum()) == share
            left -= share


@given(table=tables())
def test_outcome_cohorts_ignore_splits_and_strangers_have_nobody(site: Site, table: SiteTable) -> None:
    study = make_study()
    old = members(site, table, study, study.cohort("old"))
    assert np.array_equal(old, eligible(table) & (np.array(table.labels) == "2015"))
    assert not members(site, table, study, study.cohort("elsewhere")).any()


@given(table=tables())
def test_the_flow_adds_up(site: Site, table: SiteTable) -> None:
    study = make_study()
    for cohort in study.cohorts:
        (_, first), *steps, (_, last) = flow(site, table, study, cohort)
        assert first - sum(count for _, count in steps) == last
        assert last == members(site, table, study, cohort).sum()
        assert steps[0] == ("excluded by resection", int(table.failed["resection"].sum()))


def test_another_secret_draws_others_and_no_secret_draws_none(tmp_path: Path, site: Site) -> None:
    n = 100
    table = SiteTable(tuple(f"p{i}" for i in range(n)), {}, {"mvi": np.zeros(n)}, {}, ("",) * n)
    study = make_study(stratify=None)
    other = Site(site=SiteHead(name="a"), folder=tmp_path)
    with pytest.raises(FedmviError, match="322"):
        members(other, table, study, study.cohort("train"))
    other.secret_file.write_text("cd" * 32)
    drawn = [members(s, table, study, study.cohort("split-0")) for s in (site, other)]
    assert drawn[0].sum() == drawn[1].sum() == 30
    assert not np.array_equal(*drawn)
