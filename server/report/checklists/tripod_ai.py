"""server/report: the items of TRIPOD+AI, in our own words."""

from __future__ import annotations

from server.report.checklists import cohort_facts as of_cohorts
from server.report.checklists import model_facts as of_models
from server.report.checklists.items import Guideline, Item

_FRONT = (
    Item("1", "Title: a prediction model is developed or evaluated, for whom and for which outcome."),
    Item("2", "Abstract with the contents that the guideline lists.", of_cohorts.summary, "the abstract itself."),
)
_INTRODUCTION = (
    Item("3a", "Clinical background, why a model is needed, and which models there are."),
    Item("3b", "For whom, for what and for which users the model is meant.", told="intended_use"),
    Item("3c", "Known inequalities in health between groups of people."),
    Item("4", "Aims, and whether the model is developed, evaluated or both."),
)
_METHODS = (
    Item("5a", "Sources of the data, why these, and whom they represent.", of_cohorts.sources,
         "design, reason and representativeness.", "design"),
    Item("5b", "Dates: first and last patient, end of follow-up.", told="dates"),
    Item("6a", "Setting, and number and place of the centres.", of_cohorts.sites,
         "kind and place of the hospitals.", "setting"),
    Item("6b", "Who was eligible.", of_cohorts.eligibility),
    Item("6c", "Treatments, and how they were dealt with.", told="treatments"),
    Item("7", "Preparation and checks of the data, alike for all groups of people.", of_cohorts.preparation,
         "in words, and for whom it may differ."),
    Item("8a", "The outcome: definition, time, how assessed and why this one.", of_cohorts.outcome,
         "how and when it was assessed, and why it was chosen.", "outcome_assessment"),
    Item("8b", "Who judged the outcome, where it takes a judgement.", told="outcome_assessment"),
    Item("8c", "Blinding of those who assessed the outcome.", told="outcome_assessment"),
    Item("9a", "Which predictors were considered and why, and any choice among them before modelling.",
         of_models.predictors, "why these."),
    Item("9b", "Each predictor: definition, when and how measured.", of_models.predictors,
         "when and how they were measured, and blinding.", "predictor_assessment"),
    Item("9c", "Who judged predictors, where it takes a judgement.", told="predictor_assessment"),
    Item("10", "Size of the study, for development and evaluation, and whether it suffices.", of_cohorts.sample_size),
    Item("11", "How missing values were handled.", of_models.missing_values),
    Item("12a", "How the data were used and parted.", of_cohorts.partition),
    Item("12b", "How predictors entered the models: form, scale, transformation.", of_models.predictors),
    Item("12c", "Kind of model, all steps of building it, and internal validation.", of_models.building,
         "why this kind of model."),
    Item("12d", "Differences between clusters such as hospitals, and how they were handled.", of_models.between_sites),
    Item("12e", "All measures and plots of performance, and comparisons of models.", of_models.all_measures),
    Item("12f", "Any updating of a model after its evaluation.", of_models.frozen),
    Item("12g", "How predictions were computed in the evaluation.", of_models.full_model),
    Item("13", "Methods against class imbalance, and recalibration after them.", of_models.no_reweighting),
    Item("14", "What was done for fairness.", told="fairness"),
    Item("15", "What the model gives, and how any thresholds were found.", of_models.output),
    Item("16", "Differences between the data of development and of evaluation.", of_cohorts.class_shares,
         "differences in setting, and in how predictors and outcome were measured."),
    Item("17", "Ethics committee, and consent or its waiver.", told="ethics"),
)  # fmt: skip
_OPEN_SCIENCE = (
    Item("18a", "Funding, and the funders' part.", told="funding"),
    Item("18b", "Conflicts of interest.", told="conflicts"),
    Item("18c", "Where the protocol can be read.", of_cohorts.protocol, "where readers find it.", "protocol"),
    Item("18d", "Registration.", told="registration"),
    Item("18e", "Availability of the data.", told="data_availability"),
    Item("18f", "Availability of the code.", of_cohorts.code, "where it can be had.", "code_availability"),
    Item("19", "Part of patients and the public.", told="patient_involvement"),
)
_RESULTS = (
    Item("20a", "Flow of patients, with and without the outcome, and follow-up.", of_cohorts.flow_and_classes),
    Item("20b", "Characteristics of the patients, overall and by source.", of_models.characteristics,
         "those that are no predictors, other cohorts, dates and treatments."),
    Item("20c", "Predictors in the evaluation data beside those in the development data.", of_cohorts.class_shares,
         "the predictors; here only the outcome is compared."),
    Item("21", "Patients and outcome events in each analysis.", of_models.participants_by_analysis),
    Item("22", "The whole model, so that others can use it, and on which terms.", of_models.full_model,
         "the terms of use.", "model_availability"),
    Item("23a", "Performance with intervals, also in important subgroups.", of_models.performance,
         "subgroups, or why there are none."),
    Item("23b", "Differences in performance between clusters, where examined.", of_models.by_site),
    Item("24", "Results of any updating of a model.", of_models.frozen),
)  # fmt: skip
_DISCUSSION = (
    Item("25", "Interpretation against aims and earlier studies, with fairness."),
    Item("26", "Limitations and what they may do to the results."),
    Item("27a", "In use: how poor or missing input is found and handled.", of_models.input_checks,
         "what is done then."),
    Item("27b", "In use: what users have to do, and what they must know.", told="intended_users"),
    Item("27c", "Next steps of research, for whom the model may hold."),
)  # fmt: skip

TRIPOD_AI = Guideline(
    "tripod-ai",
    "TRIPOD+AI",
    "Reporting of clinical prediction models (Collins GS et al., BMJ 2024;385:e078378, doi:10.1136/bmj-2023-078378)",
    (
        ("Title and abstract", _FRONT),
        ("Introduction", _INTRODUCTION),
        ("Methods", _METHODS),
        ("Open science and involvement", _OPEN_SCIENCE),
        ("Results", _RESULTS),
        ("Discussion", _DISCUSSION),
    ),
)
