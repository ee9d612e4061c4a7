"""server/report: the signalling questions of PROBAST+AI, in our own words.

They ask for a judgement on the study, so that the program shows where to look and never answers.
"""

from __future__ import annotations

from server.report.checklists import cohort_facts as of_cohorts
from server.report.checklists import model_facts as of_models
from server.report.checklists.items import Guideline, Item

_D, _E = "D", "E"


def _participants(part: str) -> tuple[Item, ...]:
    return (
        Item(f"{part}1.1", "Do the sources of the data suit the question?", of_cohorts.sources, told="design"),
        Item(f"{part}1.2", "Does the design suit the question?", told="design"),
        Item(f"{part}1.3", "Do the patients taken in and left out represent those meant?", of_cohorts.flow),
    )


def _predictors(part: str) -> tuple[Item, ...]:
    return (
        Item(f"{part}2.1", "Were predictors defined and measured alike for all?", of_models.predictors,
             told="predictor_assessment"),
        Item(f"{part}2.2", "Were they prepared alike for all?", of_cohorts.preparation),
        Item(f"{part}2.3", "Were they assessed without knowing the outcome?", told="predictor_assessment"),
        Item(f"{part}2.4", "Are they known when the model is to be used?", of_models.predictors, told="intended_use"),
    )  # fmt: skip


def _outcome(part: str) -> tuple[Item, ...]:
    return (
        Item(f"{part}3.1", "Was the outcome defined and determined properly?", of_cohorts.outcome,
             told="outcome_assessment"),
        Item(f"{part}3.2", "Was it so alike for all?", of_cohorts.outcome, told="outcome_assessment"),
        Item(f"{part}3.3", "Was it determined without using or knowing the predictors?", told="outcome_assessment"),
        Item(f"{part}3.4", "Was the time between predictors and outcome right?", told="dates"),
    )  # fmt: skip


_DEVELOPMENT = (
    Item("D4.1", "Were there patients enough to develop the model?", of_cohorts.sample_size),
    Item("D4.2", "Were measured and categorical predictors handled properly?", of_models.predictors),
    Item("D4.3", "Were missing values and censored times handled properly?", of_models.missing_values),
    Item("D4.4", "After any balancing of classes, was the model recalibrated?", of_models.no_reweighting),
    Item("D4.5", "Was something done against overfitting?", of_models.shrinkage),
)
_EVALUATION = (
    Item("E4.1", "Is there more than performance in the training patients?", of_models.tested_beyond_training),
    Item("E4.2", "Were there patients enough to evaluate the model?", of_cohorts.test_sample_size),
    Item("E4.3", "Were missing values and censored times handled properly?", of_models.missing_values),
    Item("E4.4", "Was it evaluated on data whose classes were not balanced?", of_models.no_reweighting),
    Item("E4.5", "Where data were split, did nothing leak from test to training?", of_cohorts.closed_until_frozen),
    Item("E4.6", "Where data were resampled, was every step of the development repeated?"),
    Item("E4.7", "Were the right measures used: calibration, discrimination, net benefit?", of_models.all_measures),
)

PROBAST_AI = Guideline(
    "probast-ai",
    "PROBAST+AI",
    "Quality, risk of bias and applicability of prediction models (Moons KGM et al., BMJ "
    "2025;388:e082505, doi:10.1136/bmj-2024-082505)",
    (
        ("Development: patients and data", _participants(_D)),
        ("Development: predictors", _predictors(_D)),
        ("Development: outcome", _outcome(_D)),
        ("Development: analysis", _DEVELOPMENT),
        ("Evaluation: patients and data", _participants(_E)),
        ("Evaluation: predictors", _predictors(_E)),
        ("Evaluation: outcome", _outcome(_E)),
        ("Evaluation: analysis", _EVALUATION),
    ),
    judged=True,
)
