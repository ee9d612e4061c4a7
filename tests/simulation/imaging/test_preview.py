"""tests/simulation: the contact sheet says that it is simulated, shows things where they lie, and keeps to itself."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from simulation.cohorts.consortium import Scanner
from simulation.imaging.anatomy import Build
from simulation.imaging.findings import Findings
from simulation.imaging.motion import LATTICE, draw_motion
from simulation.imaging.panels import displaced, found_in, points_of
from simulation.imaging.preview import Sheet, write_preview
from simulation.imaging.volume import Examination, Grid, Volume
from tests.simulation.imaging.examinations import ball, ct, mr

AIR, LIVER, MARKER = -1000, 60, 400


def sheet(examination: Examination, **changed: object) -> Sheet:
    findings = Findings(examination.patient, 1.8, capsule=True, tumour=1.25, ring=-0.5)
    made = Sheet("hospital-a", "M1", findings, Scanner(), examination, {"Age": "61 years"})
    return replace(made, **changed)  # type: ignore[arg-type]


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags = "", []  # type: tuple[str, list[tuple[str, dict[str, str | None]]]]
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def picture(self, words: str) -> NDArray[np.float64]:
        """The one picture with these words in its description: colours from 0 to 255, (rows, columns, 3)."""
        [picture] = self.pictures(words)
        return picture

    def pictures(self, words: str) -> list[NDArray[np.float64]]:
        """All pictures with these words in their description, in order."""
        sources = [str(image["src"]) for image in self.of("img") if words in str(image["alt"])]
        files = [io.BytesIO(base64.b64decode(source.partition("base64,")[2])) for source in sources]
        return [np.asarray(Image.open(file).convert("RGB"), dtype=np.float64) for file in files]


def written(path: Path, *sheets: Sheet) -> Page:
    write_preview(path / "preview.html", "Trial", 7, sheets, ())
    return Page(path / "preview.html")


def phantom(grids: dict[str, Grid], marker: tuple[float, float, float]) -> Examination:
    """A cube of liver with a tumour in its middle and a bright marker at a point of the patient."""
    phases = {}
    for name, grid in grids.items():
        z, y, x = (np.abs(axis) for axis in grid.axes())
        cube = (z[:, None, None] < 60) & (y[:, None] < 80) & (x < 80)
        voxels = np.where(cube, LIVER, AIR).astype(np.int16)
        voxels[ball(grid, marker, 9.0) > 0] = MARKER
        phases[name] = Volume(voxels, grid)
    reference = next(iter(grids))
    grid = grids[reference]
    liver = (phases[reference].voxels > AIR).astype(np.uint8)
    masks = {"tumour": Volume(ball(grid, (0, 0, 0), 20.0), grid), "liver": Volume(liver, grid)}
    still = np.zeros((3, *LATTICE.shape), dtype=np.float32)
    motion = {name: still for name in grids if name != reference}
    return Examination("p-1", "ct", phases, reference, masks, motion, LATTICE, dict.fromkeys(grids, 30.0))


def bright(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle of the white disc in shares of the picture's height and width; letters and the bar lie elsewhere."""
    white = (picture.min(axis=2) > 225).astype(float)
    height, width = white.shape
    white[int(0.85 * height) :] = 0
    white[:, : int(0.08 * width)] = white[:, int(0.92 * width) :] = 0
    place: NDArray[np.float64] = np.argwhere(white).mean(axis=0) / (height, width)
    return place


def test_the_page_says_plainly_that_no_picture_shows_a_patient(tmp_path: Path) -> None:
    write_preview(tmp_path / "p.html", "Two hospitals", 20221, [sheet(ct())], ["The margin is assumed."])
    page = Page(tmp_path / "p.html")
    assert "Simulated. No picture shows a patient." in page.text
    assert all(words in page.text for words in ("Two hospitals", "Seed 20221.", "The margin is assumed."))
    assert all("Simulated picture" in str(image["alt"]) for image in page.of("img"))


def test_every_patient_stands_beside_the_declared_truth(tmp_path: Path) -> None:
    page = written(tmp_path, sheet(ct()), sheet(mr()))
    for words in ("hospital-a-0001", "M1", "1.8 cm", "tumour +1.25, ring -0.50, temporal +0.00", "61 years"):
        assert words in page.text
    assert "smooth margin, capsule" in page.text
    assert "Arterial, 34 s after injection" in page.text
    assert "noise 10 HU" in page.text
    assert "noise 3 % of the liver's signal" in page.text


def test_every_text_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert('&')</script>"
    findings = replace(sheet(ct()).findings, patient=bad)
    hostile = sheet(ct(), site=bad, grade=bad, findings=findings, truth={bad: bad})
    write_preview(tmp_path / "p.html", bad, 1, [hostile], [bad])
    page = Page(tmp_path / "p.html")
    assert not page.of("script")
    assert page.text.count(bad) >= 8


def test_the_page_holds_all_that_it_shows_and_asks_for_nothing(tmp_path: Path) -> None:
    page = written(tmp_path, sheet(ct()))
    policy = next(str(meta["content"]) for meta in page.of("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;")
    [style] = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert {str(image["src"]).partition(",")[0] for image in page.of("img")} == {"data:image/webp;base64"}
    assert all(str(link["href"]).startswith("#") for link in page.of("a"))
    assert not page.of("link")
    assert not page.of("script")
    assert "url(" not in style
    assert "style" not in {name for _, attributes in page.tags for name in attributes}


def test_pictures_have_words_of_their_own_and_links_lead_somewhere(tmp_path: Path) -> None:
    page = written(tmp_path, sheet(ct()), sheet(mr()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in page.of("a")} <= set(ids)
    assert {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes} <= set(ids)
    # CT: 4 phases twice, 3 outlines, 3 differences twice; MR: 3 phases twice, 3 outlines, 1 difference twice.
    assert len(page.of("img")) == 17 + 11
    first = [image["alt"] for image in page.of("img")][:17]
    assert len(set(first)) == 17 - 3  # each difference is there as acquired and with the motion undone


def test_phases_on_different_grids_show_a_point_at_the_same_place(tmp_path: Path) -> None:
    grids = {
        "portal": Grid((33, 100, 100), (4.0, 2.0, 2.0), (-64.0, -99.0, -99.0)),
        "delayed": Grid((41, 70, 64), (3.0, 2.9, 3.1), (-59.0, -103.0, -96.0)),
    }
    page = written(tmp_path, sheet(phantom(grids, (0.0, -35.0, -50.0))))
    places = [bright(page.picture(f"{name}, 30 s after injection.")) for name in ("Portal venous", "Delayed")]
    # Of 160 mm that are shown, from -80 to 80 in either direction.
    np.testing.assert_allclose(places[0], [(80 - 35) / 160, (80 - 50) / 160], atol=0.02)
    np.testing.assert_allclose(places[1], places[0], atol=0.015)


def test_the_patients_right_is_on_the_left_and_the_head_is_up(tmp_path: Path) -> None:
    grids = {"portal": Grid((33, 100, 100), (4.0, 2.0, 2.0), (-64.0, -99.0, -99.0))}
    page = written(tmp_path, sheet(phantom(grids, (35.0, 0.0, -50.0))))
    down, across = bright(page.picture("coronal"))
    assert down == pytest.approx((65 - 35) / 130, abs=0.03)
    assert across == pytest.approx((80 - 50) / 160, abs=0.03)


def test_the_ring_is_ten_millimetres_of_liver_around_the_tumour(tmp_path: Path) -> None:
    grids = {"portal": Grid((33, 100, 100), (4.0, 2.0, 2.0), (-64.0, -99.0, -99.0))}
    examination = phantom(grids, (35.0, 0.0, -50.0))
    liver = examination.masks["liver"]
    liver.voxels[:, :, liver.grid.axes()[2] > 22] = 0  # the liver ends 2 mm beyond the tumour
    picture = written(tmp_path, sheet(examination)).picture("outlined, the axial slice")
    rows, columns = np.nonzero(picture[..., 0] - picture[..., 2] > 40)
    y, x = (160 * ((place + 0.5) / n - 0.5) for place, n in zip((rows, columns), picture.shape, strict=False))
    orange = (np.abs(x) < 65) & (np.hypot(y, x) > 23)  # the outline of the tumour is yellow
    away = np.hypot(y, x)[orange]
    assert np.percentile(away, 99) == pytest.approx(30, abs=1.5)
    assert x[orange].max() < 24.5
    assert x[orange].min() == pytest.approx(-30, abs=2)


def test_what_a_phase_shows_of_a_point_is_found_by_undoing_its_motion() -> None:
    random = np.random.default_rng(3)
    points = random.uniform((-80, -90, -130), (80, 60, 90), (2000, 3)).T.astype(np.float32)
    for number in range(6):
        build = Build.draw(random, female=number % 2 == 0, cirrhosis=False, ascites=False)
        field = draw_motion(np.random.default_rng(number), build, 9.0)
        examination = replace(ct(), motion={"arterial": field}, motion_grid=LATTICE)
        places = found_in(examination, "arterial", points)
        assert np.abs(places - points).max() > 1
        np.testing.assert_allclose(places + displaced(examination, "arterial", places), points, atol=0.02)
    np.testing.assert_array_equal(found_in(examination, "portal", points), points)


def test_undoing_the_true_motion_leaves_nothing_of_one_body_that_only_moved(tmp_path: Path) -> None:
    grid = Grid((33, 90, 90), (3.0, 2.0, 2.0), (-48.0, -89.0, -89.0))
    points = points_of(grid)
    random = np.random.default_rng(5)
    field = draw_motion(random, Build.draw(random, female=False, cirrhosis=False, ascites=False), 15.0)
    still = phantom({"portal": grid}, (0.0, -35.0, -50.0))  # for its masks
    examination = replace(still, motion={"plain": field}, started_s={"plain": -60.0, "portal": 70.0})

    def body(places: NDArray[np.float32]) -> Volume:
        z, y, x = places / 12
        return Volume((60 + 50 * (np.sin(z) + np.sin(y) + np.sin(x))).astype(np.int16), grid)

    phases = {"plain": body(points + displaced(examination, "plain", points)), "portal": body(points)}
    page = written(tmp_path, sheet(replace(examination, phases=phases)))
    raw, undone = (picture[:, 60:-60].mean(axis=2) for picture in page.pictures("Portal venous minus plain"))
    raw, undone = (picture[: int(0.8 * len(picture))].std() for picture in (raw, undone))  # above the scale bar
    assert raw > 10
    assert undone < raw / 5


def test_no_examination_is_kept_while_the_next_one_is_made(tmp_path: Path) -> None:
    alive: list[weakref.ref[Examination]] = []

    def one() -> Sheet:
        examination = ct()
        alive.append(weakref.ref(examination))
        return sheet(examination)

    def sheets() -> Iterator[Sheet]:
        for _ in range(3):
            assert not [reference for reference in alive if reference() is not None]
            yield one()

    write_preview(tmp_path / "p.html", "Trial", 1, sheets(), ())
    assert len(alive) == 3


def test_one_phase_and_one_reader_make_a_page_without_differences(tmp_path: Path) -> None:
    full = ct()
    examination = replace(
        full,
        phases={"portal": full.phases["portal"]},
        masks={name: full.masks[name] for name in ("tumour", "liver")},
        motion={},
    )
    page = written(tmp_path, sheet(examination))
    assert "Differences" not in page.text
    assert "reader 2" not in page.text
    assert len(page.of("img")) == 1 + 1 + 3


def test_the_same_sheets_make_the_same_page(tmp_path: Path) -> None:
    write_preview(tmp_path / "a.html", "Trial", 7, [sheet(mr())], ())
    write_preview(tmp_path / "b.html", "Trial", 7, [sheet(mr())], ())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
