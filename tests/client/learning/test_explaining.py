"""tests/client/learning: the page of what the network looked at shows the extremes, and loads nothing."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.learning.explaining import PAGE, Explained, draw, extremes, write_page


def explained(patient: str = "p-1", *, present: tuple[bool, bool] = (True, True)) -> Explained:
    rng = np.random.default_rng(1)
    slices = rng.normal(100, 10, (2, 3, 32, 32)).astype(np.float32)
    heat = np.zeros_like(slices)
    heat[0, 1, 8:16, 16:24] = 2.0
    return Explained(patient, 0.87, slices, heat, np.array(present))


def test_the_highest_and_the_lowest_scores_are_shown_and_nobody_twice() -> None:
    ids = [f"p{i}" for i in range(9)]
    scores = np.array([0.5, 0.1, 0.9, np.nan, 0.2, 0.9, 0.3, 0.4, 0.0])
    assert [ids[i] for i in extremes(ids, scores)] == ["p2", "p5", "p0", "p4", "p1", "p8"]
    assert extremes(ids[:4], scores[:4]) == [2, 0, 1]
    assert extremes([], np.empty(0)) == []


def test_yellow_is_where_the_heat_is_and_nowhere_else() -> None:
    picture = np.asarray(Image.open(io.BytesIO(draw(explained()))).convert("RGB")).astype(int)
    assert picture.shape == (160 * 2 + 4, 6 * 164 - 4, 3)
    yellow = picture[..., 0] - picture[..., 2] > 60
    # The second of the heated slices, which are right of three grey ones, in the first row; 5 pixels for one.
    inside = np.zeros_like(yellow)
    left = 4 * 164
    inside[8 * 5 - 5 : 16 * 5 + 5, left + 16 * 5 - 5 : left + 24 * 5 + 5] = True
    assert yellow.sum() > 30 * 30
    assert not yellow[~inside].any()


def test_a_missing_sequence_is_named_and_not_drawn(tmp_path: Path) -> None:
    write_page(tmp_path, "DL-MVI in train", ("t1a", "t1v"), [explained(present=(True, False))], simulated=False)
    assert "without t1v" in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert Image.open(tmp_path / "p-1.png").height == 160


@pytest.mark.parametrize("simulated", [True, False])
def test_the_page_holds_its_pictures_loads_nothing_and_says_that_it_stays(tmp_path: Path, *, simulated: bool) -> None:
    shown = [explained("p-1"), explained("p-2")]
    write_page(tmp_path, "<b>DL</b>", ("t1a", "t1v"), shown, simulated=simulated)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "<b>DL</b>" not in page
    assert "Stays in the hospital" in page
    assert ("Simulated." in page) is simulated
    assert page.count("data:image/png") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [PAGE, "p-1.png", "p-2.png"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_the_same_patients_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_page(tmp_path / name, "DL", ("t1a", "t1v"), [explained()], simulated=True)
    assert (tmp_path / "one" / PAGE).read_bytes() == (tmp_path / "two" / PAGE).read_bytes()
