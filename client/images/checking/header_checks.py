"""client/images/checking: do the headers of a patient's images agree with the phases that they are taken for?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from client.images.case import Scan
from client.images.checking.remark import Remark
from client.images.finding.phases import contradiction
from client.images.reading.slices import NO_DATE
from common.errors import Severity
from common.study.preparation import Preparation

_IN_TIME = {"ct": ("plain", "arterial", "portal", "delayed"), "mr": ("t1", "t1a", "t1v", "t1d", "hepatobiliary")}
"""Phases of contrast in the order in which they are acquired."""


def header_remarks(scan: Scan, preparation: Preparation) -> Iterator[Remark]:
    """355 where the headers of an image contradict its phase.

    By the words of its description, its contrast agent, its sequence, and the order of acquisition among the phases of
    contrast. Images without headers, such as NIfTI, give none.
    """
    for phase, read in scan.images.items():
        if said := contradiction(phase, read.about, preparation.modality):
            yield Remark(355, Severity.WARNING, phase, f"taken for {phase}, but {said}")
    times = [
        (phase, scan.images[phase].about.acquired)
        for phase in _IN_TIME[preparation.modality]
        if phase in scan.images and scan.images[phase].about.acquired
    ]
    for (earlier, first), (later, second) in itertools.pairwise(times):
        # Without dates, a study over midnight would look turned round.
        if not first.startswith(NO_DATE) and not second.startswith(NO_DATE) and first > second:
            text = f"acquired at {_clock(second)}, before {earlier} at {_clock(first)}"
            yield Remark(355, Severity.WARNING, later, text)


def _clock(moment: str) -> str:
    return f"{moment[8:10]}:{moment[10:12]}:{moment[12:14]}"
