"""simulation: importers that turn public tables into folders of simulated sites, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from simulation.importers.asaur import NAME as ASAUR
from simulation.importers.asaur import import_asaur
from simulation.importers.folder import ImportReport
from simulation.importers.heart_disease import NAME as HEART_DISEASE
from simulation.importers.heart_disease import import_heart_disease
from simulation.importers.tcga_lihc import NAME as TCGA_LIHC
from simulation.importers.tcga_lihc import import_tcga_lihc


@dataclass(frozen=True)
class Importer:
    """An importer as the command line lists it.

    Attributes
    ----------
    name
        As typed after `fedmvi-simulate import`.
    description
        One line.
    run
        `run(source folder, target folder)`; writes the sites and says what it did.
    study
        The shipped study that fits the sites, a file of `studies/`.
    """

    name: str
    description: str
    run: Callable[[Path, Path], ImportReport]
    study: str


IMPORTERS: Mapping[str, Importer] = MappingProxyType(
    {
        importer.name: importer
        for importer in (
            Importer(
                TCGA_LIHC,
                "377 resected HCC patients of 38 centres as six sites; MVI, disease-free and overall survival.",
                import_tcga_lihc,
                "tcga-lihc-mvi.toml",
            ),
            Importer(
                HEART_DISEASE,
                "920 patients of four cardiology centres; heart disease, with real shift and missing values.",
                import_heart_disease,
                "heart-disease.toml",
            ),
            Importer(
                ASAUR,
                "227 resected HCC patients of one hospital as four blocks; vascular invasion and survival.",
                import_asaur,
                "asaur.toml",
            ),
        )
    }
)
"""All importers, by the name typed on the command line."""
