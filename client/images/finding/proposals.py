"""client/images/finding: one patient's volumes as rows of a manifest, with those in use that nobody need look at."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from client.images.finding.facts import Facts
from client.images.finding.manifest import Line
from client.images.finding.phases import Decision, decide_study

_SHARP = re.compile(r"lung|bone|edge|sharp|chst|^[a-z]{1,2}[5-9]\d|^fc[58]\d|^(ya|yb|yc|yd|l|d|e)$")
"""Kernels for lung and bone, as Siemens, GE, Canon and Philips name them: they sharpen noise."""


@dataclass(frozen=True)
class Candidate:
    """A volume that was found.

    Attributes
    ----------
    line
        Its row but for phase, seconds, use and why.
    facts
        What its headers say.
    refused
        Why it cannot be used whatever its phase; "" where it can.
    """

    line: Line
    facts: Facts
    refused: str = ""


@dataclass(frozen=True)
class Proposal:
    """A row, and what was decided about its phase."""

    line: Line
    facts: Facts
    decision: Decision


def propose(candidates: Sequence[Candidate]) -> list[Proposal]:
    """Phases of one patient's volumes; a row is in use only where its phase is sure and nothing competes with it.

    Of several reconstructions of one acquisition the one with a soft kernel is taken, then the one with the thinner
    slices. Two acquisitions of one phase, or two studies with phases, are left to a person.

    Parameters
    ----------
    candidates
        All volumes of one patient.

    Returns
    -------
    list
        In the order of `candidates`.
    """
    decisions: dict[int, Decision] = {}
    studies: dict[str, list[int]] = defaultdict(list)
    for at, candidate in enumerate(candidates):
        studies[candidate.facts.study].append(at)
    for members in studies.values():
        decided = decide_study([candidates[at].facts for at in members])
        decisions.update(zip(members, decided, strict=True))
    with_phases = [members for members in studies.values() if any(decisions[at].phase for at in members)]
    several = len(with_phases) > 1
    refused = {}
    for members in studies.values():
        refused.update(_beaten(members, candidates, decisions))
        if several and members in with_phases:
            days = ", ".join(sorted({_day(candidates[others[0]].facts) for others in with_phases}))
            refused.update(dict.fromkeys(members, f"the patient has {len(with_phases)} studies ({days}): choose one"))
    return [
        _row(candidate, decisions[at], candidate.refused or refused.get(at, ""))
        for at, candidate in enumerate(candidates)
    ]


def _day(facts: Facts) -> str:
    return facts.acquired.strftime("%Y-%m-%d %H:%M") if facts.acquired else "no date"


def _row(candidate: Candidate, decision: Decision, refused: str) -> Proposal:
    use = "yes" if decision.confidence == "sure" and not refused else "no"
    described = f"series '{candidate.facts.description}' of {candidate.facts.slices} slices"
    said = f"{decision.confidence}: {decision.why}; {described}"
    changes = {
        "phase": decision.phase,
        "seconds_after_injection": decision.seconds,
        "use": use,
        "why": f"{refused}; {said}" if refused else said,
    }
    return Proposal(candidate.line.model_copy(update=changes), candidate.facts, decision)


def _beaten(members: Sequence[int], candidates: Sequence[Candidate], decisions: dict[int, Decision]) -> dict[int, str]:
    """Why volumes of a study whose phase is sure are not used: another one is the same phase."""
    rivals: dict[str, list[int]] = defaultdict(list)
    for at in members:
        if decisions[at].confidence == "sure" and not candidates[at].refused:
            rivals[decisions[at].phase].append(at)
    refused: dict[int, str] = {}
    for phase, found in rivals.items():
        if len(found) < 2:
            continue
        moments = {candidates[at].facts.acquired for at in found}
        best = _best([candidates[at].facts for at in found]) if len(moments) == 1 and None not in moments else None
        for place, at in enumerate(found):
            if best is None:
                refused[at] = f"{len(found)} volumes are {phase}: choose one"
            elif place != best:
                refused[at] = f"another reconstruction of this {phase} is softer or thinner"
    return refused


def _best(rivals: Sequence[Facts]) -> int | None:
    """The place of the soft kernel's thinnest reconstruction; None where two are alike."""
    order: Callable[[Facts], tuple[bool, float]] = lambda one: (  # noqa: E731
        bool(_SHARP.search(one.kernel.lower())),
        one.thickness_mm or float("inf"),
    )
    ranked = sorted(range(len(rivals)), key=lambda at: order(rivals[at]))
    return None if order(rivals[ranked[0]]) == order(rivals[ranked[1]]) else ranked[0]
