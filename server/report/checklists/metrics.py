"""server/report: the items of METRICS, in our own words.

The score itself is not computed: its weights belong to answers that people have to give.
"""

from __future__ import annotations

from server.report.checklists import cohort_facts as of_cohorts
from server.report.checklists import model_facts as of_models
from server.report.checklists.items import Guideline, Item

_DESIGN = (
    Item("1", "A checklist for radiomics or machine learning was followed.", of_cohorts.checklists),
    Item("2", "Eligibility that gives a representative sample.", of_cohorts.eligibility, "whether it does.", "setting"),
    Item("3", "A good reference standard, clearly defined.", of_cohorts.outcome, "how good it is.",
         "outcome_assessment"),
)  # fmt: skip
_IMAGES = (
    Item("4", "More than one centre.", of_cohorts.several_sites),
    Item("5", "Images as they are made in the clinic.", told="image_acquisition"),
    Item("6", "Imaging protocol with its parameters.", of_cohorts.acquisition, "in words.", "image_acquisition"),
    Item("7", "Time between images and reference standard.", of_cohorts.interval),
    Item("8", "How regions were outlined.", told="segmentation"),
    Item("9", "Test of an automatic segmentation, where there is one.", told="segmentation"),
    Item("10", "Test patients outlined by one reader or one program, as in practice.", told="segmentation"),
)
_FEATURES = (
    Item("11", "Proper preparation of images, clearly described.", of_cohorts.preparation, "in words."),
    Item("12", "Features computed by standardised software."),
    Item("13", "Parameters of the features' computation.", of_cohorts.features),
    Item("14", "Features removed that are not robust."),
    Item("15", "Features removed that are redundant.", of_models.reduction),
    Item("16", "Number of features in proportion to the patients.", of_cohorts.sample_size),
    Item("17", "Robustness of an end-to-end network, where there is one."),
)
_MODELS = (
    Item("18", "Proper partition of the data.", of_cohorts.closed_until_frozen),
    Item("19", "Confounders dealt with."),
    Item("20", "Measures of performance that suit the task.", of_models.performance),
    Item("21", "Uncertainty.", of_models.uncertainty),
    Item("22", "Calibration.", of_models.calibration),
    Item("23", "One kind of images, or proof that one is not enough.", of_models.sequences, "whether one is enough."),
    Item("24", "Comparison with other than radiomic methods, or added clinical value.", of_models.clinical_utility,
         "what it adds to other methods."),
    Item("25", "Comparison with simple models."),
)  # fmt: skip
_TESTING = (
    Item("26", "Internal testing.", of_models.internal_test),
    Item("27", "External testing.", of_models.external_validation),
    Item("28", "Availability of data.", told="data_availability"),
    Item("29", "Availability of code.", of_cohorts.code, "where it can be had.", "code_availability"),
    Item("30", "Availability of the model.", of_models.full_model, "who can have it.", "model_availability"),
)


METRICS = Guideline(
    "metrics",
    "METRICS",
    "Quality of radiomics research (Kocak B et al., Insights Imaging 2024;15:8, doi:10.1186/s13244-023-01572-w)",
    (
        ("Design", _DESIGN),
        ("Images and segmentation", _IMAGES),
        ("Features", _FEATURES),
        ("Modelling, measures and comparison", _MODELS),
        ("Testing and open science", _TESTING),
    ),
    applies=of_cohorts.has_images,
)
