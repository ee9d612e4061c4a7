"""common/statistics: profiles of sites and of training, and drawn hospitals, against the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.query import HIDDEN, each, total
from common.federation.runner import Conclusion, conclude
from common.statistics.site_permutation import STEP, SitePermutations, coarse, places
from common.statistics.site_profile import BINS, EDGES, SiteProfile, cumulative, half_of, may_be_told, merged
from common.statistics.training_profile import TrainingProfile
from common.study.recipe import Frame, Recipe
from simulation.shift_views import port_of

COLUMNS = ("a", "b", "level")
CENTRE, SCALE = np.array([1.0, -2.0, 0.4]), np.array([2.0, 0.5, 0.5])
DIRECTION = np.array([0.1, 1.0, -0.5, 0.3])
STANDARD = (COLUMNS, COLUMNS[:2], CENTRE, SCALE, DIRECTION)


def frame(n: int, seed: int = 0, level: float = 0.4) -> Frame:
    rng = np.random.default_rng(seed)
    columns = {"a": rng.normal(1, 2, n), "b": rng.normal(-2, 0.5, n), "level": (rng.random(n) < level) * 1.0}
    keys = rng.integers(0, 2**63, n).astype(np.uint64)
    return Frame(columns, {"y": (rng.random(n) < 0.5) * 1.0}, n, keys)


def asked(question: object) -> Conclusion[object]:
    return (yield question)  # type: ignore[misc]


def profile(own: Frame, min_cell: int = 5) -> dict[str, np.ndarray]:
    question = SiteProfile("train", Recipe(), *STANDARD, min_cell=min_cell)
    return conclude(port_of({"train": {"s": own}}), [asked(each(question))])[0]["s"]  # type: ignore[index]


def standard(own: Frame) -> np.ndarray:
    return (own.matrix(COLUMNS) - CENTRE) / SCALE


def test_a_profile_is_the_sums_of_the_rows() -> None:
    own = frame(83)
    told, z, half = profile(own), standard(own), half_of(own.keys)
    assert told["told"].tolist() == [1, 1, 1]
    for one in (0, 1):
        assert told["n"][one] == np.count_nonzero(half == one)
        assert told["sum"][one] == pytest.approx(z[half == one].sum(axis=0), abs=1e-9)
    assert told["square"] == pytest.approx(np.square(z).sum(axis=0), abs=1e-9)
    high = int(np.count_nonzero(DIRECTION[0] + z @ DIRECTION[1:] > 0))
    assert told["above"].tolist() == [83 - high, high]
    below = cumulative(told["counts"])
    for i in range(2):
        expected = np.array([np.count_nonzero(z[:, i] < edge) for edge in EDGES])
        shown = ~np.isnan(below[i])
        assert shown.any()
        assert below[i][shown] == pytest.approx(expected[shown])


def test_a_level_with_few_patients_and_a_constant_are_not_told() -> None:
    own = frame(83)
    own.columns["level"][:] = 0.0  # type: ignore[index]
    own.columns["level"][:3] = 1.0  # type: ignore[index]
    own.columns["b"][:] = 7.0  # type: ignore[index]
    told = profile(own)
    assert told["told"].tolist() == [1, 0, 0]
    assert not told["sum"][:, 1:].any()
    assert not told["square"][1:].any()
    assert (told["counts"][1] == HIDDEN).all()
    assert told["above"].tolist() == [HIDDEN, HIDDEN]


def test_filled_values_do_not_make_a_rare_level_a_number() -> None:
    own = frame(83)
    own.columns["level"][:] = np.linspace(0.3, 0.5, 83)  # type: ignore[index]
    own.columns["level"][:30] = 0.0  # type: ignore[index]
    own.columns["level"][30:33] = 1.0  # type: ignore[index]
    assert profile(own)["told"].tolist() == [1, 1, 0]


def test_few_high_scores_are_not_told() -> None:
    own = frame(83)
    low = SiteProfile("train", Recipe(), *STANDARD[:4], np.array([-4.0, 1.0, 0.0, 0.0]), min_cell=5)
    high = np.count_nonzero(standard(own)[:, 0] > 4.0)
    assert high < 5
    assert low.answer(own)["above"].tolist() == [HIDDEN, HIDDEN]


def test_a_wrong_value_is_summed_as_it_is() -> None:
    """Sums of cut values less those of the values themselves, which are told too, would be those that were cut."""
    own = frame(60)
    own.columns["a"][0] = 1e12  # type: ignore[index]
    assert profile(own)["sum"].sum(axis=0) == pytest.approx(standard(own).sum(axis=0), rel=1e-12)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=6, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.floats(0.0, 1.0),
    st.booleans(),
)
def test_what_may_be_told_of_some_patients_may_be_told_of_all(
    values: list[float], some: list[bool], filled: float, number: bool
) -> None:
    """So what a site does not hide when a run opens, it does not hide later, when missing values are filled."""
    whole = np.array(values)
    part = whole[np.array(some[: whole.size])]
    later = np.where(np.isnan(whole), filled, whole)
    if not number:
        part, later = np.minimum(part, 1.0), np.minimum(later, 1.0)
    if may_be_told(part[~np.isnan(part)], 3, number=number):
        assert may_be_told(later, 3, number=number)


def test_a_column_that_others_hide_is_left_out_as_if_it_were_hidden_here() -> None:
    own = frame(83)
    question = SiteProfile("train", Recipe(), *STANDARD, min_cell=5)
    left = question.without(profile(own), {"b"})
    own.columns["b"][:] = 7.0  # type: ignore[index]
    hidden = profile(own)
    assert set(left) == set(hidden)
    assert all(np.array_equal(left[name], hidden[name]) for name in hidden)
    assert question.plausible(left, 1)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=BINS, max_size=BINS), st.integers(1, 8))
def test_merged_bins_never_show_few_patients_and_lose_none(counts: list[int], least: int) -> None:
    shown = merged(np.array(counts), least)
    cells = shown[shown != HIDDEN]
    assert (cells >= least).all()
    assert int(cells.sum()) == (sum(counts) if sum(counts) >= least else 0)
    below = cumulative(shown)
    known = ~np.isnan(below)
    assert (below[known] == np.cumsum(counts)[:-1][known]).all()


def test_training_profiles_are_the_pooled_sums() -> None:
    sites = {"a": frame(60, 1), "b": frame(90, 2), "c": frame(70, 3)}
    question = TrainingProfile("train", Recipe(), COLUMNS, "y", *STANDARD[1:])
    sums = conclude(port_of({"train": sites}), [asked(total(question))])[0]
    z = np.vstack([standard(own) for own in sites.values()])
    y = np.concatenate([own.endpoints["y"] for own in sites.values()])
    half = np.concatenate([half_of(own.keys) for own in sites.values()])
    assert sums["cross"] == pytest.approx((z.T @ z)[np.tril_indices(3)], abs=1e-9)  # type: ignore[index]
    high = DIRECTION[0] + z @ DIRECTION[1:] > 0
    for one in (0, 1):
        assert sums["sum"][one] == pytest.approx(z[half == one].sum(axis=0), abs=1e-9)  # type: ignore[index]
        assert sums["class_sum"][one] == pytest.approx(z[y == one].sum(axis=0), abs=1e-9)  # type: ignore[index]
        assert sums["above"][one] == np.count_nonzero(high & (y == one))  # type: ignore[index]
    expected = [[np.count_nonzero(np.searchsorted(EDGES, z[:, j], "right") == k) for k in range(BINS)] for j in (0, 1)]
    assert sums["counts"].tolist() == expected  # type: ignore[index]


SHARES, SAMPLES = np.array([0.5, 0.3, 0.2]), np.array([0.25])


def dealing(first: int, deals: int) -> SitePermutations:
    return SitePermutations("train", Recipe(), *STANDARD[:4], SHARES, SAMPLES, first, deals)


def test_values_are_rounded_by_their_own_spread_and_constants_not_at_all() -> None:
    rng = np.random.default_rng(5)
    values = np.column_stack([1e6 + 40 * rng.normal(size=90), 1e-4 * rng.normal(size=90), np.full(90, 7.3)])
    rounded = coarse(values)
    for j in (0, 1):
        off, spread = np.abs(rounded[:, j] - values[:, j]), values[:, j].std()
        assert 0 < off.max() <= STEP * spread / 2
        assert off.max() > STEP * spread / 8
    assert (rounded[:, 2] == 7.3).all()


def test_a_deal_gives_every_patient_to_one_hospital() -> None:
    own = frame(200)
    sums = dealing(1, 40).answer(own)
    rounded = (coarse(own.matrix(COLUMNS)) - CENTRE) / SCALE
    assert (sums["n"][:, :3].sum(axis=(1, 2)) == 200).all()
    assert np.allclose(sums["sum"][:, :3].sum(axis=(1, 2)), rounded.sum(axis=0), rtol=0, atol=1e-10)
    assert (sums["counts"][:, :3].sum(axis=(1, 3)) == 200).all()
    sizes = sums["n"].sum(axis=2).mean(axis=0) / 200
    assert sizes == pytest.approx([0.5, 0.3, 0.2, 0.25], abs=0.03)


def test_what_a_drawn_hospital_sums_is_of_its_own_patients() -> None:
    own = frame(120)
    asked = dealing(3, 1)
    sums, number = asked.answer(own), places(own.keys, half_of(own.keys), asked.fixed, 3, 1, 2)[0]
    rounded = (coarse(own.matrix(COLUMNS)) - CENTRE) / SCALE
    place = np.searchsorted([0.5, 0.8], number[0], side="right")
    for i in range(3):
        assert sums["sum"][0, i].sum(axis=0) == pytest.approx(rounded[place == i].sum(axis=0), abs=1e-10)
    assert sums["sum"][0, 3].sum(axis=0) == pytest.approx(rounded[number[1] < 0.25].sum(axis=0), abs=1e-10)


def test_deals_depend_on_neither_the_order_of_patients_nor_the_questions() -> None:
    own = frame(90)
    order = np.random.default_rng(5).permutation(90)
    other = Frame({k: v[order] for k, v in own.columns.items()}, {}, 90, own.keys[order])
    whole, shuffled, rest = dealing(1, 6).answer(own), dealing(1, 6).answer(other), dealing(4, 3).answer(own)
    for name, values in whole.items():
        assert (values == shuffled[name]).all()
        assert (values[3:] == rest[name]).all()
    assert (whole["n"][0] != whole["n"][1]).any()


def test_a_drawn_hospital_has_its_share_of_each_half_to_a_patient() -> None:
    own = frame(211)
    half = half_of(own.keys)
    of_half = np.array([np.count_nonzero(half == one) for one in (0, 1)])
    asked = dealing(1, 99)
    sizes = asked.answer(own)["n"]
    expected = np.append(SHARES, SAMPLES)[:, np.newaxis] * of_half
    assert (np.abs(sizes - expected) < 1.0).all()
    assert sizes.min() >= asked.fewest(of_half.min() / 0.4, 1)
    members = places(own.keys, half, asked.fixed, 1, 400, 1)[:, 0] < 0.3
    assert members.mean(axis=0) == pytest.approx(np.full(211, 0.3), abs=0.11)  # 4.8 standard errors


def test_slightly_other_shares_are_another_deal() -> None:
    """Else the difference of two answers would be the one patient whom the two deals treat differently."""
    own = frame(180)
    first, second = (
        SitePermutations("train", Recipe(), *STANDARD[:4], np.array(shares), np.empty(0), 1, 99).answer(own)["sum"]
        for shares in ((0.5, 0.5), (0.5 + 1 / 180, 0.5 - 1 / 180))
    )
    rounded = (coarse(own.matrix(COLUMNS)) - CENTRE) / SCALE
    apart = (first - second)[:, 0].sum(axis=1)
    assert not any((np.abs(apart - row).max(axis=1) < 1e-9).any() for row in rounded)


def test_patients_without_keys_are_not_dealt() -> None:
    with pytest.raises(FedmviError) as met:
        dealing(1, 1).answer(Frame(frame(20).columns, {}, 20))
    assert met.value.number == 501


@pytest.mark.parametrize(
    ("shares", "samples", "first", "deals"),
    [([0.6, 0.6], [], 1, 1), ([1.0, 0.0], [], 1, 1), ([1.0], [0.6], 1, 1), ([1.0], [], 0, 1), ([1.0], [], 999, 2)],
)
def test_unsound_deals_are_no_questions(shares: list[float], samples: list[float], first: int, deals: int) -> None:
    asked = SitePermutations("train", Recipe(), *STANDARD[:4], np.array(shares), np.array(samples), first, deals)
    assert not asked.consistent()
