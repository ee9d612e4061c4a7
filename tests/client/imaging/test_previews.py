"""The page of ROI stacks: self-contained, without script, and safe for any name."""

import base64
import hashlib
import io
import re
import stat
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from client.imaging.previews import Preview, preview, stack_previews
from client.imaging.stacks import make_stack
from common.study.preparation import Stacks

PERCENTILES = tuple(float(at) for at in range(-110, 110, 20))


def drawn(patient: str, phase: str, height: int = 3) -> Preview:
    voxels = np.zeros((12, 40, 50), dtype=np.int16)
    voxels[:] = np.arange(50)
    tumour = np.zeros((12, 40, 50), dtype=np.uint8)
    tumour[4 : 4 + height, 15:25, 20:32] = 1
    image, mask = (sitk.GetImageFromArray(one) for one in (voxels, tumour))
    for one in (image, mask):
        one.SetSpacing((2.0, 2.0, 5.0))
    return preview(patient, phase, image, make_stack(image, mask, Stacks(size=96), b"x", PERCENTILES), "ct")


def test_the_page_holds_everything_it_shows_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "stacks.html"
    stack_previews(path, [drawn("p<1>&", "portal"), drawn("p<1>&", "t1-in"), drawn("q", "portal", height=2)])
    page = path.read_text()
    assert "<script" not in page and "http" not in page.replace("http-equiv", "") and "p&lt;1&gt;&amp;" in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style and base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in page
    # A page of hundreds of patients is to be scrolled at once.
    pictures = re.findall(r'loading="lazy" decoding="async" src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 6
    for picture in pictures:
        Image.open(io.BytesIO(base64.b64decode(picture))).verify()
    assert page.count("<tr>") == 3 and page.count("No stack.") == 1 and page.count("A slice is repeated.") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_rectangle_is_drawn_around_the_tumour_in_true_proportions() -> None:
    shown = drawn("p", "portal")
    picture = np.asarray(Image.open(io.BytesIO(shown.whole)))
    scale = picture.shape[0] / 80  # 40 rows of 2 mm
    assert picture.shape[1] == round(100 * scale)
    yellow = np.argwhere((picture[..., 0] > 200) & (picture[..., 2] < 100))
    (top, left), (bottom, right) = yellow.min(axis=0) / scale, yellow.max(axis=0) / scale
    assert 20 <= top <= 25 and 55 <= bottom <= 61 and 30 <= left <= 35 and 69 <= right <= 75


def test_a_page_without_stacks_is_still_a_page(tmp_path: Path) -> None:
    stack_previews(tmp_path / "none.html", [])
    assert "0 patients" in (tmp_path / "none.html").read_text()
