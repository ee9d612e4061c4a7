"""server/report: the items of CLAIM in its update of 2024, in our own words."""

from __future__ import annotations

from server.report.checklists import cohort_facts as of_cohorts
from server.report.checklists import model_facts as of_models
from server.report.checklists.items import Guideline, Item

_FRONT = (
    Item("1", "Title or abstract says that the study is on artificial intelligence, and of which kind."),
    Item("2", "Abstract: design, methods, results, conclusions.", of_cohorts.summary, "the abstract itself."),
    Item("3", "Background, intended use and clinical role.", told="intended_use"),
    Item("4", "Aims and hypotheses."),
)
_DATA = (
    Item("5", "Prospective or retrospective.", told="design"),
    Item("6", "What the study is for, such as developing a model or testing one."),
    Item("7", "Sources of the data.", of_cohorts.sources, "in words.", "design"),
    Item("8", "Who was taken in and left out.", of_cohorts.eligibility),
    Item("9", "Preparation of the data.", of_cohorts.preparation, "in words."),
    Item("10", "Parts of the data that were chosen, such as slices or regions.", of_cohorts.preparation, "in words."),
    Item("11", "De-identification.", of_cohorts.deidentified),
    Item("12", "Missing data and how they were handled.", of_models.missing_values),
    Item("13", "How the images were acquired.", of_cohorts.acquisition, "in words.", "image_acquisition"),
)
_REFERENCE = (
    Item("14", "How the reference standard was obtained.", of_cohorts.outcome, "how it was obtained.",
         "outcome_assessment"),
    Item("15", "Why this reference standard."),
    Item("16", "Who made its annotations.", told="outcome_assessment"),
    Item("17", "How the test set was annotated.", told="outcome_assessment"),
    Item("18", "Agreement between and within those who annotated."),
)  # fmt: skip
_MODEL = (
    Item("19", "How data were assigned to parts.", of_cohorts.partition),
    Item("20", "On which level the parts share nothing.", of_cohorts.partition),
    Item("21", "Size of the test set that was intended.", of_cohorts.test_sample_size),
    Item("22", "The model, in detail.", of_models.model_type),
    Item("23", "Software with versions.", of_cohorts.software),
    Item("24", "How parameters were set at first."),
    Item("25", "How the model was trained.", of_models.training, "in words."),
    Item("26", "How the final model was chosen.", of_models.selection),
    Item("27", "Any ensemble of models."),
)
_EVALUATION = (
    Item("28", "Measures of performance.", of_models.performance),
    Item("29", "Measures of significance and uncertainty.", of_models.uncertainty),
    Item("30", "Robustness or sensitivity analyses."),
    Item("31", "Methods that explain the model.", of_models.explanations),
    Item("32", "Evaluation on data of the training sites.", of_models.internal_validation),
    Item("33", "Testing on data of other sites.", of_models.external_validation),
    Item("34", "Registration, of a trial.", told="registration"),
)
_RESULTS = (
    Item("35", "Patients taken in and left out.", of_cohorts.flow),
    Item("36", "Characteristics of the patients in each part.", of_models.characteristics),
    Item("37", "Performance with its uncertainty.", of_models.performance),
    Item("38", "Diagnostic performance and its precision, such as sensitivity.", of_models.class_measures),
    Item("39", "Failures looked at one by one."),
)
_DISCUSSION = (
    Item("40", "Limitations."),
    Item("41", "What it means in practice: intended use and clinical role.", told="intended_use"),
    Item("42", "Where the whole protocol is.", of_cohorts.protocol, "where readers find it.", "protocol"),
    Item("43", "Availability of software, model and data.", of_cohorts.code, "where they can be had.",
         "model_availability"),
    Item("44", "Funding and the funders' part.", told="funding"),
)  # fmt: skip

CLAIM = Guideline(
    "claim",
    "CLAIM (update of 2024)",
    "Artificial intelligence in medical imaging (Tejani AS et al., Radiol Artif Intell 2024;6:e240300, "
    "doi:10.1148/ryai.240300)",
    (
        ("Title, abstract, introduction", _FRONT),
        ("Design and data", _DATA),
        ("Reference standard", _REFERENCE),
        ("Partitions, testing data and model", _MODEL),
        ("Evaluation", _EVALUATION),
        ("Results", _RESULTS),
        ("Discussion and other information", _DISCUSSION),
    ),
    applies=of_cohorts.has_images,
)
