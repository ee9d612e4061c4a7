"""tests/client: an image whose headers say another phase than its name is told."""

from __future__ import annotations

import SimpleITK as sitk  # noqa: N813

from client.images.case import Acquisition, ReadImage, Scan
from client.images.checking.header_checks import header_remarks
from common.study.preparation import Preparation

CT = Preparation.model_validate(
    {"modality": "ct", "phases": ("plain", "arterial", "portal"), "reference": "portal", "stacks": {}}
)


def remarks(**about: Acquisition) -> list[tuple[int, str]]:
    images = {phase: ReadImage(sitk.Image(2, 2, 2, sitk.sitkInt16), one) for phase, one in about.items()}
    return [(r.number, str(r.subject)) for r in header_remarks(Scan("p1", images, {}), CT)]


def at(clock: str, description: str = "", day: str = "20200102") -> Acquisition:
    return Acquisition(acquired=f"{day}{clock}.000000", description=description)


def test_headers_that_agree_or_say_nothing_give_no_remark() -> None:
    assert remarks(plain=Acquisition(), arterial=Acquisition(), portal=Acquisition()) == []
    assert remarks(plain=at("095900", "nativ"), arterial=at("100035", "arterial"), portal=at("100110", "portal")) == []


def test_swapped_phases_are_told_by_their_descriptions_and_by_their_times() -> None:
    assert remarks(arterial=at("100110", "portal venous"), portal=at("100035", "arterial")) == [
        (355, "arterial"),
        (355, "portal"),
        (355, "portal"),
    ]
    assert remarks(arterial=at("100110"), portal=at("100035")) == [(355, "portal")]


def test_times_without_a_date_are_not_compared() -> None:
    assert remarks(arterial=at("235930", day="00010101"), portal=at("000010", day="00010101")) == []
