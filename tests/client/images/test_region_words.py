"""tests/client: what hospitals call a region is one table, for finding masks and for reading them."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.images.case import MaskSource
from client.images.masks.outlines import MaskFile, Segment, choose
from client.images.region_words import region_called, region_in
from common.errors import FedmviError

NAMES = {
    "tumour": (
        "gross tumor volume", "Gross Tumour Volume", "GTV", "GTV-1", "GTVp", "hcc", "hepatocellular carcinoma",
        "index lesion", "Lesion2", "liver_lesion_3", "Liver Tumor", "malignant neoplasm", "mass", "Neoplasm, Primary",
        "Tumor", "tumours", "tumeur", "Läsion", "Lebertumor", "lesione", "肿瘤", "肝癌", "病灶1",
    ),
    "liver": (
        "entire liver", "whole liver", "Hepar", "LIVER", "Leber", "foie", "Hígado", "fegato", "肝", "肝脏", "ganzang",
    ),
    "vessels": ("Blood vessel", "hepatic vessels", "Liver_Vessels", "vasculature", "Gefäße", "vaisseaux", "血管"),
    "": ("spleen", "Milz", "Tissue", "ROI-1", "oliver", "peritumoral rim", "", "7"),
}  # fmt: skip


@pytest.mark.parametrize(("region", "name"), [(region, name) for region, names in NAMES.items() for name in names])
def test_names_of_regions_are_known_in_many_languages(region: str, name: str) -> None:
    assert region_called(name) == region_in(name) == region


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("tumeur du foie", "tumour"),
        ("Tumor seg. V, art. Phase", "tumour"),
        ("liver segment 4", "liver"),
        ("liver without tumor", "liver"),
        ("Leber ohne Gefäße", "liver"),
        ("vaisseaux du foie", "vessels"),
    ],
)
def test_a_name_that_says_more_speaks_of_a_region_and_is_not_its_name(name: str, region: str) -> None:
    assert (region_in(name), region_called(name)) == (region, "")


def chosen(region: str, *labels: str, kind: str = "") -> str:
    file = MaskFile("p1", MaskSource(region, 1, "portal", Path("masks/p1/m.dcm")))
    segments = [Segment(number, label, kind) for number, label in enumerate(labels, start=1)]
    return segments[choose(file, segments)].label


@pytest.mark.parametrize(
    ("region", "label"),
    [("tumour", "Leber"), ("tumour", "Liver"), ("tumour", "Leber gesamt"), ("tumour", "肝脏"), ("liver", "Lebertumor"),
     ("liver", "liver tumour"), ("vessels", "Foie"), ("cyst", "Leber")],
)  # fmt: skip
def test_the_only_segment_is_refused_where_it_is_called_another_region_in_any_language(region: str, label: str) -> None:
    with pytest.raises(FedmviError) as caught:
        chosen(region, label)
    assert caught.value.number == 342
    assert f"its only segment is not called '{region}'" in caught.value.local


def test_the_segment_is_chosen_whose_whole_name_is_the_region_in_any_language() -> None:
    assert chosen("liver", "Leber", "Tumor") == "Leber"
    assert chosen("tumour", "Leber", "Tumor") == "Tumor"
    assert chosen("tumour", "foie", "tumeur", "vaisseaux") == "tumeur"
    assert chosen("tumour", "kidney lesion", "Läsion 1") == "Läsion 1"
    assert chosen("liver", "liver segment 4", "肝脏") == "肝脏"
    assert chosen("tumour", "7") == "7"
    assert chosen("cyst", "liver cyst") == "liver cyst"
    with pytest.raises(FedmviError, match="is there 2 times"):
        chosen("tumour", "Tumor 1", "Tumor 2", "Leber")
