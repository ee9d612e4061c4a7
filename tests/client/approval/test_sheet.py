"""client/approval: the data-protection sheet: self-contained, escaped, and two or three sheets of A4 on paper."""

from __future__ import annotations

import base64
import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.approval.sheet import write_sheet
from client.approval.telling import Told, tell
from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.errors import FedmviError
from common.study.loader import load_study
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.shipped import shipped_study
from tests.headless import WIDTHS, show


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The demonstration at a site that is in three of its cohorts."""
    out = tmp_path_factory.mktemp("sites") / "demo"
    sites = dict.fromkeys(("hospital-a", "hospital-b", "hospital-c", "hospital-d", "external-e", "external-f"), 60)
    make_hospitals(load_consortium("demo").with_patients(sites), out, 1)
    site, study = load_site(out / "hospital-a"), load_study(shipped_study(Path("demo")))
    prepare(site, study)
    return tell(site, study)


def test_the_sheet_prints_on_at_most_four_sheets_and_fits_every_screen(told: Told, tmp_path: Path, browser: Any):
    page = tmp_path / "sheet.html"
    write_sheet(page, told, "Dr. A. Example")
    for width in WIDTHS:
        show(browser, page, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    sheets = len(re.findall(rb"/Type\s*/Page[^s]", base64.b64decode(printed["data"])))
    assert 2 <= sheets <= 4
    assert browser.get_log("browser") == []


def test_the_sheet_says_everything_that_a_person_signs_for(told: Told, tmp_path: Path):
    write_sheet(tmp_path / "sheet.html", told, "Dr. A. Example")
    words = re.sub(r"<[^>]+>", " ", (tmp_path / "sheet.html").read_text(encoding="utf-8"))
    text = html.unescape(" ".join(words.split()))
    for expected in (told.fingerprint, told.title, "Who could learn what", "What never leaves", "How long",
                     "Data-protection officer", "Dr. A. Example", "fedmvi-site withdraw", "No mathematical bound",
                     "under masks", "Simulated."):  # fmt: skip
        assert expected in text, expected
    for line in told.kinds:
        assert line.words in text
    for name, value in (*told.limits, *told.policy):
        assert f"{name} {value}" in text


def test_the_sheet_has_what_the_authors_state_and_nothing_of_what_they_left_open(tmp_path: Path):
    make_hospitals(load_consortium("demo"), tmp_path / "demo", 1)
    text = shipped_study(Path("demo")).read_text(encoding="utf-8")
    head = text[: text.index("[reporting]")] + "[reporting]\n"
    head += (
        'funding = "A fund <b>of</b> ours."\nethics = "Committee 7."\nsite_ethics = { hospital-a = "Committee 9." }\n'
    )
    rest = text[text.index("[reporting]") :]
    (tmp_path / "study.toml").write_text(head + rest[rest.index("\n# ---") :], encoding="utf-8")
    told = tell(load_site(tmp_path / "demo" / "hospital-a"), load_study(tmp_path / "study.toml"))
    assert told.statements == (("Ethics", "Committee 7. Committee 9."), ("Funding", "A fund <b>of</b> ours."))
    write_sheet(tmp_path / "sheet.html", told, "Dr Example")
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "Committee 7. Committee 9." in page and "A fund &lt;b&gt;of&lt;/b&gt; ours." in page


def test_nothing_that_a_protocol_says_becomes_markup(told: Told, tmp_path: Path):
    evil = '<script>alert("x")</script>'
    write_sheet(tmp_path / "sheet.html", replace(told, title=evil, purpose=evil), evil)
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "<script" not in text and "default-src 'none'" in text
    assert not re.search(r"(src|href)=", text)


def test_a_sheet_that_cannot_be_written_says_so(told: Told, tmp_path: Path):
    with pytest.raises(FedmviError) as refused:
        write_sheet(tmp_path / "absent" / "sheet.html", told, "")
    assert refused.value.number == 768
