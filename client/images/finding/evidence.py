"""client/images/finding: pieces of evidence for a phase of contrast: words, times, order, and the contrast agent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from client.images.finding.facts import Facts
from client.images.finding.phase_words import ENHANCED, ENHANCEMENT, EXTRACELLULAR, HEPATOCYTE_AGENTS, found_in, normal

PHASE_WORDS = frozenset({"plain", "arterial", "portal", "delayed", "hepatobiliary"})
"""Phases of contrast, by the names of CT; those of MR follow from them."""

AFTER = PHASE_WORDS - {"plain"}

WINDOWS_CT = (("arterial", 10.0, 55.0), ("portal", 50.0, 120.0), ("delayed", 100.0, 900.0))
"""Seconds after injection at which a phase may be. Usual are about 35 s for the late arterial phase, 35 to 55 s later
for the portal venous one (Wald et al., Radiology 2013; 266: 376) and 2 to 5 min for the delayed one (LI-RADS v2018,
technical recommendations). These windows are wider, since the start of the injection is entered by hand; where they
overlap, words must decide."""

WINDOWS_MR = (("arterial", 10.0, 60.0), ("portal", 45.0, 149.0), ("delayed", 150.0, 360.0))
"""As for CT, with the delayed or transitional phase at 150 to 360 s. What comes later is no `t1d`."""

HEPATOBILIARY_S = (600.0, 10800.0)
"""Where the agent is not known: 20 minutes after gadoxetate to 3 hours after gadobenate, and what lies between."""

ARTERIAL_S = 35.0
"""The usual time of the late arterial phase, from which the injection is reckoned where nobody wrote it down."""

_SECONDS = re.compile(r"(?<![a-z0-9])(\d{1,3}) ?(?:s|sec|sek|secs)\b")
_MINUTES = re.compile(r"(?<![a-z0-9])(\d{1,3}) ?(?:min\w{0,5}|mn|分钟?)(?![a-z])")


@dataclass(frozen=True)
class Evidence:
    """What one header says.

    Attributes
    ----------
    allows
        Phases that it allows; empty where it refuses all.
    says
        A part of a sentence with the header and its value.
    by_words
        Whether a person's words name a phase.
    measured
        Whether it is a time that was written down.
    """

    allows: frozenset[str]
    says: str
    by_words: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Study:
    """What the volumes of a study tell of each other.

    Attributes
    ----------
    agents
        Names of contrast agents in normal text.
    enhanced
        Moments of acquisition, or series, of the volumes of which an agent is named.
    b_values
        All b-values.
    arterial
        When a volume that is surely arterial was acquired.
    """

    agents: frozenset[str]
    enhanced: frozenset[str]
    b_values: frozenset[float]
    arterial: datetime | None = None

    def hepatobiliary_s(self, facts: Facts) -> tuple[float, float] | None:
        """When the volume's agent, else the study's, has its hepatobiliary phase; None for an agent without."""
        agents = self._agents(facts)
        for _, pattern, window in HEPATOCYTE_AGENTS:
            if any(pattern.search(agent) for agent in agents):
                return window
        return None if self.extracellular(facts) else HEPATOBILIARY_S

    def extracellular(self, facts: Facts) -> bool:
        """Whether only agents without a hepatobiliary phase are named."""
        agents = self._agents(facts)
        return bool(agents) and all(EXTRACELLULAR.search(agent) for agent in agents)

    def _agents(self, facts: Facts) -> frozenset[str]:
        return frozenset({normal(facts.agent.casefold())}) if facts.enhanced else self.agents

    def only_enhanced(self, facts: Facts) -> bool:
        """Whether the volume is the only acquisition of its study of which an agent is named."""
        return facts.enhanced is True and self.enhanced == {_acquisition(facts)}

    def with_arterial(self, when: datetime) -> Study:
        """The same, knowing when the arterial phase was."""
        return replace(self, arterial=when)


def study_of(volumes: Sequence[Facts]) -> Study:
    """Gather what the usable volumes of a study tell of each other."""
    return Study(
        agents=frozenset(normal(facts.agent.casefold()) for facts in volumes if facts.enhanced),
        enhanced=frozenset(_acquisition(facts) for facts in volumes if facts.enhanced),
        b_values=frozenset(facts.b_value for facts in volumes if facts.b_value is not None),
    )


def _acquisition(facts: Facts) -> str:
    return facts.acquired.isoformat() if facts.acquired else facts.series


def from_words(facts: Facts) -> Iterator[Evidence]:
    """Words of the description; where it names no phase, of the protocol, which often holds all phases of a study."""
    for name, written in (("description", facts.description), ("protocol", facts.protocol)):
        text = normal(written)
        found = found_in(text, ENHANCEMENT)
        # A protocol that names several phases is the whole examination's, and says nothing of one series.
        if not found or (name == "protocol" and len(found) > 1):
            continue
        allows = _known(frozenset(phase for words, _ in found for phase in words.means), facts)
        said = ", ".join(f"'{matched}'" for _, matched in found)
        yield Evidence(allows, f"{name} {said} says {_listed(allows)}", by_words=True)
        break
    after = ENHANCED.pattern.search(normal(facts.description))
    if after:
        yield Evidence(AFTER, f"description '{after.group().strip()}' says after contrast")


def _known(allows: frozenset[str], facts: Facts) -> frozenset[str]:
    """CT has no hepatobiliary phase."""
    return allows - {"hepatobiliary"} if facts.modality == "CT" else allows


def said_seconds(facts: Facts) -> float | None:
    """Seconds or minutes after injection that the description names, as in `portal 70s` or `T1 20 min`."""
    text = normal(facts.description)
    minutes, seconds = _MINUTES.search(text), _SECONDS.search(text)
    if minutes:
        return 60.0 * float(minutes[1])
    return float(seconds[1]) if seconds else None


def from_time(facts: Facts, study: Study) -> Evidence | None:
    """Seconds after injection: written in headers or description, or reckoned from a sure arterial phase."""
    said = said_seconds(facts)
    if facts.seconds is not None:
        seconds, source, measured = facts.seconds, "Contrast/Bolus Start Time", True
    elif said is not None:
        seconds, source, measured = said, "description", True
    elif study.arterial is not None and facts.acquired is not None:
        seconds = (facts.acquired - study.arterial).total_seconds() + ARTERIAL_S
        source, measured = f"reckoned from the arterial phase at {ARTERIAL_S:g} s", False
    else:
        return None
    if seconds <= 0:
        return Evidence(frozenset({"plain"}), f"{seconds:g} s ({source}) is before contrast", measured=measured)
    windows = WINDOWS_CT if facts.modality == "CT" else WINDOWS_MR
    allows = {phase for phase, low, high in windows if low <= seconds <= high}
    late = study.hepatobiliary_s(facts) if facts.modality == "MR" else None
    if late and late[0] <= seconds <= late[1]:
        allows.add("hepatobiliary")
    says = f"{seconds:g} s after injection ({source}) says {_listed(allows) or 'no phase that is known'}"
    return Evidence(frozenset(allows), says, measured=measured)


def from_order(facts: Facts) -> Evidence | None:
    """The place in a series of several time points: only the first can be before contrast."""
    if facts.points < 2:
        return None
    says = f"time point {facts.point} of {facts.points} of its series"
    if facts.point == 1:
        return Evidence(PHASE_WORDS, says)
    return Evidence(AFTER, f"{says} says after contrast")


def from_agent(facts: Facts, study: Study) -> Evidence | None:
    """The contrast agent: of this volume, or not of this one where others of the study have one."""
    if facts.enhanced:
        allows = AFTER if facts.modality == "MR" and study.hepatobiliary_s(facts) else AFTER - {"hepatobiliary"}
        return Evidence(allows, f"agent '{facts.agent}' says after contrast")
    if facts.enhanced is False:
        return Evidence(frozenset({"plain"}), f"agent '{facts.agent}' says before contrast")
    if study.agents:
        return Evidence(frozenset({"plain"}), "no agent is named, as it is in other series of the study")
    return None


def _listed(phases: frozenset[str] | set[str]) -> str:
    return " or ".join(sorted(phases))
