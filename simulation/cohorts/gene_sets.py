"""simulation/cohorts: the genes of Reactome's pathway "Glucose metabolism", by the direction they take in tumours.

The 85 symbols are those of R-HSA-70326 in Reactome's release of 2024-09-18, whose content is in the public domain
(CC0). Their order follows the mean change of log2(TPM + 1) from the paired normal liver to the tumour in the five pairs
of TCGA-LIHC that are open to everybody: `RISING` starts with the strongest rise, `FALLING` with the strongest fall.
The first 29 of `RISING` rise by 0.85 and more, the first 16 of `FALLING` fall; the genes towards the end of `FALLING`
change little or rise slightly, and stand there only so that each list has half of the set. ENO4 is not in that table
and stands among the unchanged. That genes which change from liver to tumour change further with microvascular invasion
is an assumption.
"""

from __future__ import annotations

RISING: tuple[str, ...] = (
    "PFKP", "HKDC1", "HK2", "ALDOA", "PGP", "PGAM2", "ENO1", "NUP205", "NUP210", "POM121C", "PPP2R1A", "PKM", "BPGM",
    "NUP37", "PFKFB2", "GAPDH", "NUP93", "GPI", "GNPDA1", "NUP62", "PFKM", "PGK1", "PGM2L1", "SEC13", "NUP188",
    "G6PC3", "PPP2R5D", "NUP42", "PPP2CA", "NUP133", "SEH1L", "RAE1", "PGAM1", "SLC37A1", "TPI1", "TPR", "NUP43",
    "NUP155", "NUP35", "HK1", "NDC1", "AAAS", "ADPGK",
)  # fmt: skip
"""Genes that are higher in tumours, the strongest rise first."""

FALLING: tuple[str, ...] = (
    "ENO3", "ALDOB", "FBP1", "G6PC1", "PCK2", "PC", "PCK1", "SLC37A4", "PFKFB1", "PKLR", "ALDOC", "HK3", "PFKFB3",
    "GCKR", "GCK", "PPP2R1B", "FBP2", "PRKACG", "ENO4", "PGK2", "G6PC2", "GAPDHS", "SLC37A2", "NUP88", "NUP50",
    "NUP153", "NUP160", "PPP2CB", "POM121", "PRKACB", "NUP98", "RANBP2", "NUP58", "NUP54", "NUP214", "PFKL", "NUP85",
    "PRKACA", "ENO2", "NUP107", "PFKFB4", "GNPDA2",
)  # fmt: skip
"""The others, the strongest fall first."""

GLUCOSE_METABOLISM: tuple[str, ...] = tuple(sorted(RISING + FALLING))
"""All 85 genes of R-HSA-70326."""
