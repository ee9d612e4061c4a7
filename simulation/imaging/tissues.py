"""simulation/imaging: the tissues of an abdomen: attenuation, MR signal, and how contrast medium passes through them.

Contrast medium follows a dual-input one-compartment model (Materne et al., Clin Sci 2000;99:517): the concentration
in a tissue is the arterial and the portal input, each with its own inflow rate, washed out with the rate inflow over
distribution volume. Inputs are sums of a gamma variate (the first pass) and a slowly falling plateau (recirculation);
their size is that of about 0.5 g iodine per kg body weight. All constants are assumed, from textbook ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """Labels of the anatomy, in the order in which later ones are drawn over earlier ones."""

    AIR = 0
    COUCH = 1
    FAT = 2
    MUSCLE = 3
    LUNG = 4
    BONE = 5
    MARROW = 6
    DISC = 7
    CANAL = 8
    BOWEL = 9
    GAS = 10
    FLUID = 11
    STOMACH = 12
    PANCREAS = 13
    SPLEEN = 14
    CORTEX = 15
    MEDULLA = 16
    HEART = 17
    AORTA = 18
    CAVA = 19
    LIVER = 20
    PORTAL_VEIN = 21
    HEPATIC_VEIN = 22
    ASCITES = 23
    TUMOUR = 24
    NECROSIS = 25
    CAPSULE = 26


@dataclass(frozen=True)
class Material:
    """Physical constants of a tissue.

    Attributes
    ----------
    hu
        Attenuation without contrast medium.
    t1, t2, dwi
        Signal on fat-saturated T1, fat-saturated T2 and DWI (b = 800 s/mm2), where the liver has 100 on each.
    arterial, portal
        Inflow rate of arterial and of portal blood, 1/s.
    volume
        Distribution volume, the share of the tissue that contrast medium reaches.
    """

    hu: float
    t1: float
    t2: float
    dwi: float
    arterial: float = 0.0
    portal: float = 0.0
    volume: float = 0.0


MATERIALS: dict[Tissue, Material] = {
    Tissue.AIR: Material(-1000, 2, 2, 2),
    Tissue.COUCH: Material(-40, 2, 2, 2),
    Tissue.FAT: Material(-100, 38, 45, 12),
    Tissue.MUSCLE: Material(52, 82, 55, 45, 0.0025, 0, 0.12),
    Tissue.LUNG: Material(-820, 12, 18, 8),
    Tissue.BONE: Material(480, 14, 12, 6),
    Tissue.MARROW: Material(190, 55, 60, 30, 0.002, 0, 0.08),
    Tissue.DISC: Material(75, 60, 110, 25),
    Tissue.CANAL: Material(12, 45, 330, 40),
    Tissue.BOWEL: Material(38, 75, 135, 70, 0.010, 0, 0.25),
    Tissue.GAS: Material(-750, 4, 4, 4),
    Tissue.FLUID: Material(8, 42, 380, 60),
    Tissue.STOMACH: Material(42, 78, 120, 75, 0.014, 0, 0.30),
    Tissue.PANCREAS: Material(42, 118, 120, 95, 0.022, 0, 0.32),
    Tissue.SPLEEN: Material(48, 68, 190, 260, 0.024, 0, 0.48),
    Tissue.CORTEX: Material(34, 92, 190, 190, 0.05, 0, 0.75),
    Tissue.MEDULLA: Material(32, 66, 225, 200, 0.009, 0, 0.75),
    Tissue.HEART: Material(42, 70, 70, 20, 1.0, 0, 0.85),
    Tissue.AORTA: Material(42, 45, 25, 8, 1.0, 0, 1.0),
    Tissue.CAVA: Material(42, 52, 40, 10, 0.014, 0, 0.88),
    Tissue.LIVER: Material(57, 100, 100, 100, 0.0034, 0.0112, 0.38),
    Tissue.PORTAL_VEIN: Material(42, 58, 50, 12, 0, 1.0, 1.0),
    Tissue.HEPATIC_VEIN: Material(42, 56, 48, 12, 0.0085, 0.028, 0.95),
    Tissue.ASCITES: Material(6, 40, 390, 50),
    Tissue.TUMOUR: Material(50, 78, 165, 215, 0.0190, 0.0010, 0.30),
    Tissue.NECROSIS: Material(22, 60, 260, 110, 0.0004, 0, 0.03),
    Tissue.CAPSULE: Material(46, 80, 80, 90, 0.0046, 0, 0.75),
}
"""Normal values. `TUMOUR` is an average hepatocellular carcinoma."""

_SECONDS = np.arange(0, 900, 1.0)
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Circulation:
    """One patient's contrast medium over time, in HU of pure blood.

    Attributes
    ----------
    dose
        Factor on everything: dose per body weight over cardiac output.
    delay_s
        Delay of its arrival against the average patient.
    """

    dose: float = 1.0
    delay_s: float = 0.0

    @cached_property
    def arterial(self) -> Curve:
        """Enhancement of the aorta at every second after the start of injection."""
        after = np.maximum(_SECONDS - 14 - self.delay_s, 0)
        first_pass = (after / 20) ** 2.5 * np.exp(2.5 * (1 - after / 20))
        plateau = (1 - np.exp(-after / 15)) * np.exp(-after / 320)
        curve: Curve = self.dose * (235 * first_pass + 122 * plateau)
        return curve

    @cached_property
    def portal(self) -> Curve:
        """Enhancement of the portal vein: arterial blood after its passage through the gut and the spleen."""
        later = Circulation(self.dose, self.delay_s + 9).arterial
        return _through(later, mean_s=27.0)

    def enhancement(self, material: Material, at_s: float) -> float:
        """Enhancement of a tissue in HU at a time after the start of injection; 0 before it."""
        if at_s <= 0 or material.volume == 0:
            return 0.0
        inflow = material.arterial + material.portal
        mixed = (material.arterial * self.arterial + material.portal * self.portal) / inflow
        return float(np.interp(at_s, _SECONDS, material.volume * _through(mixed, material.volume / inflow)))


def _through(curve: Curve, mean_s: float) -> Curve:
    """A curve after a well-mixed compartment with this mean transit time, in steps of one second."""
    kept = np.exp(-1.0 / mean_s)
    passed: Curve = (1 - kept) * np.convolve(curve, kept ** np.arange(len(curve)))[: len(curve)]
    return passed
