from __future__ import annotations

from common.flower.pace import Pace


def test_looks_are_frequent_after_something_happened_and_rare_when_nothing_does() -> None:
    clock = [0.0]
    pace = Pace(0.05, 2.0, clock=lambda: clock[0])
    assert pace.seconds() == 0.05
    clock[0] = 5.0
    assert pace.seconds() == 1.0
    clock[0] = 3600.0
    assert pace.seconds() == 2.0
    pace.happened()
    assert pace.seconds() == 0.05


def test_nobody_waits_longer_than_a_fifth_of_what_passed() -> None:
    clock = [0.0]
    pace = Pace(0.05, 1000.0, clock=lambda: clock[0])
    for step in range(1, 2000):
        clock[0] = step / 10
        assert pace.seconds() <= max(0.05, clock[0] / 5)
