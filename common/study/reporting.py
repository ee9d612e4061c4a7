"""common/study: `[reporting]`: what readers and journals ask of a study and no program can know.

The report's checklists print each text as it was written, and mark what is not there as open.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Reporting(BaseModel):
    """`[reporting]`: statements of the authors; each is one paragraph without line breaks, printed as it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    registration: str = Field(default="", description="Register and number of the study, or that it is in none.")
    protocol: str = Field(default="", description="Where the protocol can be read.")
    ethics: str = Field(
        default="", description="Of the study as a whole: committee, number of the approval, consent or its waiver."
    )
    site_ethics: dict[str, str] = Field(
        default_factory=dict, description='The same for each site that has its own, as { hospital-a = "..." }.'
    )
    funding: str = Field(default="", description="Who paid, and what part the funders had in the study.")
    conflicts: str = Field(default="", description="Conflicts of interest of all authors, or that there are none.")
    intended_use: str = Field(
        default="", description="For which patients, at which point of their care, and for which decision."
    )
    intended_users: str = Field(default="", description="Who is to use the model, and what they must know for it.")
    design: str = Field(
        default="", description="Prospective or retrospective; consecutive patients or not; how data were collected."
    )
    setting: str = Field(default="", description="Kind of hospitals and where they are.")
    dates: str = Field(default="", description="First and last patient, and the end of follow-up.")
    treatments: str = Field(default="", description="Treatments that patients had, and how they were dealt with.")
    outcome_assessment: str = Field(
        default="", description="How, when and by whom the endpoint was determined, and to what they were blind."
    )
    predictor_assessment: str = Field(
        default="", description="The same of predictors that somebody has to judge, such as imaging traits."
    )
    image_acquisition: str = Field(default="", description="Scanners, protocols and contrast agents.")
    segmentation: str = Field(default="", description="Who outlined the regions, with what, and with what experience.")
    fairness: str = Field(default="", description="Groups for whom the model may be worse, and what was done about it.")
    data_availability: str = Field(default="", description="Who can have which data, and how.")
    code_availability: str = Field(default="", description="Where the code of the analysis is.")
    model_availability: str = Field(default="", description="Who can have the models, on which terms.")
    patient_involvement: str = Field(
        default="", description="What part patients and the public had in the study, or that they had none."
    )
