"""client/images/finding: which phase a volume is, by what its headers say; nothing is guessed silently.

Every header that says something is a piece of evidence: the phases that it allows, and a sentence. A volume's phase
is what all evidence allows: `sure` where words name it and nothing contradicts, `likely` where only numbers do. Where
the evidence allows none or several phases it is `unknown`, and the sentences are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from client.images.case import Acquisition
from client.images.finding.evidence import (
    PHASE_WORDS,
    Evidence,
    Study,
    from_agent,
    from_order,
    from_time,
    from_words,
    said_seconds,
    study_of,
)
from client.images.finding.facts import Facts, was_given
from client.images.finding.phase_words import CHEMICAL_SHIFT, LEFT_OUT, SEQUENCES, found_in, normal
from common.study.preparation import Modality

Confidence = Literal["sure", "likely", "unknown", "left-out"]
FEWEST_SLICES = 6
"""Fewer slices are scouts or bolus tracking: a liver of 15 cm is covered by no fewer even at 10 mm, with gaps."""

DWI_B_VALUES = (400.0, 1000.0)
"""s/mm²: usual higher b-values of diffusion-weighted imaging of the liver (Taouli and Koh, Radiology 2010; 254: 47).
The highest of a study within them is its `dwi`."""

_MR_NAMES: Mapping[str, str] = MappingProxyType(
    {"plain": "t1", "arterial": "t1a", "portal": "t1v", "delayed": "t1d", "hepatobiliary": "hepatobiliary"}
)
_NOT_PRIMARY = (
    "LOCALIZER",
    "MIP",
    "MPR",
    "MNIP",
    "SUBTRACT",
    "SUB",
    "PROJECTION IMAGE",
    "SCREEN SAVE",
    "VRT",
    "CURVED",
)
_NOT_WATER = ("F", "FAT", "FF", "FAT_FRACTION", "WATER_FRACTION", "R2_STAR", "T2_STAR", "R2STAR", "T2STAR", "PDFF")


@dataclass(frozen=True)
class Decision:
    """What a volume is taken for.

    Attributes
    ----------
    phase
        "" where it is not known.
    confidence
        `left-out`: it is no phase at all, such as a localizer.
    why
        A sentence of the evidence.
    seconds
        Between injection and image, where headers or the description say.
    """

    phase: str
    confidence: Confidence
    why: str
    seconds: float | None = None


def decide_study(volumes: Sequence[Facts]) -> list[Decision]:
    """The phases of one patient's study.

    Volumes are judged together: whether this scanner names contrast agents at all, when the injection was, and which
    b-value is the highest, is told by the others.

    Parameters
    ----------
    volumes
        All volumes of one Study Instance UID, in any order.

    Returns
    -------
    list
        One decision a volume.
    """
    left_out = [why_left_out(facts) for facts in volumes]
    study = study_of([facts for facts, why in zip(volumes, left_out, strict=True) if not why])
    first = [_decide(facts, why, study) for facts, why in zip(volumes, left_out, strict=True)]
    # A phase that is sure tells when the injection was, and that places the ones without words.
    arterial = [
        facts.acquired
        for facts, done in zip(volumes, first, strict=True)
        if done.phase in ("arterial", "t1a") and done.confidence == "sure" and facts.acquired
    ]
    if not arterial:
        return first
    anchored = study.with_arterial(min(arterial))
    return [
        _decide(facts, why, anchored) if done.confidence == "unknown" else done
        for facts, why, done in zip(volumes, left_out, first, strict=True)
    ]


def why_left_out(facts: Facts) -> str:
    """Why a volume is no phase, whatever its contrast: a localizer, a reformat, a subtraction; else ""."""
    return next(_reasons(facts), "")


def _reasons(facts: Facts) -> Iterator[str]:
    if facts.modality not in ("CT", "MR"):
        yield f"Modality {facts.modality or 'is not given'}"
    if _is_adc(facts):
        return
    for value in (*_NOT_PRIMARY, *(_NOT_WATER if facts.modality == "MR" else ())):
        if value in facts.image_type:
            yield f"Image Type {value}"
    description = normal(facts.description)
    for words, found in found_in(description, LEFT_OUT):
        yield f"{words.means[0]}: description '{found}'"
    is_map = any(words.means == ("adc",) for words, _ in found_in(description, SEQUENCES))
    if "SECONDARY" in facts.image_type[1:2] and not is_map:
        yield "Image Type SECONDARY"
    if facts.modality == "CT" and not facts.axial:
        yield "a reformat: its slices are not axial"
    if facts.slices < FEWEST_SLICES:
        yield f"{facts.slices} slices only"


def _is_adc(facts: Facts) -> bool:
    return "ADC" in facts.image_type and "EADC" not in facts.image_type


def contradiction(phase: str, about: Acquisition, modality: Modality) -> str:
    """What the headers of an image say against the phase that it is taken for; "" where they say nothing against it.

    Parameters
    ----------
    phase
        As the manifest or the folder has it.
    about
        What the headers of the image say.
    modality
        Of the study.

    Returns
    -------
    str
        A sentence that names the headers, for 355.
    """
    facts = Facts(
        modality=modality.upper(), description=about.description, agent=about.agent, enhanced=was_given(about.agent),
        echo_ms=about.echo_ms, repetition_ms=about.repetition_ms, b_value=about.b_value, tesla=about.tesla,
    )  # fmt: skip
    if modality == "mr":
        sequence, why = mr_sequence(facts)
        if sequence and sequence != (phase if phase in ("t2", "dwi", "adc") else "t1"):
            return why
    base = {name: plain for plain, name in _MR_NAMES.items()}.get(phase, phase)
    if base not in PHASE_WORDS:
        return ""
    pieces = [*from_words(facts), from_agent(facts, study_of([facts]))]
    return "; ".join(piece.says for piece in pieces if piece and base not in piece.allows)


def combine(evidence: Iterable[Evidence], families: Mapping[str, str] | None = None) -> Decision:
    """The phase that all evidence allows.

    Parameters
    ----------
    evidence
        At least one piece; those that allow everything may be left out.
    families
        Names of phases to give back, by the ones in the evidence.
    """
    pieces = list(evidence)
    names = families or {}
    if not pieces:
        return Decision("", "unknown", "no header says which phase it is")
    allowed = frozenset.intersection(*(piece.allows for piece in pieces))
    sentence = "; ".join(dict.fromkeys(piece.says for piece in pieces))
    if len(allowed) == 1:
        phase = next(iter(allowed))
        named = any(piece.by_words and piece.allows == allowed for piece in pieces)
        sure = named or (any(p.by_words for p in pieces) and any(p.measured for p in pieces))
        return Decision(names.get(phase, phase), "sure" if sure else "likely", sentence)
    if not allowed:
        return Decision("", "unknown", f"contradiction: {' but '.join(dict.fromkeys(piece.says for piece in pieces))}")
    options = ", ".join(sorted(names.get(phase, phase) for phase in allowed))
    return Decision("", "unknown", f"{sentence}; this may be {options}")


def _decide(facts: Facts, left_out: str, study: Study) -> Decision:
    if left_out:
        return Decision("", "left-out", left_out)
    if facts.modality == "CT":
        return _enhancement(facts, study, None)
    return _mr(facts, study)


def _enhancement(facts: Facts, study: Study, names: Mapping[str, str] | None) -> Decision:
    """Before contrast or which phase after it."""
    evidence = _evidence(facts, study)
    done = combine(evidence, names)
    seconds = facts.seconds if facts.seconds is not None else said_seconds(facts)
    if facts.modality == "CT" and done.confidence == "unknown" and study.only_enhanced(facts) and evidence:
        # One phase after contrast alone is by custom the portal venous one (Baron, AJR 1994; 163: 323).
        allowed = frozenset.intersection(*(piece.allows for piece in evidence))
        if "portal" in allowed:
            why = f"{done.why}; as the only enhanced series of the study it is usually portal venous: look at it"
            return Decision("portal", "likely", why, seconds)
    if done.phase == "t1d" and done.confidence == "sure" and seconds is None and not study.extracellular(facts):
        why = f"{done.why}; without seconds after injection it may be hepatobiliary"
        return Decision("t1d", "likely", why)
    return Decision(done.phase, done.confidence, done.why, seconds)


def _evidence(facts: Facts, study: Study) -> list[Evidence]:
    """All that is said of contrast."""
    pieces = (*from_words(facts), from_time(facts, study), from_order(facts), from_agent(facts, study))
    return [piece for piece in pieces if piece is not None]


def _mr(facts: Facts, study: Study) -> Decision:
    sequence, why = mr_sequence(facts)
    if sequence == "adc":
        return Decision("adc", "sure", why)
    if sequence == "dwi":
        return _dwi(facts, study, why)
    if sequence == "t2":
        sure = any(words.means == ("t2",) for words, _ in found_in(normal(facts.description), SEQUENCES))
        return Decision("t2", "sure" if sure and facts.axial else "likely", why if facts.axial else f"{why}; not axial")
    if sequence != "t1":
        return Decision("", "unknown", why)
    done = _chemical_shift(facts, study) or _enhancement(facts, study, _MR_NAMES)
    confidence: Confidence = "likely" if done.confidence == "sure" and not facts.axial else done.confidence
    return Decision(done.phase, confidence, f"{why}; {done.why}", done.seconds)


def mr_sequence(facts: Facts) -> tuple[str, str]:
    """Which sequence of MR, t1, t2, dwi or adc, and the evidence; "" where unknown or contradictory.

    By words of the description, else of the protocol, and by physics: gradient echoes with a short echo time, or spin
    echoes with short echo and repetition time, weight T1; an echo time of 50 ms or more with a repetition time of a
    second or more weights T2 (Westbrook, MRI in Practice, 5th ed. 2018); a b-value is of diffusion.
    """
    if _is_adc(facts):
        return "adc", "Image Type ADC"
    named, said = "", ""
    for name, written in (("description", facts.description), ("protocol", facts.protocol)):
        # The table's first match counts: diffusion is often called after its T2 weighting too.
        for words, found in found_in(normal(written), SEQUENCES):
            named, said = words.means[0], f"{name} '{found}'"
            break
        if named:
            break
    if named == "adc" or not (measured := _physics(facts)):
        why = said or "neither words nor echo and repetition times say which sequence it is"
        return named, why
    found_by, numbers = measured
    if not named or named == found_by or (named == "dwi" and found_by == "t2"):
        return named or found_by, f"{said}, {numbers}" if said else numbers
    if named == "t2" and found_by == "dwi":
        return "dwi", f"{said}, {numbers}"
    return "", f"contradiction: {said} says {named} but {numbers} says {found_by}"


def _physics(facts: Facts) -> tuple[str, str] | None:
    if facts.b_value is not None and ("EP" in facts.scanning or facts.b_value > 0):
        return "dwi", f"b = {facts.b_value:g} s/mm²"
    if "DIFFUSION" in facts.image_type:
        return "dwi", "Image Type DIFFUSION"
    echo, repetition = facts.echo_ms, facts.repetition_ms
    if echo is None or repetition is None:
        return None
    gradient_echo = echo <= 10 and repetition <= 400
    spin_echo = echo <= 25 and repetition <= 900 and "SE" in facts.scanning
    weighting = "t1" if gradient_echo or spin_echo else "t2" if echo >= 50 and repetition >= 1000 else ""
    return (weighting, f"TE {echo:g} ms, TR {repetition:g} ms") if weighting else None


def _dwi(facts: Facts, study: Study, why: str) -> Decision:
    """The highest b-value within `DWI_B_VALUES` is the phase; the others are told."""
    low, high = DWI_B_VALUES
    if facts.b_value is None:
        return Decision("", "unknown", f"{why}; the b-value is not known")
    within = [b for b in study.b_values if low <= b <= high]
    if not low <= facts.b_value <= high:
        return Decision("", "left-out", f"{why}; b = {facts.b_value:g} is not between {low:g} and {high:g} s/mm²")
    if facts.b_value < max(within):
        return Decision("", "left-out", f"{why}; the study has b = {max(within):g} s/mm² too")
    return Decision("dwi", "sure" if facts.axial else "likely", why)


SHIFT_HZ_PER_TESLA = 147.0
"""Water and fat precess 3.45 ppm of 42.58 MHz/T apart (Dixon, Radiology 1984; 153: 189)."""
_NEAR = 0.15


def echo_says(echo_ms: float, tesla: float) -> str:
    """`t1-in` or `t1-opposed` for the first two echoes at which fat and water lie so; "" for other echo times.

    Opposed at odd and in phase at even multiples of 1000 / (2 x 147 Hz/T x field) ms: 2.3 and 4.5 ms at 1.5 T, 1.1 and
    2.3 ms at 3 T. Accepted within 15 % of the first such time.
    """
    half = 1000 / (2 * SHIFT_HZ_PER_TESLA * tesla)
    for name, multiples in (("t1-opposed", (1, 3)), ("t1-in", (2, 4))):
        if any(abs(echo_ms - n * half) <= _NEAR * half for n in multiples):
            return name
    return ""


def _chemical_shift(facts: Facts, study: Study) -> Decision | None:
    """In or opposed phase before contrast by words, held against the echo time; None for another T1."""
    named = {words.means[0]: found for words, found in found_in(normal(facts.description), CHEMICAL_SHIFT)}
    typed = [name for value, name in _IMAGE_TYPES.items() if value in facts.image_type]
    says = ""
    if facts.echo_ms and facts.tesla:
        says = echo_says(facts.echo_ms, facts.tesla)
    numbers = f"TE {facts.echo_ms:g} ms at {facts.tesla:g} T" if says else ""
    if not named and not typed:
        return None
    words = ", ".join([f"description '{found}'" for found in named.values()] + [f"Image Type {v}" for v in _IMAGE_TYPES
                      if v in facts.image_type])  # fmt: skip
    options = set(typed) if typed else set(named)
    if len(options) > 1 and says in options:
        return Decision(says, "likely", f"{words} is both; {numbers} is {says}")
    if len(options) > 1:
        return Decision("", "unknown", f"{words} is both in and opposed phase")
    (phase,) = options
    if says and says != phase:
        return Decision("", "unknown", f"contradiction: {words} says {phase} but {numbers} says {says}")
    after = [piece.says for piece in _evidence(facts, study) if "plain" not in piece.allows]
    if after:
        return Decision("", "unknown", f"{words} but {'; '.join(after)}: in and opposed phase are before contrast")
    return Decision(phase, "sure", f"{words}, {numbers}" if numbers else words)


_IMAGE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "IN_PHASE": "t1-in", "IP": "t1-in", "INPHASE": "t1-in",
        "OUT_PHASE": "t1-opposed", "OPP_PHASE": "t1-opposed", "OP": "t1-opposed", "OUT_OF_PHASE": "t1-opposed",
    }
)  # fmt: skip
"""Values of Image Type of Dixon and dual-echo sequences (Siemens, GE, Philips)."""
