"""tests/client: a volume's phase follows from what its headers say, and is left open where they disagree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from client.images.case import Acquisition
from client.images.finding.facts import Facts, facts_of
from client.images.finding.phases import Decision, contradiction, decide_study, echo_says
from common.study.preparation import PHASES

GRADIENT_ECHO = {"ScanningSequence": "GR", "EchoTime": 1.9, "RepetitionTime": 4.0, "MagneticFieldStrength": 3.0}
SPIN_ECHO = {"ScanningSequence": "SE", "EchoTime": 85.0, "RepetitionTime": 3000.0, "MagneticFieldStrength": 1.5}
PLANAR = {"ScanningSequence": ["SE", "EP"], "EchoTime": 65.0, "RepetitionTime": 5000.0}


def header(modality: str, description: str = "", seconds: float | None = None, **values: Any) -> Dataset:
    """The header of a slice, acquired so many seconds after an injection at 10:00:00."""
    made = Dataset()
    made.Modality = modality
    made.StudyInstanceUID = "2.25.1"
    made.SeriesInstanceUID = "2.25.2"
    made.SeriesDescription = description
    made.StudyDate = "20200102"
    if seconds is not None:
        made.ContrastBolusStartTime = "100000"
        minutes, rest = divmod(36000 + seconds, 60)
        made.AcquisitionTime = f"{int(minutes) // 60:02d}{int(minutes) % 60:02d}{rest:09.6f}"
    for name, value in values.items():
        setattr(made, name, value)
    return made


def volume(modality: str, description: str = "", seconds: float | None = None, **values: Any) -> Facts:
    return facts_of(header(modality, description, seconds, **values), 40)


def alone(modality: str, description: str = "", seconds: float | None = None, **values: Any) -> Decision:
    """The decision on the only volume of a study."""
    (decision,) = decide_study([volume(modality, description, seconds, **values)])
    return decision


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        ("Abdomen nativ 5.0 B30f", "plain"), ("Leber arteriell 1.0", "arterial"), ("Portalvenös 3mm", "portal"),
        ("Spätphase", "delayed"), ("spätarteriell", "arterial"), ("Abd. arteriell spät", "arterial"),
        ("Abdo sans injection", "plain"), ("Foie artérielle tardive", "arterial"), ("Temps portal", "portal"),
        ("Foie tardif", "delayed"), ("sin contraste", "plain"), ("Fase arterial tardía", "arterial"),
        ("Fase venosa", "portal"), ("fase tardía", "delayed"), ("Senza mdc", "plain"), ("fase arteriosa", "arterial"),
        ("fase portale", "portal"), ("tardiva", "delayed"), ("平扫", "plain"), ("动脉期", "arterial"),
        ("门静脉期", "portal"), ("静脉期", "portal"), ("延迟期", "delayed"), ("pingsao", "plain"),
        ("dongmaiqi", "arterial"), ("menjingmaiqi", "portal"), ("yanchiqi", "delayed"),
        ("LIVER LATE ARTERIAL", "arterial"), ("ART_PHASE", "arterial"), ("ArtPhase 1.25", "arterial"),
        ("PVP", "portal"), ("Equilibrium", "delayed"), ("w/o contrast", "plain"), ("C- Abdomen", "plain"),
        ("PRE", "plain"), ("NonCon", "plain"), ("UNENHANCED", "plain"), ("Delayed 5min", "delayed"),
        ("portal 70s", "portal"),
    ],
)  # fmt: skip
def test_words_of_six_languages_name_a_phase_of_ct(description: str, phase: str) -> None:
    decision = alone("CT", description)
    assert (decision.phase, decision.confidence) == (phase, "sure")


@pytest.mark.parametrize(
    "description",
    [
        "Abdomen 1.5", "Portugal study", "patient history", "Artefact reduction", "Latex", "Veneto", "Presentation",
        "PREOP planning", "Prelim", "pre-op", "native-like? arterial & portal",
    ],
)  # fmt: skip
def test_words_that_only_look_like_phases_name_none(description: str) -> None:
    assert alone("CT", description).phase == ""


@pytest.mark.parametrize(
    ("description", "values", "reason"),
    [
        ("Topogram 0.6", {}, "localizer"), ("定位像", {}, "localizer"), ("Monitoring", {}, "bolus"),
        ("PreMonitoring", {}, "bolus"), ("Arterial MIP", {}, "projection"), ("MPR cor portal", {}, "reformat"),
        ("arterial", {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "SECONDARY"),
        ("arterial", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "LOCALIZER"),
        ("portal", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not axial"),
        ("Subtraction art", {}, "subtraction"), ("Dose Report", {}, "report"),
    ],
)  # fmt: skip
def test_what_is_no_phase_is_left_out_and_says_why(description: str, values: dict[str, Any], reason: str) -> None:
    decision = alone("CT", description, **values)
    assert decision.confidence == "left-out"
    assert reason in decision.why


def test_a_description_without_an_agent_where_others_have_one_is_a_contradiction() -> None:
    arterial, plain, portal = decide_study(
        [volume("CT", "arterial"), volume("CT", "nativ"), volume("CT", "portal", ContrastBolusAgent="Ultravist 300")]
    )
    assert (arterial.phase, arterial.confidence) == ("", "unknown")
    assert "'arterial' says arterial but no agent is named" in arterial.why
    assert (plain.phase, plain.confidence) == ("plain", "sure")
    assert (portal.phase, portal.confidence) == ("portal", "sure")


@pytest.mark.parametrize(
    ("description", "seconds", "values", "named"),
    [
        ("arterial", None, {"ContrastBolusAgent": "NONE"}, ("'arterial'", "'NONE'")),
        ("arterial", 240, {}, ("'arterial'", "240 s")),
        ("portal", 20, {}, ("'portal'", "20 s")),
        ("nativ", None, {"ContrastBolusAgent": "Iomeron 350"}, ("'nativ'", "'Iomeron 350'")),
        ("nativ", 35, {}, ("'nativ'", "35 s")),
        ("delayed C-", None, {}, ("'delayed'", "'cminus'")),
        ("arterial and portal", None, {}, ("'arterial'", "'portal'")),
    ],
)
def test_headers_that_disagree_leave_the_phase_open_and_both_are_named(
    description: str, seconds: float | None, values: dict[str, Any], named: tuple[str, str]
) -> None:
    decision = alone("CT", description, seconds, **values)
    assert (decision.phase, decision.confidence) == ("", "unknown")
    assert all(word in decision.why for word in named)


def test_times_alone_are_likely_and_never_sure() -> None:
    for seconds, phase in ((-20, "plain"), (35, "arterial"), (70, "portal"), (180, "delayed")):
        decision = alone("CT", "Abdomen", seconds, ContrastBolusAgent="" if seconds < 0 else "Ultravist")
        assert (decision.phase, decision.confidence, decision.seconds) == (phase, "likely", seconds)


def test_contrast_that_was_drunk_says_nothing_of_the_phase() -> None:
    assert alone("CT", "nativ", ContrastBolusAgent="ORAL").phase == "plain"
    assert alone("CT", "nativ", ContrastBolusAgent="Telebrix", ContrastBolusRoute="Oral").phase == "plain"


def test_a_sure_arterial_phase_tells_when_the_others_were() -> None:
    def at(text: str, description: str) -> Facts:
        return volume("CT", description, AcquisitionTime=text, ContrastBolusAgent="Ultravist")

    decisions = decide_study([at("100035", "arterial"), at("100110", "Abdomen"), at("100300", "Abdomen")])
    assert [(one.phase, one.confidence) for one in decisions[1:]] == [("portal", "likely"), ("delayed", "likely")]
    assert "reckoned" in decisions[1].why


@pytest.mark.parametrize(
    ("description", "values", "phase", "confidence"),
    [
        ("t1_vibe_dixon_in", GRADIENT_ECHO | {"EchoTime": 2.46}, "t1-in", "sure"),
        ("t1_vibe_dixon_opp", GRADIENT_ECHO | {"EchoTime": 1.23}, "t1-opposed", "sure"),
        ("T1 OUT OF PHASE", GRADIENT_ECHO | {"EchoTime": 2.3, "MagneticFieldStrength": 1.5}, "t1-opposed", "sure"),
        ("LAVA-Flex: In Phase", GRADIENT_ECHO | {"EchoTime": 4.5, "MagneticFieldStrength": 15000}, "t1-in", "sure"),
        ("T1 IN PHASE", GRADIENT_ECHO | {"EchoTime": 2.3, "MagneticFieldStrength": 1.5}, "", "unknown"),
        ("T1 in/opp", GRADIENT_ECHO | {"EchoTime": 2.3, "MagneticFieldStrength": 1.5}, "t1-opposed", "likely"),
        ("T1 dual FFE", GRADIENT_ECHO | {"ImageType": ["DERIVED", "PRIMARY", "IP"], "EchoTime": 2.3}, "t1-in", "sure"),
        ("InPhase: LAVA-Flex +C", GRADIENT_ECHO | {"EchoTime": 2.3}, "", "unknown"),
        ("T1 dixon in", GRADIENT_ECHO | {"EchoTime": 2.3, "ContrastBolusAgent": "Gadovist"}, "", "unknown"),
        ("WATER: LAVA-Flex ART", GRADIENT_ECHO, "t1a", "sure"),
        ("FAT: LAVA-Flex ART", GRADIENT_ECHO, "", "left-out"),
        ("Ax LAVA +C", GRADIENT_ECHO, "", "unknown"),
        ("LAVA post op portal", GRADIENT_ECHO, "t1v", "sure"),
        ("t1 反相位", GRADIENT_ECHO | {"EchoTime": 1.15}, "t1-opposed", "sure"),
        ("t1_vibe_dixon_tra_F", GRADIENT_ECHO, "", "left-out"),
        ("t1_vibe_fs_tra pre", GRADIENT_ECHO, "t1", "sure"),
        ("t1_vibe_fs_tra", GRADIENT_ECHO, "", "unknown"),
        ("t1_vibe_fs arterial", GRADIENT_ECHO, "t1a", "sure"),
        ("THRIVE portal venous", GRADIENT_ECHO, "t1v", "sure"),
        ("LAVA equilibrium 3 min", GRADIENT_ECHO, "t1d", "sure"),
        ("eTHRIVE delayed", GRADIENT_ECHO, "", "unknown"),
        ("T1 vibe HBP", GRADIENT_ECHO, "hepatobiliary", "sure"),
        ("T1 delayed 20 min", GRADIENT_ECHO, "hepatobiliary", "sure"),
        ("t2_tse_fs_tra", SPIN_ECHO, "t2", "sure"),
        ("HASTE cor", SPIN_ECHO | {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "t2", "likely"),
        ("Ax FSE", SPIN_ECHO, "t2", "likely"),
        ("T1 tse", SPIN_ECHO, "", "unknown"),
        ("MRCP 3D", SPIN_ECHO, "", "left-out"),
        ("T2* GRE", GRADIENT_ECHO, "", "left-out"),
        ("ep2d_diff_b800", PLANAR | {"DiffusionBValue": 800.0}, "dwi", "sure"),
        ("DWI", PLANAR, "", "unknown"),
        ("DWI b0", PLANAR | {"DiffusionBValue": 0.0}, "", "left-out"),
        ("ep2d_diff_ADC", PLANAR | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "adc", "sure"),
        ("ADC map", PLANAR | {"ImageType": ["DERIVED", "SECONDARY"]}, "adc", "sure"),
        ("eADC", PLANAR | {"ImageType": ["DERIVED", "PRIMARY", "EADC"]}, "", "left-out"),
        ("DWI calc b1400", PLANAR | {"DiffusionBValue": 1400.0}, "", "left-out"),
        ("弥散加权", PLANAR | {"DiffusionBValue": 600.0}, "dwi", "sure"),
    ],
)  # fmt: skip
def test_sequences_of_mr(description: str, values: dict[str, Any], phase: str, confidence: str) -> None:
    decision = alone("MR", description, **values)
    assert (decision.phase, decision.confidence) == (phase, confidence), decision.why


@pytest.mark.parametrize(
    ("description", "seconds", "agent", "phase"),
    [
        ("T1 delayed", 180, "Gadovist", "t1d"),
        ("T1 transitional", 200, "Primovist", "t1d"),
        ("T1 delayed", 1200, "Primovist", "hepatobiliary"),
        ("T1 delayed", 1200, "Gd-EOB-DTPA", "hepatobiliary"),
        ("T1 delayed", 1200, "Dotarem", ""),
        ("T1 delayed", 420, "Primovist", ""),
        ("T1 HBP", 1200, "gadobutrol", ""),
        ("T1 HBP", 5400, "MultiHance", "hepatobiliary"),
        ("T1 HBP", 1200, "MultiHance", ""),
        ("T1 HBP", 180, "Eovist", ""),
    ],
)
def test_twenty_minutes_are_hepatobiliary_and_never_t1d(
    description: str, seconds: float, agent: str, phase: str
) -> None:
    decision = alone("MR", description, seconds, ContrastBolusAgent=agent, **GRADIENT_ECHO)
    assert decision.phase == phase, decision.why
    assert decision.seconds == seconds


@given(seconds=st.floats(-600, 12000), description=st.sampled_from(["T1 delayed", "T1 portal", "T1 HBP", "T1 vibe"]),
       agent=st.sampled_from(["", "Primovist", "Gadovist", "MultiHance", "X"]))  # fmt: skip
def test_t1d_is_only_ever_said_between_150_and_360_seconds(seconds: float, description: str, agent: str) -> None:
    decision = alone("MR", description, round(seconds, 3), ContrastBolusAgent=agent, **GRADIENT_ECHO)
    assert decision.phase in ("", *PHASES["mr"])
    if decision.phase == "t1d":
        assert 150 <= round(seconds, 3) <= 360
    if decision.phase == "hepatobiliary":
        assert seconds >= 599


@given(st.text(max_size=40), st.sampled_from(["CT", "MR", "US", ""]), st.text(max_size=10))
def test_any_text_of_a_header_gives_a_decision_with_a_reason(description: str, modality: str, agent: str) -> None:
    decision = decide_study([Facts(modality=modality, description=description, agent=agent, slices=40)])[0]
    assert decision.why
    assert (decision.phase == "") == (decision.confidence in ("unknown", "left-out"))


def test_of_several_b_values_the_highest_up_to_1000_is_dwi() -> None:
    values = (0.0, 50.0, 400.0, 800.0, 1500.0)
    decisions = decide_study([volume("MR", "ep2d_diff", **PLANAR, DiffusionBValue=b) for b in values])
    assert [one.phase for one in decisions] == ["", "", "", "dwi", ""]
    assert all(one.why for one in decisions)


def test_time_points_of_a_series_whose_headers_deny_contrast_are_not_guessed() -> None:
    made = [
        facts_of(header("MR", "dyn", ContrastBolusAgent="NONE", **GRADIENT_ECHO), 40, point=k, points=3)
        for k in (1, 2, 3)
    ]
    first, *later = decide_study(made)
    assert (first.phase, first.confidence) == ("t1", "likely")
    assert all(one.phase == "" and "contradiction" in one.why and "NONE" in one.why for one in later)


def test_the_only_enhanced_ct_of_a_study_is_proposed_as_portal_but_not_used() -> None:
    decision = alone("CT", "CT CH/AB/PEL", ContrastBolusAgent="OMNIPAQUE")
    assert (decision.phase, decision.confidence) == ("portal", "likely")


def test_echo_times_of_water_and_fat() -> None:
    """In and opposed phase at 1.5 T and 3 T as textbooks give them."""
    assert [echo_says(te, 1.5) for te in (2.3, 4.6, 6.9, 9.2)] == ["t1-opposed", "t1-in", "t1-opposed", "t1-in"]
    assert [echo_says(te, 3.0) for te in (1.15, 2.3, 3.45, 4.6)] == ["t1-opposed", "t1-in", "t1-opposed", "t1-in"]
    assert echo_says(3.4, 1.5) == ""


@pytest.mark.parametrize(
    ("phase", "about", "said"),
    [
        ("portal", Acquisition(description="arteriell 1.0"), "arteriell"),
        ("arterial", Acquisition(agent="NONE"), "NONE"),
        ("plain", Acquisition(agent="Ultravist"), "Ultravist"),
        ("portal", Acquisition(description="portal venous", agent="Ultravist"), ""),
        ("portal", Acquisition(), ""),
    ],
)
def test_a_phase_of_ct_is_held_against_its_headers(phase: str, about: Acquisition, said: str) -> None:
    found = contradiction(phase, about, "ct")
    assert said in found if said else found == ""


def test_a_phase_of_mr_is_held_against_its_sequence() -> None:
    t2 = Acquisition(description="t2_tse", repetition_ms=3000, echo_ms=85)
    assert "t2" in contradiction("t1a", t2, "mr")
    assert contradiction("t2", t2, "mr") == ""
    late = Acquisition(description="T1 vibe HBP", repetition_ms=4, echo_ms=1.9)
    assert "HBP".lower() in contradiction("t1d", late, "mr")
    assert contradiction("hepatobiliary", late, "mr") == ""
