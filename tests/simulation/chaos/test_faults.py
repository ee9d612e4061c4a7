"""simulation/chaos: the faults of a campaign are those of its seed, and each kind comes once before any comes twice."""

from __future__ import annotations

import pytest

from common.errors import FedmviError
from simulation.chaos import faults
from simulation.chaos.faults import draw, kinds

SITES = ("a", "b", "c")


def test_the_same_seed_draws_the_same_faults_and_another_seed_others() -> None:
    assert draw(40, 7, SITES) == draw(40, 7, SITES) != draw(40, 8, SITES)


def test_every_kind_comes_once_before_any_comes_twice() -> None:
    possible = [kind for kind in kinds() if kind not in faults.skipped()]
    drawn = [fault.kind for fault in draw(2 * len(possible), 1, SITES)]
    assert sorted(drawn[: len(possible)]) == sorted(drawn[len(possible) :]) == sorted(possible)


def test_a_fault_happens_where_its_part_is() -> None:
    for fault in draw(200, 3, SITES):
        at_hub = fault.cause.startswith("hub-") or fault.part in faults.HUB_PARTS
        assert (fault.site == "") == at_hub, fault
        assert fault.target == (f"{fault.part}:{fault.site}" if fault.site else fault.part)
        assert 0 <= fault.moment < 1


def test_an_unknown_kind_is_refused_and_the_known_ones_are_told() -> None:
    with pytest.raises(FedmviError) as raised:
        draw(1, 1, SITES, ["earthquake"])
    assert raised.value.number == 822
    assert "kill superlink" in raised.value.do


def test_what_needs_root_is_left_out_with_a_reason_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults.isolation.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(faults.clocks, "missing", lambda: "")
    assert set(faults.skipped()) == {cause.value for cause in faults.ROOTS}
    assert all("root" in why for why in faults.skipped().values())
    assert not {fault.cause for fault in draw(100, 1, SITES)} & faults.ROOTS


def test_clocks_are_left_out_with_a_reason_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults.clocks, "tool", lambda _: None)
    monkeypatch.setattr(faults.isolation, "missing", lambda: "")
    monkeypatch.setattr(faults.isolation, "cannot_slow", lambda: "")
    assert set(faults.skipped()) == {cause.value for cause in faults.CLOCKS}
    assert all("compiler" in why for why in faults.skipped().values())
    assert not {fault.cause for fault in draw(100, 1, SITES)} & set(faults.CLOCKS)
