"""tests/client/preparation: what a person sees while images are prepared: patients a minute, and the time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from client.preparation import command
from client.preparation.command import image_progress


@pytest.mark.parametrize(("seconds", "rate", "left"), [(10, "6.0", "0:00:30"), (90, "0.7", "0:04:30")])
def test_progress_says_patients_per_minute_and_the_time_left_also_of_slow_ones(
    seconds: int, rate: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, get_time=lambda: now[0])
    monkeypatch.setattr(command, "err", screen)
    with image_progress() as note:
        for done in range(4):
            note(done, 6, None)
            now[0] += seconds
    assert isinstance(screen.file, io.StringIO)
    last = [line for line in screen.file.getvalue().splitlines() if "Images" in line][-1]
    assert f"{rate} patients/min" in last and left in last and "3/6" in last
