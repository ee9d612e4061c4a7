"""server/report: the items of CLEAR, in our own words."""

from __future__ import annotations

from server.report.checklists import cohort_facts as of_cohorts
from server.report.checklists import model_facts as of_models
from server.report.checklists.items import Guideline, Item

_FRONT = (
    Item("1", "Title names the radiomic method."),
    Item("2", "Structured abstract.", of_cohorts.summary, "the abstract itself."),
    Item("3", "Keywords on radiomics."),
    Item("4", "Background."),
    Item("5", "Why radiomics."),
    Item("6", "Aims."),
)
_DESIGN = (
    Item("7", "Which checklists were followed.", of_cohorts.checklists),
    Item("8", "Ethics: approval, consent, protection of data.", of_cohorts.deidentified, "approval and consent.",
         "ethics"),
    Item("9", "How the sample size was found.", of_cohorts.sample_size),
    Item("10", "Nature of the study: prospective or retrospective, cohort or otherwise.", told="design"),
    Item("11", "Who was eligible.", of_cohorts.eligibility),
    Item("12", "Chart of the technical steps."),
)  # fmt: skip
_DATA = (
    Item("13", "Sources of the data.", of_cohorts.sources, "private or public."),
    Item("14", "Overlap with data of earlier publications."),
    Item("15", "How the data were split.", of_cohorts.closed_until_frozen),
    Item("16", "Imaging protocol.", of_cohorts.acquisition, "in words.", "image_acquisition"),
    Item("17", "Predictors that are no radiomic features.", of_models.other_predictors),
    Item("18", "The reference standard.", of_cohorts.outcome, "how it was obtained, and why it.",
         "outcome_assessment"),
)  # fmt: skip
_FEATURES = (
    Item("19", "How regions were outlined.", told="segmentation"),
    Item("20", "By whom they were outlined.", told="segmentation"),
    Item("21", "Preparation of the images.", of_cohorts.features, "in words."),
    Item("22", "Resampling with its parameters.", of_cohorts.features, "in words."),
    Item("23", "Grey-level bins with their parameters.", of_cohorts.features, "in words."),
    Item("24", "Kinds of images: original, filtered, transformed.", of_cohorts.features, "in words."),
    Item("25", "How features were computed.", of_cohorts.features, "in words, with the software."),
    Item("26", "Classes of features.", of_cohorts.features, "in words."),
    Item("27", "Number of features.", of_models.feature_counts),
    Item("28", "That other settings were left at their defaults.", of_cohorts.features),
)
_PREPARING = (
    Item("29", "Missing data.", of_models.missing_values),
    Item("30", "Class imbalance.", of_cohorts.class_shares, "how it was handled, if it was."),
    Item("31", "Reliability of outlines between readers."),
    Item("32", "Scaling of features.", of_models.predictors),
    Item("33", "How the number of features was reduced.", of_models.reduction),
)
_MODELLING = (
    Item("34", "The algorithm.", of_models.model_type),
    Item("35", "Training and tuning.", of_models.building, "the tuning, in words."),
    Item("36", "Confounders."),
    Item("37", "How the final model was chosen.", of_models.selection),
    Item("38", "Internal or external testing.", of_models.tested_beyond_training),
    Item("39", "Measures of performance, and why these.", of_models.performance, "why these."),
    Item("40", "Measures of uncertainty.", of_models.uncertainty),
    Item("41", "Statistical comparison of models.", of_models.comparison_of_models),
    Item("42", "Comparison with other than radiomic methods, and combination with them.", of_models.other_methods),
    Item("43", "Methods that explain the model.", of_models.explanations),
)
_RESULTS = (
    Item("44", "Characteristics of the patients.", of_models.characteristics),
    Item("45", "Flow of patients.", of_cohorts.flow),
    Item("46", "Statistics of the features and of their selection.", of_models.reduction, "their reproducibility."),
    Item("47", "Performance of the models.", of_models.performance),
    Item("48", "Results beside other than radiomic methods.", of_models.other_methods),
)
_DISCUSSION = (
    Item("49", "The main findings.", of_cohorts.summary, "their place in what is known."),
    Item("50", "Earlier work, and what differs."),
    Item("51", "What it means in practice.", told="intended_use"),
    Item("52", "Strengths and limitations."),
)
_OPEN_SCIENCE = (
    Item("53", "Sharing of images and outlines (recommended).", told="data_availability"),
    Item("54", "Sharing of the features.", told="data_availability"),
    Item("55", "Sharing of the settings of preparation.", of_cohorts.features, "where they can be had.", "protocol"),
    Item("56", "Sharing of the code of the models.", of_cohorts.code, "where it can be had.", "code_availability"),
    Item("57", "Sharing of the final models.", of_models.full_model, "who can have them.", "model_availability"),
    Item("58", "A tool that is ready for use (recommended).", of_models.full_model),
)

CLEAR = Guideline(
    "clear",
    "CLEAR",
    "Reporting of radiomics (Kocak B et al., Insights Imaging 2023;14:75, doi:10.1186/s13244-023-01415-8)",
    (
        ("Title, abstract, introduction", _FRONT),
        ("Design", _DESIGN),
        ("Data", _DATA),
        ("Segmentation, preparation, features", _FEATURES),
        ("Preparation of data", _PREPARING),
        ("Models and evaluation", _MODELLING),
        ("Results", _RESULTS),
        ("Discussion", _DISCUSSION),
        ("Open science", _OPEN_SCIENCE),
    ),
    applies=of_cohorts.has_features,
)
